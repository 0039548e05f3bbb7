"""What an operator has put on hold: in force once it is on disk, over restarts, until its time is over."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.dispatch.holdsfile import MOST, HoldsUnusable, read, write
from relay.zone.decision import Decision, Scope
from relay.zone.hold import BadHold, Hold, made
from relay.zone.holdindex import HoldIndex

__all__ = ("BadHold", "Hold", "Holds", "HoldsUnusable", "TooManyHolds")

_log = Logger()

#: Ends are looked for at least so often, and a file in doubt is written again after that (seconds).
_LOOK = 60.0


class TooManyHolds(Exception):
    """There are as many as there may be."""


class _Change(NamedTuple):
    """A hold that is to come, or the id of one that is to go; `told` hears when that is on disk."""

    new: Hold | None
    gone: str
    told: Deferred[Any]


class Holds:
    """The holds of one relay, and their file."""

    def __init__(
        self,
        path: Path,
        clock: IReactorTime,
        now: Callable[[], int],
        in_thread: Callable[..., Deferred[None]],
        decided: Callable[[Decision], None],
        changed: Callable[[], None],
        new_id: Callable[[], str] = lambda: secrets.token_hex(4),
    ) -> None:
        """`now` gives ms since the epoch; `in_thread` runs a function elsewhere, as deferToThread does;
        `changed` is called when holds have come or gone: what waited may go, or the other way round."""
        self._path = path
        self._clock = clock
        self._now = now
        self._in_thread = in_thread
        self._decided = decided
        self._changed = changed
        self._new_id = new_id
        self._index = HoldIndex()
        self.matching = self._index.matching
        self.addresses = self._index.addresses
        self._waiting: list[_Change] = []
        #: Ids of those on their way to the disk.
        self._coming: set[str] = set()
        self._writing = False
        #: What is on disk may not be what is in force.
        self._doubtful = False
        self._timer: IDelayedCall | None = None
        self._stopping: Deferred[None] | None = None

    def __bool__(self) -> bool:
        """Whether anything is on hold."""
        return bool(self._index)

    def start(self) -> None:
        """Go on from the file. Raises HoldsUnusable."""
        self._index.change(read(self._path), ())
        self._look()

    def stop(self) -> Deferred[None]:
        """Fires when everything asked for is on disk, or has failed."""
        stopping: Deferred[None] = Deferred()
        self._stopping = stopping
        self._disarm()
        if not self._writing and self._doubtful:
            self._write()
        elif not self._writing:
            stopping.callback(None)
        return stopping

    def listed(self) -> list[Hold]:
        """The holds in force, in the order in which they came."""
        return list(self._index.all())

    def add(self, scope: Scope, reason: str, until: int = 0, everything: bool = False) -> Deferred[Hold]:
        """Put something on hold; fires when that is in force and on disk, or fails with OSError, and
        nothing is held.

        Raises:
            BadHold: there is no such hold.
            TooManyHolds: there are ten thousand.
        """
        hold = made(self._fresh_id(), scope, reason, self._now(), until, everything)
        if len(self._index) + len(self._coming) >= MOST:
            raise TooManyHolds(f"there are {MOST} holds")
        self._coming.add(hold.id)
        return self._ask(hold, "")

    def release(self, id: str) -> Deferred[Hold | None]:
        """End a hold; fires with it when that is on disk, with None when there is none of that id, or
        fails with OSError, and it goes on."""
        return self._ask(None, id) if self._index.get(id) is not None else succeed(None)

    # -- to disk, one file after the other; what is asked meanwhile goes into the next

    def _fresh_id(self) -> str:
        while True:
            id = self._new_id()
            if self._index.get(id) is None and id not in self._coming:
                return id

    def _ask(self, new: Hold | None, gone: str) -> Deferred[Any]:
        told: Deferred[Any] = Deferred()
        self._waiting.append(_Change(new, gone, told))
        if not self._writing:
            self._write()
        return told

    def _write(self) -> None:
        """Write what is in force, and with it what waits to be."""
        changes, self._waiting = self._waiting, []
        after = {hold.id: hold for hold in self._index.all()}
        after.update((change.new.id, change.new) for change in changes if change.new is not None)
        for change in changes:
            after.pop(change.gone, None)
        self._writing = True
        writing = self._in_thread(write, self._path, list(after.values()))
        writing.addCallbacks(self._written, self._failed, (changes,), errbackArgs=(changes,))
        writing.addErrback(lambda failure: _log.failure("trouble with a hold", failure))

    def _written(self, _: None, changes: list[_Change]) -> None:
        self._doubtful = False
        ends = {change.gone: self._index.get(change.gone) for change in changes}
        self._index.change(
            [change.new for change in changes if change.new is not None], [change.gone for change in changes]
        )
        self._over(changes)
        for change in changes:
            hold, old = change.new, ends.pop(change.gone, None)  # Released twice: the first did it.
            if hold is not None:
                self._decided(Decision("held", hold.scope, f"hold {hold.id}: {hold.reason}", hold.since, hold.until))
            elif old is not None:
                self._tell_end(old, "ended by hand")
            change.told.callback(hold or old)
        if changes:
            self._changed()

    def _failed(self, failure: Failure, changes: list[_Change]) -> None:
        _log.error("{path}: holds not written: {error}", path=str(self._path), error=failure.getErrorMessage())
        self._doubtful = True
        self._over(changes)
        for change in changes:
            change.told.errback(failure)

    def _over(self, changes: list[_Change]) -> None:
        """The next file, or the next time to look."""
        self._writing = False
        self._coming -= {change.new.id for change in changes if change.new is not None}
        if self._waiting:
            self._write()
        elif self._stopping is None:
            self._arm()
        elif not self._stopping.called:
            self._stopping.callback(None)

    # -- the end of a hold's time

    def _arm(self) -> None:
        self._disarm()
        ends = [hold.until for hold in self._index.all() if hold.until]
        if ends or self._doubtful:
            left = (min(ends) - self._now()) / 1000 if ends else _LOOK
            self._timer = self._clock.callLater(min(max(left, 0.001), _LOOK), self._look)

    def _disarm(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _look(self) -> None:
        """End what is over."""
        now = self._now()
        over = [hold for hold in self._index.all() if 0 < hold.until <= now]
        self._index.change((), [hold.id for hold in over])
        for hold in over:
            self._tell_end(hold, "ended, its time is over")
        # Were they left in the file, a clock set back before the next start would bring them back.
        if (over or self._doubtful) and not self._writing:
            self._write()
        self._arm()
        if over:
            self._changed()

    def _tell_end(self, hold: Hold, how: str) -> None:
        self._decided(Decision("released", hold.scope, f"hold {hold.id} {how}: {hold.reason}", self._now()))
