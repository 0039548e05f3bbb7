"""Quotas against a model: within no span is a limit exceeded, and what is counted comes back."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.access.quota import Quotas, Window, read_limit
from relay.access.refused import Refused
from relay.message.user import User

USER = User("alice", messages=((3, 60.0),), recipients=((10, 3600.0),))


class WindowTests(SynchronousTestCase):
    @given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 4)), max_size=60))
    def test_never_more_than_the_limit_in_any_span(self, steps: list[tuple[float, int]]) -> None:
        window, now, taken = Window(5, 60.0), 1000.0, []
        for pause, count in steps:
            now += pause
            wait = window.wait(count, now)
            if wait == 0:
                window.add(count, now)
                taken.append((now, count))
            else:
                self.assertGreater(wait, 0)
                self.assertEqual(Window(5, 60.0, window.parts()).wait(count, now + wait), 0)
        for begin, _ in taken:
            self.assertLessEqual(sum(count for when, count in taken if begin <= when < begin + 60), 5)

    def test_more_than_ever_fits(self) -> None:
        self.assertTrue(math.isinf(Window(5, 60.0).wait(6, 0.0)))

    def test_limits_as_text(self) -> None:
        self.assertEqual(read_limit("60/m"), (60, 60.0))
        self.assertEqual(read_limit("5/d"), (5, 86400.0))
        for text in ("", "60", "0/m", "-1/m", "60/s", "x/m", "60/mm"):
            self.assertRaises(ValueError, read_limit, text)


class QuotasTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.quotas = Quotas([(100, 60.0)], [])

    def refusal(self, user: User, recipients: int, now: float) -> str:
        return str(self.assertRaises(Refused, self.quotas.charge, user, recipients, now).reply)

    def test_messages(self) -> None:
        for _ in range(3):
            self.quotas.charge(USER, 1, 0.0)
        self.assertEqual(
            self.refusal(USER, 1, 30.0),
            "450 4.7.1 Error: over the limit of 3 messages a minute, try again in 31 seconds",
        )
        self.quotas.charge(USER, 1, 61.0)

    def test_a_user_in_any_case_is_one(self) -> None:
        """Whom a service knows is called as the client wrote it."""
        for name in ("bob", "Bob", "BOB"):
            self.quotas.charge(User(name, messages=((3, 60.0),)), 1, 0.0)
        self.assertIn("over the limit of 3 messages", self.refusal(User("boB", messages=((3, 60.0),)), 1, 0.0))

    def test_recipients(self) -> None:
        self.quotas.charge(USER, 6, 0.0)
        self.assertIn("4.7.1 Error: over the limit of 10 recipients an hour", self.refusal(USER, 5, 1.0))
        self.assertIn("550 5.7.1", self.refusal(USER, 11, 1.0))
        self.quotas.charge(USER, 4, 1.0)

    def test_a_refused_message_counts_nothing(self) -> None:
        self.quotas.charge(USER, 10, 0.0)
        for _ in range(5):
            self.refusal(USER, 1, 1.0)
        self.quotas.charge(USER, 10, 3700.0)

    def test_given_back(self) -> None:
        for _ in range(10):
            charge = self.quotas.charge(USER, 10, 0.0)
            assert charge is not None
            charge.give_back()
            charge.give_back()
        self.quotas.charge(USER, 10, 0.0)
        self.refusal(USER, 1, 0.0)

    def test_everybody_has_the_common_limit(self) -> None:
        for _ in range(100):
            self.quotas.charge(User("bob"), 1, 0.0)
        self.refusal(User("bob"), 1, 0.0)
        self.quotas.charge(User("carol"), 1, 0.0)

    def test_no_limit_no_charge(self) -> None:
        self.assertIs(Quotas([], []).charge(User("bob"), 1000, 0.0), None)

    def test_kept_over_a_restart(self) -> None:
        self.quotas.charge(USER, 10, 0.0)
        other = Quotas([], [])
        other.restore(self.quotas.saved(1.0), 1.0)
        self.quotas = other
        self.refusal(USER, 1, 60.0)
        self.quotas.charge(USER, 1, 3700.0)

    def test_what_has_faded_is_forgotten(self) -> None:
        self.quotas.charge(USER, 10, 0.0)
        self.assertEqual([entry[1:4] for entry in self.quotas.saved(1.0)], [("recipients", 10, 3600.0)], "no minutes")
        self.assertEqual(self.quotas.saved(8000.0), [])
        self.assertEqual(len(self.quotas._windows), 0)

    def test_kept_by_a_clock_that_was_ahead(self) -> None:
        self.quotas.charge(USER, 10, 1e9)
        other = Quotas([], [])
        other.restore(self.quotas.saved(1e9), 1000.0)
        self.quotas = other
        self.refusal(USER, 1, 1001.0)
        self.quotas.charge(USER, 10, 1000.0 + 3700)

    @given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3), st.integers(), st.floats(), st.lists(
        st.tuples(st.integers(), st.integers()), max_size=3)), max_size=5))  # fmt: skip
    def test_whatever_was_kept(self, saved: list[Any]) -> None:
        quotas = Quotas([], [])
        quotas.restore(saved, 5000.0)
        quotas.saved(5000.0)
        self.assertEqual(quotas.saved(1e6), [])

    def test_a_changed_limit_keeps_what_was_counted(self) -> None:
        self.quotas.charge(USER, 10, 0.0)
        wider = User("alice", recipients=((12, 3600.0),))
        self.quotas.charge(wider, 2, 1.0)
        self.refusal(wider, 1, 1.0)
