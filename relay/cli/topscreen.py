"""What `zonerelay top` shows: lines for a screen of any size, made of what the API says. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from relay.cli import zone as zones
from relay.cli.api import plain
from relay.cli.table import Column, ago, cells_of, shortened, table

#: Readings that are remembered.
REMEMBERED = 120
_RATES = ("accepted", "delivered", "deferred", "bounced", "dropped")
_STEPS = " ▁▂▃▄▅▆▇█"
_BACKOFFS = (
    Column("HELD BACK", least=9),
    Column("SITE", least=10),
    Column("ADDRESS", least=7, spare=True),
    Column("MAY OPEN", right=True),
    Column("CHANGES", right=True, spare=True),
    Column("REASON", least=10),
)
_LIMITS = (Column("WAIT", right=True), Column("AT", least=10))


class Reading(NamedTuple):
    """What the API has said at a time: a standing of `/v1/stream`, zones, back-offs, limits at which mail waits."""

    standing: dict[str, Any]
    zones: Sequence[Any]
    backoffs: Sequence[Any]
    limits: Sequence[Any]


class Line(NamedTuple):
    """A line, and how it looks: "", "title", "head", "bad"."""

    text: str
    look: str = ""


class History:
    """The rates of the last readings."""

    def __init__(self) -> None:
        self._rates: deque[dict[str, float]] = deque(maxlen=REMEMBERED)

    def add(self, rates: dict[str, float] | None) -> None:
        """None: the first reading has none."""
        if rates is not None:
            self._rates.append(rates)

    def of(self, name: str) -> list[float]:
        return [rates.get(name, 0.0) for rates in self._rates]


def screen(
    reading: Reading | None, history: History, url: str, trouble: str, now: float, width: int, height: int
) -> list[Line]:
    """`height` lines at most, none wider than `width`. `trouble` is why there is nothing newer, `now` in seconds since
    the epoch. Raises KeyError, TypeError, ValueError, AttributeError: no relay says this."""
    lines = list(_lines(reading, history, url, trouble, now, width))
    if len(lines) > height:
        lines = [*lines[: height - 1], Line("…")] if height > 1 else lines[:height]
    return [Line(shortened(line.text, width), line.look) for line in lines]


def spark(values: Sequence[float], width: int) -> str:
    """The last `width` of them as columns, the highest full."""
    last = list(values)[-width:] if width > 0 else []
    most = max(last, default=0.0)
    if not most:
        return " " * len(last)
    return "".join(_STEPS[math.ceil(value / most * (len(_STEPS) - 1))] for value in last)


def _lines(
    reading: Reading | None, history: History, url: str, trouble: str, now: float, width: int
) -> Iterator[Line]:
    when = plain(reading.standing["time"])[11:19] if reading is not None else ""
    yield Line(_ends(f"zonerelay {when}", plain(url), width), "title")
    if trouble:
        yield Line(plain(trouble), "bad")
    if reading is None:
        if not trouble:
            yield Line("asking …")
        return
    yield Line("")
    yield from _rates(reading, history, width)
    yield Line("")
    yield Line(_sums(reading))
    yield Line("")
    yield from _table(zones.COLUMNS, map(zones.row, reading.zones), width)
    if reading.backoffs:
        yield Line("")
        yield from _table(_BACKOFFS, (_backoff(one, now) for one in reading.backoffs), width, "bad")
    if reading.limits:
        yield Line("")
        yield from _table(_LIMITS, ((one["waiting"], one["limit"]) for one in reading.limits), width)


def _rates(reading: Reading, history: History, width: int) -> Iterator[Line]:
    rates, totals = reading.standing["rates"] or {}, reading.standing["totals"]
    for name in _RATES:
        words = f"{name:<10}{rates.get(name, 0.0):>10,.1f}/s {totals[name]:>13,}"
        room = min(REMEMBERED, width - cells_of(words) - 2)
        yield Line(f"{words}  {spark(history.of(name), room)}".rstrip())


def _sums(reading: Reading) -> str:
    sums = {name: sum(zone[name] for zone in reading.zones) for name in ("queued", "deferred", "held")}
    words = ", ".join(f"{count:,} {name}" for name, count in sums.items())
    states = ", ".join(f"{count:,} {plain(state)}" for state, count in reading.standing["connections"].items() if count)
    return f"queue  {words}    connections  {states or 'none'}"


def _backoff(one: dict[str, Any], now: float) -> tuple[object, ...]:
    address, changes = one.get("address", "any"), ago(one["until"], now)
    return one["zone"], one["site"], address, one["allowance"] or "nothing", changes, one["reason"]


def _table(
    columns: Sequence[Column], rows: Iterable[Sequence[object]], width: int, look: str = ""
) -> Iterator[Line]:
    for number, text in enumerate(table(columns, rows, width)):
        yield Line(text, look if number else "head")


def _ends(left: str, right: str, width: int) -> str:
    """One at the left, the other at the right end, if there is room for both."""
    room = width - cells_of(left) - cells_of(right)
    return left + " " * room + right if room > 1 else left
