"""What is in the queue, zone by zone: counters exact and from memory, lists from the index."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta
from twisted.internet.interfaces import IReactorTime

from relay.access.caller import Scope
from relay.http.answer import iso, refusal
from relay.http.frame import Call
from relay.http.operation import operation
from relay.http.operator import Standing
from relay.http.queue_shapes import (
    CursorQuery,
    DeliveryList,
    DomainCount,
    ListedDelivery,
    ZoneCounter,
    ZoneCounters,
    ZoneName,
    ZoneQueue,
    ZonesQuery,
)
from relay.http.slices import Slices
from relay.message.values import Delivery
from relay.queue.store import LaneKey, Place, Store, Unreadable

_PAGE = 1000
_LANES = 200
_SCAN = 500
#: Later than every due time (ms since the epoch).
_FAR = 1 << 52
_YES = frozenset(("true", "yes", "1"))


#: Names in the index hold neither of the two bytes that stand between them.
_Name = Annotated[str, Meta(pattern=r"\A[^\x00\x01]*\Z")]


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """The last delivery of a list, which the next page begins behind."""

    zone: _Name
    domain: _Name
    due: Annotated[int, Meta(ge=0, le=_FAR)]
    id: str
    seq: Annotated[int, Meta(ge=0, lt=(1 << 32) - 1)]
    flow: _Name = ""


class QueueApi:
    """The resources that show the queue."""

    def __init__(self, store: Store, standing: Standing, clock: IReactorTime, now: Callable[[], int]) -> None:
        self._store = store
        self._standing = standing
        self._clock = clock
        self._now = now

    @operation("GET", "/zones", scope=Scope.READ, tag="queue", query=ZonesQuery, answer=list[ZoneName])
    def zones(self, call: Call) -> list[ZoneName]:
        """Lists the zones."""
        everything = call.query.include_disabled.lower() in _YES
        names = sorted(name for name, disabled in self._standing.zones() if everything or not disabled)
        return [ZoneName(name) for name in names]

    @operation("GET", "/counter/{kind}/", scope=Scope.READ, tag="queue", answer=dict[str, str | ZoneCounters])
    def counters(self, call: Call, kind: str) -> dict[str, str | ZoneCounters]:
        """Counts the deliveries in each zone: those that are due, and those that are deferred.

        Those that are due are `active`. `kind` may be any word, which the answer has too.
        """
        return self._counted(kind, "", sorted({*self._store.zones(), *(name for name, _ in self._standing.zones())}))

    @operation("GET", "/counter/{kind}/{zone}", scope=Scope.READ, tag="queue", answer=dict[str, str | ZoneCounters])
    def counter(self, call: Call, kind: str, zone: str) -> dict[str, str | ZoneCounters]:
        """Counts the deliveries in one zone."""
        return self._counted(kind, zone.lower(), [zone.lower()])

    @operation("GET", "/queue/{zone}", scope=Scope.READ, tag="queue", answer=ZoneQueue)
    async def queue(self, call: Call, zone: str) -> ZoneQueue:
        """Counts the deliveries in one zone, and in each of its domains.

        An unknown zone has nothing in it.
        """
        zone, now = zone.lower(), self._now()
        domains = [DomainCount(*counted) async for counted in self._domains(zone, now)]
        count = self._store.count(zone, now)
        return ZoneQueue(
            iso(now),
            iso(self._standing.started_ms),
            self._standing.processed(zone),
            count.queued,
            count.deferred,
            domains,
        )

    @operation("GET", "/queued/{kind}/", scope=Scope.READ, tag="queue", query=CursorQuery, answer=DeliveryList)
    async def queued_everywhere(self, call: Call, kind: str) -> DeliveryList:
        """Lists the deliveries in all zones, 1,000 at once.

        `kind` is `deferred`; any other word means those that are due.
        """
        return await self._page(call, kind, "")

    @operation("GET", "/queued/{kind}/{zone}", scope=Scope.READ, tag="queue", query=CursorQuery, answer=DeliveryList)
    async def queued(self, call: Call, kind: str, zone: str) -> DeliveryList:
        """Lists the deliveries in one zone, 1,000 at once."""
        return await self._page(call, kind, zone.lower())

    # -- inside

    def _counted(self, kind: str, zone: str, names: list[str]) -> dict[str, str | ZoneCounters]:
        now = self._now()
        counts = [(name, self._store.count(name, now)) for name in names]
        active = [ZoneCounter(name, count.queued) for name, count in counts]
        deferred = [ZoneCounter(name, count.deferred) for name, count in counts]
        return {
            kind: zone or "all",
            "active": ZoneCounters(active, len(active)),
            "deferred": ZoneCounters(deferred, len(deferred)),
        }

    async def _page(self, call: Call, kind: str, zone: str) -> DeliveryList:
        deferred = kind == "deferred"
        start = _decoded(call.query.cursor)
        found: list[ListedDelivery] = []
        last, cursor = "", ""
        async for lane, place in self._places(zone, start, self._now(), deferred):
            if len(found) == _PAGE:
                cursor = last
                break
            item = self._item(lane.zone, place)
            if item is not None:
                found.append(item)
                last = _encoded(Cursor(lane.zone, lane.domain, place.due, place.id, place.seq, lane.flow))
        return DeliveryList(zone, "deferred" if deferred else "queued", found, cursor or UNSET)

    # -- the index

    async def _lanes(
        self, zone: str, after: LaneKey | None, slices: Slices
    ) -> AsyncIterator[tuple[LaneKey, int]]:
        """Lanes behind `after`, of one zone or ("") of all."""
        if "\0" in zone:
            return  # No zone is called that.
        if after is None and zone:
            after = LaneKey(zone, "")
        while lanes := self._store.lanes(after, _LANES):
            for lane, due in lanes:
                if zone and lane.zone != zone:
                    return
                yield lane, due
            after = lanes[-1][0]
            await slices.breathe()

    async def _domains(self, zone: str, now: int) -> AsyncIterator[tuple[str, int, int]]:
        slices = Slices(self._clock)
        domain, queued, deferred = "", 0, 0
        async for lane, _ in self._lanes(zone, None, slices):
            # The lanes of a domain follow each other.
            if lane.domain != domain:
                if domain:
                    yield domain, queued, deferred
                domain, queued, deferred = lane.domain, 0, 0
            queued += await self._count(lane, None, now, slices)
            deferred += await self._count(lane, Place(now + 1, "", 0), _FAR, slices)
        if domain:
            yield domain, queued, deferred

    async def _count(self, lane: LaneKey, start: Place | None, until: int, slices: Slices) -> int:
        count = 0
        while True:
            page = self._store.scan(lane, start, until, _SCAN)
            count += len(page.places)
            if len(page.places) < _SCAN:
                return count
            start = _behind(page.places[-1])
            await slices.breathe()

    async def _places(
        self, zone: str, cursor: Cursor | None, now: int, deferred: bool
    ) -> AsyncIterator[tuple[LaneKey, Place]]:
        """Places in the order of the index, behind `cursor`."""
        slices = Slices(self._clock)
        until = _FAR if deferred else now
        begin = Place(now + 1, "", 0) if deferred else None
        after = None
        if cursor is not None and (not zone or cursor.zone == zone):
            after = LaneKey(cursor.zone, cursor.domain, cursor.flow)
            start = _behind(Place(cursor.due, cursor.id, cursor.seq))
            async for place in self._lane(after, max(start, begin or start), until, slices):
                yield after, place
        async for lane, due in self._lanes(zone, after, slices):
            if due <= until:
                async for place in self._lane(lane, begin, until, slices):
                    yield lane, place

    async def _lane(
        self, lane: LaneKey, start: Place | None, until: int, slices: Slices
    ) -> AsyncIterator[Place]:
        while True:
            page = self._store.scan(lane, start, until, _SCAN)
            for place in page.places:
                yield place
                await slices.breathe()
            if len(page.places) < _SCAN:
                return
            start = _behind(page.places[-1])

    def _item(self, zone: str, place: Place) -> ListedDelivery | None:
        """A line of the list; None for a delivery that ended meanwhile."""
        try:
            row = self._store.delivery(place.id, place.seq)
            message = self._store.message(place.id)
        except Unreadable as error:
            return ListedDelivery(place.id, f"{place.seq:03x}", zone, error=str(error))
        if row is None or message is None:
            return None
        return listed(row, message.created)


def listed(row: Delivery, created: int) -> ListedDelivery:
    """A delivery as `/queued` shows it."""
    return ListedDelivery(
        row.id, f"{row.seq:03x}", row.zone, row.recipient, iso(created), iso(row.due), row.attempts
    )


def _behind(place: Place) -> Place:
    return Place(place.due, place.id, place.seq + 1)


def _encoded(cursor: Cursor) -> str:
    return msgspec.json.encode(cursor).hex()


def _decoded(text: str) -> Cursor | None:
    if not text:
        return None
    try:
        return msgspec.json.decode(bytes.fromhex(text), type=Cursor)
    except (ValueError, msgspec.MsgspecError):
        raise refusal(400, "InvalidArgument", "cursor is none of ours") from None
