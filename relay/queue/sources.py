"""The ways through the queue along which deliveries are looked for: all of it by age, by label, by lane, put aside.

Each knows the deliveries that may be meant, in an order of its own, and reads on from any place. A place is what a
client gives back, so that it may be anything that has its form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, NamedTuple, Protocol

import msgspec

from relay.message.queueid import parse_name, time_of
from relay.message.values import Delivery
from relay.queue.filter import FAR, State
from relay.queue.store import BEGIN, LaneKey, Place, Point, Store, Unreadable

_DAY = 86_400_000
_PER_MS = 4096
#: The last time that a queue id can tell (ms).
_LAST = (1 << 44) - 1
_UINT = (1 << 32) - 1
#: It stands behind every id.
_BEHIND = "g"


class Passage(NamedTuple):
    """Deliveries, each with the place behind it, and the place to go on from; None: that was all. `looks` is what it
    cost."""

    rows: list[tuple[Delivery, Any]]
    next: Any
    looks: int


class Source(Protocol):
    """One way."""

    def place_of(self, given: object) -> Any:
        """A place that a client gave back. Raises msgspec.ValidationError: it is none of this way."""

    def read(self, place: Any, limit: int) -> Passage:
        """Goes on from a place, None for the beginning, looking about `limit` times. Raises StoreError."""


_Id = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{18}\Z")]
_Number = Annotated[int, msgspec.Meta(ge=0, le=_UINT)]
# Names in the index hold neither of the two bytes that stand between them.
_Name = Annotated[str, msgspec.Meta(pattern=r"\A[^\x00\x01]*\Z")]


class Spot(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A place by age or by label, see relay.queue.store.Point."""

    day: _Number
    id: _Id
    seq: _Number


class Stand(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A place by lane: behind a delivery, or with an empty `id` at the beginning of the lane."""

    zone: _Name
    domain: _Name
    flow: _Name
    due: Annotated[int, msgspec.Meta(ge=0, le=FAR)] = 0
    id: Annotated[str, msgspec.Meta(pattern=rf"\A(?:[0-9a-f]{{18}}|{_BEHIND}|)\Z")] = ""
    seq: Annotated[int, msgspec.Meta(ge=0, lt=_UINT)] = 0


class _BySpot:
    """Its places are spots."""

    def place_of(self, given: object) -> Spot:
        return msgspec.convert(given, Spot)


class ByAge(_BySpot):
    """All deliveries that came in between two times (ms)."""

    def __init__(self, store: Store, since: int, until: int) -> None:
        self._store = store
        self._first = Point(0, first_id(since), 0)
        self._until = until

    def read(self, place: Spot | None, limit: int) -> Passage:
        rows, further = self._store.walk(max(self._first, _mark(place)._replace(day=0)), limit)
        looks = max(1, len(rows))
        kept = [(row, _spot(mark)) for row, mark in rows if time_of(row.id) <= self._until]
        over = further is not None and time_of(further.id) > self._until
        return Passage(kept, None if over or further is None else _spot(further), looks)


class ByLabel(_BySpot):
    """Those whose message has a label, see Store.labelled; what labels don't tell of goes before, by age. Of messages
    that came in between two times (ms)."""

    def __init__(self, store: Store, kind: str, value: str, since: int, until: int) -> None:
        self._store = store
        self._kind = kind
        self._value = value
        self._since = since
        self._last_day = until // _DAY + 1

    def read(self, place: Spot | None, limit: int) -> Passage:
        place = place or Spot(0, first_id(self._since), 0)
        if not place.day:
            known = self._store.labelled_since()
            if time_of(place.id) < known:
                return self._by_age(place, known, limit)
            place = _by_label_from(self._since)
        if place.day > self._last_day:
            return Passage([], None, 1)
        rows, further = self._store.labelled(self._kind, self._value, _mark(place), limit)
        looks = limit if further is not None else max(1, len(rows))
        return Passage([(row, _spot(mark)) for row, mark in rows], further and _spot(further), looks)

    def _by_age(self, place: Spot, known: int, limit: int) -> Passage:
        """What came before `known` (ms), of which labels need not tell."""
        rows, further = self._store.walk(_mark(place), limit)
        older = [(row, _spot(mark)) for row, mark in rows if time_of(row.id) < known]
        looks = max(1, len(rows))
        if further is not None and time_of(further.id) < known:
            return Passage(older, _spot(further), looks)
        return Passage(older, None if known > _LAST else _by_label_from(max(known, self._since)), looks)


class OfMessage(_BySpot):
    """The deliveries of one message."""

    def __init__(self, store: Store, queue_id: str) -> None:
        self._store = store
        self._id = queue_id

    def read(self, place: Spot | None, limit: int) -> Passage:
        rows = self._store.deliveries(self._id, 0 if place is None else place.seq, limit)
        marked = [(row, Spot(0, row.id, row.seq)) for row in rows]
        return Passage(marked, marked[-1][1] if len(rows) == limit else None, max(1, len(rows)))


class ByName(_BySpot):
    """Those whose names are known, in their order: `names` gives the next ones after a name."""

    def __init__(self, store: Store, names: Callable[[str, int], Sequence[str]]) -> None:
        self._store = store
        self._names = names

    def read(self, place: Spot | None, limit: int) -> Passage:
        names = self._names("" if place is None else f"{place.id}.{max(place.seq, 1):03x}", limit)
        parsed = [name for name in map(parse_name, names) if name is not None]
        found = ((self._row(queue_id, seq or 0), Spot(0, queue_id, seq or 0)) for queue_id, seq in parsed)
        rows = [(row, spot) for row, spot in found if row is not None]
        last = parsed[-1] if len(names) == limit and parsed else None
        return Passage(rows, last and Spot(0, last[0], last[1] or 0), max(1, len(names)))

    def _row(self, queue_id: str, seq: int) -> Delivery | None:
        try:
            return self._store.delivery(queue_id, seq)
        except Unreadable:
            return None


class Held(_BySpot):
    """What is put aside."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, place: Spot | None, limit: int) -> Passage:
        rows = self._store.held("" if place is None else f"{place.id}.{max(place.seq, 1):03x}", limit)
        marked = [(row, Spot(0, row.id, row.seq)) for row in rows]
        return Passage(marked, marked[-1][1] if len(rows) == limit else None, max(1, len(rows)))


class ByLane:
    """Those that aren't put aside, lane by lane, in the order in which they are due; of one zone, domain or site."""

    def __init__(
        self, store: Store, zone: str, domain: str, site: str, site_of: Callable[[str, str], str],
        state: State | None, now: int,
    ) -> None:  # fmt: skip
        """A name of "" is any; `site_of` knows the site of a zone's mail to a domain, "" while it isn't known. Only
        those of a `state`, as of `now` (ms), are looked at, where one is given."""
        self._store = store
        self._zone = zone
        self._domain = domain
        self._site = site.lower()
        self._site_of = site_of
        self._until = now if state is State.QUEUED else FAR
        self._begin = Place(now + 1, "", 0) if state is State.DEFERRED else None

    def place_of(self, given: object) -> Stand:
        return msgspec.convert(given, Stand)

    def read(self, place: Stand | None, limit: int) -> Passage:
        rows: list[tuple[Delivery, Stand]] = []
        looks, lane, further = 0, None, place
        if place is not None:
            lane = LaneKey(place.zone, place.domain, place.flow)
            begin = Place(place.due, place.id, place.seq + 1) if place.id else None
            looks, further = self._scan(lane, begin, limit, rows)
        if further is not None and lane is not None:
            return Passage(rows, further, looks)
        lanes, more = self._lanes(lane, max(4, (limit - looks) // 2))
        for lane, due in lanes:
            if looks >= limit:
                return Passage(rows, Stand(*lane), looks)
            if not self._may_have(lane, due):
                looks += 1
                continue
            cost, further = self._scan(lane, None, limit - looks, rows)
            looks += cost
            if further is not None:
                return Passage(rows, further, looks)
        # Behind the last of these lanes.
        return Passage(rows, Stand(*lanes[-1][0], FAR, _BEHIND) if more else None, max(1, looks))

    def _scan(
        self, lane: LaneKey, begin: Place | None, limit: int, rows: list[tuple[Delivery, Stand]]
    ) -> tuple[int, Stand | None]:
        """Adds what there is of a lane from a place on; what that cost, and where there may be more of it."""
        start = self._begin if begin is None or self._begin is None else max(begin, self._begin)
        places, _ = self._store.scan(lane, start or begin, self._until, limit)
        for place in places:
            row = self._row(place)
            if row is not None:
                rows.append((row, _stand(lane, place)))
        return 1 + len(places), _stand(lane, places[-1]) if len(places) == limit else None

    def _row(self, place: Place) -> Delivery | None:
        try:
            return self._store.delivery(place.id, place.seq)
        except Unreadable:
            return None

    def _may_have(self, lane: LaneKey, due: int) -> bool:
        if self._site and self._site_of(lane.zone, lane.domain).lower() != self._site:
            return False
        return due <= self._until

    def _lanes(self, after: LaneKey | None, count: int) -> tuple[list[tuple[LaneKey, int]], bool]:
        """Some that come next, with the due time of the first there; whether there may be more behind."""
        if self._domain:
            return self._of_domain(after, count)
        lanes = self._store.lanes(LaneKey(self._zone, "") if after is None and self._zone else after, count)
        own = [one for one in lanes if not self._zone or one[0].zone == self._zone]
        return own, len(own) == count

    def _of_domain(self, after: LaneKey | None, count: int) -> tuple[list[tuple[LaneKey, int]], bool]:
        found: list[tuple[LaneKey, int]] = []
        for zone in [self._zone] if self._zone else self._store.zones():
            if after is not None and zone < after.zone:
                continue
            last = LaneKey(zone, self._domain)
            if after is not None and zone == after.zone:
                last = after
            else:
                found.append((last, 0))
            flows = self._store.lanes(last, count)
            own = [one for one in flows if one[0][:2] == last[:2]]
            found += own
            if len(own) == count:
                return found, True
        return found, False


class Chain:
    """One way after the other."""

    def __init__(self, *parts: Source) -> None:
        self._parts = parts

    def place_of(self, given: object) -> tuple[int, Any]:
        number, inner = msgspec.convert(given, tuple[Annotated[int, msgspec.Meta(ge=0)], Any])
        if number >= len(self._parts):
            raise msgspec.ValidationError("no such part")
        return number, None if inner is None else self._parts[number].place_of(inner)

    def read(self, place: tuple[int, Any] | None, limit: int) -> Passage:
        number, inner = place or (0, None)
        part = self._parts[number]
        rows, further, looks = part.read(inner, limit)
        marked = [(row, (number, where)) for row, where in rows]
        if further is not None:
            return Passage(marked, (number, further), looks)
        return Passage(marked, (number + 1, None) if number + 1 < len(self._parts) else None, looks)


def first_id(when: int) -> str:
    """Before every queue id that is made at `when` (ms) or later, and behind all earlier ones."""
    return f"{min(when, _LAST) * _PER_MS:014x}0000"


def in_hand(names: Iterable[tuple[str, int]]) -> Callable[[str, int], list[str]]:
    """The names of what is in the hands of children, for ByName."""
    known = sorted(f"{queue_id}.{seq:03x}" for queue_id, seq in names)
    return lambda after, limit: [name for name in known if name > after][:limit]


def _mark(place: Spot | None) -> Point:
    return BEGIN if place is None else Point(place.day, place.id, place.seq)


def _by_label_from(when: int) -> Spot:
    return Spot(max(1, when // _DAY), first_id(when), 0)


def _spot(mark: Point) -> Spot:
    return Spot(*mark)


def _stand(lane: LaneKey, place: Place) -> Stand:
    return Stand(*lane, *place)
