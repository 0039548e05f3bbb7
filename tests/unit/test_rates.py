"""A bucket lets through what its rate says: never more in any span of its unit, and nearly all of it."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.zone.rates import Bucket

RATES = st.sampled_from([(1, 86400.0), (7, 3600.0), (60, 60.0), (2.5, 1.0), (20, 1.0), (100, 1.0), (1000, 1.0)])
#: How late whoever takes comes, each time (seconds).
LATE = st.lists(st.floats(0, 0.05), min_size=1, max_size=30)
SIZES = st.lists(st.integers(1, 200_000), min_size=1, max_size=20)


def taken(bucket: Bucket, late: list[float], span: float, start: float = 100.0) -> list[float]:
    """When something passed, where there is always something that would, in a span of time."""
    now, times = start, []
    for number in range(200_000):
        now += bucket.wait(now) + late[number % len(late)]
        if now >= start + span:
            break
        while bucket.ready(now):
            bucket.take(1, now)
            times.append(now)
    return times


def most_within(times: list[float], unit: float) -> int:
    """The most that passed in any half-open span of a unit."""
    most = first = 0
    for last, time in enumerate(times):
        while times[first] <= time - unit:
            first += 1
        most = max(most, last - first + 1)
    return most


class Rates(SynchronousTestCase):
    @settings(max_examples=60, deadline=None)
    @given(RATES, LATE, st.floats(0, 3))
    def test_never_more_than_its_amount_in_any_span(
        self, rate: tuple[float, float], late: list[float], idle: float
    ) -> None:
        amount, unit = rate
        bucket = Bucket(amount, unit)
        times = taken(bucket, late, 3 * unit)
        times += taken(bucket, late, 2 * unit, 100.0 + (3 + idle) * unit)
        self.assertLessEqual(most_within(times, unit), math.ceil(amount))

    def test_not_even_by_who_asks_again_and_again(self) -> None:
        for amount, unit in ((1, 86400.0), (1, 60.0), (7, 3600.0), (20, 1.0)):
            bucket, now, times = Bucket(amount, unit), 100.0, [0.0][:0]
            while len(times) < 3 * amount:
                now += max(0.0, bucket.wait(now) - 1e-4)
                while not bucket.ready(now):
                    now += 1e-6
                bucket.take(1, now)
                times.append(now)
            self.assertLessEqual(most_within(times, unit), amount, (amount, unit))

    @settings(max_examples=60, deadline=None)
    @given(RATES, LATE, st.lists(st.booleans(), min_size=1, max_size=20))
    def test_what_came_back_did_not_pass(
        self, rate: tuple[float, float], late: list[float], back: list[bool]
    ) -> None:
        amount, unit = rate
        bucket, now, times = Bucket(amount, unit), 100.0, [0.0][:0]
        for number in range(min(3000, 4 * math.ceil(amount))):
            now += bucket.wait(now) + late[number % len(late)]
            bucket.take(1, now)
            if back[number % len(back)] and number % 3:
                bucket.give_back(1, now, now)
            else:
                times.append(now)
        self.assertLessEqual(most_within(times, unit), math.ceil(amount))

    @settings(max_examples=60, deadline=None)
    @given(st.sampled_from([1000.0, 65536.0, 1e6]), LATE, SIZES, st.sampled_from([100.0, 1.7e9]))
    def test_of_bytes_one_message_more(
        self, amount: float, late: list[float], sizes: list[int], start: float
    ) -> None:
        bucket, now = Bucket(amount, 1.0), start
        passed: list[tuple[float, int]] = []
        for number in range(200):
            now += bucket.wait(now) + late[number % len(late)]
            now += bucket.wait(now)
            self.assertTrue(bucket.ready(now), "no wait is too short to end")
            bucket.take(sizes[number % len(sizes)], now)
            passed.append((now, sizes[number % len(sizes)]))
        for when, _ in passed:
            total = sum(size for other, size in passed if when - 1.0 < other <= when)
            self.assertLessEqual(total, amount + max(sizes))

    def test_nearly_all_of_it_is_used(self) -> None:
        for amount, unit in ((1, 86400.0), (60, 60.0), (20, 1.0), (100, 1.0), (1000, 1.0), (1000, 3600.0)):
            for late in ([0.0], [0.001, 0.004, 0.002], [0.0] * 9 + [0.02]):
                span = 20 * unit
                used = len(taken(Bucket(amount, unit), late, span))
                self.assertGreaterEqual(used, 0.95 * amount * 20, (amount, unit, late))

    def test_what_is_larger_than_it_holds_is_made_up_for(self) -> None:
        bucket = Bucket(1000, 1.0)
        self.assertTrue(bucket.ready(0.0))
        bucket.take(5000, 0.0)
        self.assertAlmostEqual(bucket.wait(0.0), 5.12, 1)
        self.assertFalse(bucket.ready(4.9))
        self.assertTrue(bucket.ready(5.2))

    def test_ahead_of_its_time(self) -> None:
        bucket = Bucket(10, 1.0)
        bucket.take(1, 0.0)
        self.assertFalse(bucket.ready(0.01))
        self.assertTrue(bucket.ready(0.01, ahead=0.2))
        self.assertFalse(bucket.ready(0.01, ahead=0.2, before=2))

    def test_given_back(self) -> None:
        bucket = Bucket(1, 60.0)
        bucket.take(1, 0.0)
        self.assertFalse(bucket.ready(1.0) or bucket.full(1.0))
        bucket.give_back(1, 0.0, 1.0)
        self.assertTrue(bucket.ready(1.0))
        bucket.give_back(1000, 1.0, 1.0)
        self.assertTrue(bucket.full(1.0))
        bucket.take(1, 1.0)
        self.assertFalse(bucket.ready(1.0))

    def test_what_was_made_up_for_does_not_come_back(self) -> None:
        """Ten that were taken over ten minutes all turn out never to have passed: that is no leave for ten now."""
        bucket = Bucket(1, 60.0)
        for minute in range(11):
            self.assertTrue(bucket.ready(60.1 * minute))
            bucket.take(1, 60.1 * minute)
        for minute in range(10):
            bucket.give_back(1, 60.1 * minute, 601.0)
        self.assertFalse(bucket.ready(601.0))
        bucket.give_back(1, 601.0, 601.0)
        self.assertTrue(bucket.ready(601.0))

    def test_a_clock_that_stands_still(self) -> None:
        bucket = Bucket(5, 1.0)
        bucket.take(1, 50.0)
        self.assertFalse(bucket.ready(49.0) or bucket.ready(50.0))
        self.assertEqual(str(bucket), "5 in 1 s")
