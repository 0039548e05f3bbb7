"""The header block of a message: found, looked up, cut.

All work is done on the raw bytes, so that what nobody has to touch leaves as it came:
folding, order, odd spelling. Nothing here walks the block line by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

_line_ends = re.compile(rb"\r\n(?![ \t])").split
#: Up to the CRLF that ends the field: the first one that no blank follows.
_VALUE = r"([^\r]*(?:\r(?!\n[^ \t]|\n\Z)[^\r]*)*)"


#: Lines in a header block.
MAX_LINES = 50_000


class HeaderTooLong(ValueError):
    """The header block is longer than the listener allows."""


class Span(NamedTuple):
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
        match = _field(name).search(self._index or self.lower)
        if match is None:
            return None
        start, end = match.span(1)
        return _unfolded(self.raw[start - 2 : end - 2])

    def all(self, name: str) -> list[str]:
        """The unfolded values of all fields called `name`, in order."""
        return [self.value(span) for span in self.spans(name)]

    def spans(self, name: str) -> list[Span]:
        """Where all fields called `name` are."""
        return [
            Span(match.start(), match.start(1) - 2, match.end()) for match in _field(name).finditer(self.lower)
        ]

    def fields(self) -> list[tuple[str, str]]:
        """All fields in order: the name in lower case, and the line with its folding."""
        lines = _line_ends(self.raw[:-2]) if self.raw else []
        texts = [line.decode("utf-8", "replace") for line in lines]
        return [(text.partition(":")[0].rstrip().lower(), text) for text in texts]

    def without(self, *names: str) -> HeaderBlock:
        """The block less all fields with these names; itself when there are none."""
        spans = sorted(span for name in names for span in self.spans(name))
        return HeaderBlock(self.cut(spans)) if spans else self

    def find(self, names: re.Pattern[bytes]) -> list[tuple[bytes, Span]]:
        """All fields that `names`, made by `field_names`, names: the name in lower case, and where
        they are, in order."""
        return [
            (match[1], Span(match.start(), match.start(2) - 2, match.end())) for match in names.finditer(self.lower)
        ]

    def value(self, span: Span) -> str:
        """The unfolded value of the field at `span`."""
        return _unfolded(self.raw[span.value : span.end])

    def cut(self, spans: Iterable[Span]) -> bytes:
        """The lines less the fields at `spans`, which are in order."""
        kept, position = [], 0
        for span in spans:
            kept.append(self.raw[position : span.start])
            position = span.end
        kept.append(self.raw[position:])
        return b"".join(kept)

    @property
    def lower(self) -> bytes:
        """The block in lower case behind a CRLF, so that each field, the first too, begins behind one."""
        index = self._index
        if index is None:
            index = self._index = b"\r\n" + self.raw.lower()
        return index


def _unfolded(value: bytes) -> str:
    if b"\n" in value:
        value = value.replace(b"\r\n", b"")
    return value.strip().decode("utf-8", "replace")


@cache
def _field(name: str) -> re.Pattern[bytes]:
    """Finds a field in the lower-case block behind a CRLF, where an offset is 2 more than in the block
    itself; its one group is the value."""
    return re.compile(rf"\r\n{re.escape(name.lower())}[ \t]*:{_VALUE}".encode("ascii"))


def field_names(*names: str) -> re.Pattern[bytes]:
    """What HeaderBlock.find looks for."""
    either = "|".join(re.escape(name.lower()) for name in names)
    return re.compile(rf"\r\n({either})[ \t]*:{_VALUE}".encode("ascii"))


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
            return self._whole(bytes(text[: end + 2])), bytes(text[end + 4 :])
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
        return self._whole(block), b""

    def _check(self, size: int) -> None:
        if size > self._limit:
            self._text = bytearray()
            raise HeaderTooLong(f"header longer than {self._limit} bytes")

    def _whole(self, block: bytes) -> HeaderBlock:
        """Its lines are counted too: fields are looked at one by one, and nobody is served meanwhile."""
        self._check(len(block))
        if len(block) > MAX_LINES and block.count(b"\n") > MAX_LINES:
            raise HeaderTooLong(f"header longer than {MAX_LINES} lines")
        return HeaderBlock(block)


def _is_field(line: bytes | bytearray) -> bool:
    """Whether a line starts with a field name and a colon (RFC 5322 2.2, 4.5.3)."""
    name, colon, _ = line.partition(b":")
    name = name.rstrip(b" \t")
    return bool(colon and name) and name.isascii() and b" " not in name and name.decode("ascii").isprintable()
