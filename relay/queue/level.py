"""The store on LevelDB: reads straight from the database, writes through the committer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import Logger

from relay.config.schema import Events, Queue
from relay.message.dialogue import Dialogue
from relay.message.event import Event, Numbered
from relay.message.mark import Mark, Taken
from relay.message.queueid import name_of
from relay.message.values import Delivery, Message
from relay.queue import chronicle, keys
from relay.queue.commit import Committer, Phase, Worker
from relay.queue.engine import Engine, LevelDb
from relay.queue.eventsweep import EventSweep
from relay.queue.labelled import labelled, labelled_since, readable, remember_since
from relay.queue.opening import Lock, prepare_directory
from relay.queue.operations import AddChunk, Append, Barrier, Change, Discard, Finish, SetAside, Tell
from relay.queue.records import (
    FORMAT_VERSION,
    Format,
    encode,
    read_chunk,
    read_delivery,
    read_format,
    read_message,
    read_names,
    read_taken,
)
from relay.queue.shelf import LevelShelf
from relay.queue.store import (
    Bounds,
    LaneKey,
    Page,
    Parcel,
    Place,
    Point,
    QueueUnusable,
    StoreError,
    Stretch,
    Unreadable,
    ZoneCount,
)
from relay.queue.sweep import Sweep
from relay.queue.tokens import TokenSweep
from relay.queue.worker import WorkerThread
from relay.shelf import Shelf

_log = Logger()


class Reactor(IReactorTime, IReactorFromThreads):
    """What of the reactor the store uses."""


class LevelStore:
    """A Store in a directory: LevelDB in `db`, the lock beside it.

    All methods are the reactor's thread's. Reading raises StoreError while the database is
    being reopened, Unreadable where it is damaged. An id of wrong form is an unknown one.
    """

    def __init__(
        self,
        path: str,
        config: Queue,
        reactor: Reactor,
        events: Events = Events(),  # noqa: B008 (frozen)
        *,
        now: Callable[[], int] | None = None,
        worker: Worker | None = None,
        opened: Callable[[Path, bool], LevelDb] = LevelDb,
    ) -> None:
        """Opens nothing yet. `now` gives ms since the epoch; without it the reactor's time has to be the time of day.
        `worker` and `opened` are for tests."""
        self.path = Path(path)
        self._config = config
        self._events = events
        self._reactor = reactor
        self._now = now or (lambda: int(reactor.seconds() * 1000))
        self._worker = worker
        self._opened = opened
        self._lock: Lock | None = None
        self._committer: Committer | None = None
        self._sweep: Sweep | None = None
        self._tokens: TokenSweep | None = None
        self._old: EventSweep | None = None

    # -- open and close

    def open(self) -> None:
        """Take the lock and open the queue, or make it where there is none.
        QueueUnusable, with one clear line, when it is another's, damaged, or not writable."""
        prepare_directory(self.path)
        self._lock = Lock(self.path)
        engine: Engine | None = None
        try:
            engine = self._open_engine()
            _check_format(engine, self.path)
            remember_since(engine, self._events.keep > 0, self._now())
            self._committer = Committer(
                self._reactor,
                self._worker or WorkerThread(self._reactor, "queue"),
                engine,
                self._open_engine,
                self._has_space,
                self._now,
            )
            self._sweep = Sweep(self._reactor, lambda: self._engine, self._committer.add)
            self._tokens = TokenSweep(
                self._reactor, self._now, lambda: self._engine, self._committer.add, self._config.idempotency
            )
            self._old = EventSweep(
                self._reactor,
                self._now,
                lambda: self._engine,
                self._committer.add,
                lambda: self._writer.book.oldest,
                self._events.keep,
                self._events.max_size,
            )
        except BaseException as error:
            if engine is not None:
                engine.close()
            self._committer = None
            self._lock.release()
            if isinstance(error, StoreError):
                raise QueueUnusable(f"queue {self.path} is damaged ({error}): repair it") from error
            raise
        self._sweep.start()
        self._tokens.start()
        self._old.start()

    def _open_engine(self) -> Engine:
        engine = self._opened(self.path / "db", self._config.sync)
        for note in engine.notes:
            _log.warn("{note}", note=note)
        return engine

    def _has_space(self) -> bool:
        return self.free() >= self._config.min_free

    def free(self) -> int:
        """Bytes free on its disk. Raises OSError."""
        space = os.statvfs(self.path)
        return space.f_bavail * space.f_frsize

    def close(self) -> Deferred[None]:
        """Write what was given so far, close the database, release the lock. Nothing to do
        where the queue isn't open."""
        if self._committer is None:
            return succeed(None)
        if self._sweep is not None:
            self._sweep.stop()
        if self._tokens is not None:
            self._tokens.stop()
        if self._old is not None:
            self._old.stop()
        return self._writer.close().addCallback(self._release)

    def _release(self, _: None) -> None:
        if self._lock is not None:
            self._lock.release()

    @property
    def _writer(self) -> Committer:
        if self._committer is None:
            raise StoreError("the queue is not open")
        return self._committer

    @property
    def _engine(self) -> Engine:
        engine = self._writer.engine
        if engine is None:
            raise StoreError("the queue is being reopened")
        return engine

    # -- writing

    def append(
        self,
        message: Message,
        deliveries: Sequence[Delivery],
        last_chunk: bytes,
        token: bytes = b"",
        events: Sequence[Event] = (),
    ) -> Deferred[None]:
        """See Store. ValueError for an id, zone or domain that can't be a key."""
        if len(message.id) != keys.ID_LENGTH:
            raise ValueError(f"not a queue id: {message.id!r}")
        mark = Mark(token, Taken(message.id, message.created)) if token else None
        return self._writer.add(Append((Parcel(message, deliveries, last_chunk, events),), mark))

    def append_all(
        self, parcels: Sequence[Parcel], mark: Mark | None = None, events: Sequence[Event] = ()
    ) -> Deferred[None]:
        for parcel in parcels:
            if len(parcel.message.id) != keys.ID_LENGTH:
                raise ValueError(f"not a queue id: {parcel.message.id!r}")
        return self._writer.add(Append(parcels, mark, events))

    def add_chunk(self, queue_id: str, number: int, data: bytes) -> Deferred[None]:
        return self._writer.add(AddChunk(queue_id, number, data))

    def discard(self, queue_id: str, chunks: int) -> Deferred[None]:
        return self._writer.add(Discard(queue_id, 0, chunks, whole=True))

    def finish(
        self,
        message: Message,
        delivery: Delivery,
        events: Sequence[Event] = (),
        notice: Parcel | None = None,
        dialogue: Dialogue | None = None,
    ) -> Deferred[None]:
        return self._writer.add(Finish(message, delivery, events, notice, dialogue))

    def change(
        self,
        old: Delivery,
        new: Delivery,
        events: Sequence[Event] = (),
        notice: Parcel | None = None,
        dialogue: Dialogue | None = None,
    ) -> Deferred[None]:
        return self._writer.add(Change(old, new, events, notice, dialogue))

    def tell(self, events: Sequence[Event]) -> Deferred[None]:
        return self._writer.add(Tell(events))

    def set_aside(self, lane: LaneKey, place: Place, why: str) -> Deferred[None]:
        return self._writer.add(SetAside(lane, place, why))

    def barrier(self) -> Deferred[None]:
        return self._writer.add(Barrier())

    def writable(self) -> bool:
        return self._writer.phase is Phase.OPEN

    def accepting(self) -> bool:
        return self.writable() and self._writer.has_space()

    def on_writable(self, callback: Callable[[], None]) -> None:
        """Call back each time the store can write again."""
        self._writer.on_writable.append(callback)

    def on_events(self, callback: Callable[[], None]) -> None:
        """Call back each time there are new events."""
        self._writer.on_events.append(callback)

    def on_broken(self, callback: Callable[[], None]) -> None:
        """Call back each time the store has become unable to write."""
        self._writer.on_broken.append(callback)

    # -- reading

    def lanes(self, after: LaneKey | None, limit: int) -> list[tuple[LaneKey, int]]:
        start = b"q" if after is None else keys.after(keys.lane(*after))
        firsts = self._engine.hop(start, b"r", lambda key: keys.after(key[: -keys.PLACE_LENGTH]), limit)
        return [(LaneKey(*keys.lane_of(key)), keys.place_of(key)[0]) for key in firsts]

    def scan(self, lane: LaneKey, start: Place | None, until: int, limit: int) -> Page:
        prefix = keys.lane(*lane)
        first = prefix if start is None else keys.due(*lane, *start)
        places = [Place(*keys.place_of(key)) for key in self._engine.keys(first, keys.after(prefix), limit + 1)]
        found = [place for place in places[:limit] if place.due <= until]
        return Page(found, places[len(found)].due if len(found) < len(places) else None)

    def held(self, after: str, limit: int) -> list[Delivery]:
        start = keys.held(*keys.name_start(after)) + b"\0"
        return self._rows(keys.name_of(key) for key in self._engine.keys(start, b"i", limit))

    def recall(self, token: bytes, since: int) -> Taken | None:
        record = self._engine.get(keys.token(token))
        taken = None if record is None else read_taken(record)
        return taken if taken is not None and taken.created >= since else None

    def message(self, queue_id: str) -> Message | None:
        record = self._engine.get(keys.message(queue_id)) if _is_id(queue_id) else None
        return None if record is None else read_message(record)

    def delivery(self, queue_id: str, seq: int) -> Delivery | None:
        record = self._engine.get(keys.delivery(queue_id, seq)) if _is_id(queue_id) else None
        return None if record is None else read_delivery(record)

    def deliveries(self, queue_id: str, after: int, limit: int) -> list[Delivery]:
        if not _is_id(queue_id):
            return []
        start = keys.delivery(queue_id, after) + b"\0"
        found = self._engine.keys(start, keys.after(keys.of_message(b"d", queue_id)), limit)
        return self._rows(keys.name_of(key) for key in found)

    def _rows(self, names: Iterable[tuple[str, int]]) -> list[Delivery]:
        """The rows of these names; one that can't be read is logged and left out, so that
        the others can be seen."""
        rows = []
        for name in names:
            try:
                row = self.delivery(*name)
            except Unreadable as error:
                _log.error("row {id}.{seq:03x}: {error}", id=name[0], seq=name[1], error=str(error))
                continue
            if row is not None:
                rows.append(row)
        return rows

    def recipients(self, queue_id: str) -> list[str]:
        if not _is_id(queue_id):
            return []
        record = self._engine.get(keys.recipients(queue_id))
        if record is not None:
            return read_names(record)
        row = self.delivery(queue_id, 1)
        return [] if row is None else [row.recipient]

    def chunk(self, queue_id: str, number: int) -> bytes:
        record = self._engine.get(keys.chunk(queue_id, number)) if _is_id(queue_id) else None
        if record is None:
            raise Unreadable(f"chunk {number} of {queue_id} is missing")
        return read_chunk(record)

    def count(self, zone: str, now: int) -> ZoneCount:
        return self._writer.book.counters.count(zone, now)

    def zones(self) -> list[str]:
        return self._writer.book.counters.zones()

    def walk(self, after: Point, limit: int) -> Stretch:
        items = self._engine.items(keys.delivery(after.id, after.seq) + b"\0", b"e", limit)
        marked = [Point(0, *keys.name_of(key)) for key, _ in items]
        return Stretch(readable(items, marked), marked[-1] if len(items) == limit else None)

    def labelled(self, kind: str, value: str, after: Point, limit: int) -> Stretch:
        return labelled(self._engine, kind, value, after, limit) if value else Stretch([], None)

    def labelled_since(self) -> int:
        return labelled_since(self._engine, self._writer.book.oldest)

    def query(self, kind: str, value: str, after: str, limit: int) -> list[str]:
        start = keys.index(kind, value, *keys.name_start(after)) + b"\0"
        found = self._engine.keys(start, keys.after(keys.index_prefix(kind, value)), limit)
        return [name_of(*keys.name_of(key)) for key in found]

    # -- what was told

    def events(self, after: int, limit: int) -> list[Numbered]:
        first = max(after + 1, self._writer.book.oldest)
        return chronicle.events(self._engine, first, self._writer.told + 1, limit)

    def event_bounds(self) -> Bounds:
        return Bounds(self._writer.book.oldest, self._writer.told)

    def history(self, queue_id: str, seq: int | None, limit: int) -> list[Numbered]:
        return chronicle.history(self._engine, queue_id, seq, limit) if _is_id(queue_id) else []

    def ends(self, queue_id: str, seq: int | None, limit: int) -> tuple[Numbered, Numbered] | None:
        return chronicle.ends(self._engine, queue_id, seq, limit) if _is_id(queue_id) else None

    def dialogue(self, queue_id: str, seq: int) -> Dialogue | None:
        return chronicle.dialogue(self._engine, queue_id, seq) if _is_id(queue_id) else None

    def trace(self, kind: str, value: str, since: int, until: int, limit: int) -> Iterator[str]:
        return chronicle.trace(lambda: self._engine, kind, value, since, until, limit)

    def shelf(self, name: str) -> Shelf:
        return LevelShelf(name, lambda: self._engine, lambda operation: self._writer.add(operation))

    @property
    def newest(self) -> str:
        """The greatest queue id this queue has ever seen, "" when none: new ids must be greater."""
        return self._writer.book.newest

    @property
    def last_seen(self) -> int:
        """When the queue was last written by the run before (ms), 0 when never."""
        return self._writer.book.seen


def _is_id(queue_id: str) -> bool:
    return len(queue_id) == keys.ID_LENGTH


def _check_format(engine: Engine, path: Path) -> None:
    """A new queue gets its format record; any other must have one that we know."""
    record = engine.get(keys.FORMAT)
    if record is not None:
        version = read_format(record).version
        if version > FORMAT_VERSION:
            raise QueueUnusable(f"queue {path} has format {version}, this version knows {FORMAT_VERSION}")
        if version == FORMAT_VERSION:
            return
        _write_format(engine, path)  # What is in it stands as it is.
        return
    if engine.keys(b"\0", b"\xff", 1):
        raise QueueUnusable(f"queue {path} has no format record but is not empty: repair it")
    _write_format(engine, path)


def _write_format(engine: Engine, path: Path) -> None:
    batch = engine.batch()
    batch.put(keys.FORMAT, encode(Format(FORMAT_VERSION)))
    try:
        engine.write(batch)
    except Exception as error:
        raise QueueUnusable(f"queue {path} can't be written: {error}") from error
