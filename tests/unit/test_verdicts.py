"""Who waits for what becomes of deliveries."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.events import verdicts
from relay.events.verdicts import TooMany, Verdict, Verdicts, Waiting
from relay.message.event import Event
from relay.queue.memory import MemoryStore
from relay.queue.store import StoreError

ONE, TWO = ("1" * 18, 1), ("1" * 18, 2)


class VerdictTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore()
        self.verdicts = Verdicts(self.store, self.clock)

    def tell(self, kind: str, name: tuple[str, int] = ONE, **fields: str) -> None:
        self.store.tell([Event(kind, 1, *name, **fields)])  # type: ignore[arg-type]

    def waiting(self, *names: tuple[str, int]) -> tuple[Waiting, Deferred[None]]:
        waiting = self.verdicts.wait()
        waiting.expect(names)
        return waiting, Deferred.fromCoroutine(waiting.all(10, self.clock))

    def test_told_when_all_are_known(self) -> None:
        self.tell("delivered", TWO)  # from before
        waiting, told = self.waiting(ONE, TWO)
        self.tell("queued", (ONE[0], 0))
        self.tell("released")
        self.tell("deferred", ONE, reply="450 later", category="greylist")
        self.assertNoResult(told)
        self.tell("bounced", ONE, reply="550 no")  # The first one was waited for.
        self.tell("suppressed", TWO, reason="complained")
        self.successResultOf(told)
        self.assertEqual(
            waiting.known,
            {ONE: Verdict("deferred", "450 later", "greylist"), TWO: Verdict("suppressed", "complained")},
        )

    def test_the_time_is_over(self) -> None:
        waiting, told = self.waiting(ONE, TWO)
        self.tell("delivered")
        self.clock.advance(10)
        self.successResultOf(told)
        self.assertEqual(list(waiting.known), [ONE])
        self.tell("delivered", TWO)  # nobody is told, and nothing breaks

    def test_what_is_known_already_is_not_waited_for(self) -> None:
        waiting = self.verdicts.wait()
        waiting.expect([ONE])
        waiting.tell(ONE, Verdict("delivered"))
        self.successResultOf(Deferred.fromCoroutine(waiting.all(10, self.clock)))

    def test_two_may_wait_for_the_same(self) -> None:
        told = [self.waiting(ONE)[1] for _ in range(2)]
        self.tell("delivered")
        for one in told:
            self.successResultOf(one)

    def test_bounded_and_forgotten(self) -> None:
        self.patch(verdicts, "MOST", 2)
        waiting = [self.verdicts.wait() for _ in range(2)]
        self.assertRaises(TooMany, self.verdicts.wait)
        waiting[0].end()
        waiting[0].end()
        self.verdicts.wait()
        self.assertEqual(len(self.verdicts), 2)

    def test_nothing_is_read_while_nobody_waits(self) -> None:
        waiting, _ = self.waiting(ONE)
        waiting.end()
        self.patch(self.store, "events", None)
        self.tell("delivered")

    def test_many_events_leave_the_reactor_its_turn(self) -> None:
        _, told = self.waiting(ONE)
        others = [Event("delivered", 1, "2" * 18, seq) for seq in range(1, 1000)]
        self.store.tell([*others, Event("delivered", 1, *ONE)])
        self.assertNoResult(told)
        for _ in range(10):
            self.clock.advance(0)
        self.successResultOf(told)

    def test_a_store_that_can_not_be_read_is_asked_again(self) -> None:
        _, told = self.waiting(ONE)
        good = self.store.events

        def fails(after: int, limit: int) -> object:
            raise StoreError("reopening")

        self.patch(self.store, "events", fails)
        self.tell("delivered")
        self.patch(self.store, "events", good)
        self.clock.advance(1)
        self.successResultOf(told)
