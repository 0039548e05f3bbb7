"""What the tests of schedule, dispatch and intake share: mail, and a store that tells late."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from relay.config.schema import Config, Domain, Queue, Zone
from relay.message.dialogue import Dialogue
from relay.message.event import Event
from relay.message.mark import Mark
from relay.message.values import Delivery, Message, Origin, Result
from relay.queue.memory import MemoryStore
from relay.queue.retry import Retry
from relay.queue.store import LaneKey, Parcel, Place, StoreError, Unreadable
from relay.zone.zones import Zones, from_config

START = 1_700_000_000.0
ORIGIN = Origin("feeder", "192.0.2.1", "client.test")


def a_clock() -> Clock:
    clock = Clock()
    clock.rightNow = START
    return clock


def milliseconds(clock: Clock) -> Callable[[], int]:
    return lambda: round(clock.seconds() * 1000)


def queue_id(number: int) -> str:
    return f"{number:014x}beef"


def a_message(number: int, body: bytes = b"hello\r\n", recipients: int = 1, **changes: Any) -> Message:
    values: dict[str, Any] = {
        "id": queue_id(number),
        "sender": "from@sender.test",
        "origin": ORIGIN,
        "created": int(START * 1000),
        "headers": b"Subject: x\r\n",
        "body_size": len(body),
        "chunks": int(bool(body)),
        "recipients": recipients,
    }
    return Message(**values | changes)


def a_delivery(message: Message, seq: int, domain: str, due: int, zone: str = "default") -> Delivery:
    return Delivery(message.id, seq, zone, domain, f"to{seq}@{domain}", due)


def zones_of(domains: dict[str, Domain] | None = None, /, **zones: Zone) -> Zones:
    """Zones by name; "default" is always there. At most three connections to d.test, unless `domains` say other."""
    sections = {"d.test": Domain(max_connections=3), **(domains or {})}
    return from_config(Config(hostname="relay.test", zones=zones, domains=sections))


def a_retry(*steps: float) -> Retry:
    return Retry(Queue(retry=steps or (60.0, 120.0)))


class LateStore(MemoryStore):
    """Does everything at once, but tells of it only when asked to, as a commit thread does."""

    def __init__(self) -> None:
        super().__init__()
        self.late = True
        self.unreadable: set[str] = set()
        self.silent = False
        self.reads = 0
        self._untold: deque[tuple[Deferred[None], Deferred[None]]] = deque()

    def _later(self, done: Deferred[None]) -> Deferred[None]:
        if not self.late:
            return done
        told: Deferred[None] = Deferred()
        self._untold.append((done, told))
        return told

    @property
    def untold(self) -> int:
        return len(self._untold)

    def let_go(self, count: int = 1_000_000) -> None:
        """Let the first `count` operations be told."""
        while self._untold and count:
            done, told = self._untold.popleft()
            count -= 1
            done.chainDeferred(told)

    def die(self) -> None:
        """The store comes to its end before the rest could be written."""
        while self._untold:
            self._untold.popleft()[1].errback(StoreError("closed"))

    def append_all(
        self, parcels: Sequence[Parcel], mark: Mark | None = None, events: Sequence[Event] = ()
    ) -> Deferred[None]:
        return self._part(lambda: super(LateStore, self).append_all(parcels, mark, events))

    def add_chunk(self, queue_id: str, number: int, data: bytes) -> Deferred[None]:
        return self._later(super().add_chunk(queue_id, number, data))

    def discard(self, queue_id: str, chunks: int) -> Deferred[None]:
        return self._later(super().discard(queue_id, chunks))

    def finish(
        self,
        message: Message,
        delivery: Delivery,
        events: Sequence[Event] = (),
        notice: Parcel | None = None,
        dialogue: Dialogue | None = None,
    ) -> Deferred[None]:
        return self._part(lambda: super(LateStore, self).finish(message, delivery, events, notice, dialogue))

    def change(
        self,
        old: Delivery,
        new: Delivery,
        events: Sequence[Event] = (),
        notice: Parcel | None = None,
        dialogue: Dialogue | None = None,
    ) -> Deferred[None]:
        return self._part(lambda: super(LateStore, self).change(old, new, events, notice, dialogue))

    def tell(self, events: Sequence[Event]) -> Deferred[None]:
        return self._later(super().tell(events))

    def _part(self, operation: Callable[[], Deferred[None]]) -> Deferred[None]:
        """What the operation does on the way is part of it."""
        late, self.late = self.late, False
        done = operation()
        self.late = late
        return self._later(done)

    def set_aside(self, lane: LaneKey, place: Place, why: str) -> Deferred[None]:
        return self._later(super().set_aside(lane, place, why))

    def barrier(self) -> Deferred[None]:
        return self._later(super().barrier())

    def message(self, queue_id: str) -> Message | None:
        self._look(queue_id)
        return super().message(queue_id)

    def scan(self, lane: LaneKey, start: Place | None, until: int, limit: int) -> Any:
        self._look("")
        self.reads += 1
        return super().scan(lane, start, until, limit)

    def _look(self, name: str) -> None:
        if self.silent:
            raise StoreError("the queue is being reopened")
        if name in self.unreadable:
            raise Unreadable("bad checksum")

    # -- for tests

    @property
    def rows(self) -> dict[tuple[str, int], Delivery]:
        return dict(self._rows)

    @property
    def chunks(self) -> dict[tuple[str, int], bytes]:
        return dict(self._chunks)


class Tally:
    """Counts what the metrics would count."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.bounces = 0
        self.reuses = 0
        self.unsigned_ones = 0
        self.suppressions = {"attempt": 0, "submission": 0}
        self.refusals: list[tuple[str, str]] = []
        self.pushes: list[bool] = []
        self.drops = 0
        self.accepts: list[tuple[str, float]] = []
        self.attempts: list[tuple[str, str, int, float, bool, bool]] = []
        self.notices: list[str] = []
        self.no_notices: list[str] = []

    def delivery(self, zone: str, result: Result) -> None:
        self.results.append(result)

    def suppressed(self, where: str, count: int = 1) -> None:
        self.suppressions[where] += count

    def unsigned(self) -> None:
        self.unsigned_ones += 1

    def refusal(self, category: str, action: str) -> None:
        self.refusals.append((category, action))

    def bounce(self) -> None:
        self.bounces += 1

    def notice(self, kind: str) -> None:
        self.notices.append(kind)

    def no_notice(self, reason: str) -> None:
        self.no_notices.append(reason)

    def reused(self) -> None:
        self.reuses += 1

    def pushed(self, ok: bool) -> None:
        self.pushes.append(ok)

    def dropped(self) -> None:
        self.drops += 1

    def accepted(self, transport: str, seconds: float) -> None:
        self.accepts.append((transport, seconds))

    def attempted(self, zone: str, site: str, since: int, took: float, *, first: bool, delivered: bool) -> None:
        self.attempts.append((zone, site, since, took, first, delivered))
