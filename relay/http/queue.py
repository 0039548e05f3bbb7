"""What is in the queue, zone by zone: counters exact and from memory, lists from the index."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Annotated

import msgspec
from klein import Klein
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IRequest

from relay.http.answer import answer, iso, refusal
from relay.http.operator import Standing
from relay.http.slices import Slices
from relay.message.values import Delivery
from relay.queue.store import LaneKey, Place, Store, Unreadable

_PAGE = 1000
_LANES = 200
_SCAN = 500
#: Later than every due time (ms since the epoch).
_FAR = 1 << 52
_YES = frozenset((b"true", b"yes", b"1"))


#: Names in the index hold neither of the two bytes that stand between them.
_Name = Annotated[str, msgspec.Meta(pattern=r"\A[^\x00\x01]*\Z")]


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """The last delivery of a list, which the next page begins behind."""

    zone: _Name
    domain: _Name
    due: Annotated[int, msgspec.Meta(ge=0, le=_FAR)]
    id: str
    seq: Annotated[int, msgspec.Meta(ge=0, lt=(1 << 32) - 1)]
    flow: _Name = ""


class QueueApi:
    """The resources that show the queue."""

    def __init__(self, store: Store, standing: Standing, clock: IReactorTime, now: Callable[[], int]) -> None:
        self._store = store
        self._standing = standing
        self._clock = clock
        self._now = now

    def add_routes(self, app: Klein) -> None:
        app.route("/zones", methods=["GET"])(self.zones)
        app.route("/queue/<zone>", methods=["GET"])(self.queue)
        app.route("/counter/<kind>/", methods=["GET"], endpoint="counters")(self.counter)
        app.route("/counter/<kind>/<zone>", methods=["GET"])(self.counter)
        app.route("/queued/<kind>/", methods=["GET"], endpoint="queued_everywhere")(self.queued)
        app.route("/queued/<kind>/<zone>", methods=["GET"])(self.queued)

    def zones(self, request: IRequest) -> bytes:
        """`[{name}]`, sorted; the disabled ones with `?includeDisabled=true`."""
        everything = request.args.get(b"includeDisabled", [b""])[-1].lower() in _YES
        names = sorted(name for name, disabled in self._standing.zones() if everything or not disabled)
        return answer(request, [{"name": name} for name in names])

    def counter(self, request: IRequest, kind: str, zone: str = "") -> bytes:
        """Deliveries that are due and that are deferred, in one zone or in each."""
        zone, now = zone.lower(), self._now()
        names = [zone] if zone else sorted({*self._store.zones(), *(n for n, _ in self._standing.zones())})
        counts = [(name, self._store.count(name, now)) for name in names]
        active = [{"key": name, "value": count.queued} for name, count in counts]
        deferred = [{"key": name, "value": count.deferred} for name, count in counts]
        return answer(
            request,
            {
                kind: zone or "all",
                "active": {"entries": active, "rows": len(active)},
                "deferred": {"entries": deferred, "rows": len(deferred)},
            },
        )

    async def queue(self, request: IRequest, zone: str) -> bytes:
        """One zone and its domains; an unknown zone has nothing in it."""
        zone, now = zone.lower(), self._now()
        domains = [
            {"domain": domain, "queued": queued, "deferred": deferred}
            async for domain, queued, deferred in self._domains(zone, now)
        ]
        count = self._store.count(zone, now)
        return answer(
            request,
            {
                "time": iso(now),
                "started": iso(self._standing.started_ms),
                "processed": self._standing.processed(zone),
                "queued": count.queued,
                "deferred": count.deferred,
                "domains": domains,
            },
        )

    async def queued(self, request: IRequest, kind: str, zone: str = "") -> bytes:
        """The first 1,000 deliveries of a kind, and the cursor for `?cursor=` behind them."""
        zone, deferred = zone.lower(), kind == "deferred"
        start = _decoded(request.args.get(b"cursor", [b""])[-1])
        found: list[dict[str, object]] = []
        last = cursor = ""
        async for lane, place in self._places(zone, start, self._now(), deferred):
            if len(found) == _PAGE:
                cursor = last
                break
            item = self._item(lane.zone, place)
            if item is not None:
                found.append(item)
                last = _encoded(Cursor(lane.zone, lane.domain, place.due, place.id, place.seq, lane.flow))
        body: dict[str, object] = {"zone": zone, "type": "deferred" if deferred else "queued", "list": found}
        if cursor:
            body["cursor"] = cursor
        return answer(request, body)

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

    def _item(self, zone: str, place: Place) -> dict[str, object] | None:
        """A line of the list; None for a delivery that ended meanwhile."""
        try:
            row = self._store.delivery(place.id, place.seq)
            message = self._store.message(place.id)
        except Unreadable as error:
            return {"id": place.id, "seq": f"{place.seq:03x}", "zone": zone, "error": str(error)}
        if row is None or message is None:
            return None
        return listed(row, message.created)


def listed(row: Delivery, created: int) -> dict[str, object]:
    """A delivery as `/queued` shows it."""
    return {
        "id": row.id,
        "seq": f"{row.seq:03x}",
        "zone": row.zone,
        "recipient": row.recipient,
        "created": iso(created),
        "queued": iso(row.due),
        "deferred": row.attempts,
    }


def _behind(place: Place) -> Place:
    return Place(place.due, place.id, place.seq + 1)


def _encoded(cursor: Cursor) -> str:
    return msgspec.json.encode(cursor).hex()


def _decoded(text: bytes) -> Cursor | None:
    if not text:
        return None
    try:
        return msgspec.json.decode(bytes.fromhex(text.decode("ascii")), type=Cursor)
    except (ValueError, msgspec.MsgspecError):
        raise refusal(400, "InvalidArgument", "cursor is none of ours") from None
