"""Where the mail of a zone goes: the hosts for each delivery, and how safe it has to be on its way to each."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from relay.channel.briefing import SenderBriefing
from relay.channel.frames import Offer
from relay.config import urls
from relay.delivery.exchangers import Host, Resolver, Settings, find, next_hop
from relay.delivery.security import Approach, Policy
from relay.delivery.sts.heeding import Heeding
from relay.message.tls import REPORTS, TlsPolicy
from relay.zone.zones import DEFAULT


class Way(NamedTuple):
    """A host that takes the mail, and how it is called."""

    host: Host
    approach: Approach


class Ways:
    """What is said of a zone and of domains, put to the hosts that are found."""

    def __init__(self, briefing: SenderBriefing, resolver: Resolver, sts: Heeding | None = None) -> None:
        """`sts` knows what domains ask for by MTA-STS; without it none is asked."""
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
        self._sts = None if self._fixed else sts

    async def find(self, offer: Offer) -> list[Way]:
        """The ways of a delivery, in the order to try them. Raises Unroutable."""
        approach = self._approach(offer)
        if self._fixed:
            return [Way(host, approach) for host in await next_hop(self._resolver, self._fixed, self._settings)]
        settings = self._by_domain.get(offer.domain, self._most)
        wish = None if self._sts is None else self._sts.ask(offer, approach)
        if wish is None:
            return [Way(host, approach) for host in await find(self._resolver, offer.domain, settings)]
        try:
            hosts = await find(self._resolver, offer.domain, settings, wish.meant)
        finally:
            wish.drop()
        return [Way(host, wish.approach(host)) for host in hosts]

    def need(self, offer: Offer, host: Host) -> Approach | None:
        """How safe a connection to `host` that stands already has to be for a delivery; None: nothing of it may
        go there. It is asked of every kept connection, and answers from memory."""
        approach = self._approach(offer)
        return approach if self._sts is None else self._sts.need(offer, host, approach)

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
        if offer.require_tls and not policy.proven:
            policy = Policy.VERIFY
        # A next hop of ours is none of the domain's hosts, nor is an address in its place a domain.
        reported = None if options.host or offer.domain[:1] == "[" else TlsPolicy(offer.domain)
        return Approach(policy, options.implicit_tls, reported=reported)
