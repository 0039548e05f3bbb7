"""Entries that are over are taken away: look-ups pass them over already, so there is no hurry."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from relay.suppression.suppressions import Suppressions

_log = Logger()

#: Seconds between looks at what is over.
EVERY = 60.0


class Sweeping:
    """Looks now and then, and takes away what is over, a slice at a time."""

    def __init__(self, suppressions: Suppressions, clock: IReactorTime) -> None:
        self._list = suppressions
        self._loop = LoopingCall(self._sweep)
        self._loop.clock = clock

    def start(self) -> None:
        self._loop.start(EVERY)

    def stop(self) -> None:
        if self._loop.running:
            self._loop.stop()

    def _sweep(self) -> Deferred[None]:
        """The next look comes when this one has ended."""
        return Deferred.fromCoroutine(self._sweep_all())

    async def _sweep_all(self) -> None:
        try:
            while self._loop.running and await self._list.sweep():
                pass
        except Exception as error:
            _log.warn("what is over stays on the suppression list for now: {error}", error=str(error))
