"""Which local address a delivery leaves by."""

from __future__ import annotations

import itertools
import math
import zlib
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import PoolAddress
from relay.zone.pool import Local, Pool


def addresses(ipv4: int, ipv6: int = 0) -> list[PoolAddress]:
    """The kinds in turn."""
    both = itertools.zip_longest(
        (PoolAddress(address=f"192.0.2.{n}", name=f"n{n}.test") for n in range(ipv4)),
        (PoolAddress(address=f"2001:db8::{n:x}", name=f"six{n}.test") for n in range(ipv6)),
    )
    return [one for pair in both for one in pair if one is not None]


def remainder(name: str, size: int) -> int:
    """CRC-32 as a signed number, remainder as C takes it, without its sign."""
    crc = zlib.crc32(name.encode())
    return abs(int(math.fmod(crc - (1 << 32) if crc >= 0x80000000 else crc, size)))


class PoolTests(SynchronousTestCase):
    def test_known_choices(self) -> None:
        pool = Pool(addresses(7))
        signs = set()
        for name in ("18f4a2b3c4d5e6f701.001", "18f4a2b3c4d5e6f701.002", "0" * 18 + ".fff", "1" * 18 + ".001"):
            crc = zlib.crc32(name.encode())
            signs.add(crc >= 0x80000000)
            number = (0x100000000 - crc) % 7 if crc >= 0x80000000 else crc % 7
            self.assertEqual(pool.choose(name), Local(f"192.0.2.{number}", f"n{number}.test", "", ""))
        self.assertEqual(signs, {True, False})

    @settings(max_examples=150, deadline=None)
    @given(st.integers(0, 300), st.integers(0, 300), st.text(st.characters(codec="utf-8"), max_size=30))
    def test_each_kind_by_itself(self, ipv4: int, ipv6: int, name: str) -> None:
        """Addresses of one kind change nothing about the choice among the other."""
        four, six = ("", ""), ("", "")
        if ipv4:
            number = remainder(name, ipv4)
            four = f"192.0.2.{number}", f"n{number}.test"
        if ipv6:
            number = remainder(name, ipv6)
            six = f"2001:db8::{number:x}", f"six{number}.test"
        self.assertEqual(Pool(addresses(ipv4, ipv6)).choose(name), (*four, *six))

    def test_wildcards_are_of_a_kind(self) -> None:
        four, six = PoolAddress(address="0.0.0.0", name="a"), PoolAddress(address="::", name="b")
        self.assertEqual(Pool([four]).choose("x"), ("0.0.0.0", "a", "", ""))
        self.assertEqual(Pool([six]).choose("x"), ("", "", "::", "b"))
        self.assertEqual(Pool([six, four]).choose("x"), ("0.0.0.0", "a", "::", "b"))

    def test_spread(self) -> None:
        pool = Pool(addresses(8))
        counts = Counter(pool.choose(f"{number:014x}beef.001").address for number in range(8000))
        self.assertEqual(len(counts), 8)
        self.assertTrue(all(800 < count < 1200 for count in counts.values()), counts)

    def test_an_address_given_twice_doubles_its_share(self) -> None:
        pool = Pool([*addresses(2), *addresses(1), *addresses(1)])
        counts = Counter(pool.choose(f"{number:014x}beef.001").address for number in range(8000))
        self.assertTrue(2.6 < counts["192.0.2.0"] / counts["192.0.2.1"] < 3.4, counts)
