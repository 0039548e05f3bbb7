"""Where the mail of a zone goes: the hosts for each delivery, and how safe it has to be on its way to each."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from twisted.internet.defer import CancelledError, Deferred

from relay.channel.briefing import SenderBriefing
from relay.channel.frames import Offer
from relay.delivery.exchangers import Host, Resolver, Settings, Unroutable, find, next_hop
from relay.delivery.security import Approach, Policy
from relay.delivery.sts.policies import Answer, Policies
from relay.message.values import Result
from relay.zone.sites import is_literal
from relay.zone.zones import DEFAULT


class Way(NamedTuple):
    """A host that takes the mail, and how it is called."""

    host: Host
    approach: Approach


class Ways:
    """What is said of a zone and of domains, put to the hosts that are found."""

    def __init__(self, briefing: SenderBriefing, resolver: Resolver, policies: Policies | None = None) -> None:
        """`policies` are those of domains by MTA-STS; without them no domain is asked for its own."""
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
        self._policies = policies

    async def find(self, offer: Offer) -> list[Way]:
        """The ways of a delivery, in the order to try them. Raises Unroutable."""
        approach = self._approach(offer)
        if self._options.host:
            return [Way(host, approach) for host in await next_hop(self._resolver, self._options.host, self._settings)]
        finding = find(self._resolver, offer.domain, self._by_domain.get(offer.domain, self._most))
        policies = self._heeded(offer.domain)
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
        return _meant(offer.domain, hosts, approach, await asked)

    def need(self, offer: Offer, host: Host) -> Approach | None:
        """How safe a connection to `host` that stands already has to be for a delivery; None: nothing of it may
        go there. It is asked of every kept connection, and answers from memory."""
        approach = self._approach(offer)
        policies = self._heeded(offer.domain)
        if policies is None:
            return approach
        answer = policies.known(offer.domain)
        return None if answer is None else _approach(host, approach, answer)

    def serves(self, domain: str, host: Host) -> bool:
        """Whether mail for `domain` may go to a host that was found for another: a fixed next hop takes it all."""
        return bool(self._options.host)

    def _approach(self, offer: Offer) -> Approach:
        """As zone and domain say; REQUIRETLS asks for more (RFC 8689 4.2.1)."""
        policy = self._tls.get(offer.domain) or self._tls.get(DEFAULT, Policy.MAY)
        if offer.require_tls and not policy.proven:
            policy = Policy.VERIFY
        return Approach(policy, self._options.implicit_tls)

    def _heeded(self, domain: str) -> Policies | None:
        """Whom to ask for what a domain says of its hosts; None: it isn't heeded, or there is nobody to say it."""
        heeded = self._sts.get(domain, self._sts.get(DEFAULT, False))
        return self._policies if heeded and not is_literal(domain) else None


def _meant(domain: str, hosts: list[Host], approach: Approach, answer: Answer) -> list[Way]:
    """The ways to those hosts that a domain means, by its policy. Raises Unroutable when there is none."""
    if approach.policy is Policy.STS and not answer.enforced:
        text = f"4.7.5 {domain} needs an MTA-STS policy that is enforced: {answer.lack}"
        raise Unroutable(Result.DEFERRED, text, "tls")
    ways = [Way(host, how) for host in hosts if (how := _approach(host, approach, answer)) is not None]
    if not ways:
        shown = ", ".join(dict.fromkeys(host.name for host in hosts[:3]))
        text = f"4.7.5 The MTA-STS policy of {domain} allows none of its hosts ({shown})"
        raise Unroutable(Result.DEFERRED, text, "tls")
    return ways


def _approach(host: Host, approach: Approach, answer: Answer) -> Approach | None:
    """How a host is called by the domain's policy; None: not at all."""
    if not answer.enforced:
        return None if approach.policy is Policy.STS else approach
    return approach._replace(policy=Policy.STS) if answer.allows(host.name) else None
