"""What domains ask for by MTA-STS, put to the hosts of their mail (RFC 8461 4, 5).

`enforce`: none but the hosts that the policy allows, and these have to prove who they are. `testing`: as without, and
it is reported what would have failed. Each domain asks for its own mail alone, whoever else has the same hosts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred

from relay.channel.frames import Offer
from relay.delivery.exchangers import Host, Unroutable
from relay.delivery.security import NEEDED, Approach, Policy
from relay.delivery.sts.policies import Answer
from relay.delivery.sts.policy import Mode
from relay.message.tls import REPORTS, TlsPolicy, TlsResult
from relay.message.values import Result
from relay.zone.sites import is_literal
from relay.zone.zones import DEFAULT

_FLAW = "the host is none of those that the MTA-STS policy allows"


class Policies(Protocol):
    """What is needed of `relay.delivery.sts.policies`."""

    def known(self, domain: str) -> Answer | None: ...

    async def of(self, domain: str) -> Answer: ...


class Heeding:
    """Which domains are asked, and what is made of their answers."""

    def __init__(self, heeded: Mapping[str, bool], policies: Policies, tell: Callable[[TlsResult], None]) -> None:
        """`heeded` says of domains whether theirs count, under DEFAULT of most. `tell` hears of policies that can't be
        had, or kept."""
        self._heeded = heeded
        self._policies = policies
        self._tell = tell

    def ask(self, offer: Offer, approach: Approach) -> Wish | None:
        """Begin to ask the domain of a delivery that would be called by `approach`; None: it isn't asked. The wish has
        to be dropped if it isn't waited for."""
        if not self._counts(offer, approach):
            return None
        answer = Deferred.fromCoroutine(self._policies.of(offer.domain))
        return Wish(offer.domain, approach, answer, self._tell)

    async def learn(self, offer: Offer, approach: Approach) -> None:
        """Ask the domain of a delivery so that `need` knows."""
        if self._counts(offer, approach):
            await self._policies.of(offer.domain)

    def need(self, offer: Offer, host: Host, approach: Approach) -> Approach | None:
        """How safe a connection to `host` that stands has to be for a delivery; None: it isn't for that."""
        if not self._counts(offer, approach):
            return approach
        answer = self._policies.known(offer.domain)
        return None if answer is None else _approach(host.name, approach, answer)

    def _counts(self, offer: Offer, approach: Approach) -> bool:
        # What reports on a domain's TLS goes there whatever that is like (RFC 8460 3).
        if approach.heedless or offer.origin.listener == REPORTS or is_literal(offer.domain):
            return False
        # A message may need what mail of its zone doesn't: a policy, or the names in one.
        if approach.required or approach.policy is Policy.STS:
            return True
        return self._heeded.get(offer.domain, self._heeded.get(DEFAULT, False))


class Wish:
    """What a domain asks for, looked up while its exchangers are."""

    def __init__(
        self, domain: str, approach: Approach, asked: Deferred[Answer], tell: Callable[[TlsResult], None]
    ) -> None:
        self._domain = domain
        self._approach = approach
        self._asked = asked
        self._tell = tell
        self._answer = Answer(None)

    @property
    def unsure(self) -> bool:
        """Nobody could tell whether the domain has a policy, or what is in it."""
        return self._answer.unsure

    async def meant(self, exchangers: list[tuple[int, str]]) -> list[tuple[int, str]]:
        """Those of a domain's exchangers that may have its mail. Raises Unroutable when that is none."""
        domain, approach = self._domain, self._approach
        answer = self._answer = await self._asked
        if answer.failure:
            self._tell(TlsResult(TlsPolicy(domain, "sts"), answer.failure, answer.reason))
        if approach.policy is Policy.STS and not answer.enforced:
            text = f"4.7.5 {domain} needs an MTA-STS policy that is enforced: {answer.lack}"
            raise Unroutable(Result.DEFERRED, text, "tls")
        if answer.policy is not None and answer.policy.mode is not Mode.NONE:
            reported = TlsPolicy(domain, "sts", answer.policy.lines(), answer.policy.mx)
            self._approach = approach._replace(reported=reported)
        meant = [exchanger for exchanger in exchangers if _approach(exchanger[1], approach, answer) is not None]
        if not meant:
            shown = ", ".join(name for _, name in exchangers[:3])
            text = f"4.7.5 The MTA-STS policy of {domain} allows none of its hosts ({shown})"
            self._tell(TlsResult(reported, "validation-failure", text, exchangers[0][1]))
            if approach.required:
                raise Unroutable(Result.BOUNCED, text.replace("4.7.5", NEEDED, 1), "tls")
            raise Unroutable(Result.DEFERRED, text, "tls")
        return meant

    def approach(self, host: Host) -> Approach:
        """How one of those that are meant is called."""
        approach = _approach(host.name, self._approach, self._answer)
        assert approach is not None, "it is one of those that are meant"
        return approach

    def drop(self) -> None:
        """Nobody waits for it, any more."""
        self._asked.addErrback(lambda failure: failure.trap(CancelledError) and None)
        self._asked.cancel()


def _approach(name: str, approach: Approach, answer: Answer) -> Approach | None:
    """How the host with this name is called by the domain's policy; None: not at all."""
    policy = answer.policy
    if approach.policy is Policy.STS and not answer.enforced:
        return None
    if policy is None or policy.mode is Mode.NONE:
        return approach
    if answer.enforced:
        # Where TLSA records have to be there they say more of a host's certificate than authorities could.
        asked = approach.policy if approach.policy is Policy.DANE else Policy.STS
        return approach._replace(policy=asked, named=True) if policy.allows(name) else None
    return approach._replace(named=True) if policy.allows(name) else approach._replace(flaw=_FLAW)
