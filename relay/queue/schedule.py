"""What is due: a lane per zone and domain, over the store's due index.

New mail stays in memory with its small body until its first attempt has ended, within a
bound; everything else lies in the store and is read back a page at a time when its lane
has run dry. A lane knows exactly when its next delivery is due, so nothing polls: the
earliest lane holds the one timer.

What holds at every moment: each due-index row of a lane is either in memory (`works`), or at
or after the lane's cursor, with `next_due` no later than its due time.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence

import msgspec.structs
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from relay.message.values import Delivery, Message
from relay.queue.retry import Retry
from relay.queue.store import Place, Store, StoreError

_log = Logger()

_PAGE = 32
_LANES = 500
#: New deliveries kept in memory per lane; what comes beyond is read back from the store.
_READY = 1000
#: A write that fails leaves work to be found again; look this much later (ms).
_PATIENCE = 1000


class Held:
    """A message in memory, shared by its deliveries there; `body` while it is kept."""

    __slots__ = ("body", "message", "users")

    def __init__(self, message: Message, body: bytes | None) -> None:
        self.message = message
        self.body = body
        self.users = 0


class Work:
    """A delivery in memory: ready, or leased to a child."""

    __slots__ = ("crashes", "delivery", "gone", "held", "lane", "lease")

    def __init__(self, lane: Lane, held: Held, delivery: Delivery) -> None:
        self.lane = lane
        self.held = held
        self.delivery = delivery
        self.lease = 0
        self.crashes = 0
        self.gone = False


class Lane:
    """The deliveries of one zone to one domain."""

    __slots__ = ("cursor", "domain", "in_memory", "listed", "next_due", "ready", "zone")

    def __init__(self, zone: str, domain: str) -> None:
        self.zone = zone
        self.domain = domain
        self.ready: deque[Work] = deque()
        self.in_memory = 0
        self.cursor: Place | None = None
        self.next_due: int | None = None
        self.listed = False


class Schedule:
    """All lanes. `due(lane)` is called whenever a lane may have come to have ready work."""

    def __init__(
        self, store: Store, retry: Retry, clock: IReactorTime, now: Callable[[], int], memory: int
    ) -> None:
        self._store = store
        self._retry = retry
        self._clock = clock
        self._now = now
        self._memory = memory
        self._bodies = 0
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._works: dict[tuple[str, int], Work] = {}
        self._held: dict[str, Held] = {}
        self._heap: list[tuple[int, int, Lane]] = []
        self._order = 0
        self._timer: IDelayedCall | None = None
        self._timer_due = 0
        self._unreadable: set[tuple[str, int]] = set()
        self.due: Callable[[Lane], None] = lambda lane: None

    # -- start and stop

    def start(self) -> None:
        """Find the lanes that lie in the store, a slice at a time."""
        self._discover(None)

    def stop(self) -> None:
        """No timer stays behind."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        self._heap.clear()

    def _discover(self, after: tuple[str, str] | None) -> None:
        try:
            found = self._store.lanes(after, _LANES)
        except StoreError as error:
            _log.warn("the queue can't be read, looking again: {error}", error=str(error))
            self._clock.callLater(_PATIENCE / 1000, self._discover, after)
            return
        for zone, domain, first_due in found:
            self._expect(self.lane(zone, domain), first_due)
        if len(found) == _LANES:
            self._clock.callLater(0, self._discover, found[-1][:2])

    # -- lanes

    def lane(self, zone: str, domain: str) -> Lane:
        """The lane, made when there is none."""
        key = (zone, domain)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(zone, domain)
        return lane

    def known(self, zone: str, domain: str) -> Lane | None:
        """The lane if it has anything at all."""
        return self._lanes.get((zone, domain))

    def lanes(self) -> list[Lane]:
        return list(self._lanes.values())

    def _expect(self, lane: Lane, due: int) -> None:
        """The store has a row of this lane, not in memory, due at `due`."""
        if lane.next_due is None or due < lane.next_due:
            lane.next_due = due
            self._wake_at(lane, due)

    def _wake_at(self, lane: Lane, due: int) -> None:
        now = self._now()
        if due <= now:
            self.due(lane)
            return
        # A clock that was wrong when the row was written can't put it off for longer than this.
        due = min(due, now + max(self._retry.longest, 86_400_000))
        self._order += 1
        heapq.heappush(self._heap, (due, self._order, lane))
        if self._timer is None or due < self._timer_due:
            self._set_timer(due, now)

    def _set_timer(self, due: int, now: int) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._clock.callLater(max(0.0, (due - now) / 1000), self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = self._now()
        woken: list[Lane] = []
        while self._heap and self._heap[0][0] <= now:
            woken.append(heapq.heappop(self._heap)[2])
        if self._heap:
            self._set_timer(self._heap[0][0], now)
        for lane in woken:
            if lane.next_due is not None and self._lanes.get((lane.zone, lane.domain)) is lane:
                self.due(lane)

    # -- work in

    def add(self, message: Message, deliveries: Sequence[Delivery], body: bytes | None) -> None:
        """A message was stored; `body` is the whole body when it is small enough to keep."""
        now = self._now()
        held = None
        for delivery in deliveries:
            lane = self.lane(delivery.zone, delivery.domain)
            if delivery.due > now or len(lane.ready) >= _READY:
                self._in_store(lane, delivery)
                continue
            if held is None:
                held = self._hold(message, body)
            lane.ready.append(self._enter(lane, held, delivery))
            self.due(lane)

    def _hold(self, message: Message, body: bytes | None) -> Held:
        if body is not None:
            if self._bodies + len(body) > self._memory:
                body = None
            else:
                self._bodies += len(body)
        held = self._held[message.id] = Held(message, body)
        return held

    def _enter(self, lane: Lane, held: Held, delivery: Delivery) -> Work:
        work = self._works[delivery.id, delivery.seq] = Work(lane, held, delivery)
        held.users += 1
        lane.in_memory += 1
        return work

    def _in_store(self, lane: Lane, delivery: Delivery) -> None:
        place = Place(delivery.due, delivery.id, delivery.seq)
        if lane.cursor is not None and place < lane.cursor:
            lane.cursor = place
        self._expect(lane, delivery.due)

    # -- work out

    def has_ready(self, lane: Lane) -> bool:
        """Whether the lane has work that is due; reads the store when memory has none."""
        if not lane.ready and lane.next_due is not None:
            self._refill(lane)
        return bool(lane.ready)

    def take(self, lane: Lane) -> Work:
        """The next work of a lane that has some; it stays in memory until it is settled."""
        return lane.ready.popleft()

    def give_back(self, work: Work) -> None:
        """Leased work that came to nothing: due again, ahead of the others."""
        work.lease = 0
        work.lane.ready.appendleft(work)
        self.due(work.lane)

    def settled(self, work: Work, now_in_store: Delivery | None) -> None:
        """The outcome is on disk: the row is gone, or stands anew in the store."""
        delivery, held, lane = work.delivery, work.held, work.lane
        work.gone = True
        del self._works[delivery.id, delivery.seq]
        held.users -= 1
        lane.in_memory -= 1
        if not held.users:
            if held.body is not None:
                self._bodies -= len(held.body)
            del self._held[delivery.id]
        if now_in_store is not None and not now_in_store.held:
            self._in_store(self.lane(now_in_store.zone, now_in_store.domain), now_in_store)
        if lane.next_due is None and not lane.in_memory:
            self._lanes.pop((lane.zone, lane.domain), None)

    def work(self, queue_id: str, seq: int) -> Work | None:
        """A delivery that is in memory now."""
        return self._works.get((queue_id, seq))

    def claim(self, message: Message, delivery: Delivery) -> Work | None:
        """Take a delivery that no child holds out of the line, to change or end it; it must
        then be settled. None: a child holds it, or it is being settled."""
        work = self._works.get((delivery.id, delivery.seq))
        if work is None:
            held = self._held.get(message.id)
            if held is None:
                held = self._held[message.id] = Held(message, None)
            return self._enter(self.lane(delivery.zone, delivery.domain), held, delivery)
        if work.lease or work not in work.lane.ready:
            return None
        work.lane.ready.remove(work)
        return work

    # -- reading back

    def _refill(self, lane: Lane) -> None:
        """Bring the next page of due rows into memory; leaves `next_due` true."""
        now = self._now()
        while lane.next_due is not None and not lane.ready:
            if lane.next_due > now:
                self._wake_at(lane, lane.next_due)
                if lane.next_due > now + self._retry.longest:
                    self._clock_went_back(lane, now)
                return
            try:
                page = self._store.scan(lane.zone, lane.domain, lane.cursor, now, _PAGE)
            except StoreError as error:
                _log.warn("lane {lane} can't be read: {error}", lane=lane.domain, error=str(error))
                self._wake_at(lane, now + _PATIENCE)
                return
            for place in page.places:
                self._load(lane, place)
            if page.places:
                last = page.places[-1]
                lane.cursor = Place(last.due, last.id, last.seq + 1)
            lane.next_due = page.next_due
        if lane.next_due is None and not lane.in_memory:
            self._lanes.pop((lane.zone, lane.domain), None)

    def _load(self, lane: Lane, place: Place) -> None:
        if (place.id, place.seq) in self._works:
            return
        try:
            held = self._held.get(place.id)
            message = held.message if held else self._store.message(place.id)
            delivery = self._store.delivery(place.id, place.seq)
        except StoreError as error:
            self._set_aside(place, str(error))
            return
        if message is None or delivery is None:
            self._set_aside(place, "its record is missing")
            return
        if held is None:
            held = self._held[place.id] = Held(message, None)
        lane.ready.append(self._enter(lane, held, delivery))

    def _set_aside(self, place: Place, why: str) -> None:
        if (place.id, place.seq) not in self._unreadable:
            self._unreadable.add((place.id, place.seq))
            _log.error(
                "{id}.{seq:03x} can't be read and is left aside: {why}", id=place.id, seq=place.seq, why=why
            )

    def _clock_went_back(self, lane: Lane, now: int) -> None:
        """The first row is due later than any retry step allows: its failure lies in the
        future, so the clock was ahead when it was written. Give it its step from now on."""
        try:
            page = self._store.scan(lane.zone, lane.domain, lane.cursor, lane.next_due or now, _PAGE)
            rows = [self._store.delivery(place.id, place.seq) for place in page.places]
        except StoreError:
            return
        for row in rows:
            if row is None or not row.attempts or row.last_failure <= now or (row.id, row.seq) in self._works:
                continue
            due = -(-(now + self._retry.step(row.attempts)) // 1000) * 1000
            message = self._store.message(row.id)
            work = message and self.claim(message, row)
            if work:
                self._rewrite(work, msgspec.structs.replace(row, due=due, last_failure=now))

    def _rewrite(self, work: Work, new: Delivery) -> None:
        self._store.change(work.delivery, new).addCallbacks(
            lambda _: self.settled(work, new),
            lambda failure: _log.failure("{name} not moved", failure, name=new.name),
        )
