"""Events as ZoneMTA tells them to a remote log: a msgpack map for each, by its names. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from relay.events.oldpack import Plain, packed
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
#: Said of what isn't there, of who gets no mail, and of what an operator has struck off.
_NOTHING = "<>"
_ON_THE_LIST = "Recipient was found from suppression list"
_DELETED = "Deletion requested from API"

#: None: there is no such field.
Fields = dict[str, Plain | None]

_tls = re.compile(r"(TLSv?[0-9.]+) ([A-Za-z0-9_-]+)(?: (.*))?").match


def datagram(numbered: Numbered) -> bytes:
    """One event. What has no name there is told by its kind in capitals."""
    event = numbered.event
    fields: Fields = {"id": event.id or None}
    if event.seq:
        fields["seq"] = f"{event.seq:03x}"
    fields["action"] = _ACTIONS.get(event.kind) or event.kind.upper().replace("-", "_")
    fields |= _TOLD.get(event.kind, _otherwise)(event)
    return packed({name: value for name, value in fields.items() if value is not None})


def _queued(event: Event) -> Fields:
    ours = event.transport == "LOCAL"
    unnamed = f"[{event.client}]" if event.helo and not ours else None
    return {
        "message-id": event.message_id or _NOTHING,
        "from": event.sender or _NOTHING,
        "to": ",".join(event.to) or _NOTHING,
        "src": None if ours else event.client or None,
        "subject": event.subject,
        "body": event.body_size,
        "interface": event.listener or None,
        "originhost": event.client_host or unnamed,
        "transhost": None if ours else event.helo or None,
        "transtype": "HTTP" if ours else event.transport or None,
        "user": event.user or None,
        "headerFrom": event.header_from,
    }


def _attempt(event: Event) -> Fields:
    took = round(event.seconds * 1000)
    by_http = event.protocol == "http"
    fields: Fields = {
        "zone": event.zone,
        "from": event.sender,
        "returnPath": event.return_path or event.sender,
        "to": event.recipient,
        "mx": event.host or event.recipient.rpartition("@")[2],
        "host": event.host_address or None,
        "ip": event.local_address or None,
        "response": event.reply[:_LONGEST],
        "size": event.size,
        "timer": took,
        "start": event.time - took,
        "messageId": event.message_id or event.id,
        "secure": bool(event.tls),
        "tls": bool(event.tls),
        "tlsVersion": False,
        "tlsAuthorized": False,
        "protocol": event.protocol or None,
        "httpResponse": event.code if by_http and event.code else None,
    }
    if match := _tls(event.tls):
        worth = match[3] or ""
        proven = worth.startswith(_PROVEN)
        fields |= {"tlsVersion": match[1], "tlsCipher": match[2], "tlsAuthorized": proven}
        if not proven:
            fields["tlsAuthorizationError"] = worth or None
    return fields


def _deferred(event: Event) -> Fields:
    return _rejected(event) | {"defcount": event.attempts, "nextattempt": event.due}


def _rejected(event: Event) -> Fields:
    return {"category": event.category or "other"} | _attempt(event)


def _dropped(event: Event) -> Fields:
    return {
        "zone": event.zone or None,
        "from": event.sender,
        "to": event.recipient,
        "description": event.reason or event.kind,
        "responseText": event.reply[:_LONGEST] or None,
    }


def _suppressed(event: Event) -> Fields:
    what = "suppressed address" if "@" in event.about else "suppressed domain"
    told: Fields = {"reason": _ON_THE_LIST, "recipient": event.recipient, what: event.about or None}
    return _dropped(event) | told


def _deleted(event: Event) -> Fields:
    return {"zone": event.zone, "to": event.recipient, "reason": event.reason or _DELETED}


def _notified(event: Event) -> Fields:
    return {
        "queued": "yes",
        "bounceType": {"delay": "delayed"}.get(event.what, event.what),
        "bounceId": event.about,
        "from": event.sender,
        "to": event.recipient,
    }


def _otherwise(event: Event) -> Fields:
    return {
        "zone": event.zone or None,
        "from": event.sender or None,
        "to": event.recipient or None,
        "category": event.category or None,
        "what": event.what or None,
        "about": event.about or None,
        "reason": event.reason or None,
    }


#: Words for the worth of a certificate that somebody vouches for.
_PROVEN = ("verified", "dane")
_TOLD: Mapping[str, Callable[[Event], Fields]] = {
    "queued": _queued,
    "delivered": _attempt,
    "deferred": _deferred,
    "bounced": _rejected,
    "expired": _rejected,
    "dropped": _dropped,
    "suppressed": _suppressed,
    "deleted": _deleted,
    "notified": _notified,
}
