"""What is in the queue and fits: a page at a time, along the narrowest way there is to it.

A page is full, or the end, or as much as may be looked at in one go: then it has fewer, maybe none, and tells where to
go on. So no search holds up the mail, however much has to be looked through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Annotated, Any, NamedTuple

import msgspec

from relay.message.values import Delivery, Message
from relay.queue.filter import Filter, Found, State, fits_message, fits_row, is_domain
from relay.queue.schedule import Schedule
from relay.queue.sources import ByAge, ByLabel, ByLane, ByName, Chain, Held, OfMessage, Source, in_hand
from relay.queue.store import Store, Unreadable

#: So much is looked at along each of several ways, to see which one comes to its end.
PROBE = 100
#: Looks at a time.
_STEP = 128


class BadCursor(ValueError):
    """It is none of this search."""


class Cursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a page ends: on which way, and at which place of it."""

    way: Annotated[str, msgspec.Meta(max_length=20)]
    place: Any


class Page(NamedTuple):
    """What was found, and where to go on; None: that was all."""

    found: list[Found]
    next: Cursor | None


class Search:
    """Asked by those who look at the queue, and by those who act on it."""

    def __init__(
        self,
        store: Store,
        schedule: Schedule,
        sending: Callable[[], Iterable[tuple[str, int]]],
        site_of: Callable[[str, str], str],
        now: Callable[[], int],
    ) -> None:
        """`sending` names what is in the hands of children, `site_of` the site of a zone's mail to a domain, "" while
        it isn't known; `now` gives ms since the epoch."""
        self._store = store
        self._schedule = schedule
        self._sending = sending
        self._site_of = site_of
        self._now = now

    def page(self, wanted: Filter, cursor: Cursor | None, limit: int, looks: int) -> Page:
        """Up to `limit` of them, behind `cursor`, by about so many looks. Raises BadCursor, StoreError."""
        ways = self._ways(wanted)
        way, place = self._begin(ways) if cursor is None else (cursor.way, _place(ways, cursor))
        found: list[Found] = []
        source = ways[way]
        while True:
            rows, further, cost = source.read(place, min(looks, _STEP, max(limit, 16)))
            for row, behind in rows:
                one = self._judge(wanted, row)
                if one is not None:
                    found.append(one)
                    if len(found) == limit:
                        return Page(found, Cursor(way, behind))
            if further is None:
                return Page(found, None)
            place = further
            looks -= cost
            if looks <= 0:
                return Page(found, Cursor(way, place))

    def look(self, row: Delivery) -> Found:
        """Where a delivery stands."""
        return Found(row, self._state(row), self._site_of(row.zone, row.domain), None)

    # -- inside

    def _judge(self, wanted: Filter, row: Delivery) -> Found | None:
        found = self.look(row)
        if not fits_row(wanted, row, found.state, found.site):
            return None
        message: Message | None = None
        if wanted.of_message:
            try:
                message = self._store.message(row.id)
            except Unreadable:
                return None
            if message is None or not fits_message(wanted, message):
                return None
        return found._replace(message=message)

    def _state(self, row: Delivery) -> State:
        work = self._schedule.work(row.id, row.seq)
        if work is not None and work.lease:
            return State.SENDING
        if row.held:
            return State.HELD
        return State.DEFERRED if row.due > self._now() else State.QUEUED

    def _ways(self, wanted: Filter) -> dict[str, Source]:
        """Those that lead to all that fits, the narrowest first, as far as one can tell without looking."""
        store, state = self._store, wanted.state
        ways: dict[str, Source] = {}
        if wanted.id:
            ways["message"] = OfMessage(store, wanted.id)
        if state is State.SENDING:
            ways["sending"] = ByName(store, in_hand(self._sending()))
        label = partial(ByLabel, store, since=wanted.since, until=wanted.until)
        domain = wanted.domain
        if is_domain(wanted.recipient):
            domain = domain or wanted.recipient[1:]
        elif wanted.recipient:
            ways["recipient"] = label("recipient", wanted.recipient)
        if wanted.message_id:
            ways["message-id"] = label("message-id", wanted.message_id)
        if domain:
            ways["domain"] = self._by_lane(state, domain=domain, zone=wanted.zone)
        for kind, value in (("tag", wanted.tag), ("sender", wanted.sender), ("tenant", wanted.tenant)):
            if value and not is_domain(value):
                ways[kind] = label(kind, value)
        if wanted.reason:
            ways["reason"] = ByName(store, partial(store.query, "reason", wanted.reason))
        if state is State.HELD:
            ways["held"] = Held(store)
        if wanted.site:
            ways["site"] = self._by_lane(state, site=wanted.site, zone=wanted.zone)
        elif wanted.zone or state in (State.QUEUED, State.DEFERRED):
            ways["zone"] = self._by_lane(state, zone=wanted.zone)
        ways["age"] = ByAge(store, wanted.since, wanted.until)
        return ways

    def _by_lane(self, state: State | None, domain: str = "", site: str = "", zone: str = "") -> Source:
        """What is put aside is in no lane."""
        lanes = ByLane(self._store, zone.lower(), domain.lower(), site, self._site_of, state, self._now())
        if state is State.HELD:
            return Chain(Held(self._store))
        return Chain(lanes, Held(self._store)) if state is None else Chain(lanes)

    def _begin(self, ways: dict[str, Source]) -> tuple[str, Any]:
        """The first way whose end is near, or the first of all."""
        names = list(ways)
        for name in names[:-1] if len(names) > 2 else ():
            if _is_near(ways[name]):
                return name, None
        return names[0], None


def _is_near(way: Source) -> bool:
    """Whether it comes to its end soon."""
    place, looks = None, PROBE
    while looks > 0:
        _, place, cost = way.read(place, looks)
        if place is None:
            return True
        looks -= cost
    return False


def _place(ways: dict[str, Source], cursor: Cursor) -> Any:
    try:
        return ways[cursor.way].place_of(cursor.place)
    except (KeyError, msgspec.ValidationError):
        raise BadCursor("the cursor is none of this search") from None
