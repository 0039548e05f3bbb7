"""What was handed on to a sink lately, batch by batch: for whoever looks for where events have gone.

The last of them are kept over a restart, in as many places of a shelf, which are written over in turn: a second later
at most, in one write with whatever else the queue writes then.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.events.reader import KEEP, PAUSES, NotTaken
from relay.shelf import Shelf

#: So many are kept of each sink.
MOST = 500
_LONGEST = 500
_place = struct.Struct(">H").pack
_encode = msgspec.msgpack.Encoder().encode

_log = Logger()


class Batch(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Events that were handed on together: the `count` that the sink wants of those from `first` to `last`.

    `index` counts the batches of a sink. It was tried for the first time at `begun`, and at `time` for the last (ms
    since the epoch); `tries` times, the last of which took `seconds`. `status` is that of an answer by HTTP, 0: there
    was none; `trouble` is why it wasn't taken, "": it was; `said` what the receiver had to say to that. `replay`: it
    was handed on again.
    """

    index: int
    begun: int
    time: int
    first: int
    last: int
    count: int
    tries: int = 1
    seconds: float = 0.0
    status: int = 0
    trouble: str = ""
    said: str = ""
    replay: bool = False


_decode = msgspec.msgpack.Decoder(Batch).decode


class Batches:
    """The last ones of a sink, by its name."""

    def __init__(self, name: str, shelf: Callable[[], Shelf], clock: IReactorTime, now: Callable[[], int]) -> None:
        """`shelf` is asked for when it starts; `now` gives ms since the epoch."""
        self._begin = name.encode() + b"\0"
        self._open = shelf
        self._clock = clock
        self._now = now
        self._shelf: Shelf | None = None
        self._batches: dict[int, Batch] = {}
        self._unkept: set[int] = set()
        self._keeper: IDelayedCall | None = None
        self._newest = 0
        #: Those that are to be tried again, live and replayed.
        self._waiting: dict[bool, int] = {}

    def start(self) -> None:
        """Raises StoreError."""
        self._shelf = self._open()
        found = []
        for key, value in self._shelf.scan(self._begin, self._begin[:-1] + b"\1", MOST):
            try:
                found.append(_decode(value))
            except msgspec.MsgspecError as error:
                _log.error("a batch of {key!r} can't be read: {error}", key=key, error=str(error))
        self._batches = {batch.index: batch for batch in sorted(found, key=lambda one: one.index)}
        self._newest = max(self._batches, default=0)
        last = {batch.replay: batch for batch in self._batches.values()}
        self._waiting = {replay: batch.index for replay, batch in last.items() if batch.trouble}

    def stop(self) -> Deferred[None]:
        """Fires when they are kept, or can't be."""
        if self._keeper is not None and self._keeper.active():
            self._keeper.cancel()
        kept = self._keep()
        self._shelf = None
        return kept

    def note(self, numbers: tuple[int, int], count: int, seconds: float, came: int | Failure, replay: bool) -> None:
        """A try of events with `numbers` from the first to the last took `seconds`: `came` is the status of an answer,
        0: there is none; or why they weren't taken. What begins with the same event as the one that failed before is
        that again."""
        now, (first, last) = self._now(), numbers
        before = self._batches.get(self._waiting.pop(replay, 0))
        if before is None or before.first != first:
            self._newest += 1
            before = Batch(self._newest, now, now, first, last, count, 0, replay=replay)
        status, trouble, said = (came, "", "") if isinstance(came, int) else _why(came)
        if trouble:
            self._waiting[replay] = before.index
        self._batches[before.index] = Batch(
            before.index, before.begun, now, first, last, count, before.tries + 1, round(seconds, 3), status, trouble,
            said, replay,
        )  # fmt: skip
        while len(self._batches) > MOST:
            self._unkept.discard(gone := next(iter(self._batches)))
            del self._batches[gone]
        self._unkept.add(before.index)
        self._keep_in(KEEP)

    def page(self, before: int, limit: int) -> list[Batch]:
        """The latest first: up to `limit` with a lower index, 0: of all."""
        found = [batch for index, batch in self._batches.items() if not before or index < before]
        return found[: -limit - 1 : -1]

    def is_waiting(self, batch: Batch) -> bool:
        """Whether it is to be tried again."""
        return self._waiting.get(batch.replay) == batch.index

    def give_up(self, replay: bool) -> None:
        """It isn't tried again."""
        self._waiting.pop(replay, None)

    # -- keeping

    def _keep_in(self, seconds: float) -> None:
        if self._keeper is None and self._shelf is not None:
            self._keeper = self._clock.callLater(seconds, self._keep)

    def _keep(self) -> Deferred[None]:
        self._keeper = None
        indexes, self._unkept = self._unkept, set()
        if self._shelf is None or not indexes:
            return succeed(None)

        def not_kept(failure: Failure) -> None:
            _log.warn("what was handed on is not kept: {error}", error=failure.getErrorMessage())
            self._unkept |= indexes & self._batches.keys()
            self._keep_in(PAUSES[1])

        entries = {self._begin + _place(index % MOST): _encode(self._batches[index]) for index in indexes}
        return self._shelf.write(entries).addErrback(not_kept)


def _why(failure: Failure) -> tuple[int, str, str]:
    """Status, what was wrong, what was said; of others: cut, and on one line."""
    error = failure.value
    status, said = (error.status, error.said) if isinstance(error, NotTaken) else (0, "")
    trouble = failure.getErrorMessage() or type(error).__name__
    return status, plain(trouble), plain(said)


def plain(text: str) -> str:
    """Cut, and on one line."""
    return "".join(char if char.isprintable() else " " for char in text[:_LONGEST])
