"""Which local address a delivery leaves by."""

from __future__ import annotations

import zlib
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import PoolAddress
from relay.zone.pool import choose


def a_pool(size: int) -> list[PoolAddress]:
    return [PoolAddress(address=f"192.0.2.{n}", name=f"n{n}.test") for n in range(size)]


class PoolTests(SynchronousTestCase):
    def test_known_choices(self) -> None:
        """CRC-32 as a signed number, remainder as C takes it, without its sign."""
        pool = a_pool(7)
        for name in ("18f4a2b3c4d5e6f701.001", "18f4a2b3c4d5e6f701.002", "0" * 18 + ".fff"):
            crc = zlib.crc32(name.encode())
            expected = (0x100000000 - crc) % 7 if crc >= 0x80000000 else crc % 7
            self.assertIs(choose(pool, name), pool[expected])

    @settings(max_examples=150, deadline=None)
    @given(st.integers(1, 300), st.text(max_size=30))
    def test_always_one_of_them_and_always_the_same(self, size: int, name: str) -> None:
        pool = a_pool(size)
        self.assertIn(choose(pool, name), pool)
        self.assertIs(choose(pool, name), choose(pool, name))

    def test_spread(self) -> None:
        pool = a_pool(8)
        counts = Counter(choose(pool, f"{number:014x}beef.001").address for number in range(8000))
        self.assertEqual(len(counts), 8)
        self.assertTrue(all(800 < count < 1200 for count in counts.values()), counts)

    def test_an_address_given_twice_doubles_its_share(self) -> None:
        pool = [*a_pool(2), a_pool(1)[0], a_pool(1)[0]]
        counts = Counter(choose(pool, f"{number:014x}beef.001").address for number in range(8000))
        self.assertTrue(2.6 < counts["192.0.2.0"] / counts["192.0.2.1"] < 3.4, counts)
