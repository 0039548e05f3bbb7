"""Which local address a delivery leaves by."""

from __future__ import annotations

from typing import NamedTuple

from relay.dispatch.gates import Gate
from relay.dispatch.limits import Limits, Scoped, Way
from relay.queue.schedule import Work
from relay.zone.pool import Local
from relay.zone.zones import Zone


class Leaving(NamedTuple):
    """The addresses a delivery leaves by, and the limits of the one that counts."""

    local: Local
    limits: Scoped


class Addresses:
    """Chooses."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def choose(self, zone: Zone, way: Way, work: Work, now: float) -> Leaving | Gate:
        """The addresses of a delivery; or what opens when it may have one."""
        local = zone.pool.choose(work.delivery.name)
        return Leaving(local, self._limits.at(zone, local.address or local.address6))
