"""What the gauges of the metrics ask of the parts of the relay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from relay.children.roster import Roster, Staff
from relay.dispatch.connection import State
from relay.dispatch.ledger import Ledger
from relay.metrics.gauges import Counted, Gauges, Room
from relay.metrics.latencies import Latencies
from relay.queue.level import LevelStore
from relay.queue.schedule import Schedule
from relay.zone.backoff import Backoff
from relay.zone.zones import Zones


class Measured:
    """Answers them."""

    def __init__(
        self,
        store: LevelStore,
        schedule: Schedule,
        zones: Zones,
        ledger: Ledger,
        backoff: Backoff,
        rosters: Mapping[str, Roster],
        min_free: int,
        now: Callable[[], int],
    ) -> None:
        """`rosters` by what their children are; `min_free` in bytes; `now` gives ms since the epoch."""
        self._store = store
        self._schedule = schedule
        self._zones = zones
        self._ledger = ledger
        self._backoff = backoff
        self._rosters = rosters
        self._min_free = min_free
        self._now = now

    def tell(self, gauges: Gauges, latencies: Latencies) -> None:
        """Be asked by these from now on."""
        latencies.announce(self._zones.names())
        gauges.zones = self._counts
        gauges.overdue = self._overdue
        gauges.connections = self._connections
        gauges.staff = self._staff
        gauges.backoffs = self._backoffs
        gauges.room = self._room
        gauges.events = self._events

    def _names(self) -> list[str]:
        """Zones of the configuration, and those of which something is left in the queue."""
        return sorted({*self._zones.names(), *self._store.zones()})

    def _counts(self) -> dict[str, Counted]:
        now = self._now()
        return {zone: self._store.count(zone, now) for zone in self._names()}

    def _overdue(self) -> dict[str, float]:
        now, since = self._now(), self._schedule.overdue()
        return {zone: (now - since.get(zone, now)) / 1000 for zone in self._names()}

    def _connections(self) -> Mapping[tuple[str, str], int]:
        found = Counter((one.child.zone, one.state) for one in self._ledger.connections())
        zones = [zone.name for zone in self._zones.active()]
        return {(zone, state.name.lower()): found[zone, state] for zone in zones for state in State}

    def _staff(self) -> dict[tuple[str, str], Staff]:
        return {
            (trade, place): staff
            for trade, roster in self._rosters.items()
            for place, staff in roster.staff().items()
        }

    def _backoffs(self) -> tuple[Mapping[str, int], float]:
        now = self._now()
        kinds, first = self._backoff.summary(now)
        return kinds, (now - first) / 1000

    def _room(self) -> Room:
        store = self._store
        try:
            free = store.free()
        except OSError:  # Nothing can be written there.
            free = 0
        return Room(store.writable(), store.accepting(), free, self._min_free)

    def _events(self) -> int:
        bounds = self._store.event_bounds()
        return max(0, bounds.newest + 1 - bounds.oldest)
