"""Forgets events that are too old or too many, and what leads to them.

In slices, from the oldest on: each takes a millisecond or two, and there are enough of them for more events than the
relay can make. What is waited for by somebody who reads them goes as well: the bound holds, and who reads counts what
they missed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.message.event import ENDS, Event
from relay.queue import keys
from relay.queue.book import Book
from relay.queue.engine import Engine
from relay.queue.operations import Operation
from relay.queue.records import read_event
from relay.queue.store import StoreError, Unreadable

#: Events of a slice. With the pause between slices that is five thousand a second.
SLICE = 250
#: Traces of one that no event names any more.
_TRACES = 1000
#: Seconds between looks, and between slices while there is more.
PERIOD = 60.0
PAUSE = 0.05
#: Whose room is theirs: the kinds of keys that come with events.
_KINDS = (b"a", b"e", b"f", b"l")

_log = Logger()


class Forgotten(NamedTuple):
    """What goes in one slice: everything before event `until`, as far as it is among these keys."""

    until: int
    keys: Sequence[bytes]


class ForgetEvents(Operation):
    """Keys of events and what leads to them go; `until` is the oldest from now on. It is lasting, for it makes room:
    it is let through where there is little."""

    __slots__ = ("forgotten",)

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
        now: Callable[[], int],
        engine: Callable[[], Engine],
        add: Callable[[Operation], Deferred[None]],
        oldest: Callable[[], int],
        keep: float,
        max_size: int,
    ) -> None:
        """`now` gives ms since the epoch; `engine` the open one, or raises StoreError; `oldest` the number before which
        there is none; `keep` in seconds, `max_size` in bytes."""
        self._clock = clock
        self._now = now
        self._engine = engine
        self._add = add
        self._oldest = oldest
        self._keep = keep
        self._max_size = max_size
        self._timer: IDelayedCall | None = None
        self._stopped = False
        # Before this key there are no traces. To look again would take the longer the more are gone.
        self._traces = b"f"

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
        before = self._now() - int(self._keep * 1000)
        much = _size(engine, first) > self._max_size
        gone: list[bytes] = []
        day = 0
        for key, record in engine.items(keys.event(first), b"f", SLICE):
            number = keys.event_of(key)
            try:
                event = read_event(record)
            except Unreadable as error:
                _log.error("event {number}: {error}", number=number, error=str(error))
            else:
                if event.time >= before and not much:
                    break
                day = event.time
                gone += _leading_to(number, event)
            gone.append(key)
            first = number + 1
        return Forgotten(first, gone + self._old_traces(engine, keys.trace_day(max(day, before, 0))))

    def _old_traces(self, engine: Engine, until: bytes) -> list[bytes]:
        """Traces of days from which no event is left: of more recipients than their event names, or of damaged ones."""
        if until <= self._traces:
            return []
        found = engine.keys(self._traces, until, _TRACES)
        self._traces = found[-1] if len(found) == _TRACES else until
        return found


def _size(engine: Engine, oldest: int) -> int:
    """About how many bytes the events from `oldest` on take, with what leads to them.

    What is deleted takes room until LevelDB compacts it, and would seem to be too much for as long. So of all that is
    there that part is taken which events have that aren't deleted: the rest goes with them, and is in proportion.
    """
    all_events = engine.size(b"e", keys.after(b"e"))
    if not all_events:
        return 0
    left = engine.size(keys.event(oldest), keys.after(b"e"))
    return sum(engine.size(kind, keys.after(kind)) for kind in _KINDS) * left // all_events


def _leading_to(number: int, event: Event) -> list[bytes]:
    """The keys that lead to an event, and to its message where that is where its history begins."""
    if not event.id:
        return []
    found = [keys.step(event.id, event.seq, number)]
    # What was taken at once has never failed.
    if event.kind in ENDS and (event.kind != "delivered" or event.attempts > 1):
        found.append(keys.dialogue(event.id, event.seq))
    if event.kind == "queued":
        for kind, value in (
            ("sender", event.sender),
            ("message-id", event.message_id),
            ("tenant", event.tenant),
            *(("tag", tag) for tag in event.tags),
        ):
            if value:
                found.append(keys.trace(kind, value, event.time, event.id, 0))
        for seq, recipient in enumerate(event.to, 1):
            found.append(keys.trace("recipient", recipient, event.time, event.id, seq))
    return found


def _left(failure: Failure) -> None:
    """They stay for the next look."""
    if not isinstance(failure.value, StoreError):
        _log.failure("old events are not forgotten", failure)
