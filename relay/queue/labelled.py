"""Deliveries by what stands on their message: its traces and the rows in the queue, walked through side by side.

Traces tell of all messages of a month, and a busy sender has millions of them, of which few are in the queue; or there
are a million rows, of which few are theirs. Both are in the order of the ids within a day, so each is asked only for
what comes behind the other: that costs as much as the fewer of both.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.logger import Logger

from relay.message.values import Delivery
from relay.queue import keys
from relay.queue.engine import Engine
from relay.queue.records import encode, read_delivery, read_event, read_number
from relay.queue.store import BEGIN, Point, QueueUnusable, Stretch, Unreadable

#: Traces read at once.
_TRACES = 64
#: Behind all deliveries of a message.
_ALL = (1 << 32) - 1
#: What is written down later than it came to be lies behind younger things, by less than this (ms).
_LATE = 600_000
_NEVER = 1 << 62

_log = Logger()

_Item = tuple[bytes, bytes]


def labelled(engine: Engine, kind: str, value: str, after: Point, limit: int) -> Stretch:
    """See Store.labelled."""
    newest = engine.last(b"f", b"g")
    last_day = -1 if newest is None else keys.day_of(newest)
    one_each = kind == "recipient"
    found: list[tuple[Delivery, Point]] = []
    looks, mark = 0, after
    while looks < limit:
        day = mark.day
        if day > last_day:
            return Stretch(found, None)
        behind = _ALL if mark.seq == _ALL else mark.seq + 1 if one_each else 0
        start = keys.trace(kind, value, day * keys.DAY, mark.id, behind)
        stop = keys.after(keys.trace_prefix(kind, value, day * keys.DAY))
        traces = engine.keys(start, stop, min(limit - looks, _TRACES))
        looks += 1
        near = ""
        for trace in traces:
            queue_id, seq = keys.name_of(trace)
            if queue_id < near:
                continue
            if one_each:
                items, near = _one(engine, queue_id, seq)
            else:
                items, near = _all(engine, queue_id, mark.seq if queue_id == mark.id else 0, limit - looks)
            looks += 1 + len(items)
            marks = [Point(day, *keys.name_of(key)) for key, _ in items]
            found += readable(items, marks)
            mark = marks[-1] if marks and looks >= limit else Point(day, queue_id, seq if one_each else _ALL)
            if looks >= limit or not near:
                break
        if not near:
            mark = Point(day + 1, BEGIN.id, 0)  # No more traces that day, or nothing behind in the queue.
        elif near > mark.id:
            mark = Point(day, near, 0)
    return Stretch(found, mark)


def _one(engine: Engine, queue_id: str, seq: int) -> tuple[list[_Item], str]:
    """A row, if it is there; the id of the first one behind it, "" for none."""
    key = keys.delivery(queue_id, seq)
    found = engine.items(key, b"e", 2)
    own = [item for item in found[:1] if item[0] == key]
    return own, _first(found[len(own) :])


def _all(engine: Engine, queue_id: str, after: int, room: int) -> tuple[list[_Item], str]:
    """The rows of a message with seq > `after`, up to `room`; the id of the first one behind these, "" for none."""
    whole = keys.of_message(b"d", queue_id)
    found = engine.items(keys.delivery(queue_id, after) + b"\0", b"e", 2)
    own = [item for item in found if item[0].startswith(whole)]
    if len(own) == 2 and room > 2:
        own += engine.items(own[-1][0] + b"\0", keys.after(whole), room - 2)
    if len(own) >= 2:
        return own, _first(engine.items(own[-1][0] + b"\0", b"e", 1))
    return own, _first(found[len(own) :])


def _first(items: Sequence[_Item]) -> str:
    return keys.name_of(items[0][0])[0] if items else ""


def readable(items: Sequence[_Item], marks: Sequence[Point]) -> list[tuple[Delivery, Point]]:
    """The rows of these records with their marks; one that can't be read is logged and left out."""
    rows = []
    for (_, record), mark in zip(items, marks, strict=True):
        try:
            rows.append((read_delivery(record), mark))
        except Unreadable as error:
            _log.error("row {id}.{seq:03x}: {error}", id=mark.id, seq=mark.seq, error=str(error))
    return rows


def labelled_since(engine: Engine, oldest: int) -> int:
    """See Store.labelled_since; `oldest` is the number before which there is no event."""
    record = engine.get(keys.TRACED)
    if record is None:
        return _NEVER
    since = read_number(record)
    if oldest == 1:
        return since  # None has gone yet.
    first = engine.items(keys.event(oldest), b"f", 1)
    return max(since, read_event(first[0][1]).time + _LATE) if first else _NEVER


def remember_since(engine: Engine, traced: bool, now: int) -> None:
    """Write down that messages leave traces from `now` (ms) on, unless they do so already; or that they don't.
    Raises QueueUnusable."""
    if traced == (engine.get(keys.TRACED) is not None):
        return
    batch = engine.batch()
    if traced:
        batch.put(keys.TRACED, encode(now))
    else:
        batch.delete(keys.TRACED)
    try:
        engine.write(batch)
    except Exception as error:
        raise QueueUnusable(f"the queue can't be written: {error}") from error
