"""The relay's wall clock: it starts at the system's time and goes on by the monotonic one.

Due times are wall times, since they outlive the process. But a system clock that is set
while the relay runs must not make all deferred mail due at once, or none of it ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class WallClock:
    """Milliseconds since the epoch that never jump."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._offset = (wall() - monotonic()) * 1000

    def __call__(self) -> int:
        return int(self._offset + self._monotonic() * 1000)
