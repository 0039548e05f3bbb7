"""What can be done to the queue: each operation knows how to plan itself into a batch.

A plan reads through the book and writes into the group being filled; everything that can
fail comes before the first write, so that a refused operation leaves no half behind. Lasting
operations are never given up: after a write error they are planned anew on the reopened
database, unless they are found there. The others fail then, and `undo` says how what they may have left is taken back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import msgspec
from twisted.internet.defer import Deferred

from relay.message.dialogue import Dialogue
from relay.message.event import Event
from relay.message.mark import Mark
from relay.message.values import Delivery, Message
from relay.queue import keys
from relay.queue.book import Book, entries, indexed
from relay.queue.counters import bucket_of
from relay.queue.records import encode, encode_chunk, read_names
from relay.queue.store import LaneKey, Parcel, Place, Unreadable


class Operation(ABC):
    """One request to the store; `deferred` tells its end."""

    __slots__ = ("deferred",)
    lasting: ClassVar[bool] = True

    def __init__(self) -> None:
        self.deferred: Deferred[None] = Deferred()

    @abstractmethod
    def plan(self, book: Book) -> None:
        """Write what is to be changed into the group being filled."""

    def undo(self) -> Operation | None:
        """What takes this back, when it isn't known whether it was written."""
        return None


class Barrier(Operation):
    """Changes nothing; its end tells that everything before it is written."""

    __slots__ = ()

    def __init__(self, deferred: Deferred[None] | None = None) -> None:
        """`deferred` is that of an operation which is done already."""
        self.deferred = Deferred() if deferred is None else deferred

    def plan(self, book: Book) -> None:
        """Nothing to write."""


class Append(Operation):
    """Messages with their last chunks and all their rows, the mark of the key they came under, and events of what else
    came with them."""

    __slots__ = ("events", "mark", "parcels")
    lasting = False

    def __init__(self, parcels: Sequence[Parcel], mark: Mark | None = None, events: Sequence[Event] = ()) -> None:
        self.deferred = Deferred()
        self.parcels = parcels
        self.mark = mark
        self.events = events

    def plan(self, book: Book) -> None:
        written = [_Written(parcel) for parcel in self.parcels]
        told = [(event, encode(event)) for event in self.events]
        if self.mark is not None:
            _remember(book, self.mark)
        for one in written:
            one.put(book)
        book.tell(told)

    def undo(self) -> Operation:
        return Withdraw(self.parcels, self.mark)


class Withdraw(Operation):
    """The opposite of Append, for messages that were refused but may have been written. Other events stay."""

    __slots__ = ("mark", "parcels")

    def __init__(self, parcels: Sequence[Parcel], mark: Mark | None = None) -> None:
        self.deferred = Deferred()
        self.parcels = parcels
        self.mark = mark

    def plan(self, book: Book) -> None:
        for parcel in self.parcels:
            self._withdraw(book, parcel)
        if self.mark is not None:
            delete, token = book.filling.batch.delete, self.mark.token
            delete(keys.token(token))
            delete(keys.token_since(self.mark.taken.created, token))

    def _withdraw(self, book: Book, parcel: Parcel) -> None:
        message, deliveries, delete = parcel.message, parcel.deliveries, book.filling.batch.delete
        queue_id = message.id
        for delivery in deliveries:
            key = keys.delivery(queue_id, delivery.seq)
            if (row := _row(book, key, delivery)) is not None:
                book.strike_row(key, row, message.sender)
        book.delete_message(queue_id, message.chunks)
        steps = keys.of_message(b"a", queue_id)
        for key in book.engine.keys(steps, keys.after(steps), 1 << 32):
            delete(keys.event(keys.event_of(key)))
            delete(key)
        for key in _traces(message, deliveries):
            delete(key)
        for key in (keys.recipients(queue_id), keys.remaining(queue_id), keys.under_way(queue_id)):
            delete(key)


class Forget(Operation):
    """Tokens that are too old go, by (created, token)."""

    __slots__ = ("old",)
    lasting = False

    def __init__(self, old: Sequence[tuple[int, bytes]]) -> None:
        self.deferred = Deferred()
        self.old = old

    def plan(self, book: Book) -> None:
        old = [(created, token, _taken(book, token, created)) for created, token in self.old]
        delete = book.filling.batch.delete
        for created, token, known in old:
            delete(keys.token_since(created, token))
            # The same key may have been used again since.
            if known == created:
                delete(keys.token(token))


class AddChunk(Operation):
    """A body chunk of a message under way; the first one leaves a mark for the sweep."""

    __slots__ = ("data", "number", "queue_id")
    lasting = False

    def __init__(self, queue_id: str, number: int, data: bytes) -> None:
        self.deferred = Deferred()
        self.queue_id = queue_id
        self.number = number
        self.data = data

    def plan(self, book: Book) -> None:
        put = book.filling.batch.put
        put(keys.chunk(self.queue_id, self.number), encode_chunk(self.data))
        if self.queue_id not in book.under_way:
            put(keys.under_way(self.queue_id), b"")
            book.under_way.add(self.queue_id)
            book.saw(self.queue_id)


class Discard(Operation):
    """Chunks from `first` up to `chunks` go; with `whole`, the mark of the message too."""

    __slots__ = ("chunks", "first", "queue_id", "whole")

    def __init__(self, queue_id: str, first: int, chunks: int, whole: bool) -> None:
        self.deferred = Deferred()
        self.queue_id = queue_id
        self.first = first
        self.chunks = chunks
        self.whole = whole

    def plan(self, book: Book) -> None:
        delete = book.filling.batch.delete
        for number in range(self.first, self.chunks):
            delete(keys.chunk(self.queue_id, number))
        if self.whole:
            delete(keys.under_way(self.queue_id))
            book.under_way.discard(self.queue_id)


class Finish(Operation):
    """A row goes; with the last one of a message everything of it. What tells of that comes."""

    __slots__ = ("delivery", "dialogue", "events", "message", "notice")

    def __init__(
        self,
        message: Message,
        delivery: Delivery,
        events: Sequence[Event] = (),
        notice: Parcel | None = None,
        dialogue: Dialogue | None = None,
    ) -> None:
        self.deferred = Deferred()
        self.message = message
        self.delivery = delivery
        self.events = events
        self.notice = notice
        self.dialogue = dialogue

    def plan(self, book: Book) -> None:
        message, queue_id = self.message, self.message.id
        key = keys.delivery(queue_id, self.delivery.seq)
        row = _row(book, key, self.delivery)
        if row is None:
            return
        _follow(book, self.events, self.notice)
        _note(book, self.delivery, self.dialogue)
        if row.attempts and not self.events:
            # There is no event with which what was kept of it would go.
            book.filling.batch.delete(keys.dialogue(queue_id, row.seq))
        last = message.recipients == 1 or book.one_less(queue_id) <= 0
        book.strike_row(key, row, message.sender)
        if last:
            book.delete_message(queue_id, message.chunks)
            if message.recipients != 1:
                book.filling.batch.delete(keys.recipients(queue_id))
                book.filling.batch.delete(keys.remaining(queue_id))


class Change(Operation):
    """A row is replaced, if it is still there. What tells of that comes."""

    __slots__ = ("dialogue", "events", "new", "notice", "old")

    def __init__(
        self,
        old: Delivery,
        new: Delivery,
        events: Sequence[Event] = (),
        notice: Parcel | None = None,
        dialogue: Dialogue | None = None,
    ) -> None:
        self.deferred = Deferred()
        self.old = old
        self.new = new
        self.events = events
        self.notice = notice
        self.dialogue = dialogue

    def plan(self, book: Book) -> None:
        new = self.new
        key = keys.delivery(new.id, new.seq)
        row = _row(book, key, self.old)
        if row is None:
            return
        # The sender's entry is the same before and after, unless it appears or goes.
        sender = book.sender(new.id) if indexed(row) != indexed(new) else None
        entries(new, sender)  # fails, if it does, before anything is written
        _follow(book, self.events, self.notice)
        _note(book, new, self.dialogue)
        book.strike_row(key, row, sender)
        book.put_row(key, new, sender)


class SetAside(Operation):
    """A place whose row can't be read is held; one without a row goes."""

    __slots__ = ("lane", "place", "why")

    def __init__(self, lane: LaneKey, place: Place, why: str) -> None:
        self.deferred = Deferred()
        self.lane = lane
        self.place = place
        self.why = why

    def plan(self, book: Book) -> None:
        due, queue_id, seq = self.place
        key = keys.delivery(queue_id, seq)
        zone, domain, flow = self.lane
        stand_in = Delivery(queue_id, seq, zone, domain, "", due, flow=flow)
        row = _row(book, key, stand_in)
        if row is None:
            book.strike_row(key, stand_in, None)
        elif (row.zone, row.domain, row.flow, row.due, row.held) != (zone, domain, flow, due, ""):
            book.filling.batch.delete(keys.due(zone, domain, flow, due, queue_id, seq))
        else:
            recipient = self._recipient(book) if row is stand_in else row.recipient
            book.strike_row(key, row, None)
            book.put_row(key, msgspec.structs.replace(row, recipient=recipient, held=self.why), None)

    def _recipient(self, book: Book) -> str:
        try:
            record = book.engine.get(keys.recipients(self.place.id))
            return "" if record is None else read_names(record)[self.place.seq - 1]
        except (Unreadable, IndexError):
            return ""


class Tell(Operation):
    """Events that no row goes with."""

    __slots__ = ("events",)

    def __init__(self, events: Sequence[Event]) -> None:
        self.deferred = Deferred()
        self.events = events

    def plan(self, book: Book) -> None:
        _follow(book, self.events, None)


def _follow(book: Book, events: Sequence[Event], notice: Parcel | None) -> None:
    """What comes with a change: nothing is written where a part of it can't be."""
    told = [(event, encode(event)) for event in events]
    if notice is not None:
        _Written(notice).put(book)
    book.tell(told)


def _note(book: Book, delivery: Delivery, dialogue: Dialogue | None) -> None:
    if dialogue is not None:
        book.filling.batch.put(keys.dialogue(delivery.id, delivery.seq), encode(dialogue))


class _Written:
    """A message that comes, with all that is written of it: what can't be is told before anything is."""

    __slots__ = ("_parcel", "_told", "_writes")

    def __init__(self, parcel: Parcel) -> None:
        message, deliveries, last_chunk, events = parcel
        queue_id = message.id
        writes = [(keys.message(queue_id), encode(message))]
        if message.chunks:
            writes.append((keys.chunk(queue_id, message.chunks - 1), encode_chunk(last_chunk)))
        for delivery in deliveries:
            writes.append((keys.delivery(queue_id, delivery.seq), encode(delivery)))
            writes += [(entry, b"") for entry in entries(delivery, message.sender)]
        if message.recipients != 1:
            writes.append((keys.recipients(queue_id), encode([delivery.recipient for delivery in deliveries])))
        self._told = [(event, encode(event)) for event in events]
        if self._told:
            writes += [(trace, b"") for trace in _traces(message, deliveries)]
        self._parcel = parcel
        self._writes = writes

    def put(self, book: Book) -> None:
        message, deliveries = self._parcel.message, self._parcel.deliveries
        group, queue_id = book.filling, message.id
        put = group.batch.put
        for key, value in self._writes:
            put(key, value)
        if message.chunks > 1:
            group.batch.delete(keys.under_way(queue_id))
            book.under_way.discard(queue_id)
        if message.recipients != 1:
            group.remaining[queue_id] = len(deliveries)
        group.messages[queue_id] = message
        for delivery in deliveries:
            group.rows[keys.delivery(queue_id, delivery.seq)] = delivery
            book.counters.add(delivery.zone, bucket_of(delivery), 1)
        book.saw(queue_id)
        book.tell(self._told)


def _remember(book: Book, mark: Mark) -> None:
    put = book.filling.batch.put
    put(keys.token(mark.token), encode(mark.taken))
    put(keys.token_since(mark.taken.created, mark.token), b"")
    book.filling.tokens.add(mark.token)


def _traces(message: Message, deliveries: Sequence[Delivery]) -> list[bytes]:
    """What the history of a message is found by."""
    queue_id, created = message.id, message.created
    found = [keys.trace("recipient", one.recipient, created, queue_id, one.seq) for one in deliveries]
    if message.sender:
        found.append(keys.trace("sender", message.sender, created, queue_id, 0))
    if message.message_id:
        found.append(keys.trace("message-id", message.message_id, created, queue_id, 0))
    if message.tenant:
        found.append(keys.trace("tenant", message.tenant, created, queue_id, 0))
    for tag in message.tags:
        found.append(keys.trace("tag", tag, created, queue_id, 0))
    return found


def _taken(book: Book, token: bytes, given: int) -> int | None:
    """When a token was written; `given`, what the sweep has it for, when that can't be read."""
    try:
        return book.taken(token)
    except Unreadable:
        return given


def _row(book: Book, key: bytes, given: Delivery) -> Delivery | None:
    """The row as it stands; `given`, what the caller holds it for, when it can't be read."""
    try:
        return book.row(key)
    except Unreadable:
        return given
