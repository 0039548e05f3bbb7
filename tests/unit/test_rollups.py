"""Counts of events: each once, whatever dies when; and what is asked of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from relay.events.reader import GATHER, PAUSES
from relay.events.rollups import NAME, PERIOD, Rollups
from relay.events.series import SERIES, Question
from relay.events.tally import HOURS, MINUTES, SPANS, Row, count_of, row_of
from relay.message.event import Event
from relay.queue.memory import MemoryShelf, MemoryStore
from relay.queue.store import StoreError
from tests.unit.store_rig import HandReactor, OnDisk, settle

NOW = 1_700_000_000_000 // 3_600_000 * 3_600_000
KEEP = 30 * 86_400.0


async def at_once() -> None:
    pass


class Fickle(MemoryShelf):
    """Each write fails or not, and is made or not, as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.fates: list[tuple[bool, bool]] = []

    def write(self, put: Any, delete: Any = ()) -> Deferred[None]:
        made, told = self.fates.pop(0) if self.fates else (True, True)
        done: Deferred[None] = Deferred()
        if made:
            super().write(put, delete)
        if told:
            done.callback(None)
        else:
            done.errback(StoreError("is it written?"))
        return done


class Counts(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = HandReactor(NOW / 1000)
        self.store = MemoryStore()
        self.shelf = Fickle()
        self.rollups = self.started()

    def started(self) -> Rollups:
        now = lambda: int(self.clock.seconds() * 1000)  # noqa: E731
        rollups = Rollups(self.store, lambda: self.shelf, self.clock, now, KEEP)
        rollups.start()
        self.clock.advance(0)
        return rollups

    def tell(self, kind: str, time: int = NOW, **fields: Any) -> None:
        self.store.tell([Event(kind, time, **fields)])

    def pass_time(self, seconds: float = GATHER) -> None:
        self.clock.pump([seconds] + [0] * 20)

    def counted(self, span: Any = MINUTES) -> dict[Row, int]:
        found = self.shelf.scan(span.begin(0), span.begin(2**32 - 1), 1 << 30)
        counts: Counter[Row] = Counter()
        for key, value in found:
            counts[row_of(key)] += count_of(value)
        return dict(counts)

    def ask(self, step: int = 60_000, points: int = 10, first: int = NOW, by: Any = ("kind",), **wanted: Any) -> Any:
        question = Question(first, step, points, by, {name: frozenset(value) for name, value in wanted.items()})
        return self.successResultOf(Deferred.fromCoroutine(self.rollups.answer(question, at_once)))


class CountingTests(Counts):
    def test_by_minute_and_hour(self) -> None:
        for minute in (0, 0, 1, 59, 60):
            self.tell("delivered", NOW + minute * 60_000, zone="a", recipient="x@b.test")
        self.tell("bounced", NOW, zone="a", recipient="x@b.test", category="spam")
        self.pass_time()
        for span in SPANS:
            self.assertEqual(
                self.counted(span), {Row("a", "b.test", "delivered", ""): 5, Row("a", "b.test", "bounced", "spam"): 1}
            )
        self.assertEqual(len(self.shelf.scan(b"h", b"i", 99)), 3)
        self.assertEqual(self.ask(points=61).series[0][1], [2, 1] + [0] * 57 + [1, 1])
        self.assertEqual(self.ask(step=3_600_000, points=2).series, [(("delivered",), [4, 1]), (("bounced",), [1, 0])])

    def test_it_begins_with_the_oldest_there_is(self) -> None:
        self.successResultOf(self.rollups.stop())
        self.store = MemoryStore()
        self.tell("queued")
        self.tell("delivered")
        self.rollups = self.started()
        self.pass_time()
        self.assertEqual(sum(self.counted().values()), 2)

    def test_a_write_that_failed_counts_once_whether_it_was_made_or_not(self) -> None:
        for made in (True, False):
            self.shelf.fates = [(made, False)]
            self.tell("queued")
            self.pass_time()
            self.pass_time(PAUSES[0])
        self.assertEqual(self.counted(), {Row("", "", "queued", ""): 2})
        self.assertEqual(self.rollups.behind, 0)

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.tuples(st.integers(0, 12), st.booleans(), st.booleans(), st.booleans(), st.integers(0, 90)), max_size=25
        )
    )
    def test_each_event_is_counted_once_whatever_is_killed_when(
        self, steps: list[tuple[int, bool, bool, bool, int]]
    ) -> None:
        self.setUp()
        told: Counter[str] = Counter()
        for many, made, heard, killed, minute in steps:
            for number in range(many):
                site = f"{number * minute % 100}.test"
                self.tell("delivered", NOW + minute * 60_000, site=site)
                told["delivered"] += 1
            self.shelf.fates = [(made, heard and made)]
            self.pass_time()
            if killed:  # without a word: nothing is stopped
                for call in self.clock.getDelayedCalls():
                    call.cancel()
                self.store._event_callbacks.clear()
                self.rollups = self.started()
        self.shelf.fates = []
        for _ in range(8):
            self.pass_time(PAUSES[1])
        for span in SPANS:
            counts: Counter[str] = Counter()
            for row, count in self.counted(span).items():
                counts[row.kind] += count
            self.assertEqual(counts, told)

    def test_a_stop_in_the_midst_of_a_write_loses_nothing(self) -> None:
        waiting: Deferred[None] = Deferred()
        write, self.shelf.write = self.shelf.write, lambda put, delete=(): write(put) and waiting  # type: ignore
        self.tell("queued")
        self.pass_time()
        self.rollups.stop()
        self.shelf.write = write  # type: ignore[method-assign]
        self.rollups = self.started()
        self.tell("queued")
        self.pass_time()
        self.assertEqual(self.counted(), {Row("", "", "queued", ""): 2})

    def test_old_counts_go_in_slices(self) -> None:
        for minute in range(600):
            self.tell("queued", NOW + minute * 60_000)
        self.pass_time()
        for _ in range(4):
            self.pass_time(PERIOD)
        self.assertEqual(len(self.shelf.scan(b"m", b"n", 9999)), 600)
        self.clock.advance(KEEP - 4 * PERIOD)
        self.pass_time(PERIOD)
        self.assertEqual(len(self.shelf.scan(b"m", b"n", 9999)), 599)
        self.clock.advance(9 * 3600)
        for _ in range(4):
            self.pass_time(PERIOD)
        self.assertEqual([len(self.shelf.scan(one, one + b"\xff", 9999)) for one in (b"m", b"h")], [55, 1])
        self.assertIsNotNone(self.shelf.get(NAME.encode()))

    def test_the_sites_of_the_minute_before_are_named(self) -> None:
        for _ in range(5):
            self.tell("delivered", site="big.test")
        for number in range(200):
            self.tell("delivered", NOW + 60_000, site=f"{number}.test")
        self.tell("delivered", NOW + 60_000, site="big.test")
        self.pass_time()
        self.assertEqual(self.counted()[Row("", "big.test", "delivered", "")], 6)


class AskingTests(Counts):
    def test_some_only_and_in_series(self) -> None:
        self.tell("delivered", zone="a", site="x")
        self.tell("delivered", zone="b", site="x")
        self.tell("deferred", NOW + 60_000, zone="b", site="y", category="rate")
        self.pass_time()
        self.assertEqual(
            self.ask(by=("zone", "kind"), points=2).series,
            [(("a", "delivered"), [1, 0]), (("b", "deferred"), [0, 1]), (("b", "delivered"), [1, 0])],
        )
        self.assertEqual(self.ask(points=1, zone=["b"]).series, [(("delivered",), [1])])
        self.assertEqual(self.ask(points=2, reason=["rate", "spam"], site=["y"]).series, [(("deferred",), [0, 1])])
        self.assertEqual(self.ask(first=NOW + 600_000).series, [])

    def test_more_series_than_are_named(self) -> None:
        for number in range(SERIES + 5):
            for _ in range(2 if number == 20 else 1):
                self.tell("delivered", zone=f"z{number:03d}")
        self.pass_time()
        told = self.ask(by=("zone",), points=1)
        self.assertEqual((len(told.series), told.series[0], told.other), (SERIES, (("z020",), [2]), [5]))

    def test_what_is_damaged_is_left_out(self) -> None:
        self.tell("delivered")
        self.pass_time()
        self.shelf.write({MINUTES.begin(NOW // 60_000) + b"x": b"1", MINUTES.key(NOW // 60_000, Row(*"abcd")): b"?"})
        self.assertEqual(self.ask().series[0], (("delivered",), [1] + [0] * 9))


class OnLevelDb(OnDisk):
    def test_with_the_real_store_over_a_restart(self) -> None:
        told = 0
        for number in range(3):
            now = lambda: int(self.reactor.seconds() * 1000)  # noqa: E731
            rollups = Rollups(self.store, lambda: self.store.shelf(NAME), self.reactor, now, KEEP)
            rollups.start()
            for _ in range(700):
                self.store.tell([Event("delivered", NOW + number, zone="a", site=f"{told % 90}.test")])
                told += 1
            settle(self.reactor, self.worker)
            for _ in range(4):
                self.reactor.advance(GATHER)
                settle(self.reactor, self.worker)
            stopped = rollups.stop()
            settle(self.reactor, self.worker)
            self.successResultOf(stopped)
            question = Question(NOW, HOURS.length, 1, ("kind",), {})
            answer = self.successResultOf(Deferred.fromCoroutine(rollups.answer(question, at_once)))
            self.assertEqual(answer.series, [(("delivered",), [told])])
            self.restart()
