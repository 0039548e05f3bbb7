"""Where the mail of a zone goes: the hosts for each delivery, and how safe it has to be on its way to each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from twisted.internet.defer import CancelledError, Deferred

from relay.channel.briefing import SenderBriefing
from relay.channel.frames import Offer
from relay.delivery.exchangers import Host, Resolver, Settings, Unroutable, find, next_hop
from relay.delivery.security import Approach, Policy
from relay.delivery.sts.policies import Answer, Policies
from relay.delivery.sts.policy import Mode
from relay.message.tls import REPORTS, TlsPolicy, TlsResult
from relay.message.values import Result
from relay.zone.sites import is_literal
from relay.zone.zones import DEFAULT


class Way(NamedTuple):
    """A host that takes the mail, and how it is called."""

    host: Host
    approach: Approach


class Ways:
    """What is said of a zone and of domains, put to the hosts that are found."""

    def __init__(
        self,
        briefing: SenderBriefing,
        resolver: Resolver,
        tell: Callable[[TlsResult], None],
        policies: Policies | None = None,
    ) -> None:
        """`tell` hears of policies that can't be had, or kept. `policies` are those of domains by MTA-STS; without
        them no domain is asked for its own."""
        options = self._options = briefing.options
        self._resolver = resolver
        self._settings = Settings(
            options.ignore_ipv6,
            options.prefer_ipv6,
            options.block_local_addresses,
            frozenset(briefing.own),
            frozenset(name.lower().rstrip(".") for name in options.block_domains),
        )
        self._by_domain = {
            domain: replace(self._settings, ignore_ipv6=ignore, prefer_ipv6=prefer)
            for domain, (ignore, prefer) in briefing.ipv6.items()
        }
        self._most = self._by_domain.get(DEFAULT, self._settings)
        self._tls = {domain: Policy(tls) for domain, tls in briefing.tls.items()}
        self._sts = briefing.sts
        self._tell = tell
        self._policies = policies

    async def find(self, offer: Offer) -> list[Way]:
        """The ways of a delivery, in the order to try them. Raises Unroutable."""
        approach = self._approach(offer)
        if self._options.host:
            return [Way(host, approach) for host in await next_hop(self._resolver, self._options.host, self._settings)]
        finding = find(self._resolver, offer.domain, self._by_domain.get(offer.domain, self._most))
        policies = self._heeded(offer)
        if policies is None:
            return [Way(host, approach) for host in await finding]
        # Both are looked up at once.
        asked = Deferred.fromCoroutine(policies.of(offer.domain))
        try:
            hosts = await finding
        except BaseException:
            asked.addErrback(lambda failure: failure.trap(CancelledError) and None)
            asked.cancel()
            raise
        return self._meant(offer.domain, hosts, approach, await asked)

    def need(self, offer: Offer, host: Host) -> Approach | None:
        """How safe a connection to `host` that stands already has to be for a delivery; None: nothing of it may
        go there. It is asked of every kept connection, and answers from memory."""
        approach = self._approach(offer)
        policies = self._heeded(offer)
        if policies is None:
            return approach
        answer = policies.known(offer.domain)
        return None if answer is None else _approach(host, approach, answer)

    def serves(self, domain: str, host: Host) -> bool:
        """Whether mail for `domain` may go to a host that was found for another: a fixed next hop takes it all."""
        return bool(self._options.host)

    def _approach(self, offer: Offer) -> Approach:
        """As zone and domain say; REQUIRETLS asks for more (RFC 8689 4.2.1)."""
        options = self._options
        if offer.origin.listener == REPORTS and not options.host:
            # A report of what is wrong with a domain's TLS gets there in any case, and is none of what it tells of.
            return Approach(Policy.MAY)
        policy = self._tls.get(offer.domain) or self._tls.get(DEFAULT, Policy.MAY)
        if offer.require_tls and not policy.proven:
            policy = Policy.VERIFY
        # A next hop of ours is none of the domain's hosts, nor is an address in its place a domain.
        reported = None if options.host or offer.domain[:1] == "[" else TlsPolicy(offer.domain)
        return Approach(policy, options.implicit_tls, reported=reported)

    def _heeded(self, offer: Offer) -> Policies | None:
        """Whom to ask for what the domain says of its hosts; None: it isn't heeded, or there is nobody to say it."""
        heeded = self._sts.get(offer.domain, self._sts.get(DEFAULT, False))
        heeded = heeded and offer.origin.listener != REPORTS and not is_literal(offer.domain)
        return self._policies if heeded else None

    def _meant(self, domain: str, hosts: list[Host], approach: Approach, answer: Answer) -> list[Way]:
        """The ways to those hosts that a domain means, by its policy. Raises Unroutable when there is none."""
        if answer.failure:
            self._tell(TlsResult(TlsPolicy(domain, "sts"), answer.failure, answer.reason))
        if approach.policy is Policy.STS and not answer.enforced:
            text = f"4.7.5 {domain} needs an MTA-STS policy that is enforced: {answer.lack}"
            raise Unroutable(Result.DEFERRED, text, "tls")
        if answer.policy is not None and answer.policy.mode is not Mode.NONE:
            reported = TlsPolicy(domain, "sts", answer.policy.lines(), answer.policy.mx)
            approach = approach._replace(reported=reported)
        ways = [Way(host, how) for host in hosts if (how := _approach(host, approach, answer)) is not None]
        if not ways:
            shown = ", ".join(dict.fromkeys(host.name for host in hosts[:3]))
            text = f"4.7.5 The MTA-STS policy of {domain} allows none of its hosts ({shown})"
            self._tell(TlsResult(reported, "validation-failure", text, hosts[0].name, receiving=hosts[0].address))
            raise Unroutable(Result.DEFERRED, text, "tls")
        return ways


def _approach(host: Host, approach: Approach, answer: Answer) -> Approach | None:
    """How a host is called by the domain's policy; None: not at all."""
    if approach.policy is Policy.STS and not answer.enforced:
        return None
    if answer.policy is None or answer.policy.mode is Mode.NONE:
        return approach
    allowed = answer.policy.allows(host.name)
    if answer.enforced:
        return approach._replace(policy=Policy.STS) if allowed else None
    return approach if allowed else approach._replace(flaw="the host is none of those that the MTA-STS policy allows")
