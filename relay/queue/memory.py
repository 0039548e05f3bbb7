"""The store as a fake in memory: for the tests of everything above it. Nothing is durable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec
from twisted.internet.defer import Deferred, fail, succeed

from relay.message.dialogue import Dialogue
from relay.message.event import Event, Numbered
from relay.message.mark import Mark, Taken
from relay.message.values import Delivery, Message
from relay.queue import keys
from relay.queue.store import (
    Bounds,
    LaneKey,
    Page,
    Parcel,
    Place,
    Point,
    StoreError,
    Stretch,
    Unreadable,
    ZoneCount,
)
from relay.shelf import Shelf

_Name = tuple[str, int]


class MemoryStore:
    """A Store whose operations are done at once. `broken` makes it one that can't write."""

    def __init__(self) -> None:
        self.broken = False
        self.newest = ""
        self._messages: dict[str, Message] = {}
        self._recipients: dict[str, list[str]] = {}
        self._chunks: dict[tuple[str, int], bytes] = {}
        self._rows: dict[_Name, Delivery] = {}
        self._taken: dict[bytes, Taken] = {}
        self._events: list[Event] = []
        self._dialogues: dict[_Name, Dialogue] = {}
        self._traces: list[tuple[str, str, int, str]] = []
        self._shelves: dict[str, MemoryShelf] = {}
        self._event_callbacks: list[Callable[[], None]] = []
        self._callbacks: list[Callable[[], None]] = []
        self._broken_callbacks: list[Callable[[], None]] = []

    # -- writing

    def append(
        self,
        message: Message,
        deliveries: Sequence[Delivery],
        last_chunk: bytes,
        token: bytes = b"",
        events: Sequence[Event] = (),
    ) -> Deferred[None]:
        mark = Mark(token, Taken(message.id, message.created)) if token else None
        return self.append_all([Parcel(message, deliveries, last_chunk, events)], mark)

    def append_all(
        self, parcels: Sequence[Parcel], mark: Mark | None = None, events: Sequence[Event] = ()
    ) -> Deferred[None]:
        if self.broken:
            return fail(StoreError("the queue can't be written"))
        if mark is not None:
            self._taken[mark.token] = mark.taken
        for parcel in parcels:
            self._put(*parcel)
        return self.tell((*(event for parcel in parcels for event in parcel.events), *events))

    def _put(
        self, message: Message, deliveries: Sequence[Delivery], last_chunk: bytes, events: Sequence[Event]
    ) -> None:
        if events:
            self._traces += [
                ("sender", message.sender, message.created, message.id),
                ("message-id", message.message_id, message.created, message.id),
                ("tenant", message.tenant, message.created, message.id),
                *(("tag", tag, message.created, message.id) for tag in message.tags),
                *(("recipient", one.recipient, message.created, one.name) for one in deliveries),
            ]
        if message.chunks:
            self._chunks[message.id, message.chunks - 1] = last_chunk
        self._messages[message.id] = message
        self._recipients[message.id] = [delivery.recipient for delivery in deliveries]
        self._rows.update({(delivery.id, delivery.seq): delivery for delivery in deliveries})
        self.newest = max(self.newest, message.id)

    def add_chunk(self, queue_id: str, number: int, data: bytes) -> Deferred[None]:
        if self.broken:
            return fail(StoreError("the queue can't be written"))
        self._chunks[queue_id, number] = data
        self.newest = max(self.newest, queue_id)
        return succeed(None)

    def discard(self, queue_id: str, chunks: int) -> Deferred[None]:
        for number in range(chunks):
            self._chunks.pop((queue_id, number), None)
        return succeed(None)

    def finish(
        self,
        message: Message,
        delivery: Delivery,
        events: Sequence[Event] = (),
        notice: Parcel | None = None,
        dialogue: Dialogue | None = None,
    ) -> Deferred[None]:
        queue_id = message.id
        if self._rows.pop((queue_id, delivery.seq), None) is not None:
            self._follow(events, notice)
            self._note(delivery, dialogue)
            if not events:
                self._dialogues.pop((queue_id, delivery.seq), None)
        if queue_id in self._messages and not self.deliveries(queue_id, 0, 1):
            del self._messages[queue_id], self._recipients[queue_id]
            self.discard(queue_id, message.chunks)
        return succeed(None)

    def change(
        self,
        old: Delivery,
        new: Delivery,
        events: Sequence[Event] = (),
        notice: Parcel | None = None,
        dialogue: Dialogue | None = None,
    ) -> Deferred[None]:
        if (new.id, new.seq) in self._rows:
            self._rows[new.id, new.seq] = new
            self._follow(events, notice)
            self._note(new, dialogue)
        return succeed(None)

    def _follow(self, events: Sequence[Event], notice: Parcel | None) -> None:
        if notice is not None:
            self.append(notice.message, notice.deliveries, notice.last_chunk, b"", notice.events)
        self.tell(events)

    def _note(self, delivery: Delivery, dialogue: Dialogue | None) -> None:
        if dialogue is not None:
            self._dialogues[delivery.id, delivery.seq] = dialogue

    def tell(self, events: Sequence[Event]) -> Deferred[None]:
        self._events += events
        for callback in self._event_callbacks if events else ():
            callback()
        return succeed(None)

    def set_aside(self, lane: LaneKey, place: Place, why: str) -> Deferred[None]:
        row = self._rows.get((place.id, place.seq))
        if row is not None:
            self._rows[place.id, place.seq] = msgspec.structs.replace(row, held=why)
        return succeed(None)

    def barrier(self) -> Deferred[None]:
        return succeed(None)

    def writable(self) -> bool:
        return not self.broken

    def accepting(self) -> bool:
        return not self.broken

    def on_writable(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def on_broken(self, callback: Callable[[], None]) -> None:
        self._broken_callbacks.append(callback)

    def on_events(self, callback: Callable[[], None]) -> None:
        self._event_callbacks.append(callback)

    def break_down(self) -> None:
        """Become unable to write."""
        self.broken = True
        for callback in tuple(self._broken_callbacks):
            callback()

    def mend(self) -> None:
        """Be writable again."""
        self.broken = False
        for callback in tuple(self._callbacks):
            callback()

    # -- reading

    def lanes(self, after: LaneKey | None, limit: int) -> list[tuple[LaneKey, int]]:
        first: dict[LaneKey, int] = {}
        for row in self._rows.values():
            lane = LaneKey(row.zone, row.domain, row.flow)
            if not row.held and (after is None or lane > after):
                first[lane] = min(row.due, first.get(lane, row.due))
        return sorted(first.items())[:limit]

    def scan(self, lane: LaneKey, start: Place | None, until: int, limit: int) -> Page:
        places = sorted(
            place
            for row in self._rows.values()
            if (row.zone, row.domain, row.flow, row.held) == (*lane, "")
            and (start is None or (row.due, row.id, row.seq) >= start)
            for place in [Place(row.due, row.id, row.seq)]
        )
        found = [place for place in places if place.due <= until][:limit]
        return Page(found, places[len(found)].due if len(found) < len(places) else None)

    def held(self, after: str, limit: int) -> list[Delivery]:
        start = keys.name_start(after)
        return [row for name, row in sorted(self._rows.items()) if row.held and name > start][:limit]

    def recall(self, token: bytes, since: int) -> Taken | None:
        taken = self._taken.get(token)
        return taken if taken is not None and taken.created >= since else None

    def message(self, queue_id: str) -> Message | None:
        return self._messages.get(queue_id)

    def delivery(self, queue_id: str, seq: int) -> Delivery | None:
        return self._rows.get((queue_id, seq))

    def deliveries(self, queue_id: str, after: int, limit: int) -> list[Delivery]:
        rows = sorted(row for row in self._rows.items() if row[0][0] == queue_id and row[0][1] > after)
        return [row for _, row in rows[:limit]]

    def recipients(self, queue_id: str) -> list[str]:
        return list(self._recipients.get(queue_id, ()))

    def chunk(self, queue_id: str, number: int) -> bytes:
        try:
            return self._chunks[queue_id, number]
        except KeyError:
            raise Unreadable(f"chunk {number} of {queue_id} is missing") from None

    def count(self, zone: str, now: int) -> ZoneCount:
        rows = [row for row in self._rows.values() if row.zone == zone]
        held = sum(1 for row in rows if row.held)
        queued = sum(1 for row in rows if not row.held and row.due <= now)
        return ZoneCount(queued, len(rows) - held - queued, held)

    def zones(self) -> list[str]:
        return sorted({row.zone for row in self._rows.values()})

    def walk(self, after: Point, limit: int) -> Stretch:
        found = [row for name, row in sorted(self._rows.items()) if name > (after.id, after.seq)][:limit]
        marked = [(row, Point(0, row.id, row.seq)) for row in found]
        return Stretch(marked, marked[-1][1] if len(marked) == limit else None)

    def labelled(self, kind: str, value: str, after: Point, limit: int) -> Stretch:
        def values(row: Delivery) -> Sequence[str]:
            message = self._messages[row.id]
            if kind == "tag":
                return message.tags
            return (row.recipient if kind == "recipient" else getattr(message, kind.replace("-", "_")),)

        marked = [
            (row, Point(self._messages[row.id].created // keys.DAY, row.id, row.seq))
            for row in self._rows.values()
            if value and value.casefold() in map(str.casefold, values(row))
        ]
        found = sorted((one for one in marked if one[1] > after), key=lambda one: one[1])
        return Stretch(found[:limit], found[limit - 1][1] if len(found) > limit else None)

    def labelled_since(self) -> int:
        return 0

    def query(self, kind: str, value: str, after: str, limit: int) -> list[str]:
        def value_of(row: Delivery) -> str:
            if kind == "sender":
                return self._messages[row.id].sender
            return row.recipient if kind == "recipient" else row.category

        start = keys.name_start(after)
        return [
            row.name
            for name, row in sorted(self._rows.items())
            if name > start and (row.attempts or row.first_failure) and value_of(row) == value
        ][:limit]

    # -- what was told

    def events(self, after: int, limit: int) -> list[Numbered]:
        return [Numbered(*one) for one in enumerate(self._events, 1)][max(after, 0) :][:limit]

    def event_bounds(self) -> Bounds:
        return Bounds(1, len(self._events))

    def history(self, queue_id: str, seq: int | None, limit: int) -> list[Numbered]:
        found = [one for one in self.events(0, 1 << 32) if one.event.id == queue_id]
        return [one for one in found if seq is None or one.event.seq in (0, seq)][:limit]

    def ends(self, queue_id: str, seq: int | None, limit: int) -> tuple[Numbered, Numbered] | None:
        found = self.history(queue_id, seq, limit)
        return (found[0], found[-1]) if found else None

    def dialogue(self, queue_id: str, seq: int) -> Dialogue | None:
        return self._dialogues.get((queue_id, seq))

    def trace(self, kind: str, value: str, since: int, until: int, limit: int) -> Iterator[str]:
        days = range(since // keys.DAY, until // keys.DAY + 1)
        found = {
            (-(created // keys.DAY), name)
            for what, whose, created, name in self._traces
            if (what, whose.casefold()) == (kind, value.casefold()) and whose and created // keys.DAY in days
        }
        return iter([name for _, name in sorted(found)][:limit])

    def shelf(self, name: str) -> Shelf:
        return self._shelves.setdefault(name, MemoryShelf())


class MemoryShelf:
    """A Shelf whose writes are done at once. `broken` makes it one that can't write."""

    def __init__(self) -> None:
        self.broken = False
        self._entries: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self._entries.get(key)

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        found = sorted(one for one in self._entries.items() if one[0] >= start and (not stop or one[0] < stop))
        return found[:limit]

    def write(self, put: Mapping[bytes, bytes], delete: Iterable[bytes] = ()) -> Deferred[None]:
        if self.broken:
            return fail(StoreError("the queue can't be written"))
        for key in delete:
            self._entries.pop(key, None)
        self._entries.update(put)
        return succeed(None)
