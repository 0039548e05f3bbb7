"""The text of a mail from a stranger, read within bounds: Python's parser alone would take minutes for some. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesParser

#: Of a text so much is read: octets, lines, and fields that may begin another part.
READ, LINES, PARTS = 256 * 1024, 10_000, 40
_LONGEST = 500
#: So much of a field that begins another part (octets): Python looks through all of it once for each of its signs.
_LONGEST_TYPE = 2000

_type = re.compile(rb"^[ \t]*content-type[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*", re.IGNORECASE | re.MULTILINE).sub
_part = re.compile(rb"^[ \t]*content-type[ \t]*:", re.IGNORECASE | re.MULTILINE).finditer
#: What says in UTF-8 what others say in ASCII (RFC 6533), by the names Python knows.
_global = re.compile(rb"message/global(-delivery-status|-headers)?(?![a-z-])", re.IGNORECASE).sub
_PLAIN = {b"-delivery-status": b"message/delivery-status", b"-headers": b"text/rfc822-headers", b"": b"message/rfc822"}


def parsed(text: bytes) -> Message:
    """A mail, as far as it is read. Raises whatever Python's parser does: it may be anything."""
    return BytesParser().parsebytes(bounded(text))


def bounded(text: bytes) -> bytes:
    """The beginning that is read."""
    # For Python a CR ends a line.
    text = text[:READ].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines = text.split(b"\n", LINES)
    if len(lines) > LINES:
        text = b"\n".join(lines[:LINES])
    text = _type(lambda found: found[0][:_LONGEST_TYPE], text)
    for number, found in enumerate(_part(text)):
        if number == PARTS:
            text = text[: found.start()]
            break
    return _global(lambda found: _PLAIN[(found[1] or b"").lower()], text)


def leaves(mail: Message) -> Iterator[Message]:
    """The parts that say something. What is inside mails that are parts is not among them: another has said that."""
    if mail.get_content_maintype() != "multipart" or not mail.is_multipart():
        yield mail
        return
    for part in mail.get_payload():
        if isinstance(part, Message):
            yield from leaves(part)


def field(mail: Message, name: str, longest: int = _LONGEST) -> str:
    """The first field of that name, on one line, printable and cut; "" when there is none."""
    return clean(str(mail.get(name, "")), longest)


def clean(text: str, longest: int = _LONGEST) -> str:
    """On one line, printable, and cut."""
    # Undecodable octets are surrogates by now, which nobody can write.
    words = " ".join(text[: 4 * longest].split())[:longest]
    return words if words.isprintable() else "".join(one if one.isprintable() else "?" for one in words)


def words(part: Message) -> str:
    """The text of a part, decoded where that can be done."""
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    return payload.decode("utf-8", "replace")
