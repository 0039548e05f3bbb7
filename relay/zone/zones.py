"""The zones of a configuration, ready to be asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from relay.config.schema import Config, Domain, PoolAddress
from relay.config.schema import Zone as ZoneSection
from relay.config.units import rate
from relay.zone.pool import Pool

DEFAULT = "default"


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
        """`host:port` of the fixed next hop, "" when mail goes to the MX hosts."""
        return f"{self.options.host}:{self.options.port}" if self.options.host else ""


class Zones:
    """All zones by lower-case name, and the limits per recipient domain."""

    def __init__(self, zones: Mapping[str, Zone], domains: Mapping[str, Domain]) -> None:
        self._zones = dict(zones)
        self._domains = {name.lower(): section for name, section in domains.items()}
        self._any_domain = self._domains.get(DEFAULT, Domain())

    def __getitem__(self, name: str) -> Zone:
        return self._zones[name]

    def get(self, name: str) -> Zone | None:
        return self._zones.get(name)

    def names(self) -> list[str]:
        """Sorted names, disabled ones included."""
        return sorted(self._zones)

    def active(self) -> list[Zone]:
        """The zones that send."""
        return [self._zones[name] for name in self.names() if not self._zones[name].options.disabled]

    def said(self) -> set[str]:
        """All names by which deliveries call us."""
        pools = [zone.pool for zone in self._zones.values()]
        return {name for pool in pools for _, name in (*pool.ipv4, *pool.ipv6)}

    def domain(self, domain: str) -> Domain:
        """What is configured for a recipient domain."""
        return self._domains.get(domain, self._any_domain)


def from_config(config: Config) -> Zones:
    """The zones of a checked configuration; an address without a name says the host name."""
    pools = {
        name: Pool(
            [
                address if address.name else PoolAddress(address=address.address, name=config.hostname)
                for address in addresses
            ]
        )
        for name, addresses in config.pools.items()
    }
    zones = {
        name.lower(): Zone(name.lower(), section, pools[section.pool]) for name, section in config.zones.items()
    }
    if DEFAULT not in zones:
        zones[DEFAULT] = Zone(DEFAULT, ZoneSection(), pools[ZoneSection().pool])
    return Zones(zones, config.domains)
