"""Exact counts of deliveries per zone, kept in the same batches as the rows they count.

A delivery is counted in the bucket of the second it is due in, or in HELD; both follow from its
row alone. So a count at any time is a sum of buckets, nothing is rewritten when mail becomes
due, and a start reads one number per zone and second instead of a million rows. The due times
of deferrals are whole seconds, new mail is due at once: that is what makes the sums exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

from relay.message.values import Delivery
from relay.queue.store import ZoneCount

#: The bucket of deliveries put aside.
HELD = (1 << 64) - 1


def bucket_of(delivery: Delivery) -> int:
    """Where a delivery is counted."""
    return HELD if delivery.held else delivery.due // 1000


class Counters:
    """The counts of all zones; which have changed since they were last taken for a batch."""

    __slots__ = ("_dirty", "_zones")

    def __init__(self, known: Iterable[tuple[str, int, int]] = ()) -> None:
        """`known`: (zone, bucket, count) as stored."""
        self._zones: dict[str, _Zone] = {}
        self._dirty: set[tuple[str, int]] = set()
        for zone, bucket, count in known:
            self._zone(zone).add(bucket, count)

    def add(self, zone: str, bucket: int, difference: int) -> None:
        """Count deliveries in (or, negative, out of) a bucket."""
        self._zone(zone).add(bucket, difference)
        self._dirty.add((zone, bucket))

    def take_changes(self) -> list[tuple[str, int, int]]:
        """(zone, bucket, count now) of all that changed since the last call; 0: forget it."""
        changes = [(zone, bucket, self._zones[zone].buckets.get(bucket, 0)) for zone, bucket in self._dirty]
        self._dirty.clear()
        return changes

    def count(self, zone: str, now: int) -> ZoneCount:
        """The zone's deliveries at `now` (ms)."""
        found = self._zones.get(zone)
        return found.count(now // 1000) if found else ZoneCount(0, 0, 0)

    def zones(self) -> list[str]:
        """Zones that have deliveries, sorted."""
        return sorted(name for name, zone in self._zones.items() if zone.buckets)

    def _zone(self, name: str) -> _Zone:
        zone = self._zones.get(name)
        if zone is None:
            zone = self._zones[name] = _Zone()
        return zone


class _Zone:
    """One zone's buckets, split by a horizon that moves with the time asked for."""

    __slots__ = ("_future", "_horizon", "_ready", "_total", "buckets")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self._total = 0  # HELD included
        self._ready = 0  # in buckets up to the horizon
        self._horizon = -1
        self._future: list[int] = []  # heap of buckets behind the horizon; may name one twice

    def add(self, bucket: int, difference: int) -> None:
        count = self.buckets.get(bucket, 0) + difference
        if count:
            self.buckets[bucket] = count
        else:
            self.buckets.pop(bucket, None)
        self._total += difference
        if bucket <= self._horizon:
            self._ready += difference
        elif bucket != HELD and count == difference:
            heappush(self._future, bucket)
            if len(self._future) > 2 * len(self.buckets) + 64:
                self._split(self._horizon)

    def count(self, second: int) -> ZoneCount:
        if second < self._horizon:
            self._split(second)
        self._horizon = second
        last = -1
        while self._future and self._future[0] <= second:
            bucket = heappop(self._future)
            if bucket != last:
                self._ready += self.buckets.get(bucket, 0)
            last = bucket
        held = self.buckets.get(HELD, 0)
        return ZoneCount(self._ready, self._total - self._ready - held, held)

    def _split(self, second: int) -> None:
        """Sort the buckets anew: the clock went back, or the heap is full of what is gone."""
        self._ready = sum(count for bucket, count in self.buckets.items() if bucket <= second)
        self._future = [bucket for bucket in self.buckets if second < bucket != HELD]
        heapify(self._future)
