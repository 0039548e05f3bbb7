"""Work that goes to threads together, and comes back one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from relay.delivery.gathered import THREADS, TOGETHER, Gathered


class Gathering(SynchronousTestCase):
    def setUp(self) -> None:
        self.jobs: list[tuple[Callable[..., Any], Any, Deferred[Any]]] = []
        self.turn: list[Callable[[], None]] = []
        self.gathered = Gathered(self.in_thread, self.turn.append)
        self.done: list[int] = []

    def in_thread(self, work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.jobs.append((work, arguments, done))
        return done

    def end_turn(self) -> None:
        turn, self.turn[:] = self.turn[:], []
        for late in turn:
            late()

    def run_one(self) -> int:
        """How many pieces the oldest job had, after the turn in which it was begun."""
        self.end_turn()
        work, arguments, done = self.jobs.pop(0)
        done.callback(work(*arguments))
        return len(arguments[0])

    def ask(self, number: int) -> Deferred[int]:
        def work() -> int:
            self.done.append(number)
            return number * 10

        return self.gathered(work)

    def fill(self) -> None:
        """Every thread has something to do."""
        for number in range(THREADS):
            self.ask(number)
            self.end_turn()

    def test_what_comes_in_one_turn_goes_together(self) -> None:
        asked = [self.ask(number) for number in range(3)]
        self.assertEqual((len(self.turn), self.jobs, self.done), (1, [], []))
        self.assertEqual(self.run_one(), 3)
        self.assertEqual((self.jobs, self.turn), ([], []))
        self.assertEqual([self.successResultOf(one) for one in asked], [0, 10, 20])

    def test_one_turn_has_work_for_several_threads(self) -> None:
        for number in range(2 * TOGETHER):
            self.ask(number)
        self.end_turn()
        self.assertEqual([self.run_one() for _ in self.jobs[:]], [TOGETHER] * 2)

    def test_what_comes_while_threads_are_busy_goes_together(self) -> None:
        self.fill()
        asked = [self.ask(number) for number in range(THREADS, THREADS + TOGETHER + 3)]
        self.assertEqual((len(self.jobs), self.turn), (THREADS, []))
        self.assertEqual([self.run_one() for _ in range(THREADS)], [1] * THREADS)
        self.assertEqual([self.run_one() for _ in range(2)], [TOGETHER, 3])
        self.assertEqual((self.jobs, self.turn), ([], []))
        self.assertEqual([self.successResultOf(one) for one in asked], [n * 10 for n in range(THREADS, len(self.done))])
        self.assertEqual(self.done, list(range(THREADS + len(asked))))

    def test_one_that_fails_fails_alone(self) -> None:
        bad, good = self.gathered(lambda: 1 // 0), self.ask(9)
        self.run_one()
        self.failureResultOf(bad, ZeroDivisionError)
        self.assertEqual(self.successResultOf(good), 90)

    def test_nobody_waits_for_it_any_more(self) -> None:
        early = self.ask(0)
        self.end_turn()
        late = self.ask(9)
        for one in (early, late):
            one.cancel()
            self.failureResultOf(one, CancelledError)
        self.run_one()
        self.assertEqual((self.jobs, self.turn, self.done), ([], [], [0]))

    def test_no_thread_to_be_had(self) -> None:
        asked = self.ask(1)
        self.end_turn()
        self.jobs.pop()[2].errback(Failure(RuntimeError("no threads")))
        self.failureResultOf(asked, RuntimeError)
        self.ask(2)
        self.assertEqual(self.run_one(), 1)
