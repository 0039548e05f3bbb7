"""The parts of a notice, each as it can travel (RFC 2045 6, RFC 6522 3). Pure."""

from __future__ import annotations

import hashlib
from binascii import b2a_qp
from collections.abc import Sequence
from email.header import Header

from relay.bounce.quoting import has_long_line

#: Longest text in a field of ours (bytes); what comes from outside is cut to it.
LONGEST = 900


def part(kind: str, description: str, text: bytes, eight_bit: bool) -> bytes:
    """One part with its header. Lines of `text` end with CRLF. What isn't fit for mail is quoted-printable;
    `eight_bit`: bytes beyond ASCII are."""
    encoding = "7bit" if text.isascii() else "8bit"
    if has_long_line(text) or (encoding == "8bit" and not eight_bit):
        encoding, text = "quoted-printable", b2a_qp(text, istext=True)
    fields = f"Content-Type: {kind}\r\nContent-Description: {description}\r\nContent-Transfer-Encoding: {encoding}\r\n"
    return fields.encode("ascii") + b"\r\n" + text


def joined(parts: Sequence[bytes]) -> tuple[str, bytes]:
    """A boundary, and the parts between such. It is made of what they say, so nobody can have written it into them."""
    digest = hashlib.sha256(b"".join(parts)).hexdigest()
    boundary = f"=_{digest[:32]}"
    line = f"--{boundary}".encode("ascii")
    pieces = [b"This is a multipart message in MIME format.\r\n"]
    for one in parts:
        pieces += (b"\r\n", line, b"\r\n", one)
    pieces += (b"\r\n", line, b"--\r\n")
    return boundary, b"".join(pieces)


def one_line(text: str) -> str:
    """A text from outside as it can stand in a field: printable, and not too long."""
    text = text[:LONGEST]
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if text.isascii() else text.encode()[:LONGEST].decode("utf-8", "ignore")


def in_header(text: str, utf8: bool) -> str:
    """A text as it stands in the value of a field, beyond ASCII in encoded words (RFC 2047) unless `utf8`."""
    text = one_line(text)
    return text if utf8 or text.isascii() else Header(text, "utf-8", maxlinelen=70).encode(linesep="\r\n")
