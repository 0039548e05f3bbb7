"""Reads the events in their order and hands them on, a batch at a time, from where it was before a restart.

    READING ──a batch──▶ TAKING ──taken──▶ READING
       ▲ │                  │
 told  │ └─no more─▶ IDLE   └─failed─▶ WAITING ──pause──▶ TAKING the same again
       └───────────────┘

Where it is, its *cursor*, is kept on a shelf, a second later at most. After a crash what was taken in that second is
handed on again: whoever takes events knows them by their numbers. Who may take none twice keeps the cursor itself, by
`place`, in one write to that shelf with what it makes of them. What was forgotten by the store before it was read is
counted as missed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.message.event import Numbered
from relay.shelf import Shelf

_log = Logger()
_number = struct.Struct(">Q")

#: Events are looked for so long after they were told, so that many come at once; the cursor is kept so long after it
#: has moved (seconds).
GATHER = 0.1
KEEP = 1.0
#: Pauses after a failure: the first, and the longest (seconds).
PAUSES = (1.0, 60.0)
#: The longest that whoever takes events may ask for (seconds).
LONGEST = 900.0


class NotTaken(Exception):
    """Events were not taken; the text can be logged. They aren't to come again for `after` seconds, if that may be.
    Where it was an answer by HTTP: its `status`, and what it `said`, which can be logged, too."""

    def __init__(self, text: str, after: float = 0.0, status: int = 0, said: str = "") -> None:
        super().__init__(text)
        self.after = after
        self.status = status
        self.said = said


class Source(Protocol):
    """What of the store a reader needs (relay.queue.store)."""

    def events(self, after: int, limit: int) -> list[Numbered]: ...
    def event_bounds(self) -> tuple[int, int]: ...
    def on_events(self, callback: Callable[[], None]) -> None: ...


def place(name: str, cursor: int) -> dict[bytes, bytes]:
    """What stands on the shelf for a reader of this name that has taken everything up to this event."""
    return {name.encode(): _number.pack(cursor)}


def place_of(name: str, shelf: Shelf) -> int | None:
    """Up to which event a reader of this name has taken all; None: it has never begun. Raises StoreError."""
    kept = shelf.get(name.encode())
    return None if kept is None else int(_number.unpack(kept)[0])


class Reader:
    """One reader, by its name."""

    def __init__(
        self,
        name: str,
        source: Source,
        shelf: Callable[[], Shelf],
        take: Callable[[Sequence[Numbered]], Deferred[None]],
        clock: IReactorTime,
        *,
        kinds: frozenset[str] | None = None,
        batch: int = 500,
        keeps: bool = False,
        idle: Callable[[], None] | None = None,
    ) -> None:
        """`shelf` is asked for when it starts. `take` gets up to `batch` events, of these `kinds` only, and fires when
        they are taken for good; when it fails they come again, after a pause that grows. `keeps`: it keeps the cursor
        too, wants all kinds, and begins with the oldest event there is. `idle` is told each time when all there is was
        taken."""
        self.name = name
        self._source = source
        self._open = shelf
        self._take = take
        self._clock = clock
        self._kinds = kinds
        self._batch = batch
        self._keeps = keeps
        self._idle = idle
        self._shelf: Shelf | None = None
        self._timer: IDelayedCall | None = None
        self._keeper: IDelayedCall | None = None
        self._taking: Deferred[None] | None = None
        self._kept = 0
        self._pause = PAUSES[0]
        self._stopped = True
        #: The number of the last event that was taken.
        self.cursor = 0
        #: How many were forgotten before they were read, since the start.
        self.missed = 0
        #: Why the last batch was not taken; "" when it was.
        self.trouble = ""

    # -- start and stop

    def start(self) -> None:
        """Go on where it was; the first time of all, from now on. Raises StoreError."""
        self._shelf = self._open()
        kept = place_of(self.name, self._shelf)
        oldest, newest = self._source.event_bounds()
        if kept is None:
            self.cursor = oldest - 1 if self._keeps else newest
        else:
            # A cursor from before the store was made anew means nothing.
            self.cursor = min(kept, newest)
        self._kept = -1 if kept is None else self.cursor
        self._stopped = False
        self._source.on_events(self._told)
        # The first time this is written before all events to come: a crash leaves none out.
        self._keep()
        self._look_in(0)

    def stop(self) -> Deferred[None]:
        """Hand on no more; fires when the cursor is kept, or can't be."""
        self._stopped = True
        for timer in (self._timer, self._keeper):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = self._keeper = None
        if self._taking is not None:
            self._taking.cancel()
        return self._keep()

    @property
    def waits(self) -> float:
        """For how many more seconds after a failure; 0: it doesn't."""
        if not self.trouble or self._timer is None:
            return 0.0
        return max(0.0, self._timer.getTime() - self._clock.seconds())

    @property
    def behind(self) -> int:
        """How many events it still has to read."""
        return max(0, self._source.event_bounds()[1] - self.cursor)

    def move(self, cursor: int) -> None:
        """Go on behind this event."""
        self.cursor = cursor
        self._keep_soon()

    def hurry(self) -> None:
        """Try again now what it waits with after a failure."""
        self._pause = PAUSES[0]
        if self.trouble and self._timer is not None and self._timer.active():
            self._timer.reset(0)

    # -- reading

    def _told(self) -> None:
        if self._timer is None and self._taking is None:
            self._look_in(GATHER)

    def _look_in(self, seconds: float) -> None:
        if not self._stopped:
            self._timer = self._clock.callLater(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        try:
            oldest, newest = self._source.event_bounds()
            if self.cursor < oldest - 1:
                self.missed += oldest - 1 - self.cursor
                _log.warn("{name} missed {count} events", name=self.name, count=oldest - 1 - self.cursor)
                self.move(oldest - 1)
            found = self._source.events(self.cursor, self._batch)
        except Exception as error:  # StoreError: it is being reopened
            self._failed(Failure(error))
            return
        if not found:
            if newest - self.cursor >= self._batch:  # A whole batch is damaged, or was taken back.
                self.move(self.cursor + self._batch)
                self._look_in(0)
            elif self._idle is not None:
                self._idle()
            return
        wanted = [one for one in found if self._kinds is None or one.event.kind in self._kinds]
        last = found[-1].number
        try:
            self._taking = self._take(wanted) if wanted else succeed(None)
        except Exception:
            self._taking = None
            self._failed(Failure())
            return
        self._taking.addCallbacks(self._taken, self._failed, callbackArgs=(last,))

    def _taken(self, _: object, last: int) -> None:
        self._taking, self._pause, self.trouble = None, PAUSES[0], ""
        self.move(last)
        self._look_in(0)

    def _failed(self, failure: Failure) -> None:
        self._taking = None
        if self._stopped:
            return
        self.trouble = (failure.getErrorMessage() or repr(failure.value))[:500]
        _log.warn("{name}: {trouble}", name=self.name, trouble=self.trouble)
        asked = failure.value.after if isinstance(failure.value, NotTaken) else 0.0
        self._look_in(max(self._pause, min(asked, LONGEST)))
        self._pause = min(self._pause * 2, PAUSES[1])

    # -- the cursor

    def _keep_soon(self) -> None:
        if self._keeper is None and not self._stopped and not self._keeps and self._kept != self.cursor:
            self._keeper = self._clock.callLater(KEEP, self._keep)

    def _keep(self) -> Deferred[None]:
        self._keeper = None
        if self._shelf is None or self._keeps or self._kept == self.cursor:
            return succeed(None)
        cursor = self.cursor

        def kept(_: None) -> None:
            self._kept = cursor
            self._keep_soon()

        def not_kept(failure: Failure) -> None:
            _log.warn("where {name} is was not kept: {error}", name=self.name, error=failure.getErrorMessage())
            if not self._stopped:
                self._keeper = self._clock.callLater(PAUSES[1], self._keep)

        return self._shelf.write(place(self.name, cursor)).addCallbacks(kept, not_kept)
