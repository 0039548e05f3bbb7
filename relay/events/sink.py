"""A sink: one way out for events, which its reader feeds. What it does can be watched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from relay.events.reader import Reader, Source
from relay.events.taker import Taker
from relay.message.event import Numbered
from relay.shelf import Shelf


class Apart(NamedTuple):
    """Of the events that were refused by themselves: how many will be tried again, and how many were given up."""

    aside: int = 0
    lost: int = 0


class Standing(NamedTuple):
    """How a sink is doing. `state`: "up to date", "behind", or "waiting" after a failure, until `until`; times are ms
    since the epoch, 0: none. `taken`, `missed` and `failures` are counted since the start. `aside` are those that were
    refused by themselves and will be tried again."""

    name: str
    kind: str
    where: str
    state: str
    behind: int
    taken: int
    missed: int
    aside: int
    failures: int
    trouble: str
    last: int
    until: int


class Sink:
    """One, by its name. The reader has the cursor, the taker the end."""

    def __init__(
        self,
        name: str,
        kind: str,
        taker: Taker,
        source: Source,
        shelf: Callable[[], Shelf],
        clock: IReactorTime,
        now: Callable[[], int],
        *,
        kinds: frozenset[str] | None,
        batch: int,
        apart: Callable[[], Apart] = Apart,
    ) -> None:
        """`now` gives ms since the epoch; `kinds` of events go here, None: all; `apart` tells of those that were taken
        out of the order."""
        self.name = name
        self.kind = kind
        self._taker = taker
        self._clock = clock
        self._now = now
        self._apart = apart
        self._taken = self._failures = self._last = 0
        # Names of sinks are the operator's; a reader for bounces is no sink of theirs.
        self._reader = Reader(f"{kind}:{name}", source, shelf, self._take, clock, kinds=kinds, batch=batch)

    def start(self) -> None:
        """Go on where it was. Raises StoreError."""
        self._reader.start()

    def stop(self) -> Deferred[None]:
        """Hand on no more; fires when its place is kept, or can't be."""
        stopped = self._reader.stop()
        self._taker.stop()
        return stopped

    def standing(self) -> Standing:
        """How it is doing now."""
        reader, apart = self._reader, self._apart()
        behind, wait = reader.behind, reader.waits
        state = "waiting" if wait > 0 else "behind" if behind else "up to date"
        return Standing(
            self.name,
            self.kind,
            self._taker.where,
            state,
            behind,
            self._taken,
            reader.missed + apart.lost,
            apart.aside,
            self._failures,
            reader.trouble,
            self._last,
            self._now() + round(wait * 1000) if wait > 0 else 0,
        )

    def _take(self, events: Sequence[Numbered]) -> Deferred[None]:
        try:
            taking = self._taker.take(events)
        except Exception:
            self._failures += 1
            raise
        return taking.addCallbacks(self._took, self._failed, callbackArgs=(len(events),))

    def _took(self, _: None, count: int) -> None:
        self._taken += count
        self._last = self._now()

    def _failed(self, failure: Failure) -> Failure:
        self._failures += 1
        return failure
