"""The octets of a text, an attachment or a whole message, in whichever way a client gave them. Pure.

No file is read and nothing fetched: whoever may send mail here could send itself the relay's files, and pages of its
network.
"""

from __future__ import annotations

import re
from binascii import unhexlify
from urllib.parse import unquote_to_bytes

from relay.message.lines import CrlfLines
from relay.mime.mailobject import Blob, Content
from relay.mime.transfer import unbase64
from relay.mime.unfit import Unfit

_TEXT = frozenset(("utf8", "ascii", "usascii", ""))
_marks = re.compile(r"[-_\s]").sub
_blank = re.compile(r"\s+").sub
_unprintable = re.compile(r"[^ -~]").sub
_LONGEST_SHOWN = 200


class Rejected(Unfit):
    """It names a file or a page, and the text is what Nodemailer says then."""

    def __init__(self, field: str, kind: str, what: str) -> None:
        super().__init__(field, f"{kind} access rejected for {_unprintable('?', what[:_LONGEST_SHOWN])}")


def octets(value: str | bytes) -> bytes:
    """What `given` gave as it came: a text in UTF-8."""
    return value.encode() if isinstance(value, str) else value


def given(field: str, content: Content) -> str | bytes:
    """What a text, an attachment, an event says: text, or octets. Raises Unfit."""
    for name, place in (("path", content.path), ("href", content.href)):
        if isinstance(place, str) and place:
            if place[:5].lower() == "data:":
                return data_url(f"{field}.{name}", place)
            _reject(f"{field}.{name}", place)
    if content.data is not None:
        return _buffer(f"{field}.data", content.data)
    return _decoded(f"{field}.content", content.content, content.encoding or "")


def raw(field: str, value: str | Content | Blob | None) -> bytes | None:
    """A part or a message that is given as it is, but for its line ends, or None. Raises Unfit."""
    if isinstance(value, Content):
        if value.raw is not None:
            return raw(f"{field}.raw", value.raw)
        text = octets(given(field, value))
    elif value:
        text = octets(_decoded(field, value, ""))
    else:
        return None
    if b"\0" in text:
        raise Unfit(field, "expected a text without NUL")
    lines = CrlfLines()
    return lines.feed(text) + lines.end()


def data_url(field: str, url: str) -> bytes:
    """What a data: URL holds (RFC 2397). Raises Unfit."""
    head, comma, data = url.partition(",")
    if not comma:
        raise Unfit(field, "expected data:TYPE;base64,DATA")
    octets = unquote_to_bytes(sound(field, data))
    if head.rpartition(";")[2].strip().lower() != "base64":
        return octets
    try:
        return unbase64(octets.decode("ascii"))
    except ValueError:
        raise Unfit(field, "expected base64") from None


def data_kind(url: str) -> str:
    """Of which type it says that is."""
    return url[5:].partition(",")[0].partition(";")[0].strip() or "text/plain"


def _decoded(field: str, value: str | Blob | None, encoding: str) -> str | bytes:
    if isinstance(value, Blob):
        for name, place in (("path", value.path), ("href", value.href)):
            if place:
                _reject(f"{field}.{name}", place)
        return _buffer(f"{field}.data", value.data or [])
    text = sound(field, value or "")
    name = _marks("", encoding).lower()
    try:
        if name in _TEXT:
            return text
        if name in ("base64", "base64url"):
            return unbase64(text)
        if name == "hex":
            return unhexlify(_blank("", text))
        if name in ("latin1", "binary"):
            return text.encode("latin-1")
        if name in ("utf16le", "ucs2"):
            return text.encode("utf-16-le")
    except ValueError:
        raise Unfit(field, f"expected {name}") from None
    known = "utf8, base64, hex, latin1, utf16le"
    raise Unfit(field.rpartition(".")[0] + ".encoding", f"expected one of {known}")


def _buffer(field: str, octets: list[int]) -> bytes:
    try:
        return bytes(octets)
    except ValueError:
        raise Unfit(field, "expected numbers from 0 to 255") from None


def sound(field: str, text: str) -> str:
    """The text, which can be written in UTF-8. Raises Unfit."""
    try:
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError:
        raise Unfit(field, "expected text, got half of a surrogate pair in it") from None
    return text


def _reject(field: str, place: str) -> None:
    kind = "Url" if re.match(r"(?i)https?://", place) or field.endswith(".href") else "File"
    raise Rejected(field, kind, place)
