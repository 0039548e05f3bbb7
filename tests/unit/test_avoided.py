"""Addresses that could not be connected to: called last, for a while."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.delivery.avoided import Avoided
from relay.delivery.exchangers import Host
from relay.delivery.security import Approach
from relay.delivery.ways import Way

WAYS = [Way(Host(f"mx{number}.test", f"192.0.2.{number}"), Approach()) for number in range(6)]
ENDS = ("no", "silence", "yes")
ADDRESSES = [way.host.address for way in WAYS]


class Order(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.avoided = Avoided(self.clock.seconds, 120.0, 900.0, most=3)

    def order(self) -> list[int]:
        return [ADDRESSES.index(way.host.address) for way in self.avoided.last(WAYS)]

    def test_nothing_is_known(self) -> None:
        self.assertEqual(self.order(), [0, 1, 2, 3, 4, 5])

    def test_for_how_long(self) -> None:
        self.avoided.failed(ADDRESSES[0], waited=False)
        self.avoided.failed(ADDRESSES[2], waited=True)
        self.assertEqual(self.order(), [1, 3, 4, 5, 0, 2])
        self.clock.advance(120.0)
        self.assertEqual(self.order(), [0, 1, 3, 4, 5, 2])
        self.clock.advance(780.0)
        self.assertEqual(self.order(), [0, 1, 2, 3, 4, 5])

    def test_it_has_answered(self) -> None:
        self.avoided.failed(ADDRESSES[0], waited=True)
        self.avoided.answered(ADDRESSES[0])
        self.avoided.answered(ADDRESSES[1])
        self.assertEqual(self.order(), [0, 1, 2, 3, 4, 5])

    def test_not_at_all(self) -> None:
        self.avoided = Avoided(self.clock.seconds, 0.0, 0.0)
        self.avoided.failed(ADDRESSES[0], waited=True)
        self.assertEqual(self.order(), [0, 1, 2, 3, 4, 5])

    def test_bounded(self) -> None:
        """The one that failed longest ago makes room; failing again is recent."""
        for number in (0, 1, 2, 0, 3):
            self.avoided.failed(ADDRESSES[number], waited=True)
        self.assertEqual(len(self.avoided), 3)
        self.assertEqual(self.order(), [1, 4, 5, 0, 2, 3])

    @given(st.lists(st.tuples(st.sampled_from(ADDRESSES), st.sampled_from(ENDS), st.floats(0, 999))))
    def test_nobody_is_left_out(self, story: list[tuple[str, str, float]]) -> None:
        """Whatever has happened, all are called, and both parts are in their order."""
        self.setUp()
        for address, what, seconds in story:
            if what == "yes":
                self.avoided.answered(address)
            else:
                self.avoided.failed(address, waited=what == "silence")
            self.clock.advance(seconds)
        order = self.order()
        self.assertEqual(sorted(order), [0, 1, 2, 3, 4, 5])
        falls = sum(after < before for before, after in pairwise(order))
        self.assertLessEqual(falls, 1)
        self.assertLessEqual(len(self.avoided), 3)
