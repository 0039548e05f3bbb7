"""How many requests may come in a unit of time. Pure: asked with "now", in seconds of a clock that never jumps.

Programs ask in bursts, so what a unit allows may come at once; then it fills again evenly.
"""

from __future__ import annotations

from collections.abc import Sequence


class Allowance:
    """Several rates at once, each an amount in a unit (seconds), both above 0."""

    __slots__ = ("_levels", "_seen", "rates")

    def __init__(self, rates: Sequence[tuple[float, float]]) -> None:
        self.rates = tuple(rates)
        self._levels = [max(1.0, amount) for amount, _ in self.rates]
        self._seen = float("-inf")

    def take(self, now: float) -> float:
        """One more: 0.0, or, where it is too many, the seconds until it won't be; then nothing was taken."""
        since = max(0.0, now - self._seen) if self._seen != float("-inf") else 0.0
        self._seen = max(self._seen, now)
        wait = 0.0
        for place, (amount, unit) in enumerate(self.rates):
            level = min(max(1.0, amount), self._levels[place] + since * amount / unit)
            self._levels[place] = level
            if level < 1.0 - 1e-9:
                wait = max(wait, (1.0 - level) * unit / amount)
        if not wait:
            self._levels = [level - 1.0 for level in self._levels]
        return wait
