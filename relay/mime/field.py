"""Fields of a header, folded where they have a blank (RFC 5322 2.2.3) and nowhere else. Pure."""

from __future__ import annotations

import re

from relay.mime.unfit import Unfit, one_line
from relay.mime.words import encoded

#: Bytes of a line that should do, and that have to (RFC 5322 2.1.1); without CRLF.
SHORT, LONG = 78, 998

_is_name = re.compile(r"[!-9;-~]{1,76}").fullmatch
_pieces = re.compile(r"[ \t]+[^ \t]+").findall
#: Fields that programs read: never an encoded word in them.
_STRUCTURED = frozenset((
    "authentication-results", "auto-submitted", "autocrypt", "date", "delivered-to", "dkim-signature", "feedback-id",
    "importance", "in-reply-to", "message-id", "mime-version", "precedence", "priority", "received", "references",
    "resent-date", "resent-message-id", "return-path", "tls-required", "x-fbl", "x-idempotency-key",
    "x-msmail-priority", "x-originating-ip", "x-priority", "x-sending-priority", "x-sending-tls", "x-sending-zone",
))  # fmt: skip
_UNSTRUCTURED = frozenset(("content-description", "list-name"))


def is_structured(name: str) -> bool:
    """Whether a field, by its name in lower case, is one that programs take apart."""
    return name in _STRUCTURED or (name.startswith(("list-", "content-", "arc-")) and name not in _UNSTRUCTURED)


def check_name(field: str, name: str) -> str:
    """A field name (RFC 5322 3.6.8). Raises Unfit."""
    if not _is_name(name):
        raise Unfit(field, "expected the name of a header: printable ASCII without blanks and colons")
    return name


def unstructured(field: str, name: str, text: str) -> str:
    """A field of text for people, whatever it is written in. Raises Unfit."""
    text = one_line(field, text)
    # A word that is too long for a line can go on in the next one only if it is encoded.
    longest = LONG - len(name) - 2
    if not text.isascii() or (len(text) > longest and max(map(len, text.split()), default=0) > longest):
        text = encoded(text, len(name) + 2)
    return folded(field, name, text)


def structured(field: str, name: str, text: str) -> str:
    """A field for programs. Raises Unfit: it is not ASCII, or has no blank for too long."""
    text = one_line(field, text)
    if not text.isascii():
        raise Unfit(field, f"expected ASCII: {name} can't have anything else")
    return folded(field, name, text)


def folded(field: str, name: str, text: str) -> str:
    """The lines of a field whose value is fit, each with its CRLF; "" for one that is empty.

    Lines end at blanks that `text` has, which stay; before the first one only where there is no other way. Unfolded
    the value is what it was.
    """
    if not text:
        return ""
    if len(name) + 2 + len(text) <= SHORT and text.isascii() and text[-1] not in " \t":
        return f"{name}: {text}\r\n"
    lines: list[str] = []
    line, size, begun = f"{name}:", len(name) + 1, False
    for piece in _pieces(" " + text):
        more = len(piece.encode())
        if size + more > (SHORT if begun else LONG):
            lines.append(line)
            line, size = "", 0
            if more > LONG:
                raise Unfit(field, f"longer than {LONG} bytes without a blank to fold it at")
        line += piece
        size += more
        begun = True
    return "\r\n".join((*lines, line, "")) if begun else ""
