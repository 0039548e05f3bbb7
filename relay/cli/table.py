"""Tables for a terminal: columns as wide as what stands in them, cut where the line would be too long. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from relay.cli.api import plain

_GAP = "  "


class Column(NamedTuple):
    """`title` stands above it. Numbers stand at the `right`. Where a line would be too long, the widest are cut, down
    to `least` places (0: never); where that isn't enough, those that are `spare` are left out, the last first."""

    title: str
    right: bool = False
    least: int = 0
    spare: bool = False


def table(columns: Sequence[Column], rows: Iterable[Sequence[object]], width: int = 0) -> Iterator[str]:
    """The lines, none wider than `width` (0: as wide as they are). What rows hold is from outside and made plain."""
    cells = [tuple(plain("" if cell is None else cell) for cell in row) for row in rows]
    cells.insert(0, tuple(column.title for column in columns))
    widths = [max(map(cells_of, texts)) for texts in zip(*cells, strict=True)]
    shown = _narrowed(columns, widths, width) if width else range(len(columns))
    for row in cells:
        line = _GAP.join(_fit(row[n], widths[n], columns[n].right) for n in shown).rstrip()
        yield shortened(line, width) if width else line


def bar(share: float, width: int) -> str:
    """How far something is, 0 to 1, in so many characters."""
    full = round(min(1.0, max(0.0, share)) * width)
    return "█" * full + "░" * (width - full)


def cells_of(text: str) -> int:
    """How many places it takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(map(_places, text))


def shortened(text: str, width: int) -> str:
    """Text of that many places at most; what is missing is shown by …"""
    if cells_of(text) <= width:
        return text
    kept, places = "", 0
    for char in text:
        places += _places(char)
        if places > width - 1:
            break
        kept += char
    return kept + "…"


def ago(when: str, now: float) -> str:
    """How long before `now` (seconds since the epoch) that was, as `5s`, `12m`, `3h`, `4d`; or `in 5s`."""
    seconds = now - datetime.fromisoformat(when).timestamp()
    return f"in {span(-seconds)}" if seconds <= -1 else span(seconds)


def span(seconds: float) -> str:
    """A time in one unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(0, int(seconds))}s"


def _fit(text: str, width: int, right: bool) -> str:
    text = shortened(text, width)
    blanks = " " * (width - cells_of(text))
    return blanks + text if right else text + blanks


def _narrowed(columns: Sequence[Column], widths: list[int], width: int) -> list[int]:
    """Those that are shown; their widths are made less until the line fits, as far as they may."""
    shown = list(range(len(columns)))
    least = [min(full, column.least or full) for column, full in zip(columns, widths, strict=True)]
    while _line(least, shown) > width and (spare := [n for n in shown if columns[n].spare]):
        shown.remove(spare[-1])
    for _ in range(_line(widths, shown) - width):
        if not (wide := [n for n in shown if widths[n] > least[n]]):
            break
        widths[max(wide, key=widths.__getitem__)] -= 1
    return shown


def _line(widths: Sequence[int], shown: Sequence[int]) -> int:
    """How wide a line of these columns is."""
    return sum(widths[n] for n in shown) + len(_GAP) * (len(shown) - 1)


def _places(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
