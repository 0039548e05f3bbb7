"""Leases: numbers that no other start can have given, and whose they are (N12, N25)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.queue.leases import Leases
from relay.queue.schedule import Held, Lane, Work
from relay.queue.store import LaneKey
from tests.unit.journey_rig import a_delivery, a_message


def a_work(number: int) -> Work:
    message = a_message(number)
    return Work(Lane(LaneKey("default", "d.test")), Held(message, None), a_delivery(message, 1, "d.test", 0))


class LeaseTests(SynchronousTestCase):
    def test_N12_the_epoch_is_in_the_upper_half(self) -> None:
        old, new = Leases(7), Leases(8)
        numbers = {old.grant(a_work(n), "a", n, 0.0).number for n in range(100)}
        self.assertEqual({number >> 32 for number in numbers}, {7})
        self.assertEqual(len(numbers), 100)
        for number in numbers:
            self.assertIsNone(new.get(number))
            self.assertIsNone(new.end(number, "a"))

    def test_the_greatest_epoch_fits_a_signed_64_bit_number(self) -> None:
        lease = Leases((1 << 31) - 1).grant(a_work(1), "a", 1, 0.0)
        self.assertLess(lease.number, 1 << 63)

    def test_N25_only_its_holder_can_end_a_lease_and_only_once(self) -> None:
        leases, work = Leases(1), a_work(1)
        lease = leases.grant(work, "a", 4, 2.5)
        self.assertEqual((lease.child, lease.connection, lease.since, work.lease), ("a", 4, 2.5, lease.number))
        self.assertIsNone(leases.end(lease.number, "b"))
        self.assertIs(leases.end(lease.number, "a"), lease)
        self.assertIsNone(leases.end(lease.number, "a"))
        self.assertEqual((work.lease, len(leases)), (0, 0))

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from("ger"), st.sampled_from("abc"), st.integers(0, 20)), max_size=40))
    def test_model(self, steps: list[tuple[str, str, int]]) -> None:
        leases, held = Leases(1), dict[int, str]()
        for step, child, pick in steps:
            if step == "g":
                held[leases.grant(a_work(pick), child, 1, 0.0).number] = child
            elif step == "e" and held:
                number = sorted(held)[pick % len(held)]
                self.assertEqual(leases.end(number, child) is not None, held[number] == child)
                if held[number] == child:
                    del held[number]
            elif step == "r":
                released = {lease.number for lease in leases.release(child)}
                self.assertEqual(released, {number for number, whose in held.items() if whose == child})
                held = {number: whose for number, whose in held.items() if whose != child}
            self.assertEqual(len(leases), len(held))
            for whose in "abc":
                mine = {lease.number for lease in leases.held_by(whose)}
                self.assertEqual(mine, {number for number, name in held.items() if name == whose})
            for number in held:
                lease = leases.get(number)
                assert lease is not None
                self.assertEqual(lease.work.lease, number)
