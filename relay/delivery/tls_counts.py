"""Results of TLS, counted until they are told to the master: a busy relay pays one frame in some seconds for them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from relay.channel.frames import MAX_TO_MASTER, TlsResults
from relay.message.tls import TlsResult, fit

#: How often they are told (seconds).
EVERY = 5.0
#: As soon as so many kinds wait they are told at once.
MOST = 1000
#: Room in a frame for what is beside the results (bytes).
_FRAME = 1024
#: What the count adds to a result (bytes).
_COUNT = 16


class TlsCounts:
    """What wasn't told yet. Best effort: it lies in memory, and goes with a process that is killed."""

    def __init__(self, say: Callable[[TlsResults], None]) -> None:
        self._say = say
        self._counts: dict[TlsResult, int] = {}
        self._next = 0.0

    def add(self, result: TlsResult) -> None:
        """One connection more. Of those where all went well only the policy is of interest."""
        result = fit(result if result.failure else TlsResult(result.policy))
        self._counts[result] = self._counts.get(result, 0) + 1
        if len(self._counts) >= MOST:
            self.tell()

    def sweep(self, now: float) -> None:
        """Look at the clock (seconds)."""
        if self._counts and now >= self._next:
            self._next = now + EVERY
            self.tell()

    def tell(self) -> None:
        """All of it now, in frames that are no longer than the master takes."""
        counts, self._counts = self._counts, {}
        frame: list[tuple[TlsResult, int]] = []
        room = MAX_TO_MASTER - _FRAME
        for counted in counts.items():
            size = len(msgspec.msgpack.encode(counted[0])) + _COUNT
            if frame and size > room:
                self._say(TlsResults(tuple(frame)))
                frame, room = [], MAX_TO_MASTER - _FRAME
            frame.append(counted)
            room -= size
        if frame:
            self._say(TlsResults(tuple(frame)))
