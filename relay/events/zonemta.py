"""Events as ZoneMTA tells them to a remote log: a msgpack map for each, by its names. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec

from relay.message.event import Event, Numbered

#: Where it listens by default.
PORT = 31239
#: Of a reply no more is told (characters).
_LONGEST = 312
_ACTIONS = {
    "queued": "QUEUED",
    "delivered": "ACCEPTED",
    "deferred": "DEFERRED",
    "bounced": "REJECTED",
    "expired": "REJECTED",
    "dropped": "DROP",
    "suppressed": "DROP",
    "deleted": "DELETED",
    "notified": "QUEUE_BOUNCE",
}
_encode = msgspec.msgpack.Encoder().encode
_tls = re.compile(r"(TLSv?[0-9.]+) ([A-Za-z0-9_-]+)(?: (.*))?").match


def datagram(numbered: Numbered) -> bytes:
    """One event. What has no name there is told by its kind in capitals."""
    event = numbered.event
    fields: dict[str, object] = {"id": event.id}
    if event.seq:
        fields["seq"] = f"{event.seq:03x}"
    fields["action"] = _ACTIONS.get(event.kind) or event.kind.upper().replace("-", "_")
    fields |= _TOLD.get(event.kind, _otherwise)(event)
    return _encode({name: value for name, value in fields.items() if value not in ("", None)})


def _queued(event: Event) -> dict[str, object]:
    return {
        "message-id": event.message_id,
        "from": event.sender,
        "to": ",".join(event.to),
        "body": event.size,
        "user": event.user,
    }


def _attempt(event: Event) -> dict[str, object]:
    took = round(event.seconds * 1000)
    fields: dict[str, object] = {
        "zone": event.zone,
        "from": event.sender,
        "returnPath": event.sender,
        "to": event.recipient,
        "mx": event.host,
        "host": event.host_address,
        "ip": event.local_address,
        "response": event.reply[:_LONGEST],
        "size": event.size,
        "timer": took,
        "start": event.time - took,
        "messageId": event.message_id,
        "secure": bool(event.tls),
        "tls": bool(event.tls),
    }
    if match := _tls(event.tls):
        fields |= {"tlsVersion": match[1], "tlsCipher": match[2], "tlsAuthorized": (match[3] or "").startswith(_PROVEN)}
    return fields


def _deferred(event: Event) -> dict[str, object]:
    return _rejected(event) | {"defcount": event.attempts, "nextattempt": event.due}


def _rejected(event: Event) -> dict[str, object]:
    return {"category": event.category or "other"} | _attempt(event)


def _dropped(event: Event) -> dict[str, object]:
    text = event.reason or event.kind
    return {"zone": event.zone, "to": event.recipient, "description": text, "responseText": event.reply[:_LONGEST]}


def _deleted(event: Event) -> dict[str, object]:
    return {"zone": event.zone, "to": event.recipient, "reason": event.reason or "deleted"}


def _notified(event: Event) -> dict[str, object]:
    return {
        "queued": "yes",
        "bounceType": {"delay": "delayed"}.get(event.what, event.what),
        "bounceId": event.about,
        "from": event.sender,
        "to": event.recipient,
    }


def _otherwise(event: Event) -> dict[str, object]:
    return {
        "zone": event.zone,
        "from": event.sender,
        "to": event.recipient,
        "category": event.category,
        "what": event.what,
        "about": event.about,
        "reason": event.reason,
    }


#: Words for the worth of a certificate that somebody vouches for.
_PROVEN = ("verified", "dane")
_TOLD: Mapping[str, Callable[[Event], dict[str, object]]] = {
    "queued": _queued,
    "delivered": _attempt,
    "deferred": _deferred,
    "bounced": _rejected,
    "expired": _rejected,
    "dropped": _dropped,
    "suppressed": _dropped,
    "deleted": _deleted,
    "notified": _notified,
}
