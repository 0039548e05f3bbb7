"""How a delivery looks in the answers of the API."""

from __future__ import annotations

import msgspec

from relay.http.answer import iso
from relay.message.queueid import time_of
from relay.message.values import Message
from relay.queue.filter import Found
from relay.queue.store import Store, Unreadable


class DeliveryShown(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery in the queue. `name` is `id.seq`; `taken` when its message began to come in, `due` when it may next be
    tried. `reason` is the category of its last failure and `last_reply` what was said then; `held` is why it is put
    aside. What is null isn't known, or doesn't apply."""

    name: str
    id: str
    seq: str
    state: str
    zone: str
    domain: str
    site: str | None
    sender: str | None
    recipient: str
    taken: str
    due: str
    attempts: int
    reason: str | None
    last_reply: str | None
    held: str | None
    size: int | None
    message_id: str | None
    tenant: str | None
    tags: tuple[str, ...]


def described(found: Found, store: Store) -> DeliveryShown:
    """What was found, as the API shows it."""
    row, message = found.row, found.message or _message(store, found.row.id)
    return DeliveryShown(
        name=row.name,
        id=row.id,
        seq=f"{row.seq:03x}",
        state=found.state.value,
        zone=row.zone,
        domain=row.domain,
        site=found.site or None,
        sender=message.sender if message is not None else None,
        recipient=row.recipient,
        taken=iso(time_of(row.id)),
        due=iso(row.due),
        attempts=row.attempts,
        reason=row.category or None,
        last_reply=row.response or None if row.attempts or row.first_failure else None,
        held=row.held or None,
        size=message.size if message is not None else None,
        message_id=message.message_id or None if message is not None else None,
        tenant=message.tenant or None if message is not None else None,
        tags=message.tags if message is not None else (),
    )


def _message(store: Store, queue_id: str) -> Message | None:
    try:
        return store.message(queue_id)
    except Unreadable:
        return None
