"""Addresses that could not be connected to lately: they are tried after the others. Pure.

Nothing is refused for it. Where a domain has no other address, or none of the others will do, these are called as if
nothing had happened; a dead first host costs its time-out once, and not each message anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from relay.delivery.ways import Way

#: Addresses remembered at a time; the one that failed longest ago makes room.
MOST = 10_000


class Avoided:
    """What one sender child remembers."""

    __slots__ = ("_most", "_now", "_refusing", "_silent", "_until")

    def __init__(self, now: Callable[[], float], refusing: float, silent: float, most: int = MOST) -> None:
        """`refusing` and `silent` are how long an address is remembered that has said no, or has let us wait (seconds);
        `now` gives seconds on any clock."""
        self._now = now
        self._refusing = refusing
        self._silent = silent
        self._most = most
        self._until: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def failed(self, address: str, waited: bool) -> None:
        """No connection was to be had, and it has taken its time to say so, or not."""
        self._until.pop(address, None)
        self._until[address] = self._now() + (self._silent if waited else self._refusing)
        if len(self._until) > self._most:
            del self._until[next(iter(self._until))]

    def answered(self, address: str) -> None:
        """A connection was made."""
        self._until.pop(address, None)

    def last(self, ways: Iterable[Way]) -> list[Way]:
        """The same ways; those to addresses that are avoided come after the others, each part in its order."""
        now = self._now()
        return sorted(ways, key=lambda way: self._until.get(way.host.address, now) > now)
