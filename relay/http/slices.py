"""Long answers in short slices: mail goes on while an operator looks at a big queue."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

#: Seconds of work before the reactor has its turn.
_SLICE = 0.005


class Slices:
    """Counts the time of one long answer."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._until = clock.seconds() + _SLICE

    @property
    def over(self) -> bool:
        """Whether the slice is used up."""
        return self._clock.seconds() >= self._until

    async def breathe(self) -> None:
        """Lets the reactor work when the slice is used up. Call it every few milliseconds."""
        if self.over:
            await deferLater(self._clock, 0)
            self._until = self._clock.seconds() + _SLICE
