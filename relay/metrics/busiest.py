"""The few names among many that are met most often of late. Pure.

Names come from the DNS of strangers, and there may be a hundred thousand of them; what monitoring keeps of each costs
it memory for good. So few have something of their own, all others share, and who is among the few changes
slowly: by two every ten minutes at most, and for a newcomer alone who is met far more often.

    met (at most COUNTED names, counts halved at each look)
      │ every PERIOD: more than twice as often as the least, and CLEARLY
      ▼
    few (at most `most`)         others
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import nlargest, nsmallest
from typing import Generic, TypeVar

_Thing = TypeVar("_Thing")

#: What all others are called together.
OTHERS = "other"
#: Names that are counted at a time. Whoever is more than one in so many of all is among them.
COUNTED = 1000
#: How long it is until the next look (ms), how many may change then, and how many times more often at least (beyond
#: twice as often) a newcomer has to be met.
PERIOD = 600_000
CHANGES = 2
CLEARLY = 10


class Busiest(Generic[_Thing]):
    """Gives each name what is its own, or the others'. What somebody had who is no more among the few is forgotten."""

    def __init__(self, most: int, make: Callable[[], _Thing]) -> None:
        self._most = most
        self._make = make
        self._few: dict[str, _Thing] = {}
        self._others = make()
        self._met: dict[str, int] = {}
        self._next = 0

    def meet(self, name: str, now: int) -> _Thing:
        """The name is met once more; `now` in ms. "" is nobody's."""
        if now >= self._next:
            self._look(now)
        if not name or name == OTHERS:
            return self._others
        met = self._met
        if name in met:
            met[name] += 1
        elif len(met) < COUNTED:
            met[name] = 1
        else:
            # Each is met once less: over all that costs no more than it did to meet them.
            self._met = {one: count - 1 for one, count in met.items() if count > 1}
        own = self._few.get(name)
        if own is not None:
            return own
        if len(self._few) < self._most:
            own = self._few[name] = self._make()
            return own
        return self._others

    def items(self) -> Iterator[tuple[str, _Thing]]:
        """All there are, the others last."""
        yield from self._few.items()
        yield OTHERS, self._others

    def _look(self, now: int) -> None:
        """Let those in who are met far more often than others that are."""
        self._next = now + PERIOD
        met, few = self._met, self._few
        coming = nlargest(CHANGES, (name for name in met if name not in few), key=met.__getitem__)
        going = nsmallest(CHANGES, few, key=lambda name: met.get(name, 0))
        for new, old in zip(coming, going, strict=False):
            if met[new] > 2 * met.get(old, 0) + CLEARLY:
                del few[old]
                few[new] = self._make()
        self._met = {name: count // 2 for name, count in met.items() if count > 1}
