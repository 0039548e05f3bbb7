"""The header as it is stored: what is missing added, what steers the relay taken out (docs/headers.md).

A header that needs nothing stays the same bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from os import urandom
from typing import NamedTuple

from relay.message import tls_asked
from relay.message.date import date_of, parse_date
from relay.message.envelope import Recipient
from relay.message.headers import HeaderBlock, Span, field_names
from relay.message.longlines import folded

#: Fields that are for us, or that only the last relay may write: they never leave.
PRIVATE = (
    "Bcc", "Resent-Bcc", "Return-Path", "X-Sending-Zone", "X-Sending-Priority", tls_asked.ASKED, "X-Idempotency-Key",
    "X-Sending-Tags",
)  # fmt: skip

_special = field_names(*PRIVATE, "X-Originating-IP", "X-FBL", tls_asked.REQUIRED)
_TLS_ASKED, _TLS_REQUIRED = tls_asked.ASKED.lower().encode(), tls_asked.REQUIRED.lower().encode()
_content = field_names("Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "Content-ID")
_EARLIEST_DATE_MS = 1000
_MOST = 998


class Fitted(NamedTuple):
    """A header fit to be stored, and what it said.

    `date` is the client's Date in ms since the epoch, 0 when there was none to be made out. `keys`
    are the values of X-Idempotency-Key; `fbl` is that of X-FBL, `message_id` the Message-ID, both
    cut to a bounded length. `tags` are the values of X-Sending-Tags, `tls` those of X-Sending-TLS,
    `tls_required` those of TLS-Required.
    """

    header: bytes
    message_id: str
    date: int
    fbl: str
    keys: tuple[str, ...]
    tls: tuple[str, ...] = ()
    tls_required: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


def _unique() -> str:
    """A random UUID (RFC 9562 5.4), in a third of the time that uuid.uuid4 takes."""
    digits = urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def fitted(
    block: HeaderBlock,
    *,
    sender: str,
    recipients: Sequence[Recipient],
    hostname: str,
    client: str,
    add: Collection[str],
    now: int,
) -> Fitted:
    """The block fit to be stored.

    Args:
        sender: the envelope's, "" for the null sender.
        hostname: stands in where the sender has no domain.
        client: where the mail comes from, for X-Originating-IP; "" leaves that field as it is.
        add: which fields are added where they are missing, empty or (Date) no date: message-id,
            date, from, to, mime-version (RFC 5322 3.6, RFC 2045 4).
        now: ms since the epoch.

    Raises:
        LineTooLong: a line can't be folded.
    """
    gone: list[Span] = []
    keys: list[str] = []
    tls: list[str] = []
    tls_required: list[str] = []
    tags: list[str] = []
    fbl = ""
    if _special.search(block.lower) is not None:
        for name, span in block.find(_special):
            if name == b"x-fbl":
                fbl = fbl or block.value(span)[:_MOST]
            elif name == _TLS_REQUIRED:
                tls_required.append(block.value(span))
            elif client or name != b"x-originating-ip":
                gone.append(span)
                if name == b"x-idempotency-key":
                    keys.append(block.value(span))
                elif name == _TLS_ASKED:
                    tls.append(block.value(span))
                elif name == b"x-sending-tags":
                    tags.append(block.value(span))
    above = f"X-Originating-IP: [{client}]\r\n".encode() if client else b""
    below = b""
    if "to" in add and not block.get("To"):
        gone += block.spans("To")
        to = recipients[0].address if len(recipients) == 1 else "undisclosed-recipients:;"
        above = f"To: {to}\r\n".encode() + above
    if "from" in add and not block.get("From"):
        gone += block.spans("From")
        above = f"From: {sender or 'unknown@' + hostname}\r\n".encode() + above
    named = block.get("Message-ID")
    message_id = named or ""
    if not message_id and "message-id" in add:
        gone += () if named is None else block.spans("Message-ID")
        message_id = f"<{_unique()}@{sender.rpartition('@')[2] or hostname}>"
        above = f"Message-ID: {message_id}\r\n".encode() + above
    said = block.get("Date")
    date = (parse_date(said) or 0) if said else 0
    if date < _EARLIEST_DATE_MS:
        date = 0
        if "date" in add:
            gone += () if said is None else block.spans("Date")
            above = f"Date: {date_of(now)}\r\n".encode() + above
    if "mime-version" in add and block.get("MIME-Version") is None and block.find(_content):
        below = b"MIME-Version: 1.0\r\n"
    raw = block.raw
    if gone:
        raw = block.cut(sorted(gone))
    if above or below:
        raw = above + raw + below
    return Fitted(
        folded(raw), message_id[:_MOST], date, fbl, tuple(keys), tuple(tls), tuple(tls_required), tuple(tags)
    )
