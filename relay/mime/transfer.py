"""How octets travel (RFC 2045 6): 7bit where they can, else quoted-printable or base64. Pure."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64, b2a_qp
from typing import Literal

from relay.mime.field import LONG

Encoding = Literal["7bit", "8bit", "quoted-printable", "base64"]

#: Longest line of text that is left alone (bytes): longer ones are folded by some on the way.
_SHORT = 76
#: The alphabet for URLs made the usual one, and what is left out of base64.
_ALPHABET = bytes.maketrans(b"-_", b"+/")
_BLANKS = b" \t\r\n\x0b\x0c"
_LETTERS = bytes(range(ord("A"), ord("Z") + 1)) + bytes(range(ord("a"), ord("z") + 1))
_CONTROLS = bytes(octet for octet in (*range(32), 127) if octet not in b"\t\r\n")
#: What quoted-printable writes as it is.
_EASY = bytes(range(32, 127)) + b"\t\r\n"


def lines_of(text: str) -> bytes:
    """Text as it is in mail: UTF-8, with CRLF line ends whatever they were. Raises UnicodeEncodeError: a half of a
    surrogate pair."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.replace("\n", "\r\n").encode()


def as_it_is(data: bytes) -> Encoding | None:
    """How data travels untouched; None: it can't."""
    return _untouched(data, _longest(data))


def _untouched(data: bytes, longest: int) -> Encoding | None:
    if longest > LONG or not _has_crlf_alone(data) or _count(data, _CONTROLS):
        return None
    return "7bit" if data.isascii() else "8bit"


def for_text(data: bytes, asked: str = "") -> Encoding:
    """What fits a text best. `asked`: what the client wants, of which "quoted-printable" and "base64" are heard, and
    "7bit" where that is possible."""
    if asked == "quoted-printable":
        return "quoted-printable"
    if asked == "base64":
        return "base64"
    longest = _longest(data)
    if (asked == "7bit" or longest <= _SHORT) and _untouched(data, longest) == "7bit":
        return "7bit"
    return "quoted-printable" if len(data) - _count(data, _EASY) <= _count(data, _LETTERS) else "base64"


def for_file(data: bytes) -> Encoding:
    """What fits a file of text, which is to arrive octet by octet: base64, but for ASCII, as filters take it amiss
    that somebody hides what needn't be hidden."""
    return "quoted-printable" if data.isascii() and not _count(data, _CONTROLS) else "base64"


def written(data: bytes, encoding: Encoding) -> bytes:
    """The data as it travels. In quoted-printable CRLF is a line end, unless there are others beside it: then each
    octet of them is written as such (RFC 2045 6.7)."""
    if encoding == "quoted-printable":
        text = b2a_qp(data, istext=_has_crlf_alone(data))
        # Its own line ends follow the first one of the data.
        return text if b"\r\n" in text else text.replace(b"\n", b"\r\n")
    if encoding == "base64":
        return _in_lines(b2a_base64(data, newline=False))
    return data


def _has_crlf_alone(data: bytes) -> bool:
    """Whether its line ends are CRLF, all of them."""
    return data.count(b"\r\n") == data.count(b"\r") == data.count(b"\n")


def _count(data: bytes, octets: bytes) -> int:
    """How many there are of these."""
    return len(data) - len(data.translate(None, octets))


def _longest(data: bytes) -> int:
    return max(map(len, data.split(b"\r\n")))


def _in_lines(text: bytes) -> bytes:
    return b"\r\n".join([text[at : at + _SHORT] for at in range(0, len(text), _SHORT)])


def unbase64(text: str) -> bytes:
    """What base64 stands for, in either alphabet, with or without line ends and padding. Raises ValueError."""
    octets = text.encode("ascii").translate(_ALPHABET, _BLANKS).rstrip(b"=")
    return a2b_base64(octets + b"=" * (-len(octets) % 4), strict_mode=True) if octets else b""
