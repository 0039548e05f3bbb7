"""What a notice quotes of the message it is about (RFC 6522 3). Anything may stand there, so all of it is cut. Pure."""

from __future__ import annotations

import re

from relay.message.headers import HeaderBlock
from relay.message.longlines import LIMIT
from relay.message.values import Message

#: Of a header so much is quoted, and so much of a field (bytes).
MOST = 32 * 1024
_FIELD = 2000
_CUT = b" [cut]"
#: Of a message that may not travel without TLS a notice has what it is found again by, and nothing else (RFC 8689 5).
_FEW = ("Date", "Message-ID")

_field_ends = re.compile(rb"\r\n(?![ \t])").split
#: What may stand in no mail: control characters, and a CR or LF without the other.
_STRAY = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n")
_long_line = re.compile(rb"[^\n]{%d}" % (LIMIT + 2)).search


def header_of(message: Message) -> bytes:
    """Fields of its header in their order, each with its CRLF: `MOST` bytes of them, long ones cut, without control
    characters. May have bytes beyond ASCII, and long lines."""
    raw = message.headers
    if message.require_tls:
        block = HeaderBlock(raw)
        raw = b"".join(raw[span.start : span.end] for name in _FEW for span in block.spans(name)[:1])
    kept, room = [], MOST
    for field in _field_ends(raw):
        if not field.strip():
            continue
        quoted = _STRAY.sub(b"?", _shortened(field)) + b"\r\n"
        room -= len(quoted)
        if room < 0:
            break
        kept.append(quoted)
    return b"".join(kept)


def may_be_whole(message: Message, most: int) -> bool:
    """Whether the sender wants all of it back (RFC 3461 4.3), and it isn't too much, nor to be kept from others."""
    return message.ret == "FULL" and not message.require_tls and message.size <= most


def is_clean(text: bytes) -> bool:
    """Whether a message can stand as it is in another one (RFC 2046 5.2.1)."""
    return _STRAY.search(text) is None and not has_long_line(text)


def has_long_line(text: bytes) -> bool:
    """Whether it has a line that is too long for mail."""
    return _long_line(text) is not None


def _shortened(field: bytes) -> bytes:
    """The field, or its beginning: whole lines where that is not too little, and whole characters of UTF-8."""
    if len(field) <= _FIELD:
        return field
    end = _FIELD
    while end > _FIELD - 4 and field[end] & 0xC0 == 0x80:
        end -= 1
    return field[:end].rstrip() + _CUT
