"""Group commit: one synced write serves all operations that came while the last one ran.

The reactor's thread plans operations into the group being filled; one worker thread does
nothing but write the finished batches (and reopens the database when a write failed). So a
slow disk holds up replies, never the reactor.

    OPEN ──write error──▶ BROKEN ──reopened──▶ MENDING ──written──▶ OPEN
                            ▲  │ ▲──back-off───┘   │
                            └──┴────write error────┘

After a write error nobody knows whether the group is in the log, until the database is open again: it has the
number of the last group that is. So what is there isn't done twice, and all else that is lasting is planned again and
written before anything new; appends fail, but only once what they may have left has been taken
back, or that has been tried: a message that was refused must not be delivered later.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.queue.book import Book, Group
from relay.queue.engine import Engine
from relay.queue.operations import Barrier, Operation
from relay.queue.store import StoreError

#: Seconds between attempts to reopen: the first, and the most.
BACK_OFF = (0.5, 5.0)
#: Seconds for which an answer about free space holds.
_SPACE_HOLDS = 1.0

_log = Logger()


class Worker(Protocol):
    """Runs jobs elsewhere, one after the other."""

    def call(self, job: Callable[[], object], done: Callable[[object], None]) -> None:
        """Run `job`; then `done` in the reactor's thread with its result or its Exception."""

    def stop(self) -> None:
        """No more jobs will come."""


class Phase(enum.Enum):
    OPEN = "open"
    BROKEN = "broken"
    MENDING = "mending"
    CLOSED = "closed"


class Committer:
    """Takes operations, writes them in groups, survives write errors."""

    def __init__(
        self,
        clock: IReactorTime,
        worker: Worker,
        engine: Engine,
        reopen: Callable[[], Engine],
        space: Callable[[], bool],
        now: Callable[[], int],
    ) -> None:
        """`reopen` is called in the worker; `space` says whether there is room for new mail; `now` gives ms since the
        epoch. Raises Unreadable when the engine's state can't be read."""
        self.book = Book(engine)
        self.engine: Engine | None = engine
        self.phase = Phase.OPEN
        self.on_writable: list[Callable[[], None]] = []
        self.on_broken: list[Callable[[], None]] = []
        self.on_events: list[Callable[[], None]] = []
        #: The number of the newest event that is on disk.
        self.told = self.book.told
        self._clock = clock
        self._worker = worker
        self._reopen = reopen
        self._space = space
        self._now = now
        self._space_asked = -_SPACE_HOLDS
        self._has_space = True
        self._owed: list[Operation] = []  # to be written before anything new, in order
        self._doubtful: Group | None = None  # failed, and may be written all the same
        self._refused: list[Operation] = []  # failed, but not told yet
        self._timer: IDelayedCall | None = None
        self._back_off = BACK_OFF[0]
        self._error = ""
        self._closing: Deferred[None] | None = None

    # -- operations

    def add(self, operation: Operation) -> Deferred[None]:
        """Write an operation with the next group. Fires when that is durable.

        StoreError: an operation that isn't lasting could not be written, or there is no
        room for it. What a plan raises (ValueError for an impossible key) is passed on.
        """
        if self.phase is not Phase.OPEN:
            return self._add_while_broken(operation)
        if not operation.lasting and not self.has_space():
            return fail(StoreError("the queue's disk is nearly full"))
        book = self.book
        group = book.filling
        try:
            operation.plan(book)
        except Exception as error:
            return fail(error)
        group.operations.append(operation)
        if book.writing is None and self._timer is None:
            # With the end of this turn of the reactor, so that what came together goes together.
            self._timer = self._clock.callLater(0, self._begin)
        return operation.deferred

    def _add_while_broken(self, operation: Operation) -> Deferred[None]:
        if self.phase is Phase.CLOSED:
            return fail(StoreError("the queue is closed"))
        if not operation.lasting:
            return fail(self._not_written())
        self._owed.append(operation)
        return operation.deferred

    def has_space(self) -> bool:
        """Whether there is room for new mail; asks the file system at most once a second."""
        now = self._clock.seconds()
        if not 0 <= now - self._space_asked < _SPACE_HOLDS:
            self._space_asked = now
            self._has_space = self._space()
        return self._has_space

    # -- groups

    def _begin(self) -> None:
        self._timer = None
        group = self.book.next_group(self._now())
        engine, batch = self.book.engine, group.batch
        self._worker.call(lambda: engine.write(batch), self._written)

    def _written(self, result: object) -> None:
        group, self.book.writing = self.book.writing, None
        assert group is not None
        if isinstance(result, Exception):
            self._broke(group, result)
            return
        if self.phase is Phase.MENDING:
            self._mended()
        elif self.book.filling.operations:
            self._begin()
        for operation in group.operations:
            operation.deferred.callback(None)
        if group.told:
            self.told = group.told
            for callback in tuple(self.on_events):
                callback()
        self._close_if_idle()

    # -- write errors

    def _broke(self, group: Group, error: Exception) -> None:
        """`group` may or may not be written; what was planned after it was planned in vain."""
        self._doubtful = group
        self._error = str(error)
        _log.error("queue can't be written: {error}", error=self._error)
        doubtful, planned, waiting = group.operations, self.book.filling.operations, self._owed
        taken_back = [undo for undo in (operation.undo() for operation in doubtful) if undo is not None]
        for undo in taken_back:
            undo.deferred.addErrback(_left_behind)
        self._owed = taken_back + [one for one in (*doubtful, *planned, *waiting) if one.lasting]
        was_open = self.phase is Phase.OPEN
        dead, self.engine, self.phase = self.book.engine, None, Phase.BROKEN
        self._open_again(dead)
        if was_open:
            for callback in tuple(self.on_broken):
                callback()
        self._tell_refused()
        self._refused = [one for one in doubtful if not one.lasting]
        for operation in planned:
            if not operation.lasting:
                operation.deferred.errback(self._not_written())

    def _open_again(self, dead: Engine | None = None) -> None:
        """Close the dead handle, open another and read how the queue stands: all in the worker."""
        self._timer = None

        def job() -> Book:
            if dead is not None:
                dead.close()
            engine = self._reopen()
            try:
                return Book(engine)
            except Exception:
                engine.close()
                raise

        self._worker.call(job, self._opened)

    def _opened(self, result: object) -> None:
        if isinstance(result, Book):
            self._mend(result)
            return
        self._error = str(result)
        self._tell_refused()
        if self._closing is not None:
            self._give_up()
            return
        self._timer = self._clock.callLater(self._back_off, self._open_again)
        self._back_off = min(self._back_off * 2, BACK_OFF[1])

    def _mend(self, book: Book) -> None:
        """Open again: write what is owed, and only then anything new. Nothing owed is written
        too, as a group without operations: it shows whether writing works."""
        self.book, self.engine, self.phase = book, book.engine, Phase.MENDING
        if self._doubtful is not None and book.group == self._doubtful.number:
            written = frozenset(self._doubtful.operations)
            self._owed = [Barrier(one.deferred) if one in written else one for one in self._owed]
        self._plan_owed()
        self._begin()

    def _mended(self) -> None:
        self.phase = Phase.OPEN
        # Not before: some of what is there was to be taken back.
        self.told = self.book.told
        self._back_off = BACK_OFF[0]
        _log.info("queue can be written again")
        self._tell_refused()
        self._plan_owed()
        if self.book.filling.operations:
            self._begin()
        for callback in (*self.on_writable, *self.on_events):
            callback()

    def _plan_owed(self) -> None:
        owed, self._owed = self._owed, []
        for operation in owed:
            try:
                operation.plan(self.book)
            except Exception as error:
                operation.deferred.errback(error)
            else:
                self.book.filling.operations.append(operation)

    def _tell_refused(self) -> None:
        refused, self._refused = self._refused, []
        for operation in refused:
            operation.deferred.errback(self._not_written())

    def _not_written(self) -> StoreError:
        return StoreError(f"the queue can't be written: {self._error}")

    # -- the end

    def close(self) -> Deferred[None]:
        """Write what was given, then close the database. What can't be written fails."""
        if self._closing is None:
            self._closing = Deferred()
            if self.phase is Phase.BROKEN and self._timer is not None:
                self._timer.cancel()
                self._give_up()
            else:
                self._close_if_idle()
        return self._closing

    def _close_if_idle(self) -> None:
        if self._closing is None or self.phase is not Phase.OPEN:
            return
        if self.book.writing is None and not self.book.filling.operations:
            self.phase, engine, self.engine = Phase.CLOSED, self.book.engine, None
            self._worker.call(engine.close, self._closed)

    def _give_up(self) -> None:
        self.phase = Phase.CLOSED
        owed, self._owed = self._owed, []
        for operation in owed:
            operation.deferred.errback(self._not_written())
        self._closed(None)

    def _closed(self, result: object) -> None:
        self._worker.stop()
        assert self._closing is not None
        self._closing.callback(None)


def _left_behind(failure: Failure) -> None:
    _log.error("a refused message may be left in the queue: {error}", error=failure.getErrorMessage())
