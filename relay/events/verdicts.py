"""What becomes of deliveries, for those who wait for it: their end, or the first time that they are put off or held.

It is read of the events, as soon as they are on disk, and only while somebody waits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from relay.events.reader import Source
from relay.message.event import ENDS, Event

_log = Logger()

#: Who may wait at once.
MOST = 200
#: Kinds of events that are waited for.
_KINDS = ENDS | {"deferred", "held"}
#: Events that are read before the reactor has its turn.
_BATCH = 200
#: After a trouble it is looked again (seconds).
_PATIENCE = 1.0

#: Queue id and seq.
Name = tuple[str, int]


class TooMany(Exception):
    """There is no room for another who waits."""


class Verdict(NamedTuple):
    """What became of a delivery: the kind of the event, the host's reply or the reason, the category of it."""

    state: str
    reply: str = ""
    category: str = ""

    @classmethod
    def of(cls, event: Event) -> Verdict:
        """As an event tells it."""
        return cls(event.kind, event.reply or event.reason, event.category)


class Waiting:
    """One who waits, from `Verdicts.wait` until `end`.

    Attributes:
        known: the verdicts so far.
    """

    def __init__(self, verdicts: Verdicts) -> None:
        self.known: dict[Name, Verdict] = {}
        self._verdicts = verdicts
        self._open: set[Name] = set()
        self._over: Deferred[None] | None = None

    def expect(self, names: Iterable[Name]) -> None:
        """These are waited for."""
        self._open.update(names)

    def tell(self, name: Name, verdict: Verdict) -> None:
        """The first verdict of each counts."""
        if name in self._open:
            self._open.discard(name)
            self.known[name] = verdict
        if not self._open and self._over is not None:
            over, self._over = self._over, None
            over.callback(None)

    async def all(self, seconds: float, clock: IReactorTime) -> None:
        """Returns when all are known, or the time is over."""
        if self._open:
            self._over = Deferred()
            try:
                await self._over.addTimeout(seconds, clock)
            except defer.TimeoutError:
                self._over = None

    def end(self) -> None:
        """It waits no more; a second time means nothing."""
        self._verdicts.forget(self)


class Verdicts:
    """Of all deliveries."""

    def __init__(self, source: Source, clock: IReactorTime) -> None:
        self._source = source
        self._clock = clock
        self._waiting: set[Waiting] = set()
        self._cursor = 0
        self._listens = False
        self._timer: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self) -> Waiting:
        """For one who says what for: what is told from now on reaches them. Raises TooMany, StoreError."""
        if len(self._waiting) >= MOST:
            raise TooMany
        if not self._waiting:
            self._cursor = self._source.event_bounds()[1]
        if not self._listens:
            self._source.on_events(self._told)
            self._listens = True
        waiting = Waiting(self)
        self._waiting.add(waiting)
        return waiting

    def forget(self, waiting: Waiting) -> None:
        """They wait no more."""
        self._waiting.discard(waiting)

    def _told(self) -> None:
        if self._waiting and self._timer is None:
            self._look()

    def _look(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        try:
            newest = self._source.event_bounds()[1]
            found = self._source.events(self._cursor, _BATCH)
        except Exception as error:  # StoreError: it is being reopened
            _log.warn("what became of mail can't be read: {error}", error=str(error))
            self._timer = self._clock.callLater(_PATIENCE, self._look)
            return
        for _, event in found:
            if event.kind in _KINDS:
                for waiting in tuple(self._waiting):
                    waiting.tell((event.id, event.seq), Verdict.of(event))
        self._cursor = found[-1].number if found else newest
        if self._cursor < newest:
            self._timer = self._clock.callLater(0, self._look)
