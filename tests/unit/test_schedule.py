"""What is due: nothing is forgotten, offered twice, or held up by others; against a model."""

from __future__ import annotations

from collections import Counter

import msgspec.structs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.message.values import Delivery, Message
from relay.queue import schedule as module
from relay.queue.schedule import Lane, Schedule, Work
from relay.queue.store import LaneKey, Place
from tests.unit.journey_rig import LateStore, a_clock, a_delivery, a_message, a_retry, milliseconds

DOMAINS = ("a.test", "b.test")
DAY = 86_400.0


class Rig:
    """A schedule with a stand-in for the dispatcher: it knows the lanes it was told of."""

    def __init__(self, memory: int = 1 << 20, late: bool = True, steps: tuple[float, ...] = (60.0, 120.0)) -> None:
        self.clock = a_clock()
        self.now = milliseconds(self.clock)
        self.store = LateStore()
        self.store.late = late
        self.retry = a_retry(*steps)
        self.schedule = Schedule(self.store, self.retry, self.clock, self.now, memory)
        self.schedule.due = self.due
        self.listed: dict[Lane, None] = {}
        self.leased: list[Work] = []
        self.changing: Counter[tuple[str, int]] = Counter()  # operations on a row not yet told of
        self.ended: list[str] = []
        self.number = 0

    def due(self, lane: Lane) -> None:
        self.listed[lane] = None

    # -- what can happen

    def accept(self, domains: list[str], delay: int = 0, body: bytes = b"hello\r\n") -> Message:
        self.number += 1
        message = a_message(self.number, body, len(domains), created=self.now())
        due = self.now() + delay
        deliveries = [a_delivery(message, seq, domain, due) for seq, domain in enumerate(domains, 1)]
        names = {(row.id, row.seq) for row in deliveries}
        self.changing.update(names)

        def stored(_: None) -> None:
            self.changing.subtract(names)
            self.schedule.add(message, deliveries, body)

        self.store.append(message, deliveries, body).addCallback(stored)
        return message

    def take(self) -> Work | None:
        """The next delivery, as the dispatcher would find it."""
        for lane in list(self.listed):
            if self.schedule.has_ready(lane):
                work = lane.ready[0]
                self.schedule.take(lane, work)
                assert not work.lease and not work.gone
                work.lease = 1
                self.leased.append(work)
                return work
            del self.listed[lane]
        return None

    def write(self, work: Work, new: Delivery | None) -> None:
        work.lease = 0
        if work in self.leased:
            self.leased.remove(work)
        name = (work.delivery.id, work.delivery.seq)
        self.changing[name] += 1

        def written(_: None) -> None:
            self.changing[name] -= 1
            if new is None:
                self.ended.append(work.delivery.name)
            self.schedule.settled(work, new)

        if new is None:
            self.store.finish(work.held.message, work.delivery).addCallback(written)
        else:
            self.store.change(work.delivery, new).addCallback(written)

    def defer(self, work: Work, seconds: float) -> None:
        now = self.now()
        due = -(-(now + round(seconds * 1000)) // 1000) * 1000
        new = msgspec.structs.replace(
            work.delivery, due=due, attempts=work.delivery.attempts + 1, last_failure=now, first_failure=now
        )
        self.write(work, new)

    def give_back(self, work: Work) -> None:
        self.leased.remove(work)
        self.schedule.give_back(work)

    def claim(self, name: tuple[str, int]) -> Work | None:
        row, message = self.store.delivery(*name), self.store.message(name[0])
        return self.schedule.claim(message, row) if row and message else None

    # -- what must hold

    def check(self) -> None:
        schedule, now = self.schedule, self.now()
        for name, row in self.store.rows.items():
            if row.held or name in schedule._works or self.changing[name]:
                continue
            lane = schedule.known(LaneKey(row.zone, row.domain, row.flow))
            assert lane is not None, row
            assert lane.cursor is None or Place(row.due, *name) >= lane.cursor, (row, lane.cursor)
            assert lane.next_due is not None and lane.next_due <= row.due, (row, lane.next_due)
        for lane in schedule.lanes():
            if lane.ready or (lane.next_due is not None and lane.next_due <= now):
                assert lane in self.listed, lane.domain
            elif lane.next_due is not None and lane not in self.listed:
                assert lane.alarm is not None and lane.alarm <= lane.next_due
            if lane.alarm is not None:
                assert schedule._timer is not None and schedule._timer.active()
            assert lane.in_memory == sum(1 for work in schedule._works.values() if work.lane is lane)
        size = sum(held.size for held in schedule._held.values())
        assert schedule._in_use == size + len(schedule._works) * module._DELIVERY

    def drain(self) -> None:
        """Deliver everything there is, with the patience of a week."""
        for _ in range(2000):
            self.store.let_go()
            while (work := self.take()) is not None:
                self.write(work, None)
            if not self.store.untold:
                if not any(not row.held for row in self.store.rows.values()):
                    return
                self.clock.advance(100)
            self.check()
        raise AssertionError(f"never delivered: {self.store.rows}")


steps = st.lists(st.tuples(st.sampled_from("aaattttddgffcsnnw"), st.integers(0, 11)), max_size=60)


class Model(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(module, "_READY", 3)
        self.patch(module, "_PAGE", 2)

    @settings(max_examples=250, deadline=None)
    @given(steps, st.sampled_from((1, 4000, 1 << 20)))
    def test_nothing_is_lost_or_doubled(self, steps: list[tuple[str, int]], memory: int) -> None:
        rig = Rig(memory)
        accepted: set[str] = set()
        for step, n in steps:
            leased = rig.leased[n % len(rig.leased)] if rig.leased else None
            rows = sorted(rig.store.rows)
            name = rows[n % len(rows)] if rows else None
            if step == "a":
                domains = [DOMAINS[(n + k) % 2] for k in range(1 + n % 3)]
                message = rig.accept(domains, delay=(n // 6) * 70_000)
                accepted |= {f"{message.id}.{seq:03x}" for seq in range(1, len(domains) + 1)}
            elif step == "t":
                rig.take()
            elif step == "d" and leased is not None:
                rig.defer(leased, 30 + 10 * n)
            elif step == "g" and leased is not None:
                rig.give_back(leased)
            elif step == "f" and leased is not None:
                rig.write(leased, None)
            elif step == "n":
                rig.store.let_go(1 + n)
            elif step == "w":
                rig.clock.advance(n * n)
            elif name is not None and (work := rig.claim(name)) is not None:
                if step == "c":
                    rig.write(work, None)
                else:
                    rig.write(work, msgspec.structs.replace(work.delivery, due=rig.now() // 1000 * 1000))
            rig.check()
            names = [work.delivery.name for work in rig.leased]
            self.assertEqual(len(names), len(set(names)))
        for work in list(rig.leased):
            rig.give_back(work)
        rig.drain()
        self.assertEqual(sorted(rig.ended), sorted(accepted))
        schedule = rig.schedule
        self.assertEqual((schedule._works, schedule._held, schedule._in_use), ({}, {}, 0))
        rig.clock.advance(DAY)  # whoever waits for what was struck off looks once more
        self.assertIsNone(rig.take())
        self.assertEqual(schedule.lanes(), [])
        schedule.stop()
        self.assertEqual(rig.clock.getDelayedCalls(), [])

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(DOMAINS), st.integers(-5, 5)), max_size=30))
    def test_a_start_finds_all_that_lies_in_the_store(self, found: list[tuple[str, int]]) -> None:
        rig = Rig(4000)
        for number, (domain, minutes) in enumerate(found, 1):
            message = a_message(number)
            due = rig.now() + minutes * 60_000
            rig.store.append(message, [a_delivery(message, 1, domain, due)], b"hello\r\n")
        rig.store.let_go()
        rig.schedule.start()
        rig.number = len(found)
        rig.accept(["a.test", "b.test"])
        rig.store.let_go()
        rig.clock.advance(0)
        rig.check()
        rig.drain()
        self.assertEqual(len(rig.ended), len(found) + 2)
        self.assertEqual(len(set(rig.ended)), len(found) + 2)


class Overdue(SynchronousTestCase):
    def test_the_longest_of_each_zone(self) -> None:
        rig = Rig(late=False)
        begun = rig.now()
        self.assertEqual(rig.schedule.overdue(), {})
        rig.accept(["a.test"], delay=5_000)
        self.assertEqual(rig.schedule.overdue(), {})
        rig.clock.advance(1)
        rig.accept(["b.test", "b.test", "c.test"])
        self.assertEqual(rig.schedule.overdue(), {"default": begun + 1000})
        rig.clock.advance(10)
        for _ in range(3):
            self.assertIsNotNone(rig.take())
        self.assertEqual(rig.schedule.overdue(), {"default": begun + 5000}, "what is being sent waits no more")
        self.assertIsNotNone(rig.take())
        self.assertEqual(rig.schedule.overdue(), {})


class Times(SynchronousTestCase):
    def test_each_lane_wakes_when_its_next_is_due_and_not_before(self) -> None:
        rig = Rig(late=False)
        rig.accept(["a.test"], delay=5_000)
        rig.accept(["b.test"], delay=3_000)
        self.assertEqual((rig.take(), len(rig.clock.getDelayedCalls())), (None, 1))
        rig.clock.advance(2.999)
        self.assertIsNone(rig.take())
        rig.clock.advance(0.002)
        work = rig.take()
        assert work is not None
        self.assertEqual(work.delivery.domain, "b.test")
        self.assertIsNone(rig.take())
        rig.clock.advance(2)
        self.assertIsNotNone(rig.take())

    def test_what_becomes_due_while_its_lane_is_looked_at_is_told_later(self) -> None:
        """Whoever looks lets go of the lane when nothing is ready, and takes no word of it until then."""
        rig = Rig(late=False)
        rig.accept(["a.test"], delay=5_000)
        rig.clock.advance(4.999)
        [lane] = rig.schedule.lanes()
        lane.alarm = None  # as when it has rung for this look
        rig.listed.clear()
        readings = iter([rig.now()])
        self.patch(rig.schedule, "_now", lambda: next(readings, rig.now() + 1))
        self.assertFalse(rig.schedule.has_ready(lane))
        rig.listed.clear()
        rig.clock.advance(0.002)
        self.assertIn(lane, rig.listed)

    def test_a_lane_that_is_asked_a_thousand_times_sets_one_alarm(self) -> None:
        rig = Rig(late=False)
        rig.accept(["a.test"], delay=3_600_000)
        for _ in range(1000):
            rig.accept(["a.test"])
            work = rig.take()
            assert work is not None
            rig.write(work, None)
            self.assertIsNone(rig.take())
        self.assertEqual(len(rig.schedule._heap), 1)
        rig.check()

    def test_stop_leaves_no_timer_and_sets_none(self) -> None:
        rig = Rig()
        rig.schedule.start()
        rig.accept(["a.test"], delay=5_000)
        rig.accept(["b.test"])
        rig.store.let_go()
        work = rig.take()
        assert work is not None
        rig.defer(work, 60)
        rig.schedule.stop()
        rig.store.let_go()
        self.assertEqual(rig.clock.getDelayedCalls(), [])

    def test_stop_while_lanes_are_being_found(self) -> None:
        rig = Rig(late=False)
        self.patch(module, "_LANES", 1)
        for number, domain in enumerate(DOMAINS, 1):
            message = a_message(number)
            rig.store.append(message, [a_delivery(message, 1, domain, rig.now())], b"")
        rig.schedule.start()
        rig.schedule.stop()
        self.assertEqual(rig.clock.getDelayedCalls(), [])

    def written_by_a_clock_ahead(self, hours: float, attempts: int) -> Rig:
        """A row due `hours` ahead and a step more, with its failure or acceptance in the future."""
        rig = Rig(late=False, steps=(300.0, 3600.0))
        then = rig.now() + round(hours * 3_600_000)
        message = a_message(1, created=then)
        row = a_delivery(message, 1, "a.test", then)
        if attempts:
            row = msgspec.structs.replace(
                row, due=then + 300_000, attempts=attempts, first_failure=then, last_failure=then
            )
        rig.store.append(message, [row], b"hello\r\n")
        rig.schedule.start()
        return rig

    def test_Q15_a_failure_in_the_far_future_waits_its_step_from_now(self) -> None:
        rig = self.written_by_a_clock_ahead(10 * 365 * 24, attempts=1)
        rig.clock.advance(299)
        self.assertIsNone(rig.take())
        rig.clock.advance(1)
        work = rig.take()
        assert work is not None
        self.assertEqual(work.delivery.attempts, 1)
        self.assertLessEqual(work.delivery.first_failure, rig.now())
        rig.check()

    def test_Q15_mail_taken_in_the_far_future_is_due_now(self) -> None:
        rig = self.written_by_a_clock_ahead(10 * 365 * 24, attempts=0)
        self.assertIsNotNone(rig.take())

    def test_Q15_what_is_due_late_on_purpose_stays(self) -> None:
        rig = Rig(late=False)
        rig.accept(["a.test"], delay=round(3 * DAY * 1000))
        for _ in range(71):
            rig.clock.advance(3600)
            self.assertIsNone(rig.take())
        rig.clock.advance(3601)
        self.assertIsNotNone(rig.take())

    def test_Q15_an_hour_back_is_no_reason_to_send_at_once_or_never(self) -> None:
        rig = self.written_by_a_clock_ahead(1, attempts=1)
        self.assertIsNone(rig.take())
        rig.clock.advance(3600 + 301)
        self.assertIsNotNone(rig.take())


class Memory(SynchronousTestCase):
    def fill(self, rig: Rig, count: int, size: int) -> None:
        for number in range(count):
            rig.accept([f"d{number % 50}.test"], body=b"x" * size)

    def test_what_waits_in_memory_is_bounded_and_the_rest_is_read_back(self) -> None:
        rig = Rig(memory=100_000, late=False)
        self.fill(rig, 300, 2000)
        self.assertLess(rig.schedule._in_use, 110_000)
        rig.check()
        rig.drain()
        self.assertEqual(len(rig.ended), 300)

    def test_reading_back_is_bounded_too(self) -> None:
        """Many lanes with much each take no page each once memory is short."""
        rig = Rig(memory=20_000, late=False)
        for number in range(1, 1001):
            message = a_message(number)
            rig.store.append(message, [a_delivery(message, 1, f"d{number % 50}.test", rig.now())], b"")
        rig.schedule.start()
        rig.clock.advance(0)
        for lane in rig.schedule.lanes():
            self.assertTrue(rig.schedule.has_ready(lane))
        most = 20_000 + module._PAGE * 2000 + 50 * 2000
        self.assertLess(rig.schedule._in_use, most)

    def test_a_body_stays_until_its_first_attempt_ends(self) -> None:
        rig = Rig()
        rig.accept(["a.test"])
        rig.store.let_go()
        work = rig.take()
        assert work is not None
        self.assertEqual(work.held.body, b"hello\r\n")
        rig.defer(work, 60)
        rig.store.let_go()
        rig.clock.advance(61)
        again = rig.take()
        assert again is not None
        self.assertIsNone(again.held.body)

    def test_what_is_durable_but_not_yet_told_is_offered_once(self) -> None:
        rig = Rig()
        rig.accept(["a.test"])
        rig.store.let_go()
        first = rig.take()
        assert first is not None
        rig.defer(first, 0)  # due at once, in the store
        rig.store.let_go()
        rig.accept(["a.test"])  # durable, not told
        rig.clock.advance(1)
        found = [rig.take(), rig.take()]
        self.assertNotIn(None, found)
        rig.store.let_go()
        self.assertIsNone(rig.take())
        rig.check()


class Faults(SynchronousTestCase):
    def setUp(self) -> None:
        self.rig = Rig()
        for number in range(1, 4):
            message = a_message(number)
            self.rig.store.append(message, [a_delivery(message, 1, "a.test", self.rig.now())], b"")
        self.rig.store.let_go()

    def test_Q21_a_record_that_cannot_be_read_is_put_aside_and_the_rest_flows(self) -> None:
        rig = self.rig
        rig.store.unreadable.add(a_message(2).id)
        rig.schedule.start()
        taken = [rig.take(), rig.take()]
        self.assertEqual([work and work.delivery.id for work in taken], [a_message(1).id, a_message(3).id])
        self.assertIsNone(rig.take())
        rig.store.let_go()
        self.assertEqual(rig.store.held("", 10)[0].id, a_message(2).id)
        self.assertEqual(rig.schedule._unreadable, set())
        rig.check()

    def test_Q06_a_store_that_is_being_reopened_loses_nothing(self) -> None:
        rig = self.rig
        rig.store.silent = True
        rig.schedule.start()
        self.assertIsNone(rig.take())
        rig.clock.advance(1)
        rig.store.silent = False
        rig.clock.advance(1)
        work = rig.take()
        assert work is not None
        rig.give_back(work)
        rig.drain()

    def test_Q06_nor_does_one_that_goes_away_in_the_middle_of_a_page(self) -> None:
        rig = self.rig
        rig.schedule.start()
        rig.store.silent = True
        self.assertIsNone(rig.take())
        rig.store.silent = False
        rig.clock.advance(1)
        for _ in range(3):
            self.assertIsNotNone(rig.take())
        rig.check()

    def test_Q13_one_lane_does_not_read_through_another(self) -> None:
        rig = Rig(1 << 26, late=False)
        for _ in range(2000):
            rig.accept(["dead.test"])
        rig.accept(["good.test"])
        rig.store.reads = 0
        lane = rig.schedule.known(LaneKey("default", "good.test"))
        assert lane is not None and rig.schedule.has_ready(lane)
        self.assertEqual(rig.store.reads, 0)
        dead = rig.schedule.known(LaneKey("default", "dead.test"))
        assert dead is not None
        self.assertEqual(len(dead.ready), module._READY)

    def test_Q14_what_was_delivered_is_never_looked_at_again(self) -> None:
        """The cursor steps over what is gone: one scan a page, whatever went before."""
        rig = Rig(1 << 26, late=False)
        for _ in range(module._READY + 10 * module._PAGE):
            rig.accept(["a.test"])
        rig.store.reads = 0
        rig.drain()
        self.assertLessEqual(rig.store.reads, 12)

    def test_a_held_delivery_is_not_offered_until_it_is_released(self) -> None:
        rig = Rig(late=False)
        rig.accept(["a.test"])
        work = rig.take()
        assert work is not None
        rig.write(work, msgspec.structs.replace(work.delivery, held="by hand"))
        self.assertEqual((rig.take(), rig.schedule.lanes()), (None, []))
        claimed = rig.claim((work.delivery.id, 1))
        assert claimed is not None
        rig.write(claimed, msgspec.structs.replace(claimed.delivery, held=""))
        self.assertIsNotNone(rig.take())

    def test_what_a_child_holds_cannot_be_claimed(self) -> None:
        rig = Rig()
        rig.accept(["a.test"])
        rig.store.let_go()
        work = rig.take()
        assert work is not None
        name = (work.delivery.id, 1)
        self.assertIsNone(rig.claim(name))
        rig.write(work, None)
        self.assertIsNone(rig.claim(name))  # nor while its outcome is being written
        rig.store.let_go()
        self.assertIsNone(rig.claim(name))
