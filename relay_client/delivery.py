"""Messages and deliveries in the queue, as they are told of."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from relay_client.events import Event, Line


class Delivery(Struct, frozen=True, kw_only=True):
    """A delivery in the queue; `name` is `id.seq`. None: not known, or doesn't apply. `taken` is when its message came
    in, `due` when it may next be tried, `reason` the category of its last failure, `held` why it is put aside."""

    name: str
    id: str
    seq: str
    state: str
    zone: str
    domain: str
    site: str | None
    sender: str | None
    recipient: str
    taken: datetime
    due: datetime
    attempts: int
    reason: str | None
    last_reply: str | None
    held: str | None
    size: int | None
    message_id: str | None
    tenant: str | None
    tags: tuple[str, ...]


class Wait(Struct, frozen=True, kw_only=True):
    """What a delivery waits for: `limit` says it for people, `freed_by` what would end it; `until` None: not by time
    alone."""

    kind: str
    limit: str
    since: datetime | None
    until: datetime | None
    freed_by: str


class Why(Struct, frozen=True, kw_only=True):
    """A delivery and the one thing that it waits for. `next_try` None: it is due."""

    id: str
    seq: str
    recipient: str
    zone: str
    domain: str
    site: str | None
    user: str | None
    priority: str
    state: str
    due: datetime
    next_try: datetime | None
    attempts: int
    last_reply: str | None
    category: str | None
    meaning: str | None
    fault: str | None
    before: int | None
    waits_for: Wait


class Origin(Struct, frozen=True, kw_only=True):
    """Where a message came from: by which listener, from whom, how."""

    listener: str
    address: str
    host: str
    helo: str
    transport: str
    user: str
    tls: str


class Stored(Struct, frozen=True, kw_only=True):
    """A message in the queue. `recipients` is how many it had, `deliveries` the first hundred that haven't ended;
    `more`: there are others."""

    id: str
    sender: str
    message_id: str
    taken: datetime
    size: int
    header_size: int
    body_size: int
    recipients: int
    tenant: str | None
    tags: tuple[str, ...]
    metadata: dict[str, str]
    origin: Origin
    deliveries: tuple[Delivery, ...]
    more: bool


class HeaderField(Struct, frozen=True, kw_only=True):
    """Its value on one line."""

    name: str
    value: str


class Header(Struct, frozen=True, kw_only=True):
    """The header of a message, in its order."""

    id: str
    fields: tuple[HeaderField, ...]


class Whole(Struct, frozen=True, kw_only=True):
    """All that is known of a delivery; `delivery` and `why` are None when it has ended."""

    name: str
    delivery: Delivery | None
    why: Why | None
    events: tuple[Event, ...]
    dialogue: tuple[Line, ...]
