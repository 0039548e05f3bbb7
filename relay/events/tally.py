"""What is counted of events for graphs: by zone, site, kind and reason, in the minute and in the hour of each.

A period has rows for a bounded number of sites: those that had most in the one before, and whoever comes first; the
others are counted together.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from relay.message.event import Event

#: Stands for all those that have no row of their own.
OTHER = "other"
#: Longest part of a row (bytes).
_LONGEST = 240

_count = struct.Struct(">Q")
_number = struct.Struct(">I")


class Row(NamedTuple):
    """What one count is of. `site`: whose mail exchangers, or the domain of the recipient where that isn't known."""

    zone: str
    site: str
    kind: str
    reason: str


class Span(NamedTuple):
    """Periods of one length (ms), with at most so many `sites`, and `rows` of which zone and site are named."""

    letter: bytes
    length: int
    sites: int
    rows: int

    def begin(self, number: int) -> bytes:
        """What the keys of a period begin with."""
        return self.letter + _number.pack(min(max(number, 0), 0xFFFFFFFF))

    def key(self, number: int, row: Row) -> bytes:
        """Where a count is kept."""
        return self.begin(number) + b"\0".join(
            part.encode("utf-8", "replace").replace(b"\0", b"?")[:_LONGEST] for part in row
        )


#: In the order of their lengths.
MINUTES = Span(b"m", 60_000, 50, 500)
HOURS = Span(b"h", 3_600_000, 200, 2000)
SPANS = (MINUTES, HOURS)
#: Bytes before the row in a key.
HEAD = 1 + _number.size


def number_of(key: bytes) -> int:
    """Which period a key is of."""
    return int(_number.unpack_from(key, 1)[0])


def row_of(key: bytes) -> Row:
    """The row of a key. ValueError: it has none."""
    parts = key[HEAD:].decode("utf-8", "replace").split("\0")
    if len(parts) != len(Row._fields):
        raise ValueError(f"no row: {key!r}")
    return Row(*parts)


def packed(count: int) -> bytes:
    """A count as it is kept."""
    return _count.pack(count)


def count_of(value: bytes) -> int:
    """A count that is kept. ValueError: it is none."""
    if len(value) != _count.size:
        raise ValueError(f"no count: {value!r}")
    return int(_count.unpack(value)[0])


def row_for(event: Event) -> Row:
    """The row that an event counts for."""
    site = event.site or event.recipient.rpartition("@")[2].lower()
    return Row(event.zone, site, event.kind, event.category or event.what)


class Period:
    """The counts of one period, and which of them have changed since `changes` was asked."""

    __slots__ = ("_changed", "_counts", "_sites", "_span")

    def __init__(self, span: Span, counts: Mapping[Row, int], prominent: Iterable[str] = ()) -> None:
        """`counts` as they are kept; `prominent` sites are named in any case."""
        self._span = span
        self._counts = Counter(counts)
        self._sites = {"", OTHER, *prominent, *(row.site for row in counts)}
        self._changed: set[Row] = set()

    def add(self, row: Row) -> None:
        """One more."""
        if row.site not in self._sites:
            if len(self._sites) < self._span.sites + 2:
                self._sites.add(row.site)
            else:
                row = row._replace(site=OTHER)
        if row not in self._counts and len(self._counts) >= self._span.rows:
            row = row._replace(zone=OTHER, site=OTHER)
        self._counts[row] += 1
        self._changed.add(row)

    def changes(self) -> Mapping[Row, int]:
        """The counts that have changed."""
        changed, self._changed = self._changed, set()
        return {row: self._counts[row] for row in changed}

    def prominent(self) -> list[str]:
        """The sites that had most."""
        sites: Counter[str] = Counter()
        for row, count in self._counts.items():
            if row.site not in ("", OTHER):
                sites[row.site] += count
        return [site for site, _ in sites.most_common(self._span.sites // 2)]
