"""Answers of the DNS, kept until their time is over; bounded in number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Cache(Generic[K, V]):
    """At most `limit` values; the oldest goes when there are more."""

    __slots__ = ("_entries", "_limit", "_now")

    def __init__(self, now: Callable[[], float], limit: int) -> None:
        self._now = now
        self._limit = limit
        self._entries: dict[K, tuple[float, V]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The value, as long as it holds."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= self._now():
            del self._entries[key]
            return None
        return entry[1]

    def put(self, key: K, value: V, seconds: float) -> None:
        """Keep `value` for `seconds`; not at all when that is 0."""
        self._entries.pop(key, None)
        if seconds <= 0:
            return
        if len(self._entries) >= self._limit:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (self._now() + seconds, value)
