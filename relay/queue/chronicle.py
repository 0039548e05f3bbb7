"""What was told, read back: the events in their order, histories, and what these are found by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from twisted.logger import Logger

from relay.message.dialogue import Dialogue
from relay.message.event import Numbered
from relay.message.queueid import name_of
from relay.queue import keys
from relay.queue.engine import Engine
from relay.queue.records import read_dialogue, read_event
from relay.queue.store import Unreadable

#: So far back a history is looked for (days).
MOST_DAYS = 400
#: Names that are read at a time.
_PAGE = 500

_log = Logger()


def events(engine: Engine, first: int, stop: int, limit: int) -> list[Numbered]:
    """Up to `limit` events from number `first` on, before `stop`."""
    return list(_read(engine.items(keys.event(first), keys.event(stop), limit)))


def history(engine: Engine, queue_id: str, seq: int | None, limit: int) -> list[Numbered]:
    """The first events of a delivery and of its message, or with None of all of it, in order."""
    return list(_told(engine, _numbers(engine, queue_id, seq, limit)[:limit]))


def ends(engine: Engine, queue_id: str, seq: int | None, limit: int) -> tuple[Numbered, Numbered] | None:
    """The first and the last one of a history, and no event between them is read; None: there is none."""
    numbers = _numbers(engine, queue_id, seq, limit)
    first = next(_told(engine, numbers), None)
    last = next(_told(engine, reversed(numbers)), None)
    return None if first is None or last is None else (first, last)


def _numbers(engine: Engine, queue_id: str, seq: int | None, limit: int) -> list[int]:
    """Which events a history consists of, in order: of the first `limit` steps of a delivery and as many of its
    message, or with None of all of it."""
    if seq is None:
        all_of_it = keys.of_message(b"a", queue_id)
        steps = engine.keys(all_of_it, keys.after(all_of_it), limit)
    else:
        steps = [
            key
            for one in sorted({0, seq})
            for key in engine.keys(keys.step(queue_id, one, 0), keys.step(queue_id, one, 2**64 - 1), limit)
        ]
    return sorted(keys.event_of(key) for key in steps)


def _told(engine: Engine, numbers: Iterable[int]) -> Iterator[Numbered]:
    """The events of these numbers, each read when it is asked for."""
    found = ((key, engine.get(key)) for key in map(keys.event, numbers))
    return _read((key, record) for key, record in found if record is not None)


def dialogue(engine: Engine, queue_id: str, seq: int) -> Dialogue | None:
    """What was said when a delivery failed last. Raises Unreadable."""
    record = engine.get(keys.dialogue(queue_id, seq))
    return None if record is None else read_dialogue(record)


def trace(
    engine: Callable[[], Engine], kind: str, value: str, since: int, until: int, limit: int
) -> Iterator[str]:
    """Names of what was queued on these days (ms) with this value, latest days first, up to `limit`: read a page at a
    time while they are asked for, from what `engine` gives then."""
    last = until // keys.DAY
    for day in range(last, max(since // keys.DAY, last - MOST_DAYS, 0) - 1, -1):
        start = keys.trace_prefix(kind, value, day * keys.DAY)
        stop = keys.after(start)
        while limit and (found := engine().keys(start, stop, min(limit, _PAGE))):
            for key in found:
                yield name_of(*keys.name_of(key))
            limit -= len(found)
            start = found[-1] + b"\0"


def _read(found: Iterable[tuple[bytes, bytes]]) -> Iterator[Numbered]:
    """The events of these records; one that can't be read is logged and left out."""
    for key, record in found:
        try:
            event = read_event(record)
        except Unreadable as error:
            _log.error("event {number}: {error}", number=keys.event_of(key), error=str(error))
        else:
            yield Numbered(keys.event_of(key), event)
