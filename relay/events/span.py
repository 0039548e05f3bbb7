"""Events up to a number, read as if there were no others; and where a moment lies among the numbers."""

from __future__ import annotations

from collections.abc import Callable

from relay.events.reader import Source
from relay.message.event import Numbered

#: Of these one can be read, unless much is damaged.
_SOME = 10


class Span:
    """A source of the events up to `until`, to which nothing is added."""

    def __init__(self, source: Source, until: int) -> None:
        self._source = source
        self._until = until

    def events(self, after: int, limit: int) -> list[Numbered]:
        """As Source."""
        if after >= self._until:
            return []
        return [one for one in self._source.events(after, limit) if one.number <= self._until]

    def event_bounds(self) -> tuple[int, int]:
        """As Source."""
        oldest, newest = self._source.event_bounds()
        return min(oldest, self._until + 1), min(newest, self._until)

    def on_events(self, callback: Callable[[], None]) -> None:
        """There are none to come."""


def before(source: Source, time: int) -> int:
    """The number of the last event from before a moment (ms since the epoch), as the order of their numbers has it: a
    few that were written down late, or while the clock was set, lie on the other side. Raises StoreError."""
    oldest, newest = source.event_bounds()
    low, high = oldest - 1, newest
    while low < high:
        middle = (low + high) // 2
        found = source.events(middle, _SOME)
        if found and found[0].event.time < time:
            low = min(found[0].number, high)
        else:
            high = middle
    return low
