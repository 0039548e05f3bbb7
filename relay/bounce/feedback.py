"""A complaint by a feedback loop (RFC 5965), and what is left in it of the mail that it is about. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.message import Message
from email.parser import BytesHeaderParser

from relay.bounce.mailtext import clean, field
from relay.bounce.returned import Kind, Original
from relay.bounce.statusreport import address

#: What each type of feedback is; "not-spam" and reports about what was authenticated complain about nothing.
_KINDS = {
    "abuse": Kind.COMPLAINT, "fraud": Kind.COMPLAINT, "virus": Kind.COMPLAINT, "other": Kind.COMPLAINT,
    "miscategorized": Kind.UNKNOWN, "not-spam": Kind.UNKNOWN, "auth-failure": Kind.UNKNOWN,
    "opt-out": Kind.WISH, "opt-out-list": Kind.WISH,
}  # fmt: skip
#: Fields of one name that are looked at, and ids in all of them.
_MOST = 20
#: A list of places to unsubscribe at may be long.
_LIST = 2000
_id = re.compile(r"\bid ([0-9a-f]{18}\.[0-9a-f]{3,6})(?![0-9a-f])", re.ASCII).search


def kind(report: Message) -> tuple[Kind, str]:
    """Of a part of the type message/feedback-report, with what it calls itself."""
    said = field(_fields(report), "Feedback-Type").lower()
    return _KINDS.get(said, Kind.UNKNOWN), said or "feedback of no type"


def original(parts: Iterable[Message]) -> Original:
    """What parts of a report say of the mail that it is about."""
    message_id, recipient = "", ""
    senders: list[str] = []
    received: list[str] = []
    for part in parts:
        kind, inner = part.get_content_type(), part
        if kind == "message/feedback-report":
            inner = _fields(part)
            senders.append(field(inner, "Original-Mail-From"))
            recipient = recipient or address(field(inner, "Original-Rcpt-To"))
            continue
        if kind == "message/rfc822":
            inner = _fields(part)
        elif kind == "text/rfc822-headers":
            payload = part.get_payload(decode=True)
            inner = BytesHeaderParser().parsebytes(payload.lstrip() if isinstance(payload, bytes) else b"")
        else:
            continue
        message_id = message_id or field(inner, "Message-ID")
        # Some name the recipient in a field of their own where the standard has none.
        recipient = recipient or address(field(inner, "X-HmXmrOriginalRecipient"))
        for name in ("Return-Path", "List-Unsubscribe"):
            senders.append(field(inner, name, _LIST))
        for line in inner.get_all("Received", [])[:_MOST]:
            found = _id(clean(str(line)))
            if found is not None:
                received.append(found[1])
    return Original(message_id, tuple(filter(None, senders)), recipient, tuple(received[:_MOST]))


def _fields(part: Message) -> Message:
    """The fields of a part that is itself a mail, or looks like one."""
    inner = part.get_payload(0) if part.is_multipart() else part
    return inner if isinstance(inner, Message) else part
