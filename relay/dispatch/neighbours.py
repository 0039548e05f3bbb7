"""Lanes of other domains that are reached by the same hosts, and have a message at their head for which a connection is
being used."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from relay.dispatch.addresses import Addresses
from relay.dispatch.connection import Connection
from relay.dispatch.gates import Gate
from relay.dispatch.limits import Way
from relay.dispatch.lines import Turn
from relay.dispatch.shutters import Shutters
from relay.queue.schedule import Schedule, Work
from relay.zone.zones import Zone, Zones

#: How far they are looked for among the recipients of a message, behind the first and before.
_REACH = 50
#: Domains beside the first in one transaction.
MOST = 20


class Neighbours:
    """Finds them."""

    def __init__(self, schedule: Schedule, zones: Zones, addresses: Addresses, shutters: Shutters) -> None:
        self._schedule = schedule
        self._zones = zones
        self._addresses = addresses
        self._shutters = shutters

    def of(self, zone: Zone, way: Way, work: Work, connection: Connection, now: float) -> Iterator[Work]:
        """The heads of those lanes, MOST at most. What each would wait for has been asked: they could go this moment,
        on this connection. Domains of which the configuration says something else than of the first go by themselves;
        so do all that have rates of their own, for what a connection pays it pays for all that it takes."""
        if way.own.rates:
            return iter(())
        return islice(self._all(zone, way, work, connection, now), MOST)

    def _all(self, zone: Zone, way: Way, work: Work, connection: Connection, now: float) -> Iterator[Work]:
        mine, place = work.lane, way.place
        for other in self._schedule.around(work, _REACH):
            lane = other.lane
            turn: Turn | None = lane.turn
            # Most are elsewhere, and looked at for each of the others.
            if turn is None or turn.way is None or turn.way.place != place or lane is mine:
                continue
            if lane.flow != mine.flow or lane.zone != mine.zone or not lane.ready or lane.ready[0] is not other:
                continue
            if turn.way.domain in connection.apart:
                continue
            alike = self._is_treated_alike(zone, way.domain, turn.way.domain)
            if alike and self._is_open(zone, turn, turn.way, other, connection, now):
                yield other

    def _is_treated_alike(self, zone: Zone, one: str, other: str) -> bool:
        """Whether what holds for the mail of one domain holds for another's: they have the same hosts, and options."""
        same = zone.is_fixed or self._shutters.are_alike(one, other)
        return same and self._zones.domain(one) == self._zones.domain(other)

    def _is_open(
        self, zone: Zone, turn: Turn, theirs: Way, other: Work, connection: Connection, now: float
    ) -> bool:
        """Whether nothing is in the way that the connection hasn't passed."""
        passed = connection.way.gates
        if turn.gate is not None and turn.gate not in passed and turn.gate not in connection.address.gates:
            return False
        if any(gate not in passed and (gate.full(now) or len(gate.ring)) for gate in theirs.own.connections):
            return False
        if self._shutters.closed(zone.name, theirs) is not None:
            return False
        leaving = self._addresses.choose(zone, theirs, other, now)
        return not isinstance(leaving, Gate) and connection.local in leaving.local.kinds
