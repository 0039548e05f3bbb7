"""A warm-up plan: how much each site gets from an address on each day. Days are those of UTC. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple

#: Milliseconds.
DAY = 86_400_000
_EPOCH = date(1970, 1, 1).toordinal()
#: Below this amount nothing is reserved ahead, so that a small plan loses nothing in a crash.
_EXACT = 200


class Plan(NamedTuple):
    """The plan of one address: its name, its first day (since the epoch), and the amount of each day."""

    name: str
    first: int
    days: Sequence[int]

    def amount(self, day: int) -> int | None:
        """Messages a site may get on that day: 0 before the first, None when the address is warm."""
        number = day - self.first
        if number < 0:
            return 0
        return self.days[number] if number < len(self.days) else None

    def number(self, day: int) -> int:
        """1 for the first day, 0 for those before."""
        return max(0, day - self.first + 1)


def ahead(spent: int, amount: int) -> int:
    """How much is to be reserved on disk when so much of a day's amount is spent: a block of 2 %, and the
    next one when half of it is used, so that few messages wait for the disk."""
    if amount < _EXACT:
        return spent
    block = amount // 50
    return min(amount, ((spent + block // 2) // block + 1) * block)


def day_of(text: str) -> int:
    """"2026-12-01" in days since the epoch. Raises ValueError."""
    return date.fromisoformat(text).toordinal() - _EPOCH


def date_of(day: int) -> str:
    """The other way round."""
    return datetime.fromtimestamp(day * DAY / 1000, UTC).date().isoformat()
