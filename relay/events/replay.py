"""Hands events on once more: those of a span that a sink has had, in their order, beside those that are new.

    NONE ──begin, on disk──▶ UNDER WAY ──all taken, or cancelled──▶ OVER, which is told of until the next

It reads for itself, with a cursor of its own; where the receiver fails, it waits as the sink does. It goes on after a
restart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from relay.events.reader import Reader, Source, place
from relay.events.span import Span
from relay.message.event import Numbered
from relay.shelf import Shelf

_log = Logger()


class Busy(Exception):
    """There is one already; the text says how far it is."""


class Phase(StrEnum):
    """How a replay is doing."""

    UNDER_WAY = "under way"
    WAITING = "waiting"
    DONE = "done"
    CANCELLED = "cancelled"


class Stretch(msgspec.Struct, frozen=True, array_like=True):
    """Which events: those behind the number `after`, up to `until`. It was begun then (ms since the epoch)."""

    after: int
    until: int
    begun: int


class Replaying(NamedTuple):
    """How far it is: all up to `at` are taken, as far as the sink wants them. After a failure it waits, until `next`
    (ms since the epoch, 0: it doesn't), for the sake of `trouble`. `missed` were forgotten before they could be
    read."""

    after: int
    until: int
    begun: int
    at: int
    phase: Phase
    missed: int
    trouble: str
    next: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Stretch).decode


class Replay:
    """That of one sink, by its name."""

    def __init__(
        self,
        name: str,
        source: Source,
        shelf: Callable[[], Shelf],
        take: Callable[[Sequence[Numbered]], Deferred[None]],
        clock: IReactorTime,
        now: Callable[[], int],
        *,
        kinds: frozenset[str] | None,
        batch: int,
        over: Callable[[], None],
    ) -> None:
        """As Reader. `now` gives ms since the epoch; `over` is called whenever one has ended."""
        self._name = name
        self._key = f"stretch:{name}".encode()
        self._source = source
        self._open = shelf
        self._take = take
        self._clock = clock
        self._now = now
        self._kinds = kinds
        self._batch = batch
        self._over = over
        self._stretch: Stretch | None = None
        self._reader: Reader | None = None
        self._phase = Phase.DONE
        self._stopped = True

    def start(self) -> None:
        """Go on with what was begun before. Raises StoreError."""
        self._stopped = False
        kept = self._open().get(self._key)
        if kept is not None:
            self._stretch = _decode(kept)
            self._run()

    def stop(self) -> Deferred[None]:
        """Hand on no more for now; fires when its place is kept, or can't be."""
        self._stopped = True
        return self._reader.stop() if self._under_way and self._reader is not None else succeed(None)

    def standing(self) -> Replaying | None:
        """How the last one is doing; None: there was none since the start."""
        stretch, reader, phase = self._stretch, self._reader, self._phase
        if stretch is None:
            return None
        at, missed, trouble, wait = stretch.after, 0, "", 0.0
        if reader is not None:
            at, missed, trouble = min(reader.cursor, stretch.until), reader.missed, reader.trouble
            wait = reader.waits if phase is Phase.UNDER_WAY else 0.0
        if phase is Phase.DONE:
            at = stretch.until
        if wait > 0:
            phase = Phase.WAITING
        then = self._now() + round(wait * 1000) if wait > 0 else 0
        return Replaying(stretch.after, stretch.until, stretch.begun, at, phase, missed, trouble, then)

    async def begin(self, after: int, until: int) -> None:
        """Those behind `after` up to `until`; it is on disk that this is to be when it returns. Raises Busy and
        StoreError."""
        if self._under_way:
            stands = self.standing()
            raise Busy("" if stands is None else f"It is at {stands.at} of {stands.until}")
        old = self._stretch, self._reader, self._phase
        stretch = Stretch(after, until, self._now())
        self._stretch, self._reader, self._phase = stretch, None, Phase.UNDER_WAY
        try:
            await self._open().write({self._key: _encode(stretch), **place(self._name, after)})
        except BaseException:
            self._stretch, self._reader, self._phase = old
            raise
        if not self._stopped:
            self._run()

    async def cancel(self) -> bool:
        """Hand on no more of it: what is just being sent may arrive. That is on disk when it returns. False: there is
        none under way. Raises StoreError: it goes on at the next start."""
        if not self._under_way or self._reader is None:
            return False
        await self._end(Phase.CANCELLED)
        return True

    def hurry(self) -> None:
        """Try again now what it waits with after a failure."""
        if self._under_way and self._reader is not None:
            self._reader.hurry()

    # -- inside

    @property
    def _under_way(self) -> bool:
        return self._stretch is not None and self._phase is Phase.UNDER_WAY

    def _run(self) -> None:
        assert self._stretch is not None, "it was begun"
        self._phase = Phase.UNDER_WAY
        self._reader = Reader(
            self._name,
            Span(self._source, self._stretch.until),
            self._open,
            self._take,
            self._clock,
            kinds=self._kinds,
            batch=self._batch,
            idle=self._done,
        )
        self._reader.start()

    def _done(self) -> None:
        # Should it not be written: at the next start there is nothing left to hand on, and it ends again.
        self._end(Phase.DONE).addErrback(
            lambda failure: _log.warn("the end of a replay is not kept: {error}", error=failure.getErrorMessage())
        )

    def _end(self, phase: Phase) -> Deferred[None]:
        reader = self._reader
        assert reader is not None, "it is under way"
        self._phase = phase
        # Its last word about where it is, which is written before it is struck off.
        reader.stop()
        self._over()
        return self._open().write({}, [self._key, *place(self._name, 0)])
