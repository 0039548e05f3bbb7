"""The wheel of seconds: nobody is looked at too late, and idle ones hardly ever."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.listener.watch import LONGEST, Watch


class One:
    """Notes when it is looked at, and wants to be again after `wait`."""

    def __init__(self, wait: float = 1000.0) -> None:
        self.second = 0
        self.wait = wait
        self.looks: list[float] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def look_at(self, now: float) -> float:
        self.looks.append(now)
        self.meanwhile()
        return self.wait


class WatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 100.0
        self.watch = Watch(LONGEST, self.now)

    def advance(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1.0
            self.watch.look(self.now)

    def test_idle_ones_are_spread(self) -> None:
        """Ten thousand that came at once: never all of them in one second again."""
        many = [One() for _ in range(10_000)]
        for one in many:
            self.watch.begin(one, self.now)
        self.advance(2)
        self.assertEqual({len(one.looks) for one in many}, {1})
        most = 0
        for _ in range(60):
            before = sum(len(one.looks) for one in many)
            self.advance(1)
            most = max(most, sum(len(one.looks) for one in many) - before)
        self.assertLess(most, 3000)
        for one in many:
            gaps = [b - a for a, b in zip(one.looks, one.looks[1:], strict=False)]
            self.assertLessEqual(max(gaps), LONGEST + 1)
            self.assertGreater(min(gaps), LONGEST / 2 - 1)

    def test_its_own_time(self) -> None:
        one = One(wait=3.5)
        self.watch.begin(one, self.now)
        self.advance(12)
        self.assertEqual(one.looks, [102.0, 106.0, 110.0])

    def test_what_is_late_already_is_no_busy_loop(self) -> None:
        one = One(wait=-5.0)
        self.watch.begin(one, self.now)
        self.advance(5)
        self.assertEqual(one.looks, [102.0, 103.0, 104.0, 105.0])

    def test_expected_sooner(self) -> None:
        one = One()
        self.watch.begin(one, self.now)
        self.advance(3)
        self.watch.expect(one, self.now + 2)
        self.watch.expect(one, self.now + 8)
        self.advance(3)
        self.assertEqual(one.looks, [102.0, 106.0])

    def test_ended(self) -> None:
        """By itself, by another's look in the same second, or before: it is never looked at again."""
        first, second, third = One(), One(), One()
        for one in (first, second, third):
            self.watch.begin(one, self.now)
        self.watch.end(third)

        def both() -> None:
            self.watch.end(first)
            self.watch.end(second)

        first.meanwhile = second.meanwhile = both
        self.advance(40)
        self.assertEqual(len(first.looks) + len(second.looks), 1)
        self.assertEqual(third.looks, [])
        self.assertEqual(self.watch._seconds, {})
        self.watch.end(first)
        self.watch.expect(first, self.now)
        self.assertEqual(self.watch._seconds, {})

    def test_a_reactor_that_stood_still(self) -> None:
        """Seconds that were missed are made up for; time that passed while nobody was there isn't."""
        one = One()
        self.watch.begin(one, self.now)
        self.now += 500
        self.watch.look(self.now)
        self.assertEqual(one.looks, [600.0])
        self.watch.end(one)
        self.watch.begin(one, 1e9)
        self.watch.look(1e9 + 2)
        self.assertEqual(len(one.looks), 2)

    @given(st.lists(st.floats(0, 40), min_size=1, max_size=20), st.lists(st.floats(0.1, 5), max_size=60))
    def test_never_too_late(self, waits: list[float], steps: list[float]) -> None:
        """Looks come after the time that was asked for, in the second after it."""
        now = 0.0
        watch = Watch(LONGEST, now)
        ones = [One(wait) for wait in waits]
        for one in ones:
            watch.begin(one, now)
        for step in steps:
            before, now = now, now + step
            counts = [len(one.looks) for one in ones]
            watch.look(now)
            for one, count in zip(ones, counts, strict=True):
                due = min(one.looks[count - 1] + min(one.wait, LONGEST), now + 99) if count else 1.0
                if len(one.looks) == count:
                    self.assertLess(int(before), due + 1)
                    self.assertLess(now, int(due) + 2)
