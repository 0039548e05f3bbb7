"""Where the mail of a zone goes: the hosts for each delivery, and how safe it has to be on its way to each.

TLSA records are the host's own word on that, and go before all others: where they can't be told, or are asked for and
aren't there, the host is not called at all (RFC 7672 2.2, RFC 8461 2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from relay.channel.briefing import SenderBriefing
from relay.channel.frames import Offer
from relay.config import urls
from relay.delivery.demands import Demands, Lack, lacking
from relay.delivery.exchangers import Host, Resolver, Settings, Unroutable, find, next_hop
from relay.delivery.security import Approach, Policy
from relay.message.tls import REPORTS, TlsPolicy, TlsResult
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

    def __init__(self, briefing: SenderBriefing, resolver: Resolver, tell: Callable[[TlsResult], None]) -> None:
        """`tell` hears of hosts that aren't called, for reports to the domain."""
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
        url = self._url = urls.read(options.url) if options.url else None
        self._fixed = url.host if url is not None else options.host
        self._tls = {domain: Policy(tls) for domain, tls in briefing.tls.items()}
        self._tell = tell
        self._dane = briefing.dane
        self._demands = Demands(resolver, options.port)

    async def find(self, offer: Offer) -> list[Way]:
        """The ways of a delivery, in the order to try them. Raises Unroutable."""
        approach = self._approach(offer)
        if self._fixed:
            return [Way(host, approach) for host in await next_hop(self._resolver, self._fixed, self._settings)]
        hosts = await find(self._resolver, offer.domain, self._by_domain.get(offer.domain, self._most))
        if not self._counts(offer, approach):
            return [Way(host, approach) for host in hosts]
        demands = await self._demands.of(host.proven for host in hosts if host.proven is not None)
        ways: list[Way] = []
        lacks: list[Lack] = []
        for host in hosts:
            dane = None if host.proven is None else demands[host.proven]
            lack = lacking(host, dane, approach.policy is Policy.DANE)
            if lack is None and not isinstance(dane, DnsError):
                ways.append(Way(host, _under(approach, dane, host)))
            elif lack is not None and lack not in lacks:
                lacks.append(lack)
                self._tell(TlsResult(TlsPolicy(offer.domain, "tlsa"), lack.failure, lack.text, host.name))
        if not ways:
            raise Unroutable(Result.DEFERRED, f"4.7.5 DANE: {lacks[0].text}", "tls")
        return ways

    def need(self, offer: Offer, host: Host) -> Approach | None:
        """How safe a connection to `host` that stands already has to be for a delivery; None: nothing of it may
        go there. It is asked of every kept connection, and answers from memory."""
        approach = self._approach(offer)
        if host.proven is None or not self._counts(offer, approach):
            return approach
        return approach._replace(dane=self._demands.latest(host.proven))

    def serves(self, domain: str, host: Host) -> bool:
        """Whether mail for `domain` may go to a host that was found for another: a fixed next hop takes it all."""
        return bool(self._fixed)

    def _approach(self, offer: Offer) -> Approach:
        """As zone and domain say; REQUIRETLS asks for more (RFC 8689 4.2.1). A URL says it by its scheme."""
        if self._url is not None:
            return Approach(Policy.VERIFY, implicit=True) if self._url.secure else Approach(Policy.NONE)
        options = self._options
        if offer.origin.listener == REPORTS and not options.host:
            # A report of what is wrong with a domain's TLS gets there in any case, and is none of what it tells of.
            return Approach(Policy.MAY)
        policy = self._tls.get(offer.domain) or self._tls.get(DEFAULT, Policy.MAY)
        if offer.require_tls and policy is not Policy.DANE:
            policy = Policy.VERIFY
        # A next hop of ours is none of the domain's hosts, nor is an address in its place a domain.
        reported = None if options.host or offer.domain[:1] == "[" else TlsPolicy(offer.domain)
        return Approach(policy, options.implicit_tls, reported=reported)

    def _counts(self, offer: Offer, approach: Approach) -> bool:
        """Whether TLSA records have a word in it."""
        if approach.policy is Policy.NONE or offer.origin.listener == REPORTS:
            return False
        return self._dane.get(offer.domain, self._dane.get(DEFAULT, True))


def _under(approach: Approach, dane: Dane | None, host: Host) -> Approach:
    """As the host's TLSA records ask, and told under them."""
    if dane is None:
        return approach
    reported = approach.reported and TlsPolicy(
        approach.reported.domain, "tlsa", tuple(map(str, dane.records)), (host.name,)
    )
    return approach._replace(dane=dane, reported=reported)
