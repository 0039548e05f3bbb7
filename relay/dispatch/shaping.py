"""Everything that says when mail may go, and by which address, put together."""

from __future__ import annotations

from typing import Any

from relay.config.schema import Config
from relay.dispatch.addresses import Addresses
from relay.dispatch.limits import Limits, Senders
from relay.dispatch.shutters import Shutters
from relay.dispatch.sites import KnownSites
from relay.net.dns import Resolver
from relay.zone.sites import Sites
from relay.zone.zones import Zones


class Shaping:
    """One for the relay."""

    def __init__(self, config: Config, zones: Zones, reactor: Any) -> None:
        sites = Sites(config.sites)
        self.limits = Limits(zones, sites, Senders(config.senders), reactor.seconds)
        self.sites = KnownSites(sites, Resolver(reactor, config.dns), reactor)
        self.addresses = Addresses(self.limits)
        self.shutters = Shutters(self.sites, self.limits.weight)

    def stop(self) -> None:
        """Nothing is looked up any more."""
        self.sites.stop()
