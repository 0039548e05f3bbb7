"""Where the mail of a zone goes: the hosts for each delivery, and how safe it has to be on its way to each.

What the domain says of its hosts (MTA-STS) is heeded first: it may leave some out. Each that is left has the last word
on itself: its TLSA records go before all else, and where they can't be told, or have to be there and aren't, it is not
called at all (RFC 7672 2.2, RFC 8461 2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import msgspec.structs

from relay.channel.briefing import SenderBriefing
from relay.channel.frames import Offer
from relay.config import urls
from relay.delivery.demands import Demands, Lack, lacking, under
from relay.delivery.exchangers import Host, Resolver, Settings, Unroutable, find, next_hop
from relay.delivery.security import NEEDED, Approach, Policy
from relay.delivery.sts.heeding import Heeding
from relay.message.tls import REPORTS, TlsPolicy, TlsResult
from relay.message.tls_asked import holding, is_heedless
from relay.message.values import Result
from relay.net.dns import DnsError
from relay.zone.sites import form
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
        sts: Heeding | None = None,
    ) -> None:
        """`tell` hears of hosts that aren't called, for reports to the domain. `sts` knows what domains ask for by
        MTA-STS; without it none is asked."""
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
        self._sts = None if self._fixed else sts
        self._dane = briefing.dane
        self._demands = Demands(resolver, options.port)

    async def find(self, offer: Offer) -> list[Way]:
        """The ways of a delivery, in the order to try them. Raises Unroutable.

        Those of a bounce with REQUIRETLS are the ways of any such message, and behind them all that it would have
        without: nobody would hear that it was lost for want of safe ones (RFC 8689 4.2.1, 5)."""
        if not self._may_do_without(offer):
            return await self._find(offer)
        try:
            safe = await self._find(offer)
        except Unroutable:
            safe = []
        return safe + await self._find(msgspec.structs.replace(offer, require_tls=False))

    async def _find(self, offer: Offer) -> list[Way]:
        approach = self._approach(offer)
        if self._fixed:
            return [Way(host, approach) for host in await next_hop(self._resolver, self._fixed, self._settings)]
        ways = await self._allowed(offer, approach)
        return await self._by_records(offer, ways) if self._records_count(offer, approach) else ways

    def need(self, offer: Offer, host: Host) -> Approach | None:
        """How safe a connection to `host` that stands already has to be for a delivery; None: nothing of it may
        go there. It is asked of every kept connection, and answers from memory."""
        if self._may_do_without(offer):
            return None  # Whether it has to do without has to be found out.
        approach = self._approach(offer)
        need = approach if self._sts is None else self._sts.need(offer, host, approach)
        if need is None or not _is_meant(host, need):
            return None
        if host.proven is None or not self._records_count(offer, approach):
            return need
        return self._demands.need(host.proven, need)

    async def also(self, offer: Offer, host: Host) -> Approach | None:
        """How safe a connection to `host`, which was made for another domain, has to be for a delivery; None: nothing
        of it may go there. Nobody hears of what is in the way: the delivery will find that itself. Raises
        Unroutable."""
        if not self._fixed:
            settings = self._by_domain.get(offer.domain, self._most)
            theirs = await find(self._resolver, offer.domain, settings)
            same = [one for one in theirs if one.address == host.address and form(one.name) == form(host.name)]
            if not same:
                return None
            host, approach = same[0], self._approach(offer)
            if self._sts is not None:
                await self._sts.learn(offer, approach)
            if host.proven is not None and self._records_count(offer, approach):
                demands = await self._demands.of((host.proven,))
                if isinstance(demands[host.proven], DnsError):
                    return None  # What they were before they are not for certain now.
        return self.need(offer, host)

    def serves(self, domain: str, host: Host) -> bool:
        """Whether mail for `domain` may go to a host that was found for another: a fixed next hop takes it all."""
        return bool(self._fixed)

    async def _allowed(self, offer: Offer, approach: Approach) -> list[Way]:
        """Those that the domain has, as far as it allows them, as it asks. Raises Unroutable."""
        settings = self._by_domain.get(offer.domain, self._most)
        wish = None if self._sts is None else self._sts.ask(offer, approach)
        if wish is None:
            ways = [Way(host, approach) for host in await find(self._resolver, offer.domain, settings)]
        else:
            try:
                hosts = await find(self._resolver, offer.domain, settings, wish.meant)
            finally:
                wish.drop()
            ways = [Way(host, wish.approach(host)) for host in hosts]
        left = [way for way in ways if _is_meant(*way)]
        if not left:
            raise _unproven(offer.domain, wish is not None and wish.unsure)
        return left

    async def _by_records(self, offer: Offer, ways: list[Way]) -> list[Way]:
        """Those that are left by their TLSA records, as these ask. Raises Unroutable when that is none."""
        demands = await self._demands.of(way.host.proven for way in ways if way.host.proven is not None)
        left: list[Way] = []
        lacks: list[Lack] = []
        for host, approach in ways:
            dane = None if host.proven is None else demands[host.proven]
            lack = lacking(host, dane, approach.policy is Policy.DANE)
            if lack is None and not isinstance(dane, DnsError):
                left.append(Way(host, under(dane, host, approach)))
            elif lack is not None and lack not in lacks:
                lacks.append(lack)
                if approach.reported is not None:
                    self._tell(TlsResult(TlsPolicy(offer.domain, "tlsa"), lack.failure, lack.text, host.name))
        if not left:
            raise Unroutable(Result.DEFERRED, f"4.7.5 DANE: {lacks[0].text}", "tls")
        return left

    def _approach(self, offer: Offer) -> Approach:
        """As zone and domain say, and more where the message says so; REQUIRETLS asks for what is proven (RFC 8689
        4.2.1). A URL says it by its scheme."""
        if self._url is not None:
            return Approach(Policy.VERIFY, implicit=True) if self._url.secure else Approach(Policy.NONE)
        options = self._options
        if offer.origin.listener == REPORTS and not options.host:
            # A report of what is wrong with a domain's TLS gets there in any case, and is none of what it tells of.
            return Approach(Policy.MAY, heedless=True)
        policy = self._tls.get(offer.domain) or self._tls.get(DEFAULT, Policy.MAY)
        if offer.tls or offer.require_tls:
            policy = Policy(holding(policy, offer.tls, offer.require_tls, bool(options.host)))
        heedless = is_heedless(policy, offer.tls)
        # A next hop of ours is none of the domain's hosts, nor is an address in its place a domain; and nothing can be
        # told of a policy that wasn't asked for.
        unreported = options.host or heedless or offer.domain[:1] == "["
        return Approach(
            policy,
            options.implicit_tls,
            reported=None if unreported else TlsPolicy(offer.domain),
            required=offer.require_tls,
            heedless=heedless,
        )

    def _may_do_without(self, offer: Offer) -> bool:
        """Whether it has REQUIRETLS, and goes all the same where that can't be had. A URL says by its scheme how safe
        it is."""
        return offer.require_tls and not offer.sender and self._url is None

    def _records_count(self, offer: Offer, approach: Approach) -> bool:
        """Whether TLSA records of hosts have a word in it."""
        if approach.policy is Policy.NONE or approach.heedless:
            return False
        return approach.policy is Policy.DANE or self._dane.get(offer.domain, self._dane.get(DEFAULT, True))


def _is_meant(host: Host, approach: Approach) -> bool:
    """Whether it is certain enough for a message with REQUIRETLS that this host takes it (RFC 8689 4.2.1)."""
    return not approach.required or host.meant or approach.named


def _unproven(domain: str, unsure: bool) -> Unroutable:
    """No host is certain enough. `unsure`: there may be an MTA-STS policy that says so, and it can't be had now."""
    text = f"nothing proves which hosts take mail of {domain}: neither DNSSEC nor an MTA-STS policy"
    text = f"The message requires TLS all the way, and {text}"
    if unsure:
        return Unroutable(Result.DEFERRED, f"4.7.5 {text} that can be had now", "tls")
    return Unroutable(Result.BOUNCED, f"{NEEDED} {text}", "tls")
