"""The mail that tells a sender what became of a message: a delivery status notification (RFC 3461, 3464, 6522, 6533).

The original may hold anything, and so may what a host says of it. The notice is a valid message of bounded size all the
same. Pure.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import NamedTuple

from relay.bounce import recipient, words
from relay.bounce.fate import Fate
from relay.bounce.parts import in_header, joined, one_line, part
from relay.bounce.quoting import header_of, is_clean
from relay.message.date import date_of
from relay.message.values import Delivery, Message

_SUBJECT = {"failed": "Failure", "delayed": "Delay", "relayed": "Relayed", "delivered": "Delivered"}
#: An id that others go by; what is none would only harm there.
_message_id = re.compile(r"<[!-;=?-~]{1,250}>").fullmatch
_name = re.compile(r"[A-Za-z0-9._-]{1,255}").fullmatch


class Author(NamedTuple):
    """Who tells it: the name of the relay, and the value of From."""

    hostname: str
    mailer_daemon: str


def speaks_utf8(message: Message) -> bool:
    """Whether its notices are for those who can read UTF-8 everywhere, and have to: their address has it."""
    return not message.sender.isascii()


def notice(
    fate: Fate, message: Message, delivery: Delivery, author: Author, now: int, body: bytes | None = None
) -> bytes:
    """The whole text with CRLF line ends; Date and Message-ID are added where mail is taken.

    Args:
        now: ms since the epoch.
        body: that of the message, when it is to be returned in full; else its header is.
    """
    utf8 = speaks_utf8(message)
    boundary, parts = joined(
        (
            _notification(fate, message, delivery, author, utf8),
            _report(fate, message, delivery, author, now, utf8),
            _returned(message, body, utf8),
        )
    )
    to = one_line(delivery.recipient)
    head = [
        f"From: {author.mailer_daemon}",
        f"To: <{one_line(message.sender)}>",
        f"Subject: {in_header(f'Delivery Status Notification ({_SUBJECT[fate.action]}: {to})', utf8)}",
        "Auto-Submitted: auto-replied",
    ]
    if fate.kind == "failure":
        head.append(f"X-Failed-Recipients: {in_header(to, utf8)}")
    if _message_id(message.message_id):
        head += (f"In-Reply-To: {message.message_id}", f"References: {message.message_id}")
    head += (
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status; boundary="{boundary}"',
        "",
        "",
    )
    return "\r\n".join(head).encode() + parts


def _notification(fate: Fate, message: Message, delivery: Delivery, author: Author, utf8: bool) -> bytes:
    """For people."""
    text = "\r\n".join(words.said_to_people(fate, message, delivery, author.hostname)).encode()
    charset = "us-ascii" if text.isascii() else "utf-8"
    return part(f"text/plain; charset={charset}", "Notification", text, utf8)


def _report(fate: Fate, message: Message, delivery: Delivery, author: Author, now: int, utf8: bool) -> bytes:
    """For programs. The fields of the message with an X are ZoneMTA's."""
    fields = [
        ("Original-Envelope-Id", recipient.envelope_id(message.envid)),
        ("Reporting-MTA", f"dns; {author.hostname}"),
        ("X-ZoneMTA-Queue-ID", message.id),
        ("X-ZoneMTA-Sender", recipient.final(message.sender, utf8)),
        ("Arrival-Date", date_of(message.created)),
        ("", ""),
        ("Original-Recipient", recipient.original(delivery.orcpt)),
        ("Final-Recipient", recipient.final(delivery.recipient, utf8)),
        ("Action", fate.action),
        ("Status", fate.status),
        ("Remote-MTA", _remote(fate.host)),
        ("Diagnostic-Code", _diagnostic(fate, utf8)),
        ("Last-Attempt-Date", date_of(now)),
        ("Final-Log-ID", delivery.name),
        ("Will-Retry-Until", date_of(fate.until) if fate.until else ""),
    ]
    lines = [f"{name}: {value}\r\n" if name else "\r\n" for name, value in fields if value or not name]
    kind = "message/global-delivery-status" if utf8 else "message/delivery-status"
    return part(kind, "Delivery report", "".join(lines).encode(), utf8)


def _returned(message: Message, body: bytes | None, utf8: bool) -> bytes:
    """The message, or its header."""
    if body is not None:
        whole = message.headers + b"\r\n" + body
        if is_clean(whole):
            kind = "message/rfc822" if message.headers.isascii() else "message/global"
            return part(kind, "Undelivered Message", whole, True)
    header = header_of(message)
    if utf8:
        header = header.decode("utf-8", "replace").encode()
    kind = "message/global-headers" if utf8 else "text/rfc822-headers"
    return part(kind, "Undelivered Message Headers", header, utf8)


def _remote(host: str) -> str:
    """A host with its type; "" where it is neither a name nor an address."""
    try:
        literal = ip_address(host)
    except ValueError:
        return f"dns; {host}" if _name(host) else ""
    return f"dns; [{'IPv6:' if literal.version == 6 else ''}{literal}]"


def _diagnostic(fate: Fate, utf8: bool) -> str:
    if not fate.reply:
        return ""
    text = one_line(fate.reply)
    return f"{'smtp' if fate.spoken else 'x-zonerelay'}; {text if utf8 else text.encode('ascii', 'replace').decode()}"
