"""The zones of a configuration, ready to be asked."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import NamedTuple

import msgspec.structs

from relay.config import urls
from relay.config.schema import Choice, Config, Domain, PoolAddress
from relay.config.schema import Zone as ZoneSection
from relay.config.units import rate
from relay.message.tls_asked import Tls
from relay.zone.pool import Pool

DEFAULT = "default"
#: By these the system chooses the address: no others are meant where others are named.
WILDCARDS = ("0.0.0.0", "::")


class Ipv6(NamedTuple):
    """How a zone reaches a domain: whether it never uses IPv6, and whether it tries that first."""

    ignore: bool
    prefer: bool


class Zone(NamedTuple):
    """One sending zone: its options and its pool, with every address named."""

    name: str
    options: ZoneSection
    pool: Pool

    @property
    def gap(self) -> float:
        """How long a connection rests from one delivery to the next (seconds), by `throttling`."""
        if not self.options.throttling:
            return 0.0
        amount, unit = rate(self.options.throttling)
        return unit / amount

    @property
    def next_hop(self) -> str:
        """`host:port` of the fixed next hop or its path, "" when mail goes to the MX hosts."""
        if self.options.url:
            return urls.read(self.options.url).place
        host = self.options.host
        return host if host[:1] in ("", "/") else f"{host}:{self.options.port}"

    @property
    def is_fixed(self) -> bool:
        """Whether all of its mail goes to one place, whatever the recipient's domain."""
        return bool(self.options.host or self.options.url)

    def key_of(self, name: str, sender: str) -> str:
        """What picks the local address of the delivery called `name` (`id.seq`), whose envelope sender
        is `sender`. Where recipients of a message travel together it is the same for all of them."""
        if self.options.pool_hash == "from":
            return sender
        return name if self.options.recipients_per_transaction == 1 else name.partition(".")[0]


class Zones:
    """All zones by lower-case name, and what is said of recipient domains."""

    def __init__(self, zones: Mapping[str, Zone], domains: Mapping[str, Domain]) -> None:
        self._zones = dict(zones)
        self._domains = {name.lower(): section for name, section in domains.items()}
        self._domains.setdefault(DEFAULT, Domain())
        self._any_domain = self._domains[DEFAULT]
        self._disabled = {
            (zone.name, domain): left_out
            for domain, section in self._domains.items()
            if section.disabled_addresses
            for zone in self._zones.values()
            if (left_out := _left_out(zone.pool, section))
        }

    def __getitem__(self, name: str) -> Zone:
        return self._zones[name]

    def get(self, name: str) -> Zone | None:
        return self._zones.get(name)

    def protocol(self, name: str) -> str:
        """How the mail of a zone leaves: "smtp", "lmtp" or "http"; "" of one that isn't there."""
        zone = self._zones.get(name)
        if zone is None:
            return ""
        return "http" if zone.options.url else "lmtp" if zone.options.lmtp else "smtp"

    def names(self) -> list[str]:
        """Sorted names, disabled ones included."""
        return sorted(self._zones)

    def active(self) -> list[Zone]:
        """The zones that send, in the order of the file."""
        return [zone for zone in self._zones.values() if not zone.options.disabled]

    def said(self) -> set[str]:
        """All names by which deliveries call us."""
        pools = [zone.pool for zone in self._zones.values()]
        return {name for pool in pools for _, name in (*pool.ipv4, *pool.ipv6)}

    def addresses(self) -> set[str]:
        """All local addresses that zones which send leave by from here; those that are a proxy's may be anywhere."""
        pools = [zone.pool for zone in self.active() if not zone.options.egress]
        return {address for pool in pools for address, _ in (*pool.ipv4, *pool.ipv6)}

    def domain(self, domain: str) -> Domain:
        """What is said of a recipient domain: by its own table, else by that of all others."""
        return self._domains.get(domain, self._any_domain)

    def domain_table(self, domain: str) -> str:
        """The name of the table that `domain` is."""
        return domain if domain in self._domains else DEFAULT

    def any_disabled(self) -> bool:
        """Whether any domain has addresses that aren't for it."""
        return bool(self._disabled)

    def disabled(self, zone: str, domain: str) -> frozenset[str]:
        """The addresses of a zone that are not for this domain. Were these all of a kind that it has, none of
        that kind is among them: mail leaves by an address that isn't meant for it rather than never."""
        if not self._disabled:
            return _NOBODY
        return self._disabled.get((zone, self.domain_table(domain)), _NOBODY)

    def ipv6(self, zone: str, domain: str) -> Ipv6:
        """How `zone` reaches `domain`. A fixed next hop is none of the domain's hosts: there it is as the
        zone says."""
        options, section = self._zones[zone].options, self.domain(domain)
        if self._zones[zone].is_fixed:
            return Ipv6(options.ignore_ipv6, options.prefer_ipv6)
        return Ipv6(
            _chosen(section.ignore_ipv6, options.ignore_ipv6), _chosen(section.prefer_ipv6, options.prefer_ipv6)
        )

    def ipv6_by_domain(self, zone: str) -> dict[str, Ipv6]:
        """How `zone` reaches the domains that it reaches in another way than most; how it reaches most
        stands under DEFAULT."""
        most = self.ipv6(zone, DEFAULT)
        others = {domain: ipv6 for domain in self._domains if (ipv6 := self.ipv6(zone, domain)) != most}
        return {DEFAULT: most, **others}

    def sts(self, zone: str, domain: str) -> bool:
        """Whether `zone` heeds what `domain` says by MTA-STS. A fixed next hop is none of its hosts, and what leaves in
        the clear by order has no use for it."""
        policy = self.tls(zone, domain)
        if self._zones[zone].is_fixed or policy == "none":
            return False
        return policy == "sts" or _chosen(self.domain(domain).sts, self._zones[zone].options.sts)

    def sts_by_domain(self, zone: str) -> dict[str, bool]:
        """Of the domains where it is otherwise than for most; what is for most stands under DEFAULT."""
        most = self.sts(zone, DEFAULT)
        return {DEFAULT: most, **{name: sts for name in self._domains if (sts := self.sts(zone, name)) != most}}

    def tls(self, zone: str, domain: str) -> Tls:
        """How safe mail of `zone` to `domain` has to be on its way. To a fixed next hop it is as the zone says; to a
        URL, as that does."""
        options, said = self._zones[zone].options, self.domain(domain).tls
        if options.url:
            return "verify" if urls.read(options.url).secure else "none"
        return options.tls if options.host or said == "zone" else said

    def tls_by_domain(self, zone: str) -> dict[str, Tls]:
        """Of the domains where it is otherwise than of most; that of most stands under DEFAULT."""
        most = self.tls(zone, DEFAULT)
        return {DEFAULT: most, **{name: tls for name in self._domains if (tls := self.tls(zone, name)) != most}}

    def dane(self, zone: str, domain: str) -> bool:
        """Whether TLSA records count for mail of `zone` to `domain`: never those of a fixed next hop."""
        found = self._zones[zone]
        wanted = self.tls(zone, domain) == "dane" or _chosen(self.domain(domain).dane, found.options.dane)
        return wanted and not found.is_fixed

    def dane_by_domain(self, zone: str) -> dict[str, bool]:
        """Of the domains where it is otherwise than of most; that of most stands under DEFAULT."""
        most = self.dane(zone, DEFAULT)
        return {DEFAULT: most, **{name: not most for name in self._domains if self.dane(zone, name) != most}}


_NOBODY: frozenset[str] = frozenset()


def _chosen(choice: Choice, zones: bool) -> bool:
    return zones if choice == "zone" else choice == "on"


def _left_out(pool: Pool, section: Domain) -> frozenset[str]:
    """The disabled addresses of a domain, as far as they leave something of each kind."""
    disabled = {_spelled(address) for address in section.disabled_addresses}
    kinds = [{address for address, _ in kind} for kind in (pool.ipv4, pool.ipv6)]
    return frozenset().union(*(kind & disabled for kind in kinds if kind - disabled))


def from_config(config: Config) -> Zones:
    """The zones of a checked configuration; an address without a name says the host name."""
    zones = {name.lower(): _zone(name.lower(), section, config) for name, section in config.zones.items()}
    if DEFAULT not in zones:
        zones[DEFAULT] = _zone(DEFAULT, ZoneSection(), config)
    return Zones(zones, config.domains)


def _zone(name: str, section: ZoneSection, config: Config) -> Zone:
    own = [PoolAddress(address=address) for address in section.addresses]
    kinds = {":" in one.address for one in own if one.address not in WILDCARDS}
    pool = [
        one
        for one in config.pools[section.pool]
        # A zone that names addresses of a kind doesn't want the system to choose others.
        if not (one.address in WILDCARDS and (":" in one.address) in kinds)
    ]
    complete = msgspec.structs.replace
    return Zone(
        name,
        section,
        Pool([complete(one, address=_spelled(one.address), name=one.name or config.hostname) for one in (*pool, *own)]),
    )


def _spelled(address: str) -> str:
    """An address as the system writes it, so that it is found by its text."""
    return str(ip_address(address))
