"""What happens, as it happens: a stream of server-sent events (WHATWG HTML, 9.2) for pages and programs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta
from twisted.internet.interfaces import IReactorTime

from relay.access.caller import Scope
from relay.config.plain import shown
from relay.http.answer import RETRY_AFTER, failure, iso, refusal
from relay.http.fields import wrong
from relay.http.frame import Call
from relay.http.operation import operation
from relay.http.stream import Source, Stream
from relay.message.event import KINDS
from relay.metrics.definitions import Totals
from relay.queue.store import ZoneCount

#: Streams at a time, and those of one tenant.
MOST, TENANTS = 100, 10
_LAST = 1 << 62


class Watched(Source, Protocol):
    """What of the store is told."""

    def count(self, zone: str, now: int) -> ZoneCount: ...
    def on_events(self, callback: Callable[[], None]) -> None: ...


class LiveQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a stream tells."""

    events: Annotated[bool, Meta(description="Tell each event")] = True
    kind: Annotated[tuple[str, ...], Meta(description="Only events of these kinds, with commas")] = ()
    after: Annotated[
        Annotated[int, Meta(ge=0, le=_LAST)] | None, Meta(description="Begin behind this one; else with those to come")
    ] = None
    counters: Annotated[
        int, Meta(ge=0, le=3600, description="Tell how the relay stands each so many seconds; 0: never")
    ] = 0


class Standing(msgspec.Struct, frozen=True):
    """How the relay stands: `totals` since its start, `rates` a second since the standing before (null: the first),
    deliveries by zone, open connections to hosts by state."""

    time: str
    totals: dict[str, int]
    rates: dict[str, float] | None
    queue: dict[str, dict[str, int]]
    connections: dict[str, int]


class LiveApi:
    """The resource of that."""

    def __init__(
        self,
        store: Watched,
        zones: Callable[[], Collection[str]],
        totals: Callable[[], Totals],
        connections: Callable[[], Mapping[str, int]],
        clock: IReactorTime,
        now: Callable[[], int],
        timeout: float,
    ) -> None:
        """`now` gives ms since the epoch; a client that takes nothing for `timeout` seconds is cut off."""
        self._store = store
        self._zones = zones
        self._totals = totals
        self._connections = connections
        self._clock = clock
        self._now = now
        self._timeout = timeout
        self._streams: set[Stream] = set()
        store.on_events(self._told)

    @operation(
        "GET", "/v1/stream", scope=Scope.READ, tag="events", query=LiveQuery, fields=("Last-Event-ID",),
        gives="text/event-stream", by_tenant=True,
    )  # fmt: skip
    async def stream(self, call: Call) -> None:
        """What happens, as server-sent events, until the client goes.

        `event: event` has an event as data, as `/v1/events` shows it, and its number as `id`: with `Last-Event-ID`,
        or `after`, a stream goes on behind that. `event: missed` says that some in between are forgotten.
        `event: counters` has how the relay stands: `totals` since the start, `rates` a second, deliveries by zone,
        connections by state. A comment comes each 15 seconds, so that nobody in between takes it for dead.
        """
        query: LiveQuery = call.query
        for kind in query.kind:
            if kind not in KINDS:
                raise wrong("kind", f"unknown kind {shown(kind[:40])}; expected some of " + ", ".join(sorted(KINDS)))
        if len(self._streams) >= MOST:
            raise failure(503, f"There are {MOST} streams already", RETRY_AFTER)
        tenant = call.caller.tenant
        if tenant and sum(stream.tenant == tenant for stream in self._streams) >= TENANTS:
            raise failure(503, f"Your organisation has {TENANTS} streams already", RETRY_AFTER)
        if query.counters and tenant:
            raise refusal(403, "Forbidden", "Counters are those of the whole relay")
        stream = Stream(
            call.request,
            self._store if query.events else None,
            _after(call, query.after),
            frozenset(query.kind),
            tenant,
            self._clock,
            self._timeout,
        )
        if query.counters:
            stream.repeat(query.counters, Standings(self._standing))
        self._streams.add(stream)
        try:
            await stream.run()
        finally:
            self._streams.discard(stream)

    def _told(self) -> None:
        for stream in tuple(self._streams):
            stream.look()

    def _standing(self) -> tuple[int, Totals, Standing]:
        now, totals = self._now(), self._totals()
        counts = {zone: self._store.count(zone, now)._asdict() for zone in sorted(self._zones())}
        told = Standing(iso(now), totals._asdict(), None, counts, dict(self._connections()))
        return now, totals, told


class Standings:
    """One stream's standings, each with the rates since the one before."""

    def __init__(self, look: Callable[[], tuple[int, Totals, Standing]]) -> None:
        self._look = look
        self._before: tuple[int, Totals] | None = None

    def __call__(self) -> tuple[str, Any]:
        now, totals, told = self._look()
        if self._before is not None and now > self._before[0]:
            seconds = (now - self._before[0]) / 1000
            rates = {
                name: round((new - old) / seconds, 3)
                for name, new, old in zip(Totals._fields, totals, self._before[1], strict=True)
            }
            told = msgspec.structs.replace(told, rates=rates)
        self._before = (now, totals)
        return "counters", told


def _after(call: Call, asked: int | None) -> int | None:
    """Behind which event it goes on; a client that comes back says so itself."""
    last: Sequence[bytes] = call.request.requestHeaders.getRawHeaders(b"last-event-id", [])
    if not last or last[-1] == b"":
        return asked
    if not last[-1].isdigit() or len(last[-1]) > 18:
        raise wrong("Last-Event-ID", "expected the number of an event")
    return int(last[-1])
