"""A table whose entries have an end: what has ended is found without a look at the others. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Fading(Generic[_Key, _Value]):
    """At most so many entries; the one that was put longest ago makes room."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.entries: dict[_Key, tuple[_Value, int]] = {}
        # (end, number, key); those that an entry was put anew or dropped after are stale.
        self._ends: list[tuple[int, int, _Key]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self.entries)

    def get(self, key: _Key) -> _Value | None:
        entry = self.entries.get(key)
        return entry[0] if entry is not None else None

    def put(self, key: _Key, value: _Value, end: int) -> None:
        """Add an entry, or put another in its place."""
        self.entries.pop(key, None)
        self.entries[key] = value, end
        self._number += 1
        heapq.heappush(self._ends, (end, self._number, key))
        if len(self.entries) > self._most:
            del self.entries[next(iter(self.entries))]
        if len(self._ends) > 2 * self._most + 64:
            self._ends = [(end, number, key) for number, (key, (_, end)) in enumerate(self.entries.items())]
            heapq.heapify(self._ends)

    def drop(self, key: _Key) -> _Value | None:
        """Take an entry out."""
        entry = self.entries.pop(key, None)
        return entry[0] if entry is not None else None

    def oldest(self) -> list[_Value]:
        """All values, the one put longest ago first."""
        return [value for value, _ in self.entries.values()]

    def newest(self) -> Iterator[tuple[_Key, _Value]]:
        """All entries, the one put last first."""
        return ((key, entry[0]) for key, entry in reversed(self.entries.items()))

    def ended(self, now: int) -> Iterator[tuple[_Key, _Value]]:
        """Take out what has ended. The cost is that of what is taken out."""
        while self._ends and self._ends[0][0] <= now:
            end, _, key = heapq.heappop(self._ends)
            entry = self.entries.get(key)
            if entry is not None and entry[1] == end:
                del self.entries[key]
                yield key, entry[0]
