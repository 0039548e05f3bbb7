"""How much may pass in a unit of time. Pure: asked with "now", in seconds of a clock that never jumps.

A bucket fills evenly and holds little more than one, so nothing passes in bursts. What it
holds beyond one makes up for a timer that is late; so that no span of its unit ever sees more than
the amount, it fills slower by just as much.
"""

from __future__ import annotations

#: What a late timer may make up for: this much time (seconds), and this part of the unit.
_LATE = 0.05
_PART = 0.03
#: Numbers of a clock are not exact: what is as good as one, and by how much the other way makes up for that.
_NEARLY = 1 - 1e-9
_SURE = 1.001
_SURELY = 2e-9
#: A clock that counts from 1970 moves in steps of less than this (seconds).
_TICK = 1e-6


class Bucket:
    """One rate: `amount` in each `unit` (seconds), both above 0."""

    __slots__ = ("_level", "_per_second", "_seen", "_size", "amount", "unit")

    def __init__(self, amount: float, unit: float) -> None:
        self.amount = amount
        self.unit = unit
        more = amount * min(_PART, _LATE / unit)
        self._per_second = (amount - more * _SURE - _SURELY) / unit
        self._size = self._level = 1.0 + more
        self._seen = 0.0

    def level(self, now: float) -> float:
        """What may pass at once; below 0 while what passed last is made up for."""
        if now > self._seen:
            self._level = min(self._size, self._level + (now - self._seen) * self._per_second)
            self._seen = now
        return self._level

    def ready(self, now: float, ahead: float = 0.0, before: float = 0.0) -> bool:
        """Whether something may pass, or will in `ahead` seconds, when so much else passes before it."""
        return self.level(now) + ahead * self._per_second - before >= _NEARLY

    def wait(self, now: float) -> float:
        """Seconds until something may pass; where it may not yet, enough for a clock to have moved."""
        missing = _NEARLY - self.level(now)
        return max(_TICK, (1.0 - self._level) / self._per_second) if missing > 0 else 0.0

    def whole(self, now: float) -> int:
        """How many, each of them one, may pass at once."""
        return max(0, int(self.level(now) + 1 - _NEARLY))

    def take(self, count: float, now: float) -> None:
        """So much passes. More than there is has to be made up for before anything else does."""
        self._level = self.level(now) - count

    def give_back(self, count: float, since: float, now: float) -> None:
        """What was taken at `since` did not pass after all. What of it has been made up for by now doesn't come back:
        else much that was taken over a long time, and ends in one moment, would let as much pass in that."""
        rest = count - (now - since) * self._per_second
        self._level = min(self._size, self.level(now) + max(0.0, rest))

    def __str__(self) -> str:
        return f"{self.amount:g} in {self.unit:g} s"

    def full(self, now: float) -> bool:
        """Whether it is as if nothing had ever passed."""
        return self.level(now) >= self._size
