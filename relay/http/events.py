"""What has happened: the events in their order, and the history of a message, also of one that is gone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from twisted.internet.interfaces import IReactorTime

from relay.access.caller import Caller, Scope
from relay.config import plain
from relay.events.shape import shape
from relay.events.sought import candidates, fits
from relay.http.answer import Milliseconds, failure
from relay.http.fields import wrong
from relay.http.frame import Call
from relay.http.operation import operation
from relay.http.slices import Slices
from relay.message.dialogue import shown
from relay.message.event import KINDS, Event, Numbered
from relay.message.queueid import parse_name
from relay.queue.store import Store, Unreadable

_MOST = 1000
#: So many events of one delivery or message are shown, or looked at for the first and the last; and so many, or
#: so many names, are looked through for one answer.
_STEPS = 5000
_LOOKED = 20_000
_PAGE = 500
_LAST = 1 << 62
_DAY = 86_400_000
_SOUGHT = {"message_id": "message-id", "sender": "sender", "recipient": "recipient"}

_Limit = Annotated[int, Meta(ge=1, le=_MOST)]
_Time = Annotated[int, Meta(ge=0, le=_LAST)]


def _schema() -> dict[str, Any]:
    fields = {
        field.encode_name: msgspec.json.schema(field.type)
        for field in msgspec.structs.fields(Event)
    }
    return {"properties": {"number": {"type": "integer"}, **fields}, "required": ["number", "kind", "time"]}


#: As `shape` makes it.
EventShown = Annotated[
    dict[str, Any],
    Meta(description="An event; fields that are empty are left out (docs/events.md)", extra_json_schema=_schema()),
]


class EventQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which events."""

    after: Annotated[int, Meta(ge=0, le=_LAST, description="Only those behind that number")] | UnsetType = UNSET
    limit: _Limit = 100
    kind: Annotated[list[str], Meta(description="Only those of these kinds", examples=[["bounced", "expired"]])] = []


class EventList(msgspec.Struct, frozen=True):
    """Events, the oldest first. `next` is what to ask `after` for those to come; `missed`: some in between are
    forgotten."""

    events: list[EventShown]
    next: int
    missed: bool


class LineSaid(msgspec.Struct, frozen=True):
    """A line of a conversation; `who` is "host", "relay", or "" for what was said by nobody."""

    time: Milliseconds
    who: str
    text: str


class HistoryShown(msgspec.Struct, frozen=True):
    """What is known of a delivery or a message, the oldest event first; `more`: there may be later ones behind those
    shown. Of a delivery that has failed also the `dialogue` of the last failure."""

    name: str
    events: list[EventShown]
    more: bool
    dialogue: list[LineSaid] | UnsetType = UNSET


class HistoryQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is sought, in any case of letters: all that is named has to fit."""

    message_id: Annotated[str, Meta(examples=["<1@example.com>"])] = ""
    sender: str = ""
    recipient: Annotated[str, Meta(examples=["user@example.com"])] = ""
    since: Annotated[_Time, Meta(description="Queued at that time or later, in ms since the epoch")] = 0
    until: Annotated[_Time, Meta(description="Queued at that time or before; 0: now")] = 0
    limit: _Limit = 100


class Found(msgspec.Struct, frozen=True):
    """A delivery or a message, with its first and its last event."""

    name: str
    first: EventShown
    last: EventShown


class FoundList(msgspec.Struct, frozen=True):
    """What was found, the latest day first; `more`: there may be others."""

    found: list[Found]
    more: bool


class EventsApi:
    """The resources of events."""

    def __init__(self, store: Store, clock: IReactorTime, now: Callable[[], int], keep: float) -> None:
        """`now` gives ms since the epoch; `keep` is for how long events are kept, in seconds."""
        self._store = store
        self._clock = clock
        self._now = now
        self._keep = round(keep * 1000)

    @operation(
        "GET", "/v1/events", scope=Scope.READ, tag="events", query=EventQuery, answer=EventList, by_tenant=True
    )
    async def events(self, call: Call) -> EventList:
        """Shows what has happened: the latest events, or those behind a number.

        20,000 are looked through for one answer, which may have less than are asked for then: ask on from `next`. To
        callers of a tenant its own are shown, the latest of the latest 20,000 where no number is given.
        """
        query: EventQuery = call.query
        caller = call.caller
        kinds, limit = _kinds(query.kind), query.limit
        oldest, newest = self._store.event_bounds()
        if latest := isinstance(query.after, UnsetType):
            asked = max(newest - (_LOOKED if caller.tenant else limit), oldest - 1)
        else:
            asked = min(query.after, newest)
        # Of the latest those in front make room.
        found: deque[Numbered] = deque(maxlen=limit)
        cursor, slices = asked, Slices(self._clock)
        while (latest or len(found) < limit) and cursor - asked < _LOOKED:
            page = self._store.events(cursor, _PAGE)
            if not page:
                break
            for one in page:
                cursor = one.number
                if (not kinds or one.event.kind in kinds) and _is_theirs(caller, one):
                    found.append(one)
                    if len(found) == limit and not latest:
                        break
            await slices.breathe()
        return EventList([shape(one) for one in found], cursor, asked < oldest - 1)

    @operation(
        "GET", "/v1/history/{name}", scope=Scope.READ, tag="events", answer=HistoryShown, errors=(500,), by_tenant=True
    )
    def history(self, call: Call, name: str) -> HistoryShown:
        """Shows what is known of a delivery or a message, also of one that is gone.

        404: nothing is. Of a message to many recipients the first 5,000 events are shown, and as many of a delivery.
        """
        queue_id, seq = parse_name(name) or ("", None)
        told = self._store.history(queue_id, seq, _STEPS) if queue_id else []
        found = [one for one in told if _is_theirs(call.caller, one)]
        if not found:
            raise failure(404, "Nothing is known of it")
        events, more = [shape(one) for one in found], len(told) == _STEPS
        if seq is None:
            return HistoryShown(name, events, more)
        try:
            dialogue = shown(self._store.dialogue(queue_id, seq))
        except Unreadable as error:
            raise failure(500, f"The dialogue can't be read: {error}") from None
        return HistoryShown(name, events, more, msgspec.convert(dialogue, list[LineSaid]))

    @operation(
        "GET", "/v1/history", scope=Scope.READ, tag="events", query=HistoryQuery, answer=FoundList, by_tenant=True
    )
    async def search(self, call: Call) -> FoundList:
        """Finds mail by its Message-ID, its sender, its recipient, when it was queued, or several of these.

        Also mail that is gone. The latest day comes first. Up to 20,000 names, or events where only a time is named,
        are looked through for one answer; `more`: there may be others.
        """
        query: HistoryQuery = call.query
        wanted = {kind: value for name, kind in _SOUGHT.items() if (value := getattr(query, name))}
        if not (wanted or query.since or query.until):
            raise wrong("recipient", "expected some of message_id, sender, recipient, since, until")
        now = self._now()
        since = query.since or now - self._keep
        # A clock may have been set back since.
        until = min(query.until or now, now + _DAY)
        found: list[Found] = []
        slices, more = Slices(self._clock), False
        for looked, name in enumerate(candidates(self._store, wanted, since, until, _LOOKED + 1)):
            if more := looked == _LOOKED:
                break
            await slices.breathe()
            parsed = parse_name(name) if name else None
            ends = self._store.ends(*parsed, _STEPS) if parsed else None
            if ends is None or not name:
                continue
            first = ends[0].event
            # What is another's doesn't count, not even as one more.
            if since <= first.time <= until and fits(first, wanted) and _is_theirs(call.caller, *ends):
                if more := len(found) == query.limit:
                    break
                found.append(Found(name, shape(ends[0]), shape(ends[1])))
        return FoundList(found, more)


def _is_theirs(caller: Caller, *told: Numbered) -> bool:
    return not caller.tenant or all(one.event.tenant == caller.tenant for one in told)


def _kinds(names: list[str]) -> frozenset[str]:
    """Raises Problem."""
    kinds = frozenset(names)
    for kind in sorted(kinds - KINDS):
        raise wrong("kind", f"unknown kind {plain.shown(kind[:40])}; expected some of " + ", ".join(sorted(KINDS)))
    return kinds
