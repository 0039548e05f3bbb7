"""Forgets the tokens of idempotency keys that are too old, so that they don't pile up.

Slowly: a slice now and then, found by a range of keys that begins with the oldest. A token that is
too old counts for nothing anyway, so nobody waits for this.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.queue import keys
from relay.queue.engine import Engine
from relay.queue.operations import Forget, Operation
from relay.queue.store import StoreError

_SLICE = 200
#: Seconds between looks, and between slices while there is more.
PERIOD = 600.0
PAUSE = 1.0

_log = Logger()


class TokenSweep:
    """Looks again and again, until `stop`."""

    def __init__(
        self,
        clock: IReactorTime,
        now: Callable[[], int],
        engine: Callable[[], Engine],
        add: Callable[[Operation], Deferred[None]],
        remembered: float,
    ) -> None:
        """`now` gives ms since the epoch; `engine` the open one, or raises StoreError; `remembered` in seconds."""
        self._clock = clock
        self._now = now
        self._engine = engine
        self._add = add
        self._remembered = remembered
        self._timer: IDelayedCall | None = None
        self._stopped = False

    def start(self) -> None:
        """Look for the first time after a while: a start has better things to do."""
        self._again(PERIOD)

    def stop(self) -> None:
        """Do nothing more."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _again(self, seconds: float) -> None:
        if not self._stopped:
            self._timer = self._clock.callLater(seconds, self._look)

    def _look(self) -> None:
        oldest = self._now() - int(self._remembered * 1000)
        try:
            found = self._engine().keys(b"j", keys.token_since(max(oldest, 0), b""), _SLICE)
        except StoreError as error:
            _log.warn("old idempotency keys can't be read: {error}", error=str(error))
            self._again(PERIOD)
            return
        if not found:
            self._again(PERIOD)
            return
        pause = PAUSE if len(found) == _SLICE else PERIOD
        forgotten = self._add(Forget([keys.token_of(key) for key in found]))
        forgotten.addErrback(_left).addCallback(lambda _: self._again(pause))


def _left(failure: Failure) -> None:
    """They stay for the next look."""
    if not isinstance(failure.value, StoreError):
        _log.failure("old idempotency keys are not forgotten", failure)
