"""How octets travel (RFC 2045 6): 7bit where they can, else quoted-printable or base64. Pure."""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64, b2a_qp
from typing import Literal

from relay.mime.field import LONG

Encoding = Literal["7bit", "8bit", "quoted-printable", "base64"]

#: Longest line of text that is left alone (bytes): longer ones are folded by some on the way.
_SHORT = 76
_line_ends = re.compile(r"\r\n|\r|\n").sub
_short_lines = re.compile(rb"[^\r\n]{%d}" % (_SHORT + 1)).search
_long_lines = re.compile(rb"[^\r\n]{%d}" % (LONG + 1)).search
_stray = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n").search
_bare = re.compile(rb"(?<!\r)\n").sub
_letters = re.compile(rb"[A-Za-z]").findall
_odd = re.compile(rb"[^\t\r\n -~]").findall
_blank = re.compile(r"\s+").sub


def lines_of(text: str) -> bytes:
    """Text as it is in mail: UTF-8, with CRLF line ends whatever they were. Raises UnicodeEncodeError: a half of a
    surrogate pair."""
    return _line_ends("\r\n", text).encode()


def as_it_is(data: bytes) -> Encoding | None:
    """How data travels untouched; None: it can't."""
    if _stray(data) is not None or _long_lines(data) is not None:
        return None
    return "7bit" if data.isascii() else "8bit"


def for_text(data: bytes, asked: str = "") -> Encoding:
    """What fits a text best. `asked`: what the client wants, of which "quoted-printable" and "base64" are heard, and
    "7bit" where that is possible."""
    if asked == "quoted-printable":
        return "quoted-printable"
    if asked == "base64":
        return "base64"
    if as_it_is(data) == "7bit" and (asked == "7bit" or _short_lines(data) is None):
        return "7bit"
    return "quoted-printable" if len(_odd(data)) <= len(_letters(data)) else "base64"


def written(data: bytes, encoding: Encoding) -> bytes:
    """The data as it travels. Text in quoted-printable has CRLF line ends."""
    if encoding == "quoted-printable":
        return _bare(b"\r\n", b2a_qp(data, istext=True))
    if encoding == "base64":
        return _in_lines(b2a_base64(data, newline=False))
    return data


def _in_lines(text: bytes) -> bytes:
    return b"\r\n".join([text[at : at + _SHORT] for at in range(0, len(text), _SHORT)])


def unbase64(text: str) -> bytes:
    """What base64 stands for, in either alphabet, with or without line ends and padding. Raises ValueError."""
    text = _blank("", text).rstrip("=")
    if not text.isascii():
        raise ValueError("not ASCII")
    octets = text.encode().replace(b"-", b"+").replace(b"_", b"/")
    return a2b_base64(octets + b"=" * (-len(octets) % 4), strict_mode=True) if octets else b""
