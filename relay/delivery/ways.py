"""Where the mail of a zone goes: the hosts for each delivery, and how safe it has to be on its way to each.

TLSA records are the host's own word on that, and go before all others: where they can't be told, or are asked for and
aren't there, the host is not called at all (RFC 7672 2.2, RFC 8461 2).
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from twisted.internet.defer import Deferred

from relay.channel.briefing import SenderBriefing
from relay.channel.frames import Offer
from relay.delivery.demands import Demands
from relay.delivery.exchangers import Host, Proven, Resolver, Settings, Unroutable, find, next_hop
from relay.delivery.security import Approach, Policy
from relay.message.values import Result
from relay.net.dane import Dane
from relay.net.dns import DnsError
from relay.zone.zones import DEFAULT


class Way(NamedTuple):
    """A host that takes the mail, and how it is called."""

    host: Host
    approach: Approach


class Ways:
    """What is said of a zone and of domains, put to the hosts that are found."""

    def __init__(self, briefing: SenderBriefing, resolver: Resolver) -> None:
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
        self._dane = briefing.dane
        self._demands = Demands(resolver, options.port)

    async def find(self, offer: Offer) -> list[Way]:
        """The ways of a delivery, in the order to try them. Raises Unroutable."""
        if self._options.host:
            approach = self._approach(offer)
            return [Way(host, approach) for host in await next_hop(self._resolver, self._options.host, self._settings)]
        hosts = await find(self._resolver, offer.domain, self._by_domain.get(offer.domain, self._most))
        return await self._demanded(offer, hosts)

    def need(self, offer: Offer, host: Host) -> Approach | None:
        """How safe a connection to `host` that stands already has to be for a delivery; None: nothing of it may
        go there. It is asked of every kept connection, and answers from memory."""
        approach = self._approach(offer)
        if host.proven is None or not self._by_records(offer, approach):
            return approach
        return approach._replace(dane=self._demands.latest(host.proven))

    def serves(self, domain: str, host: Host) -> bool:
        """Whether mail for `domain` may go to a host that was found for another: a fixed next hop takes it all."""
        return bool(self._options.host)

    def _approach(self, offer: Offer) -> Approach:
        """As zone and domain say; REQUIRETLS asks for more (RFC 8689 4.2.1)."""
        policy = self._tls.get(offer.domain) or self._tls.get(DEFAULT, Policy.MAY)
        if offer.require_tls and policy is not Policy.DANE:
            policy = Policy.VERIFY
        return Approach(policy, self._options.implicit_tls)

    def _by_records(self, offer: Offer, approach: Approach) -> bool:
        """Whether TLSA records are asked for."""
        return approach.policy is not Policy.NONE and self._dane.get(offer.domain, self._dane.get(DEFAULT, True))

    async def _demanded(self, offer: Offer, hosts: list[Host]) -> list[Way]:
        """The ways to those of `hosts` that may be called. Raises Unroutable when there is none left."""
        approach = self._approach(offer)
        asked: dict[Proven, Deferred[Dane | DnsError | None]] = {}
        if self._by_records(offer, approach):
            proven = dict.fromkeys(host.proven for host in hosts if host.proven is not None)
            asked = {one: Deferred.fromCoroutine(self._ask(one)) for one in proven}
        answers = {one: await deferred for one, deferred in asked.items()}
        ways: list[Way] = []
        refused: list[str] = []
        for host in hosts:
            dane = None if host.proven is None else answers.get(host.proven)
            if isinstance(dane, DnsError):
                refused.append(f"4.7.5 DANE: the TLSA records of {host.name} can't be looked up: {dane}")
            elif approach.policy is Policy.DANE and not (dane and dane.records):
                refused.append(f"4.7.5 DANE: {host.name} {_lack(host, dane)}")
            else:
                ways.append(Way(host, approach._replace(dane=dane)))
        if not ways:
            raise Unroutable(Result.DEFERRED, refused[0], "tls")
        return ways

    async def _ask(self, host: Proven) -> Dane | DnsError | None:
        try:
            return await self._demands.of(host)
        except DnsError as error:
            return error


def _lack(host: Host, dane: Dane | None) -> str:
    """Why a host can't be called where TLSA records have to be there."""
    if host.proven is None:
        return "is not proven by the DNS to be the host"
    return "has no TLSA record" if dane is None else "has no TLSA record that can be used"
