"""What the rest of the relay knows of the store: one small interface, two implementations.

Every writing method returns a Deferred that fires once the change is on stable storage
(`sync = true`), or fails with StoreError when it is not. All methods are called from the
reactor's thread. `relay.queue.level` is the real one, `relay.queue.memory` the fake; both
pass tests/unit/test_store.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

from relay.message.dialogue import Dialogue
from relay.message.event import Event, Numbered
from relay.message.mark import Mark, Taken
from relay.message.values import Delivery, Message
from relay.shelf import Shelf


class StoreError(Exception):
    """The change could not be made durable. Temporary: space, a write error, a reopening."""


class Unreadable(StoreError):
    """A stored record can't be read: damaged, unknown version, or an I/O error."""


class QueueUnusable(Exception):
    """The queue can't be opened; the text is one clear line for the operator."""


class LaneKey(NamedTuple):
    """A lane: the deliveries of one zone to one domain that are of one flow (relay.message.flow)."""

    zone: str
    domain: str
    flow: str = ""


class Place(NamedTuple):
    """Where a delivery stands in the due index, whose order this is."""

    due: int
    id: str
    seq: int


class Page(NamedTuple):
    """Places found by a scan, and the due time of the first place not returned (None: no more)."""

    places: list[Place]
    next_due: int | None


class Point(NamedTuple):
    """A place between deliveries, behind `id` and `seq`. `day` (days since the epoch) is where it is found by what
    stands on its message, 0 elsewhere."""

    day: int
    id: str
    seq: int


#: Before everything.
BEGIN = Point(0, "0" * 18, 0)


class Stretch(NamedTuple):
    """Deliveries, each with the place behind it, and how far the look for them went; None: to the end."""

    rows: list[tuple[Delivery, Point]]
    next: Point | None


class ZoneCount(NamedTuple):
    """Deliveries of a zone: due now (leased ones included), due later, put aside."""

    queued: int
    deferred: int
    held: int


class Parcel(NamedTuple):
    """A message as it goes into the store with something else: see `Store.append`."""

    message: Message
    deliveries: Sequence[Delivery]
    last_chunk: bytes
    events: Sequence[Event] = ()


class Bounds(NamedTuple):
    """The numbers of the events that are kept: there is none before `oldest`, and none behind `newest` yet."""

    oldest: int
    newest: int


class Store(Protocol):
    """Writing methods take the events that tell of the change, and keep them in its own batch: neither is there
    without the other. Where nothing is to change, as the row is gone already, they are not written either."""

    def append(
        self,
        message: Message,
        deliveries: Sequence[Delivery],
        last_chunk: bytes,
        token: bytes = b"",
        events: Sequence[Event] = (),
    ) -> Deferred[None]:
        """Keep a message, its last body chunk (number `message.chunks - 1`; none when
        `chunks` is 0) and all its deliveries, in one atomic batch. With them goes the `token`
        (32 bytes) of the idempotency key it came under, if it did."""

    def append_all(
        self, parcels: Sequence[Parcel], mark: Mark | None = None, events: Sequence[Event] = ()
    ) -> Deferred[None]:
        """Keep several messages, or none, in one atomic batch, each as `append` does; with them the `mark` of the
        request that they came by, and `events` of what else it came to."""

    def recall(self, token: bytes, since: int) -> Taken | None:
        """What was kept with `token`, if it was at `since` (ms) or later. Older ones are forgotten after a while.
        Raises StoreError."""

    def add_chunk(self, queue_id: str, number: int, data: bytes) -> Deferred[None]:
        """Keep a body chunk of a message under way. Never appended: swept at the next start.
        When one fails, that is told before any later append of its message can succeed."""

    def discard(self, queue_id: str, chunks: int) -> Deferred[None]:
        """Forget the first `chunks` chunks of a message that will not be completed."""

    def finish(
        self,
        message: Message,
        delivery: Delivery,
        events: Sequence[Event] = (),
        notice: Parcel | None = None,
        dialogue: Dialogue | None = None,
    ) -> Deferred[None]:
        """Strike off a delivery; with the last one of a message its body and record go too. The `notice`
        about it, a message to its sender, is kept in the same batch, and so is the `dialogue` of its last failure, as
        long as its events are."""

    def change(
        self,
        old: Delivery,
        new: Delivery,
        events: Sequence[Event] = (),
        notice: Parcel | None = None,
        dialogue: Dialogue | None = None,
    ) -> Deferred[None]:
        """Replace a row: deferral, send now, hold, release. Same id and seq. The rest as in `finish`."""

    def tell(self, events: Sequence[Event]) -> Deferred[None]:
        """Keep events of what changes nothing else here."""

    def set_aside(self, lane: LaneKey, place: Place, why: str) -> Deferred[None]:
        """Hold a delivery whose row can't be read, with a row that says `why` in its stead;
        a place without any row is forgotten. So the rest of its lane flows on."""

    def lanes(self, after: LaneKey | None, limit: int) -> list[tuple[LaneKey, int]]:
        """The next lanes in the order of their keys, each with the due time of its first delivery; cost
        per lane, not per delivery. Held deliveries are not in the due index and don't count."""

    def scan(self, lane: LaneKey, start: Place | None, until: int, limit: int) -> Page:
        """Up to `limit` places of a lane from `start` (inclusive) with due <= `until`."""

    def held(self, after: str, limit: int) -> list[Delivery]:
        """Deliveries put aside, in order of their name, after `id.seq`."""

    def barrier(self) -> Deferred[None]:
        """Fires when every change made before it is on stable storage."""

    def message(self, queue_id: str) -> Message | None:
        """The record of a message, or None. Raises Unreadable."""

    def delivery(self, queue_id: str, seq: int) -> Delivery | None:
        """One row, or None. Raises Unreadable."""

    def deliveries(self, queue_id: str, after: int, limit: int) -> list[Delivery]:
        """Rows of a message with seq > `after`, in order."""

    def walk(self, after: Point, limit: int) -> Stretch:
        """The next deliveries in the order of their names, which is that of their age: looks at up to `limit`. One that
        can't be read is logged and left out."""

    def labelled(self, kind: str, value: str, after: Point, limit: int) -> Stretch:
        """The next deliveries in the queue whose message has this "message-id", "sender", "recipient", "tenant" or
        "tag", in any case, about in the order of their age; looks about `limit` times. It costs the less the fewer
        there are of either, of such messages ever or of deliveries in the queue. What was taken before `labelled_since`
        may be missing, and what is none may be among them."""

    def labelled_since(self) -> int:
        """Messages that came to be at that time (ms since the epoch) or later are found by `labelled`."""

    def recipients(self, queue_id: str) -> list[str]:
        """All recipients at acceptance, in order of seq; [] for an unknown id."""

    def chunk(self, queue_id: str, number: int) -> bytes:
        """A body chunk. Raises Unreadable when it is missing or damaged."""

    def count(self, zone: str, now: int) -> ZoneCount:
        """Exact counts at `now` (ms), from memory."""

    def zones(self) -> list[str]:
        """Names of the zones that have deliveries."""

    def query(self, kind: str, value: str, after: str, limit: int) -> list[str]:
        """Names (`id.seq`) of deferred deliveries by "sender", "recipient" or "reason",
        after a name, in order. Rows are indexed from their first deferral on."""

    def events(self, after: int, limit: int) -> list[Numbered]:
        """Up to `limit` events with greater numbers, in order. One that can't be read is logged and left out."""

    def event_bounds(self) -> Bounds:
        """Of what is durable."""

    def history(self, queue_id: str, seq: int | None, limit: int) -> list[Numbered]:
        """The first events of a delivery and of its message, in order; `seq` None: of all its deliveries."""

    def ends(self, queue_id: str, seq: int | None, limit: int) -> tuple[Numbered, Numbered] | None:
        """The first and the last event of a history, of whose steps `limit` are looked at; None: there is none. What is
        between them isn't read."""

    def dialogue(self, queue_id: str, seq: int) -> Dialogue | None:
        """What was said when the delivery failed last, as far as anything was; None: nothing is known. Raises
        Unreadable."""

    def trace(self, kind: str, value: str, since: int, until: int, limit: int) -> Iterator[str]:
        """Names (`id` or `id.seq`), latest days first, of what was queued on the days of these times (ms) and between
        with this "message-id", "sender", "recipient", "tenant" or "tag", in any case; up to `limit`, read while they
        are asked for: that may raise StoreError. There may be some among them whose history is gone."""

    def on_events(self, callback: Callable[[], None]) -> None:
        """Call back each time there are new events."""

    def shelf(self, name: str) -> Shelf:
        """The shelf of that name; it is there already, or empty."""

    def writable(self) -> bool:
        """False while the store can't write (full disk, reopening): refuse and don't send."""

    def accepting(self) -> bool:
        """Whether `append` has a chance: writable, and room left on the disk. Sending goes
        on while this is False, it makes room."""

    def on_writable(self, callback: Callable[[], None]) -> None:
        """Call back each time the store can write again."""

    def on_broken(self, callback: Callable[[], None]) -> None:
        """Call back each time the store has become unable to write."""

    @property
    def newest(self) -> str:
        """The greatest queue id this queue has ever seen, "" when none: new ids must be greater."""
