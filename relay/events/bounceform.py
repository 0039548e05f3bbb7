"""One bounce as ZoneMTA reports it: a form. Pure."""

from __future__ import annotations

from urllib.parse import urlencode

from relay.message.event import Event

#: What is told: a host has refused it for good, or the retries are over.
KINDS = frozenset({"bounced", "expired"})
TYPE = "application/x-www-form-urlencoded"


def wanted(event: Event) -> bool:
    """Whether it is reported: automatic mail, and what is about it, isn't."""
    return event.kind in KINDS and not event.unreported


def form(event: Event) -> bytes:
    """ZoneMTA's fields, `fbl` where the message has one, then what the rules make of it."""
    fields = {
        "id": event.id,
        "to": event.recipient,
        "seq": f"{event.seq:03x}",
        "returnPath": event.sender,
        "category": event.category or "other",
        "time": str(event.time),
        "response": event.reply or event.reason,
    }
    if event.fbl:
        fields["fbl"] = event.fbl
    fields |= {"action": event.action or "reject", "message": event.reason, "status": event.status}
    return urlencode(fields).encode("ascii")
