"""Sweeps away the chunks of messages that were never completed.

Each message whose chunks are written before it is complete has a mark. At start the marks
left by the last run are looked up, and only those: so the cost doesn't depend on the size of
the queue, and what comes in meanwhile is never touched. The chunks go in slices; the mark
goes with the last one.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.queue import keys
from relay.queue.engine import Engine
from relay.queue.operations import Discard, Operation
from relay.queue.store import StoreError

_SLICE = 256

_log = Logger()


class Sweep:
    """Goes through the marks found when it is made; stops at the first error or `stop`."""

    def __init__(
        self,
        clock: IReactorTime,
        engine: Callable[[], Engine],
        add: Callable[[Operation], Deferred[None]],
    ) -> None:
        """`engine` gives the open one, or raises StoreError. Raises Unreadable."""
        self._clock = clock
        self._engine = engine
        self._add = add
        self._ids = [key[1:].decode() for key in engine().keys(b"w", b"x", 1 << 32)]
        self._stopped = False
        self.swept = 0

    def start(self) -> None:
        """Begin with the next turn of the reactor."""
        self._clock.callLater(0, self._next)

    def stop(self) -> None:
        """Do nothing more."""
        self._stopped = True

    def _next(self) -> None:
        if self._stopped:
            return
        if not self._ids:
            if self.swept:
                _log.info("swept {count} messages that were never completed", count=self.swept)
            return
        queue_id = self._ids.pop()
        try:
            engine = self._engine()
            complete = engine.get(keys.message(queue_id)) is not None
            prefix = keys.of_message(b"b", queue_id)
            last = None if complete else engine.last(prefix, keys.after(prefix))
        except StoreError as error:
            _log.error("sweep stopped at {id}: {error}", id=queue_id, error=str(error))
            return
        self._slice(queue_id, 0, 0 if last is None else keys.name_of(last)[1] + 1)

    def _slice(self, queue_id: str, first: int, chunks: int) -> None:
        if self._stopped:
            return
        until = min(first + _SLICE, chunks)
        done = self._add(Discard(queue_id, first, until, whole=until == chunks))

        def onward(_: object) -> None:
            if until < chunks:
                self._slice(queue_id, until, chunks)
            else:
                self.swept += 1
                self._clock.callLater(0, self._next)

        done.addCallback(onward).addErrback(_given_up)


def _given_up(failure: Failure) -> None:
    """Closed meanwhile: the mark is still there for the next start."""
    if not isinstance(failure.value, StoreError):
        _log.failure("sweep stopped", failure)
