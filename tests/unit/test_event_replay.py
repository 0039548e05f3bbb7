"""Events handed on again: which, in which order, and what ends it."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.events.reader import PAUSES, NotTaken
from relay.events.replay import Busy, Phase, Replay, Replaying
from relay.events.span import Span, before
from relay.message.event import Event, Numbered
from tests.unit.sink_rig import NOW
from tests.unit.suppression_rig import FakeShelf
from tests.unit.test_event_reader import Store


class ReplayTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.store, self.shelf = Clock(), Store(), FakeShelf()
        self.taken: list[list[int]] = []
        self.answer: Deferred[None] | None = None
        self.ended = 0
        self.replay = self.begun()
        self.tell(*["queued", "delivered"] * 5)

    def begun(self, kinds: frozenset[str] | None = None) -> Replay:
        replay = Replay(
            "webhook:hook",
            self.store,
            lambda: self.shelf,
            self.take,
            self.clock,
            lambda: NOW,
            kinds=kinds,
            batch=3,
            over=self.over,
        )
        replay.start()
        return replay

    def over(self) -> None:
        self.ended += 1

    def take(self, events: Sequence[Numbered]) -> Deferred[None]:
        self.taken.append([one.number for one in events])
        return succeed(None) if self.answer is None else self.answer

    def tell(self, *kinds: str) -> None:
        self.successResultOf(self.store.tell([Event(kind, 1) for kind in kinds]))

    def begin(self, after: int, until: int) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.replay.begin(after, until)))

    def pass_time(self, seconds: float = 0.0) -> None:
        self.clock.pump([seconds] + [0] * 20)

    def stands(self) -> Replaying:
        found = self.replay.standing()
        assert found is not None
        return found

    def test_the_events_of_a_span_in_their_order(self) -> None:
        self.assertIsNone(self.replay.standing())
        self.begin(2, 9)
        self.assertEqual((self.stands().phase, self.stands().at), (Phase.UNDER_WAY, 2))
        self.pass_time()
        self.assertEqual(self.taken, [[3, 4, 5], [6, 7, 8], [9]])
        self.assertEqual(self.stands(), Replaying(2, 9, NOW, 9, Phase.DONE, 0, "", 0))
        self.assertEqual((self.shelf.kept, self.clock.getDelayedCalls(), self.ended), ({}, [], 1))
        self.tell("queued")
        self.pass_time(1)
        self.assertEqual(len(self.taken), 3, "what is new is not for it")

    def test_only_what_the_sink_wants(self) -> None:
        self.replay = self.begun(frozenset(("delivered",)))
        self.begin(0, 5)
        self.pass_time()
        self.assertEqual((self.taken, self.stands().phase), ([[2], [4]], Phase.DONE))

    def test_it_is_on_disk_before_it_begins(self) -> None:
        self.shelf.at_once = False
        beginning = Deferred.fromCoroutine(self.replay.begin(0, 5))
        self.pass_time()
        self.assertNoResult(beginning)
        self.assertEqual(self.taken, [])
        self.failureResultOf(Deferred.fromCoroutine(self.replay.begin(0, 5)), Busy)
        self.assertFalse(self.successResultOf(Deferred.fromCoroutine(self.replay.cancel())))
        self.shelf.tell()
        self.successResultOf(beginning)
        self.pass_time()
        self.assertEqual(self.taken, [[1, 2, 3], [4, 5]])

    def test_one_that_cannot_be_written_down_is_none(self) -> None:
        self.shelf.error = OSError("full")
        self.failureResultOf(Deferred.fromCoroutine(self.replay.begin(0, 5)), OSError)
        self.assertIsNone(self.replay.standing())
        self.shelf.error = None
        self.begin(0, 5)

    def test_one_at_a_time(self) -> None:
        self.answer = Deferred()
        self.begin(0, 9)
        self.pass_time()
        error = self.failureResultOf(Deferred.fromCoroutine(self.replay.begin(3, 4)), Busy).value
        self.assertEqual(str(error), "It is at 0 of 9")
        self.answer.callback(None)
        self.answer = None
        self.pass_time()
        self.begin(3, 4)
        self.pass_time()
        self.assertEqual(self.taken[-1], [4])

    def test_a_receiver_that_fails_gets_the_same_again_after_a_pause_or_when_asked(self) -> None:
        self.answer = fail(NotTaken("h answers 503", 20.0))
        self.begin(0, 3)
        self.pass_time()
        stands = self.stands()
        self.assertEqual((stands.phase, stands.at, stands.trouble), (Phase.WAITING, 0, "h answers 503"))
        self.assertEqual(stands.next, NOW + 20_000)
        self.answer = fail(NotTaken("h answers 503"))
        self.replay.hurry()
        self.pass_time()
        self.assertEqual(self.stands().next, NOW + round(PAUSES[0] * 1000))
        self.answer = None
        self.pass_time(PAUSES[0])
        self.assertEqual((self.taken, self.stands().phase), ([[1, 2, 3]] * 3, Phase.DONE))

    def test_cancelled(self) -> None:
        cancelled: list[object] = []
        self.answer = Deferred(cancelled.append)
        self.begin(0, 9)
        self.pass_time()
        self.assertTrue(self.successResultOf(Deferred.fromCoroutine(self.replay.cancel())))
        self.assertEqual((len(cancelled), self.ended, self.shelf.kept), (1, 1, {}))
        self.assertEqual((self.stands().phase, self.stands().at), (Phase.CANCELLED, 0))
        self.pass_time(100)
        self.assertEqual(self.taken, [[1, 2, 3]])
        self.assertFalse(self.successResultOf(Deferred.fromCoroutine(self.replay.cancel())))
        self.replay = self.begun()
        self.assertIsNone(self.replay.standing())

    def test_a_restart_goes_on(self) -> None:
        self.begin(1, 9)
        self.answer = first = Deferred()
        self.pass_time()
        self.answer = Deferred()
        first.callback(None)
        self.pass_time()
        self.assertEqual(self.taken, [[2, 3, 4], [5, 6, 7]])
        self.answer = None
        self.successResultOf(self.replay.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.replay = self.begun()
        self.assertEqual((self.stands().at, self.stands().until), (4, 9))
        self.pass_time()
        self.assertEqual(self.taken, [[2, 3, 4], [5, 6, 7], [5, 6, 7], [8, 9]])

    def test_an_end_that_is_not_kept_is_one_after_a_restart(self) -> None:
        self.answer = answer = Deferred()
        self.begin(0, 3)
        self.pass_time()
        self.shelf.error = OSError("full")
        answer.callback(None)
        self.pass_time()
        self.assertEqual(self.stands().phase, Phase.DONE)
        self.assertNotEqual(self.shelf.kept, {})
        self.shelf.error, self.answer = None, None
        self.replay = self.begun()
        self.pass_time()
        self.assertEqual((self.stands().phase, self.shelf.kept), (Phase.DONE, {}))

    def test_what_is_forgotten_is_counted(self) -> None:
        self.store.oldest = 4
        self.begin(1, 5)
        self.pass_time()
        self.assertEqual((self.taken, self.stands().missed), ([[4, 5]], 2))
        self.store.oldest = 11
        self.begin(1, 5)
        self.pass_time()
        self.assertEqual((len(self.taken), self.stands().missed, self.stands().phase), (1, 4, Phase.DONE))

    def test_damage_does_not_stop_it(self) -> None:
        readable = self.store.events
        for damaged in ((8, 9), (1, 2, 3, 4, 5), tuple(range(1, 11))):
            self.taken.clear()
            left = [number for number in range(1, 10) if number not in damaged]

            def events(after: int, limit: int, damaged: tuple[int, ...] = damaged) -> list[Numbered]:
                return [one for one in readable(after, limit) if one.number not in damaged]

            self.store.events = events  # type: ignore[method-assign]
            self.begin(0, 9)
            self.pass_time()
            self.assertEqual(([number for batch in self.taken for number in batch], self.stands().at), (left, 9))
            self.assertEqual(self.stands().phase, Phase.DONE)


class SpanTests(SynchronousTestCase):
    def store(self, times: Sequence[int], oldest: int = 1) -> Store:
        store = Store()
        store.oldest = oldest
        self.successResultOf(store.tell([Event("queued", time) for time in times]))
        return store

    @given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 41), st.integers(-1, 31))
    def test_where_a_moment_lies(self, times: list[int], oldest: int, moment: int) -> None:
        times.sort()
        store = self.store(times, min(oldest, len(times) + 1))
        expected = max(sum(time < moment for time in times), store.oldest - 1)
        self.assertEqual(before(store, moment), expected)

    def test_a_span(self) -> None:
        span = Span(self.store(range(9)), 5)
        self.assertEqual([one.number for one in span.events(3, 9)], [4, 5])
        self.assertEqual([one.number for one in span.events(0, 2)], [1, 2])
        self.assertEqual((span.events(5, 9), span.event_bounds()), ([], (1, 5)))
        self.assertEqual(Span(self.store(range(9), oldest=8), 5).event_bounds(), (6, 5))
