"""What is due: a lane per zone, domain and flow, over the store's due index.

New mail stays in memory with its small body until its first attempt has ended, within a
bound; everything else lies in the store and is read back a page at a time (beyond the
bound: one at a time) when its lane has run dry. A lane knows exactly when its next delivery
is due, so nothing polls: the earliest lane holds the one timer.

What holds at every moment: each due-index row of a lane is either in memory (`works`), or at
or after the lane's cursor, with `next_due` no later than its due time; or it was written by
an operation whose end has not been told yet, which puts it right.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import msgspec.structs
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from relay.message.values import Delivery, Message
from relay.queue.retry import Retry
from relay.queue.store import LaneKey, Place, Store, StoreError, Unreadable

_log = Logger()

_PAGE = 32
_LANES = 500
#: New deliveries kept in memory per lane; what comes beyond is read back from the store.
_READY = 1000
#: A store that can't be read now is asked again this much later (ms).
_PATIENCE = 1000
#: What a message and a delivery in memory are reckoned at, beside header and body (bytes).
_MESSAGE = 1024
_DELIVERY = 512


class Held:
    """A message in memory, shared by its deliveries there; `body` where it is kept."""

    __slots__ = ("body", "message", "size", "users")

    def __init__(self, message: Message, body: bytes | None) -> None:
        self.message = message
        self.body = body
        self.size = _MESSAGE + len(message.headers) + (len(body) if body is not None else 0)
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
    """The deliveries of one zone to one domain that are of one flow. `alarm` is when the schedule will
    look again; `turn` is for those who let lanes take turns."""

    __slots__ = ("alarm", "cursor", "domain", "flow", "in_memory", "key", "next_due", "ready", "turn", "zone")

    def __init__(self, key: LaneKey) -> None:
        self.key = key
        self.zone, self.domain, self.flow = key
        self.ready: deque[Work] = deque()
        self.in_memory = 0
        self.cursor: Place | None = None
        self.next_due: int | None = None
        self.alarm: int | None = None
        self.turn: Any = None


class Schedule:
    """All lanes. `due(lane)` is called whenever a lane may have come to have ready work."""

    def __init__(
        self, store: Store, retry: Retry, clock: IReactorTime, now: Callable[[], int], memory: int
    ) -> None:
        """`now` gives ms since the epoch; `memory` bounds what is kept ahead of its turn (bytes)."""
        self._store = store
        self._retry = retry
        self._clock = clock
        self._now = now
        self._memory = memory
        self._in_use = 0
        self._lanes: dict[LaneKey, Lane] = {}
        self._works: dict[tuple[str, int], Work] = {}
        self._held: dict[str, Held] = {}
        self._heap: list[tuple[int, int, Lane]] = []
        self._order = 0
        self._timer: IDelayedCall | None = None
        self._timer_due = 0
        self._search: IDelayedCall | None = None
        self._stopped = False
        self._unreadable: set[tuple[str, int]] = set()
        self.due: Callable[[Lane], None] = lambda lane: None

    # -- start and stop

    def start(self) -> None:
        """Find the lanes that lie in the store, a slice at a time."""
        self._discover(None)

    def stop(self) -> None:
        """No timer stays behind, none is set any more."""
        self._stopped = True
        for timer in (self._timer, self._search):
            if timer is not None and timer.active():
                timer.cancel()
        self._heap.clear()

    def _discover(self, after: LaneKey | None) -> None:
        try:
            found = self._store.lanes(after, _LANES)
        except StoreError as error:
            _log.warn("the queue can't be read, looking again: {error}", error=str(error))
            self._search = self._clock.callLater(_PATIENCE / 1000, self._discover, after)
            return
        now = self._now()
        for key, first_due in found:
            lane = self.lane(key)
            self._expect(lane, first_due)
            if first_due > now + self._retry.longest:
                self._clock_went_back(lane, now)
        if len(found) == _LANES:
            self._search = self._clock.callLater(0, self._discover, found[-1][0])

    # -- lanes

    def lane(self, key: LaneKey) -> Lane:
        """The lane, made when there is none."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(key)
        return lane

    def lane_for(self, delivery: Delivery) -> Lane:
        """The lane that a delivery belongs to, made when there is none."""
        return self.lane(LaneKey(delivery.zone, delivery.domain, delivery.flow))

    def known(self, key: LaneKey) -> Lane | None:
        """The lane if it has anything at all."""
        return self._lanes.get(key)

    def lanes(self) -> list[Lane]:
        return list(self._lanes.values())

    def overdue(self) -> dict[str, int]:
        """Since when the delivery is due that has been due longest, by zone (ms); only zones where one is. One that
        is being sent is not counted."""
        oldest: dict[str, int] = {}
        now = self._now()
        for lane in self._lanes.values():
            due = lane.next_due
            if lane.ready and (due is None or lane.ready[0].delivery.due < due):
                due = lane.ready[0].delivery.due
            if due is not None and due <= oldest.get(lane.zone, now):
                oldest[lane.zone] = due
        return oldest

    def forget(self, lane: Lane) -> None:
        """Unless there is something in it, or it has a turn: whoever ends that asks again."""
        if lane.next_due is None and not lane.in_memory and lane.turn is None:
            self._lanes.pop(lane.key, None)

    def _expect(self, lane: Lane, due: int) -> None:
        """The store has a row of this lane, not in memory, due at `due`."""
        if lane.next_due is None or due < lane.next_due:
            lane.next_due = due
            self._wake_at(lane, due, self._now())

    def _wake_at(self, lane: Lane, due: int, now: int) -> bool:
        """See to it that the lane is looked at when `due` has come; False: that was so already."""
        if due <= now:
            self.due(lane)
            return True
        # A clock that was wrong when the row was written can't put it off for longer than this.
        due = min(due, now + max(self._retry.longest, 86_400_000))
        if lane.alarm is not None and lane.alarm <= due:
            return False
        lane.alarm = due
        self._order += 1
        heapq.heappush(self._heap, (due, self._order, lane))
        if self._timer is None or due < self._timer_due:
            self._set_timer(due, now)
        return True

    def _set_timer(self, due: int, now: int) -> None:
        if self._stopped:
            return
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._clock.callLater(max(0.0, (due - now) / 1000), self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = self._now()
        woken: list[Lane] = []
        while self._heap and self._heap[0][0] <= now:
            due, _, lane = heapq.heappop(self._heap)
            if lane.alarm == due:
                lane.alarm = None
                woken.append(lane)
        if self._heap:
            self._set_timer(self._heap[0][0], now)
        for lane in woken:
            if lane.next_due is not None and self._lanes.get(lane.key) is lane:
                self.due(lane)

    # -- work in

    def add(self, message: Message, deliveries: Sequence[Delivery], body: bytes | None) -> None:
        """A message was stored; `body` is the whole body when it is small enough to keep."""
        now = self._now()
        # What is durable can be read back before its end is told: some may be at work already.
        known = held = self._held.get(message.id)
        for delivery in deliveries:
            if known is not None and (delivery.id, delivery.seq) in self._works:
                continue
            lane = self.lane_for(delivery)
            if delivery.due > now or len(lane.ready) >= _READY or self._in_use >= self._memory:
                self._in_store(lane, delivery)
                continue
            if held is None:
                held = self._hold(message, body)
            lane.ready.append(self._enter(lane, held, delivery))
            self.due(lane)

    def _hold(self, message: Message, body: bytes | None = None) -> Held:
        if body is not None and self._in_use + len(body) > self._memory:
            body = None
        held = self._held[message.id] = Held(message, body)
        self._in_use += held.size
        return held

    def _enter(self, lane: Lane, held: Held, delivery: Delivery) -> Work:
        work = self._works[delivery.id, delivery.seq] = Work(lane, held, delivery)
        held.users += 1
        lane.in_memory += 1
        self._in_use += _DELIVERY
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
            self.fill(lane, 1)
        return bool(lane.ready)

    def take(self, lane: Lane, work: Work) -> None:
        """Take ready work out of its lane; it stays in memory until it is settled."""
        if lane.ready[0] is work:
            lane.ready.popleft()
        else:
            lane.ready.remove(work)

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
        self._in_use -= _DELIVERY
        if not held.users:
            self._in_use -= held.size
            del self._held[delivery.id]
        if now_in_store is not None and not now_in_store.held:
            self._in_store(self.lane_for(now_in_store), now_in_store)
        self.forget(lane)

    def work(self, queue_id: str, seq: int) -> Work | None:
        """A delivery that is in memory now."""
        return self._works.get((queue_id, seq))

    def around(self, work: Work, reach: int) -> Iterator[Work]:
        """Other deliveries of the same message that are in memory now, whatever their state: those of the next `reach`
        numbers, then those of as many before."""
        left, (queue_id, seq) = work.held.users - 1, (work.delivery.id, work.delivery.seq)
        for number in chain(range(seq + 1, seq + reach + 1), range(max(1, seq - reach), seq)):
            if not left:
                return
            other = self._works.get((queue_id, number))
            if other is not None:
                left -= 1
                yield other

    def claim(self, message: Message, delivery: Delivery) -> Work | None:
        """Take a delivery that no child holds out of the line, to change or end it; it must
        then be settled. None: a child holds it, or it is being settled."""
        work = self._works.get((delivery.id, delivery.seq))
        if work is None:
            held = self._held.get(message.id) or self._hold(message)
            return self._enter(self.lane_for(delivery), held, delivery)
        if work.lease or work not in work.lane.ready:
            return None
        work.lane.ready.remove(work)
        return work

    # -- reading back

    def fill(self, lane: Lane, wanted: int) -> None:
        """Bring the next page of due rows into memory, or as many as so much ready work takes and memory allows;
        leaves `next_due` true."""
        now = self._now()
        while lane.next_due is not None and (
            not lane.ready or (len(lane.ready) < wanted and self._in_use < self._memory)
        ):
            if lane.next_due > now:
                # By the same clock: whoever finds nothing ready now lets go of the lane, and has to be told later.
                if not self._wake_at(lane, lane.next_due, now) or lane.next_due <= now + self._retry.longest:
                    return
                self._clock_went_back(lane, now)
                if lane.next_due > now:
                    return
            limit = _PAGE if self._in_use < self._memory else 1
            try:
                page = self._store.scan(lane.key, lane.cursor, now, limit)
                for place in page.places:
                    self._load(lane, place)
                    lane.cursor = Place(place.due, place.id, place.seq + 1)
            except StoreError as error:
                _log.warn("lane {lane} can't be read: {error}", lane=lane.domain, error=str(error))
                self._wake_at(lane, now + _PATIENCE, now)
                return
            lane.next_due = page.next_due
        self.forget(lane)

    def _load(self, lane: Lane, place: Place) -> None:
        if (place.id, place.seq) in self._works:
            return
        try:
            held = self._held.get(place.id)
            message = held.message if held else self._store.message(place.id)
            delivery = self._store.delivery(place.id, place.seq)
        except Unreadable as error:
            self._set_aside(lane, place, str(error))
            return
        if message is None or delivery is None:
            self._set_aside(lane, place, "its record is missing")
            return
        lane.ready.append(self._enter(lane, held or self._hold(message), delivery))

    def _set_aside(self, lane: Lane, place: Place, why: str) -> None:
        """One row that can't be read doesn't hold up its lane."""
        name = (place.id, place.seq)
        if name in self._unreadable:
            return
        self._unreadable.add(name)
        _log.error("{id}.{seq:03x} can't be read: {why}", id=place.id, seq=place.seq, why=why)
        self._store.set_aside(lane.key, place, why).addCallbacks(
            lambda _: self._unreadable.discard(name),
            lambda failure: _log.failure("{id}.{seq:03x} not put aside", failure, id=place.id, seq=place.seq),
        )

    def _clock_went_back(self, lane: Lane, now: int) -> None:
        """The first row is due later than any retry step allows. When its failure, or without
        one its acceptance, lies in the future, the clock was ahead when it was written: it
        gets its step from now on."""
        try:
            page = self._store.scan(lane.key, lane.cursor, lane.next_due or now, _PAGE)
            for place in page.places:
                row, message = self._store.delivery(place.id, place.seq), self._store.message(place.id)
                if row is not None and message is not None and (row.last_failure or message.created) > now:
                    self._bring_forward(message, row, now)
        except StoreError as error:
            _log.warn("lane {lane} can't be read: {error}", lane=lane.domain, error=str(error))

    def _bring_forward(self, message: Message, row: Delivery, now: int) -> None:
        work = self.claim(message, row)
        if work is not None:
            wait = self._retry.step(row.attempts) if row.attempts else 0
            due = -(-(now + wait) // 1000) * 1000
            first, last = min(row.first_failure, now), min(row.last_failure, now)
            self._rewrite(work, msgspec.structs.replace(row, due=due, first_failure=first, last_failure=last))

    def _rewrite(self, work: Work, new: Delivery) -> None:
        self._store.change(work.delivery, new).addCallbacks(
            lambda _: self.settled(work, new),
            lambda failure: _log.failure("{name} not moved", failure, name=new.name),
        )
