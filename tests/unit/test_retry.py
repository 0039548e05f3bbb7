"""When a failed delivery is tried again, and when no more."""

from __future__ import annotations

import msgspec.structs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Queue
from relay.message.values import Delivery
from relay.queue.retry import Retry
from tests.unit.journey_rig import a_delivery, a_message

NOW = 1_700_000_000_000
HOUR = 3_600_000


def failed(attempts: int, first: int = NOW) -> Delivery:
    delivery = a_delivery(a_message(1), 1, "d.test", NOW)
    return msgspec.structs.replace(delivery, attempts=attempts, first_failure=first if attempts else 0)


class RetryTests(SynchronousTestCase):
    def test_the_default_is_17_steps_and_48_hours(self) -> None:
        retry, now, tries = Retry(Queue()), NOW, 0
        while (due := retry.next(failed(tries), now)) is not None:
            now, tries = due, tries + 1
        self.assertEqual((tries, now - NOW), (17, 48 * HOUR))
        self.assertEqual(retry.longest, 4 * HOUR)

    def test_each_step_counts_from_the_failure(self) -> None:
        retry = Retry(Queue(retry=(60.0, 120.0)))
        self.assertEqual(retry.next(failed(0), NOW), NOW + 60_000)
        self.assertEqual(retry.next(failed(1), NOW + 5 * HOUR), NOW + 5 * HOUR + 120_000)
        self.assertIsNone(retry.next(failed(2), NOW))

    def test_the_last_step_repeats_until_the_mail_is_too_old(self) -> None:
        retry = Retry(Queue(retry=(60.0,), retry_repeat_last=True, max_age=3600.0))
        self.assertEqual(retry.next(failed(9), NOW + HOUR), NOW + HOUR + 60_000)
        self.assertIsNone(retry.next(failed(9), NOW + HOUR + 1))

    def test_max_age_ends_nothing_before_the_list_is_used_up(self) -> None:
        retry = Retry(Queue(retry=(60.0, 60.0), max_age=1.0))
        self.assertIsNotNone(retry.next(failed(1, NOW - HOUR), NOW))

    def test_when_it_will_be_given_up(self) -> None:
        retry, now, row = Retry(Queue(retry=(60.0, 120.0, 30.0))), NOW, failed(0)
        while (due := retry.next(row, now)) is not None:
            row, now = msgspec.structs.replace(failed(row.attempts + 1), due=due), due
            self.assertEqual(retry.until(row), NOW + 210_000)
        retry = Retry(Queue(retry=(60.0,), retry_repeat_last=True, max_age=3600.0))
        self.assertEqual(retry.until(msgspec.structs.replace(failed(4), due=NOW + 60_000)), NOW + HOUR)
        self.assertEqual(retry.until(msgspec.structs.replace(failed(1), due=NOW + 2 * HOUR)), NOW + 2 * HOUR)

    def test_what_waits_for_its_hosts_is_over_when_its_steps_would_be(self) -> None:
        retry, row = Retry(Queue(retry=(60.0, 120.0))), failed(0)
        self.assertFalse(retry.is_over(row, NOW - HOUR, NOW + 180_000))
        self.assertTrue(retry.is_over(row, NOW - HOUR, NOW + 180_001))
        self.assertFalse(retry.is_over(row, NOW + 60_000, NOW + 240_000), "its hosts have not been silent for so long")
        again = msgspec.structs.replace(failed(1, NOW - HOUR), due=NOW)
        self.assertFalse(retry.is_over(again, NOW - HOUR, NOW + 120_000), "it was asked to be tried once more")
        self.assertTrue(retry.is_over(again, NOW - HOUR, NOW + 120_001))

    def test_nor_before_the_age_to_which_the_last_step_repeats(self) -> None:
        retry = Retry(Queue(retry=(60.0,), retry_repeat_last=True, max_age=3600.0))
        self.assertFalse(retry.is_over(failed(0), NOW, NOW + HOUR))
        self.assertTrue(retry.is_over(failed(0), NOW, NOW + HOUR + 1))

    @settings(max_examples=80, deadline=None)
    @given(
        st.lists(st.floats(0.001, 1e6), min_size=1, max_size=20),
        st.integers(0, 30),
        st.integers(0, 1 << 42),
        st.booleans(),
    )
    def test_due_is_a_whole_second_and_no_sooner_than_the_step(
        self, steps: list[float], attempts: int, now: int, repeat: bool
    ) -> None:
        retry = Retry(Queue(retry=tuple(steps), retry_repeat_last=repeat))
        due = retry.next(failed(attempts, now), now)
        if due is None:
            self.assertGreaterEqual(attempts, len(steps))
            self.assertFalse(repeat)
        else:
            self.assertEqual(due % 1000, 0)
            self.assertTrue(0 <= due - now - retry.step(attempts + 1) < 1000)
            self.assertLessEqual(retry.step(attempts + 1), retry.longest)
