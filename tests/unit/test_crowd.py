"""Who is inside, in all and from each address (S38)."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.intake.crowd import TOO_MANY_FROM_ADDRESS, Crowd, network_of
from relay.listener.door import Refused
from relay.listener.listener import TOO_MANY_CONNECTIONS

ADDRESSES = ["192.0.2.1", "192.0.2.2", "2001:db8:0:1::1", "2001:db8:0:2::1", "::1"]


class CrowdTests(SynchronousTestCase):
    def refusal(self, crowd: Crowd, address: str) -> object:
        return self.assertRaises(Refused, crowd.enter, address).reply

    def test_in_all(self) -> None:
        crowd = Crowd(2, 2)
        crowd.enter("192.0.2.1")
        crowd.enter("192.0.2.2")
        self.assertEqual(self.refusal(crowd, "192.0.2.3"), TOO_MANY_CONNECTIONS)
        crowd.leave("192.0.2.1")
        crowd.enter("192.0.2.3")

    def test_from_one_address(self) -> None:
        """Each spelling of an address is the same client, and so is the rest of its /64."""
        for first, same, other in (
            ("127.0.0.1", "::ffff:127.0.0.1", "127.0.0.2"),
            ("2001:db8::1", "2001:0db8:0:0:ffff::2", "2001:db8:0:1::1"),
            ("fe80::1%eth0", "fe80::2%eth0", "fe80:0:0:1::1"),
        ):
            crowd = Crowd(10, 1)
            crowd.enter(first)
            self.assertEqual(self.refusal(crowd, same), TOO_MANY_FROM_ADDRESS)
            crowd.enter(other)
            crowd.leave(same)
            crowd.enter(first)
            self.assertEqual(crowd.inside, 2)

    def test_who_never_came_cannot_leave(self) -> None:
        crowd = Crowd(10, 10)
        crowd.enter("192.0.2.1")
        self.assertRaises(KeyError, crowd.leave, "192.0.2.2")
        self.assertEqual(crowd.inside, 1)

    @given(st.lists(st.tuples(st.booleans(), st.sampled_from(ADDRESSES)), max_size=60))
    def test_counts_are_exact_and_nothing_stays(self, moves: list[tuple[bool, str]]) -> None:
        """Whatever the order: what is inside is what a plain list says, and of the gone nothing is kept."""
        crowd = Crowd(6, 3)
        inside: list[str] = []
        for comes, address in moves:
            if comes:
                allowed = len(inside) < 6 and inside.count(address) < 3
                try:
                    crowd.enter(address)
                    self.assertTrue(allowed)
                    inside.append(address)
                except Refused:
                    self.assertFalse(allowed)
            elif address in inside:
                inside.remove(address)
                crowd.leave(address)
            self.assertEqual(crowd.inside, len(inside))
            self.assertEqual(crowd._counts, Counter(map(network_of, inside)))
