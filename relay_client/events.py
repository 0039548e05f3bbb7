"""What has happened, and what happens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from relay_client.ask import Ask, Listing, get
from relay_client.edge import E, Group, asks, follows, lists
from relay_client.sse import Stream


class Event(Struct, frozen=True, kw_only=True):
    """One step of the way of a message (docs/events.md of the relay). "", 0: not known, or doesn't apply. `time` and
    `due` are milliseconds since the epoch."""

    number: int
    kind: str
    time: int
    id: str = ""
    seq: int = 0
    zone: str = ""
    sender: str = ""
    recipient: str = ""
    host: str = ""
    host_address: str = ""
    local_address: str = ""
    code: int = 0
    status: str = ""
    reply: str = ""
    stage: str = ""
    category: str = ""
    action: str = ""
    fault: str = ""
    tls: str = ""
    attempts: int = 0
    seconds: float = 0.0
    due: int = 0
    size: int = 0
    user: str = ""
    message_id: str = ""
    fbl: str = ""
    reason: str = ""
    site: str = ""
    recipients: int = 0
    to: tuple[str, ...] = ()
    about: str = ""
    what: str = ""
    tenant: str = ""
    tags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the delivery, or of the message where it is about all of it."""
        return f"{self.id}.{self.seq:03x}" if self.seq else self.id

    @property
    def when(self) -> datetime:
        return datetime.fromtimestamp(self.time / 1000, UTC)


class Missed(Struct, frozen=True, kw_only=True):
    """Events up to that number are forgotten, and weren't told."""

    until: int


class Standing(Struct, frozen=True, kw_only=True):
    """How the relay stands: `totals` since its start, `rates` a second (None: the first), deliveries by zone, open
    connections by state."""

    time: datetime
    totals: dict[str, int]
    rates: dict[str, float] | None
    queue: dict[str, dict[str, int]]
    connections: dict[str, int]


class EventPage(Struct, frozen=True, kw_only=True):
    """The oldest first. Those to come are behind `next`; `missed`: some in between are forgotten."""

    events: tuple[Event, ...]
    next: int
    missed: bool


class Line(Struct, frozen=True, kw_only=True):
    """A line of a conversation: `who` is "host", "relay", or ""; `time` in ms since the epoch."""

    time: int
    who: str
    text: str


class History(Struct, frozen=True, kw_only=True):
    """All that is known of a delivery or a message, and the dialogue of the last failure."""

    name: str
    events: tuple[Event, ...]
    dialogue: tuple[Line, ...] = ()


class Found(Struct, frozen=True, kw_only=True):
    """A delivery or a message, with its first and its last event."""

    name: str
    first: Event
    last: Event


class FoundPage(Struct, frozen=True, kw_only=True):
    """The latest day first; `more`: there may be others."""

    found: tuple[Found, ...]
    more: bool


class Events(Group[E]):
    """Events and what they tell of mail that is gone."""

    @asks
    def page(self, *, after: int | None = None, kind: Sequence[str] = (), limit: int = 100) -> Ask[EventPage]:
        """The latest, or those behind a number: for a program that keeps the `next` of the page before."""
        return get("/v1/events", EventPage, query={"after": after, "kind": list(kind), "limit": limit})

    @lists
    def all(self, *, after: int = 0, kind: Sequence[str] = ()) -> Listing[Event]:
        """Those behind a number, up to now.

            >>> for event in relay.events.all(after=cursor, kind=["bounced", "complaint"]):
            ...     print(event.when, event.name, event.reply)
        """
        first = get("/v1/events", EventPage, query={"after": after, "kind": list(kind), "limit": 1000})
        return Listing(first, lambda told: told.events, _further)

    @follows
    def live(self, *, after: int | None = None, kind: Sequence[str] = ()) -> Stream[Event | Missed]:
        """Those behind a number, or those to come, as they happen. When the connection ends it goes on behind the last
        one that came, also over a restart of the relay.

            >>> for event in relay.events.live(kind=["bounced"]):
            ...     print(event)
        """
        ask = get("/v1/stream", bytes, query={"after": after, "kind": list(kind)})
        return Stream(ask, {"event": Event, "missed": Missed})

    @follows
    def standings(self, *, seconds: int = 1) -> Stream[Standing]:
        """How the relay stands, each so many seconds."""
        return Stream(
            get("/v1/stream", bytes, query={"events": False, "counters": seconds}), {"counters": Standing}
        )

    @asks
    def history(self, name: str) -> Ask[History]:
        """All that is known of a delivery, `id.seq`, or of a message."""
        return get("/v1/history/{name}", History, name)

    @asks
    def search(
        self,
        *,
        message_id: str | None = None,
        sender: str | None = None,
        recipient: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
    ) -> Ask[FoundPage]:
        """Mail by all that is given, also when it is gone.

            >>> for found in relay.events.search(recipient="you@example.org").found:
            ...     print(found.name, found.last.kind)
        """
        query = {"message_id": message_id, "sender": sender, "recipient": recipient, "limit": limit}
        return get("/v1/history", FoundPage, query={**query, "since": _ms(since), "until": _ms(until)})


def _further(ask: Ask[Any], told: EventPage) -> Ask[Any] | None:
    after = dict(ask.query).get("after", "0")
    return ask.but(after=told.next) if told.next > int(after) else None


def _ms(when: datetime | None) -> int | None:
    """Raises ValueError: without its offset from UTC."""
    if when is not None and when.tzinfo is None:
        raise ValueError(f"expected a time with its offset from UTC, got {when}")
    return None if when is None else round(when.timestamp() * 1000)
