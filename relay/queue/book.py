"""What is planned but not yet on disk: the groups, and how rows stand with them included.

At most two groups exist: the one being written and the one being filled. Reading through
them first and the database after that is what makes an operation see those before it: a
delivery struck off twice is counted once, and a change can't bring a struck-off one back.
The reading side of the store doesn't look here: it tells what is durable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from relay.message.event import Event
from relay.message.values import Delivery, Message
from relay.queue import keys
from relay.queue.counters import Counters, bucket_of
from relay.queue.engine import Batch, Engine
from relay.queue.records import (
    State,
    encode,
    read_delivery,
    read_message,
    read_number,
    read_state,
    read_taken,
)
from relay.queue.store import Unreadable

if TYPE_CHECKING:
    from relay.queue.operations import Operation


class Group:
    """Operations that are written in one batch, and what they make of rows and messages."""

    __slots__ = ("batch", "messages", "number", "operations", "remaining", "rows", "tokens", "told")

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.operations: list[Operation] = []
        self.rows: dict[bytes, Delivery | None] = {}
        self.messages: dict[str, Message] = {}
        self.remaining: dict[str, int] = {}
        self.tokens: set[bytes] = set()
        #: The number of the newest event when it is written; 0: it has none.
        self.told = 0
        #: Its own, once it is closed.
        self.number = 0


class Book:
    """The planning side of the store, on one open engine. Only operations write through it.

    `newest` is the greatest queue id this queue has ever seen, `seen` when it was last written, `told` the number of
    the newest event; there is none before `oldest`. `group` is the number of the last group that was closed.
    """

    __slots__ = (
        "counters", "engine", "filling", "group", "newest", "oldest", "seen", "told", "under_way", "writing",
    )  # fmt: skip

    def __init__(self, engine: Engine) -> None:
        """Take the counts and the state from what was really committed. Raises Unreadable."""
        self.engine = engine
        record = engine.get(keys.STATE)
        state = State(0, "") if record is None else read_state(record)
        self.seen = state.seen
        self.newest = state.newest
        self.told = state.told
        self.oldest = state.oldest
        self.group = state.group
        self.counters = Counters(_counts(engine))
        self.under_way: set[str] = set()
        self.writing: Group | None = None
        self.filling = Group(engine.batch())

    def next_group(self, now: int) -> Group:
        """Close the group being filled; it is the one being written from now on."""
        group = self.filling
        put, delete = group.batch.put, group.batch.delete
        for zone, bucket, count in self.counters.take_changes():
            if count:
                put(keys.counter(zone, bucket), encode(count))
            else:
                delete(keys.counter(zone, bucket))
        for queue_id, left in group.remaining.items():
            if left:
                put(keys.remaining(queue_id), encode(left))
        self.group += 1
        group.number = self.group
        put(keys.STATE, encode(State(now, self.newest, self.told, self.oldest, self.group)))
        self.writing = group
        self.filling = Group(self.engine.batch())
        return group

    def saw(self, queue_id: str) -> None:
        """Remember the greatest id, so that none is given out twice whatever the clock does."""
        if queue_id > self.newest:
            self.newest = queue_id

    def row(self, key: bytes) -> Delivery | None:
        """A row as the operations so far leave it. Raises Unreadable."""
        for group in (self.filling, self.writing):
            if group is not None and key in group.rows:
                return group.rows[key]
        record = self.engine.get(key)
        return None if record is None else read_delivery(record)

    def sender(self, queue_id: str) -> str | None:
        """The sender of a message, None when the record is gone or can't be read."""
        for group in (self.filling, self.writing):
            if group is not None and queue_id in group.messages:
                return group.messages[queue_id].sender
        try:
            record = self.engine.get(keys.message(queue_id))
            return None if record is None else read_message(record).sender
        except Unreadable:
            return None

    def taken(self, token: bytes) -> int | None:
        """When a token was written (ms); None when it wasn't, or only now."""
        if any(group is not None and token in group.tokens for group in (self.filling, self.writing)):
            return None
        record = self.engine.get(keys.token(token))
        return None if record is None else read_taken(record).created

    def tell(self, events: Sequence[tuple[Event, bytes]]) -> None:
        """Write events, each with its record, under the next numbers."""
        put = self.filling.batch.put
        for event, record in events:
            self.told += 1
            put(keys.event(self.told), record)
            if event.id:
                put(keys.step(event.id, event.seq, self.told), b"")
            self.filling.told = self.told

    def put_row(self, key: bytes, delivery: Delivery, sender: str | None) -> None:
        """Write a row, its place and its index entries (the sender's only if it is given)."""
        put = self.filling.batch.put
        put(key, encode(delivery))
        for entry in entries(delivery, sender):
            put(entry, b"")
        self.counters.add(delivery.zone, bucket_of(delivery), 1)
        self.filling.rows[key] = delivery

    def strike_row(self, key: bytes, delivery: Delivery, sender: str | None) -> None:
        """Take a row away with its place and index entries."""
        delete = self.filling.batch.delete
        delete(key)
        for entry in entries(delivery, sender):
            delete(entry)
        self.counters.add(delivery.zone, bucket_of(delivery), -1)
        self.filling.rows[key] = None

    def one_less(self, queue_id: str) -> int:
        """Count a row off a message with several recipients: how many are left.
        To be called before the row is struck off."""
        left = None
        for group in (self.filling, self.writing):
            if group is not None and left is None:
                left = group.remaining.get(queue_id)
        if left is None:
            left = self._stored_remaining(queue_id)
        self.filling.remaining[queue_id] = left - 1
        return left - 1

    def _stored_remaining(self, queue_id: str) -> int:
        try:
            record = self.engine.get(keys.remaining(queue_id))
            if record is not None:
                return read_number(record)
        except Unreadable:
            pass  # the rows themselves are the truth
        rows = keys.of_message(b"d", queue_id)
        found = self.engine.keys(rows, keys.after(rows), 1 << 32)
        gone = {
            key
            for group in (self.filling, self.writing)
            if group is not None
            for key, row in group.rows.items()
            if row is None
        }
        return len([key for key in found if key not in gone])

    def delete_message(self, queue_id: str, chunks: int) -> None:
        """Take away all of a message but its rows."""
        delete = self.filling.batch.delete
        delete(keys.message(queue_id))
        for number in range(chunks):
            delete(keys.chunk(queue_id, number))


def indexed(delivery: Delivery) -> bool:
    """Whether a row is in the secondary indexes: from its first deferral on."""
    return delivery.attempts > 0 or delivery.first_failure > 0


def entries(delivery: Delivery, sender: str | None) -> list[bytes]:
    """The index keys that stand for a row."""
    queue_id, seq = delivery.id, delivery.seq
    if delivery.held:
        found = [keys.held(queue_id, seq)]
    else:
        found = [keys.due(delivery.zone, delivery.domain, delivery.flow, delivery.due, queue_id, seq)]
    if delivery.attempts > 0 or delivery.first_failure > 0:
        found.append(keys.index("recipient", delivery.recipient, queue_id, seq))
        found.append(keys.index("reason", delivery.category, queue_id, seq))
        if sender is not None:
            found.append(keys.index("sender", sender, queue_id, seq))
    return found


def _counts(engine: Engine) -> list[tuple[str, int, int]]:
    counts = []
    for key, record in engine.items(b"c", b"d"):
        zone, bucket = keys.counter_of(key)
        counts.append((zone, bucket, read_number(record)))
    return counts
