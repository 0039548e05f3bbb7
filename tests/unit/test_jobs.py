"""What is done to many deliveries: counted, done in pieces, cancelled, and without an end in no case."""

from __future__ import annotations

from typing import Any

from relay.config.schema import Zone
from relay.dispatch.actions import Action, Done, Verb
from relay.dispatch.jobs import REMEMBERED, RUNNING, Job, Jobs, Stage, TooManyJobs
from relay.queue.filter import Filter, State
from relay.queue.search import Search
from tests.unit.dispatch_rig import DELIVERED, DispatchRig

HELD, DELETE = Action(Verb.HOLD, "why"), Action(Verb.DELETE)


class JobTests(DispatchRig):
    zones = {"default": Zone(connections=2), "other": Zone(connections=2)}

    def setUp(self) -> None:
        super().setUp()
        search = Search(self.store, self.schedule, self.leases.names, lambda zone, domain: "", self.now)
        self.jobs = Jobs(search, self.operator, self.store, self.clock, self.now)

    def fill(self, count: int, domain: str = "a.test", **more: Any) -> None:
        for _ in range(count):
            self.accept(domain, **more)

    def go_on(self, job: Job, steps: int = 1000) -> None:
        """Until it has ended, or so far."""
        while not job.ended and steps:
            steps -= 1
            self.clock.advance(0)
            self.tell()

    def until_it_acts(self, job: Job) -> None:
        for _ in range(100):
            if job.stage is Stage.COUNTING:
                self.clock.advance(0)
        self.assertEqual(job.stage, Stage.ACTING)

    def run_it(self, *arguments: Any, **options: Any) -> Job:
        job = self.jobs.start(*arguments, **options)
        waiting = job.wait()
        self.go_on(job)
        self.successResultOf(waiting)
        self.successResultOf(job.wait())
        return job

    def test_all_that_fit(self) -> None:
        self.fill(600)
        self.fill(3, "b.test")
        job = self.run_it(HELD, Filter(domain="a.test"))
        self.assertEqual((job.stage, job.total, job.results), (Stage.DONE, 600, {Done.DONE: 600}))
        self.assertEqual(self.store.count("default", self.now()).held, 600)
        again = self.run_it(HELD, Filter(domain="a.test"))
        self.assertEqual((again.stage, again.total, again.results), (Stage.DONE, 0, {}))
        self.assertTrue(job.started <= job.ended)

    def test_a_dry_run_counts_alone(self) -> None:
        self.fill(300)
        job = self.run_it(DELETE, Filter(zone="default"), dry_run=True)
        self.assertEqual((job.stage, job.total, job.results), (Stage.DONE, 300, {}))
        self.assertEqual(len(self.store.rows), 300)

    def test_what_it_changes_it_does_not_meet_again(self) -> None:
        """Along a way on which what was changed comes once more."""
        self.fill(400, due=self.now() + 60_000)
        for action, wanted in (
            (Action(Verb.MOVE, zone="other"), Filter(domain="a.test")),
            (HELD, Filter(zone="other")),
            (Action(Verb.RELEASE), Filter(zone="other")),
            (Action(Verb.SEND_NOW), Filter(state=State.DEFERRED)),
            (DELETE, Filter(zone="other")),
        ):
            job = self.run_it(action, wanted)
            self.assertEqual((job.total, job.results), (400, {Done.DONE: 400}), action)
        self.assertEqual(self.store.rows, {})

    def test_names(self) -> None:
        first, second = self.accept("a.test"), self.accept("b.test")
        names = [(first.id, 1), (first.id, 2), (second.id, 1), ("0" * 18, 1)]
        job = self.run_it(DELETE, None, names)
        self.assertEqual((job.total, job.results), (2, {Done.DONE: 2}))

    def test_what_a_child_has_is_left_alone(self) -> None:
        child = self.join()
        message = self.accept("a.test")
        [offer] = self.offers(child)
        self.fill(2, "b.test", due=self.now() + 60_000)
        job = self.run_it(DELETE, Filter())
        self.assertEqual((job.total, job.results), (3, {Done.DONE: 2, Done.IN_HAND: 1}))
        self.begin(child, offer)
        self.done(child, offer, DELIVERED)
        self.tell()
        self.assertIsNone(self.store.delivery(message.id, 1))
        self.everything_is_free()

    def test_what_comes_in_meanwhile_is_not_meant(self) -> None:
        self.fill(2)
        job = self.jobs.start(DELETE, Filter())
        self.clock.advance(0.002)
        self.fill(2)
        self.go_on(job)
        self.assertEqual((job.total, job.results, len(self.store.rows)), (2, {Done.DONE: 2}, 2))

    def test_cancelled(self) -> None:
        self.fill(600)
        job = self.jobs.start(HELD, Filter())
        self.until_it_acts(job)
        job.cancel()
        self.assertEqual(job.stage, Stage.CANCELLED)
        self.tell()
        self.assertEqual(job.results, {Done.DONE: self.store.count("default", self.now()).held})
        self.assertTrue(0 < job.results[Done.DONE] < 600, job.results)
        job.cancel()

    def test_one_that_can_not_be_read_keeps_nobody_else(self) -> None:
        bad = self.accept("a.test", due=self.now() + 60_000)
        self.fill(2, due=self.now() + 60_000)
        self.store.unreadable.add(bad.id)
        job = self.run_it(DELETE, Filter())
        self.assertEqual(job.results, {Done.DONE: 2, Done.UNREADABLE: 1})

    def test_a_store_that_can_not_be_used_ends_it(self) -> None:
        self.fill(2)
        job = self.jobs.start(DELETE, Filter())
        self.until_it_acts(job)
        self.store.die()
        self.assertEqual((job.stage, job.error), (Stage.FAILED, "closed"))

    def test_a_fault_of_ours_is_told_and_logged(self) -> None:
        self.fill(1)
        self.operator.act = lambda *arguments: 1 / 0  # type: ignore[method-assign, assignment]
        job = self.run_it(DELETE, Filter())
        self.assertEqual((job.stage, job.error), (Stage.FAILED, "a fault of the relay, which its log tells of"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_so_many_at_a_time_and_so_many_remembered(self) -> None:
        self.fill(1)
        first = [self.jobs.start(DELETE, Filter(), dry_run=True) for _ in range(RUNNING)]
        self.assertRaises(TooManyJobs, self.jobs.start, DELETE, Filter())
        self.jobs.stop()
        self.assertEqual({job.stage for job in first}, {Stage.CANCELLED})
        for _ in range(REMEMBERED + 5):
            last = self.run_it(DELETE, Filter(), dry_run=True)
        self.assertEqual(len(self.jobs.all()), REMEMBERED)
        self.assertIs(self.jobs.get(last.id), last)
        self.assertIsNone(self.jobs.get(first[0].id))

    def test_who_waits_no_more_is_not_told(self) -> None:
        self.fill(1)
        job = self.jobs.start(DELETE, Filter())
        waiting = job.wait()
        waiting.addErrback(lambda failure: None)
        waiting.cancel()
        self.go_on(job)
        self.assertEqual(job.stage, Stage.DONE)
