"""The header block of a message: found, looked up, and made fit to leave.

All work is done on the raw bytes, so that what nobody has to touch leaves as it came:
folding, order, odd spelling. Nothing here walks the block line by line.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from uuid import uuid4

from relay.message.date import date_of, parse_date

_line_ends = re.compile(rb"\r\n(?![ \t])").split
#: Fields that steer the relay and never leave it.
PRIVATE = ("Bcc", "X-Sending-Zone")
_EARLIEST_DATE_MS = 1000
_MAX_MESSAGE_ID = 998


class HeaderTooLong(ValueError):
    """The header block is longer than the listener allows."""


class _Span(NamedTuple):
    """Where a field lies: first byte, behind the colon, behind the last line's CRLF."""

    start: int
    value: int
    end: int


class HeaderBlock:
    """Header lines, each with its CRLF, without the empty line behind them. Immutable."""

    __slots__ = ("_index", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._index: bytes | None = None

    def get(self, name: str) -> str | None:
        """The unfolded value of the first field called `name` (any case), or None."""
        span = self._next(_needle(name), 0)
        return None if span is None else self._value(span)

    def all(self, name: str) -> list[str]:
        """The unfolded values of all fields called `name`, in order."""
        return [self._value(span) for span in self._spans(name)]

    def fields(self) -> list[tuple[str, str]]:
        """All fields in order: the name in lower case, and the line with its folding."""
        lines = _line_ends(self.raw[:-2]) if self.raw else []
        texts = [line.decode("utf-8", "replace") for line in lines]
        return [(text.partition(":")[0].rstrip().lower(), text) for text in texts]

    def without(self, *names: str) -> HeaderBlock:
        """The block less all fields with these names; itself when there are none."""
        spans = sorted(span for name in names for span in self._spans(name))
        if not spans:
            return self
        kept, position = [], 0
        for span in spans:
            kept.append(self.raw[position : span.start])
            position = span.end
        kept.append(self.raw[position:])
        return HeaderBlock(b"".join(kept))

    def topped(self, lines: bytes) -> HeaderBlock:
        """The block with `lines`, each ending in CRLF, above it."""
        return HeaderBlock(lines + self.raw) if lines else self

    def _spans(self, name: str) -> list[_Span]:
        needle, spans, position = _needle(name), [], 0
        while (span := self._next(needle, position)) is not None:
            spans.append(span)
            position = span.end  # in the index, the CRLF before the next field
        return spans

    def _next(self, needle: bytes, position: int) -> _Span | None:
        """The next field at or behind `position`. With CRLF put before it, an offset
        into the index where CRLF and name are found is the field's offset in `raw`."""
        index = self._index
        if index is None:
            index = self._index = b"\r\n" + self.raw.lower()
        raw = self.raw
        while (start := index.find(needle, position)) >= 0:
            behind = start + len(needle) - 2
            position = behind
            colon = raw.find(b":", behind)
            if colon == behind or (colon > 0 and not raw[behind:colon].strip(b" \t")):
                return _Span(start, colon + 1, self._end(colon))
        return None

    def _end(self, position: int) -> int:
        raw = self.raw
        while True:
            position = raw.index(b"\r\n", position) + 2
            if raw[position : position + 1] not in (b" ", b"\t"):
                return position

    def _value(self, span: _Span) -> str:
        return self.raw[span.value : span.end].replace(b"\r\n", b"").strip().decode("utf-8", "replace")


def _needle(name: str) -> bytes:
    return b"\r\n" + name.lower().encode("ascii")


def completed(block: HeaderBlock, domain: str, now_ms: int) -> tuple[HeaderBlock, str]:
    """The block fit to be stored, and its Message-ID.

    Bcc and X-Sending-Zone are gone; a Message-ID at `domain` and a Date are on top where
    they were missing, empty or no date (RFC 5322 3.6.1, 3.6.4). Where nothing had to be
    done it is the same block.
    """
    block = block.without(*PRIVATE)
    added = b""
    message_id = block.get("Message-ID")
    if not message_id:
        if message_id is not None:
            block = block.without("Message-ID")
        message_id = f"<{uuid4()}@{domain}>"
        added = f"Message-ID: {message_id}\r\n".encode("ascii")
    date = block.get("Date")
    if date is None or (parse_date(date) or 0) < _EARLIEST_DATE_MS:
        if date is not None:
            block = block.without("Date")
        added = f"Date: {date_of(now_ms)}\r\n".encode("ascii") + added
    return block.topped(added), message_id[:_MAX_MESSAGE_ID]


class HeaderCollector:
    """Finds the end of the header in message text that comes in any split.

    A text whose first line is no header field has no header: all of it is body.
    """

    __slots__ = ("_limit", "_seen_first", "_text")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._text = bytearray()
        self._seen_first = False

    @property
    def held(self) -> int:
        """Bytes collected so far."""
        return len(self._text)

    def feed(self, data: bytes) -> tuple[HeaderBlock, bytes] | None:
        """The block and the beginning of the body once both are known, None before.

        Raises:
            HeaderTooLong: the block has more than `limit` bytes. Feed no more.
        """
        text = self._text
        searched = max(len(text) - 3, 0)
        text += data
        if not self._seen_first:
            first = text.find(b"\r\n", searched)
            if first >= 0:
                self._check(first + 2)
                self._seen_first = True
                if first == 0:
                    return HeaderBlock(b""), bytes(text[2:])
                if not _is_field(text[:first]):
                    return HeaderBlock(b""), bytes(text)
        end = text.find(b"\r\n\r\n", searched)
        if end >= 0:
            self._check(end + 2)
            return HeaderBlock(bytes(text[: end + 2])), bytes(text[end + 4 :])
        self._check(len(text) - 1)
        return None

    def end(self) -> tuple[HeaderBlock, bytes]:
        """Block and body of a text that ended before `feed` could tell.

        Raises:
            HeaderTooLong: as `feed`.
        """
        text = bytes(self._text)
        if not self._seen_first and not _is_field(text):
            return HeaderBlock(b""), text
        block = text if text.endswith(b"\r\n") else text + b"\r\n"
        self._check(len(block))
        return HeaderBlock(block), b""

    def _check(self, size: int) -> None:
        if size > self._limit:
            self._text = bytearray()
            raise HeaderTooLong(f"header longer than {self._limit} bytes")


def _is_field(line: bytes | bytearray) -> bool:
    """Whether a line starts with a field name and a colon (RFC 5322 2.2, 4.5.3)."""
    name, colon, _ = line.partition(b":")
    name = name.rstrip(b" \t")
    return bool(colon and name) and name.isascii() and b" " not in name and name.decode("ascii").isprintable()
