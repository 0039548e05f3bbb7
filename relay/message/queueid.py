"""Queue ids: 18 hex digits that sort by time, and the three-digit sequence numbers.

14 digits hold milliseconds since the epoch times 4096 plus a counter within the
millisecond, four digits are random per process, so that two processes never meet.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

_PER_MS = 4096


class QueueIds:
    """Hands out ids that only ever grow, whatever the clock does."""

    def __init__(self, now_ms: Callable[[], int], node: int | None = None) -> None:
        self._now_ms = now_ms
        self._last = 0
        #: The last four digits of every id from this object.
        self.node = f"{secrets.randbits(16) if node is None else node & 0xFFFF:04x}"

    def start_above(self, queue_id: str) -> None:
        """Give no id that isn't greater than `queue_id`, the greatest a queue has seen ("":
        none), even if the clock has gone back since."""
        if queue_id:
            self._last = max(self._last, int(queue_id[:14], 16))

    def next(self) -> str:
        """A new id, greater than every one before it from this object."""
        tick = self._now_ms() * _PER_MS
        self._last = tick if tick > self._last else self._last + 1
        return f"{self._last:014x}{self.node}"


def time_of(queue_id: str) -> int:
    """Milliseconds since the epoch at which `queue_id` was made."""
    return int(queue_id[:14], 16) // _PER_MS


def is_queue_id(text: str) -> bool:
    """Whether `text` has the form of a queue id (lower-case hex, 18 digits)."""
    return len(text) == 18 and not set(text) - set("0123456789abcdef")


def name_of(queue_id: str, seq: int) -> str:
    """`id.seq` of a delivery; `id` of the whole message, whose `seq` is 0."""
    return f"{queue_id}.{seq:03x}" if seq else queue_id


def parse_name(text: str) -> tuple[str, int | None] | None:
    """`id` or `id.seq` as (id, seq or None); None when it is neither."""
    queue_id, dot, seq = text.partition(".")
    if not is_queue_id(queue_id):
        return None
    if not dot:
        return queue_id, None
    number = parse_seq(seq)
    return None if number is None else (queue_id, number)


def parse_seq(text: str) -> int | None:
    """A sequence number in hex (`001` upwards), None when it is none."""
    if not 3 <= len(text) <= 8 or set(text) - set("0123456789abcdef"):
        return None
    return int(text, 16) or None
