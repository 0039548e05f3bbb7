"""Ids of entries: 24 hex digits that begin with the second, as those of the original, and grow.

Behind the second they count, so the eight digits in the middle are 0 (relay.suppression.keys spares them).
"""

from __future__ import annotations

import re
from collections.abc import Callable

is_id = re.compile(r"[0-9a-f]{24}").fullmatch


class Ids:
    """Gives each once, and each greater than the one before."""

    def __init__(self, now: Callable[[], int], newest: str = "") -> None:
        """`now` gives ms since the epoch; `newest` was given last, in another life."""
        self._now = now
        self._last = int(newest or "0", 16)

    def next(self) -> str:
        self._last = max(self._last + 1, self._now() // 1000 << 64)
        return f"{self._last:024x}"
