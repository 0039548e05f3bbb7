"""How many pieces of body may be on their way to the master at once.

They lie in the buffer of the channel, which has to stay small, and in the master's memory until
they are on disk. Submissions that would send more wait for their turn, in the order they came.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol


class Waiting(Protocol):
    """A submission with a piece to send."""

    def send_on(self) -> None:
        """There is room: take it."""


class Window:
    """Counts the pieces of all submissions of this process.

    Attributes:
        free: how many more may be sent.
    """

    def __init__(self, size: int) -> None:
        self.free = size
        self._queue: OrderedDict[Waiting, None] = OrderedDict()

    def take(self, who: Waiting) -> bool:
        """Room for one piece; if there is none, `who` is told when there is."""
        if self.free > 0 and (who in self._queue or not self._queue):
            self._queue.pop(who, None)
            self.free -= 1
            return True
        self._queue.setdefault(who)
        return False

    def give_back(self) -> None:
        """A piece has been taken by the master."""
        self.free += 1
        while self.free > 0 and self._queue:
            next(iter(self._queue)).send_on()  # which takes it out

    def forget(self, who: Waiting) -> None:
        """It has nothing to send any more."""
        self._queue.pop(who, None)
