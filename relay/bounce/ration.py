"""How many notices one sender is told of what became of their mail: no more than their mailbox should get. Pure."""

from __future__ import annotations

#: Senders that are remembered. Whoever is forgotten has all of their ration again.
REMEMBERED = 10_000


class Ration:
    """For each sender so many at once, and as many again in each unit of time."""

    def __init__(self, amount: float, seconds: float) -> None:
        """So many in so many seconds."""
        self._amount = amount
        self._rate = amount / seconds
        # What each has left, and as of when (seconds); who was served last comes last.
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, sender: str, now: float) -> bool:
        """Whether there is one more for `sender`, in any case, at `now` (seconds on a clock that never jumps); then it
        is taken."""
        key = sender.lower()
        left, since = self._left.pop(key, (self._amount, now))
        left = min(self._amount, left + (now - since) * self._rate)
        taken = left >= 1
        self._left[key] = (left - 1 if taken else left, now)
        if len(self._left) > REMEMBERED:
            del self._left[next(iter(self._left))]
        return taken
