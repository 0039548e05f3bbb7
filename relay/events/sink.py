"""A sink: one way out for events, which its reader feeds. What it does can be watched, and events handed on again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from twisted.internet.defer import CancelledError, Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from relay.events.batches import Batch, Batches
from relay.events.reader import Reader, Source
from relay.events.replay import Replay, Replaying
from relay.events.span import before
from relay.events.taker import Taker
from relay.message.event import Numbered
from relay.shelf import Shelf


class Apart(NamedTuple):
    """Of the events that were refused by themselves: how many will be tried again, and how many were given up."""

    aside: int = 0
    lost: int = 0


class Aside(NamedTuple):
    """An event that was refused by itself, `tries` times `since` then; it is tried again at `due` (ms since the
    epoch)."""

    number: int
    tries: int
    since: int
    due: int


class Sidings(Protocol):
    """Who takes events out of the order, for they were refused by themselves."""

    def apart(self) -> Apart:
        """How many there are."""

    def listed(self, after: int, limit: int) -> list[Aside]:
        """Up to `limit` behind the number `after`, in order. Raises StoreError."""

    def hurry(self) -> None:
        """Try them again now."""


class Standing(NamedTuple):
    """How a sink is doing. `state`: "up to date", "behind", or "waiting" after a failure, until `until`; times are ms
    since the epoch, 0: none. `taken`, `missed` and `failures` are counted since the start. `aside` are those that were
    refused by themselves and will be tried again. `cursor` is the number of the last event that is over."""

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
    cursor: int = 0
    replay: Replaying | None = None


class Sink:
    """One, by its name. The reader has the cursor, the taker the end."""

    def __init__(
        self,
        name: str,
        kind: str,
        takers: tuple[Taker, Taker],
        source: Source,
        shelf: Callable[[str], Shelf],
        clock: IReactorTime,
        now: Callable[[], int],
        *,
        kinds: frozenset[str] | None,
        batch: int,
        sidings: Sidings | None = None,
    ) -> None:
        """The second of the `takers` gets what is handed on again; it may be the first, too, and then is given events
        while it takes others. `shelf` gives one by its name, `now` ms since the epoch; `kinds` of events go here, None:
        all."""
        self.name = name
        self.kind = kind
        self._takers = takers
        self._source = source
        self._clock = clock
        self._now = now
        self._sidings = sidings
        self._taken = self._failures = self._last = 0
        # Names of sinks are the operator's; a reader for bounces is no sink of theirs.
        known = f"{kind}:{name}"
        self._batches = Batches(known, lambda: shelf("batches"), clock, now)
        self._reader = Reader(known, source, lambda: shelf("readers"), self._take, clock, kinds=kinds, batch=batch)
        self._replay = Replay(
            known,
            source,
            lambda: shelf("replays"),
            self._take_again,
            clock,
            now,
            kinds=kinds,
            batch=batch,
            over=self._over,
        )

    def start(self) -> None:
        """Go on where it was. Raises StoreError."""
        self._batches.start()
        self._reader.start()
        self._replay.start()

    def stop(self) -> Deferred[None]:
        """Hand on no more; fires when its place is kept, or can't be."""
        stopped = [self._reader.stop(), self._replay.stop(), self._batches.stop()]
        for taker in self._takers:
            taker.stop()
        return gatherResults(stopped).addCallback(lambda _: None)

    def standing(self) -> Standing:
        """How it is doing now."""
        reader, apart = self._reader, Apart() if self._sidings is None else self._sidings.apart()
        behind, wait = reader.behind, reader.waits
        state = "waiting" if wait > 0 else "behind" if behind else "up to date"
        return Standing(
            self.name,
            self.kind,
            self._takers[0].where,
            state,
            behind,
            self._taken,
            reader.missed + apart.lost,
            apart.aside,
            self._failures,
            reader.trouble,
            self._last,
            self._now() + round(wait * 1000) if wait > 0 else 0,
            reader.cursor,
            self._replay.standing(),
        )

    # -- what was handed on

    def batches(self, before: int, limit: int) -> list[tuple[Batch, int]]:
        """What was handed on, the latest first: up to `limit` with a lower index, 0: of all; each with the time at
        which it comes again (ms since the epoch), 0: it doesn't, or is just coming."""
        stands = self.standing()
        again = {False: stands.until, True: 0 if stands.replay is None else stands.replay.next}
        page = self._batches.page(before, limit)
        return [(batch, again[batch.replay] if self._batches.is_waiting(batch) else 0) for batch in page]

    def asides(self, after: int, limit: int) -> list[Aside]:
        """Events that were refused by themselves, up to `limit` behind the number `after`. Raises StoreError."""
        return [] if self._sidings is None else self._sidings.listed(after, limit)

    # -- what can be asked for

    def hurry(self) -> None:
        """Try again now whatever waits."""
        self._reader.hurry()
        self._replay.hurry()
        if self._sidings is not None:
            self._sidings.hurry()

    def before(self, time: int) -> int:
        """The number of the last event from before a moment (ms since the epoch). Raises StoreError."""
        return before(self._source, time)

    async def replay(self, after: int, until: int) -> None:
        """Hand on again what is behind `after`, up to `until` and where the sink is; it is on disk that this is to be
        when it returns. Raises Busy and StoreError."""
        await self._replay.begin(after, min(until, self._reader.cursor))

    async def cancel(self) -> bool:
        """End that; on disk when it returns. False: there was none. Raises StoreError."""
        return await self._replay.cancel()

    # -- inside

    def _take(self, events: Sequence[Numbered]) -> Deferred[None]:
        return self._hand(events, False).addCallbacks(self._took, self._failed, callbackArgs=(len(events),))

    def _took(self, _: None, count: int) -> None:
        self._taken += count
        self._last = self._now()

    def _failed(self, failure: Failure) -> Failure:
        self._failures += 1
        return failure

    def _take_again(self, events: Sequence[Numbered]) -> Deferred[None]:
        return self._hand(events, True)

    def _hand(self, events: Sequence[Numbered], replay: bool) -> Deferred[None]:
        """Give them to the taker, and note what comes of it."""
        begun = self._clock.seconds()
        numbers, count = (events[0].number, events[-1].number), len(events)

        def came(what: int | Failure) -> Failure | None:
            # Who is being stopped has not failed.
            if not (isinstance(what, Failure) and what.check(CancelledError)):
                self._batches.note(numbers, count, self._clock.seconds() - begun, what, replay)
            return what if isinstance(what, Failure) else None

        return maybeDeferred(self._takers[replay].take, events).addBoth(came)

    def _over(self) -> None:
        """A replay has ended."""
        self._batches.give_up(True)
        if self._takers[True] is not self._takers[False]:
            self._takers[True].stop()
