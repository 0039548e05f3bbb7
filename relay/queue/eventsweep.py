"""Forgets events that are too old or too many, and what leads to them.

Slowly: a slice now and then, from the oldest on. What is waited for by somebody who reads them goes as well: the bound
holds, and who reads counts what they missed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.message.event import ENDS
from relay.queue import keys
from relay.queue.book import Book
from relay.queue.engine import Engine
from relay.queue.operations import Operation
from relay.queue.records import read_event
from relay.queue.store import StoreError, Unreadable

_SLICE = 200
#: Seconds between looks, and between slices while there is more.
PERIOD = 60.0
PAUSE = 0.25
#: Whose room is theirs: the kinds of keys that come with events.
_KINDS = (b"a", b"e", b"f", b"l")

_log = Logger()


class Forgotten(NamedTuple):
    """What goes in one slice: everything before event `until`, as far as it is among these keys."""

    until: int
    keys: Sequence[bytes]


class ForgetEvents(Operation):
    """Keys of events and what leads to them go; `until` is the oldest from now on."""

    __slots__ = ("forgotten",)
    lasting = False

    def __init__(self, forgotten: Forgotten) -> None:
        self.deferred = Deferred()
        self.forgotten = forgotten

    def plan(self, book: Book) -> None:
        delete = book.filling.batch.delete
        for key in self.forgotten.keys:
            delete(key)
        book.oldest = max(book.oldest, self.forgotten.until)


class EventSweep:
    """Looks again and again, until `stop`."""

    def __init__(
        self,
        clock: IReactorTime,
        engine: Callable[[], Engine],
        add: Callable[[Operation], Deferred[None]],
        oldest: Callable[[], int],
        keep: float,
        max_size: int,
    ) -> None:
        """`engine` gives the open one, or raises StoreError; `oldest` the number before which there is none; `keep` in
        seconds, `max_size` in bytes."""
        self._clock = clock
        self._engine = engine
        self._add = add
        self._oldest = oldest
        self._keep = keep
        self._max_size = max_size
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
        try:
            found = self._find()
        except StoreError as error:
            _log.warn("old events can't be read: {error}", error=str(error))
            self._again(PERIOD)
            return
        if not found.keys:
            self._again(PERIOD)
            return
        self._add(ForgetEvents(found)).addErrback(_left).addCallback(lambda _: self._again(PAUSE))

    def _find(self) -> Forgotten:
        engine, first = self._engine(), self._oldest()
        before = int((self._clock.seconds() - self._keep) * 1000)
        much = sum(engine.size(kind, keys.after(kind)) for kind in _KINDS) > self._max_size
        gone: list[bytes] = []
        day = 0
        for key, record in engine.items(keys.event(first), b"f", _SLICE):
            number = keys.event_of(key)
            try:
                event = read_event(record)
            except Unreadable as error:
                _log.error("event {number}: {error}", number=number, error=str(error))
            else:
                if event.time >= before and not much:
                    break
                day = event.time
                if event.id:
                    gone.append(keys.step(event.id, event.seq, number))
                # What was taken at once has never failed.
                if event.kind in ENDS and (event.kind != "delivered" or event.attempts > 1):
                    gone.append(keys.dialogue(event.id, event.seq))
            gone.append(key)
            first = number + 1
        # Traces go by the day: those of days from which no event is left.
        gone += engine.keys(b"f", keys.trace_day(max(day, before, 0)), 10 * _SLICE)
        return Forgotten(first, gone)


def _left(failure: Failure) -> None:
    """They stay for the next look."""
    if not isinstance(failure.value, StoreError):
        _log.failure("old events are not forgotten", failure)
