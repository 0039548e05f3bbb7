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
from relay.zone.pool import MAX_SLOTS, Local, Pool, number


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


def rated(*ratios: float) -> Pool:
    """Addresses 192.0.2.0 and up with these ratios."""
    return Pool([PoolAddress(address=f"192.0.2.{n}", name="n", ratio=ratio) for n, ratio in enumerate(ratios)])


def parts(pool: Pool, excluded: frozenset[str] = frozenset()) -> dict[int, float]:
    """Which part of the slots each address has, by its last number."""
    slots = pool.slots(excluded)[0]
    counts = Counter(int(one.address.rpartition(".")[2]) for one in slots)
    return {number: count / len(slots) for number, count in counts.items()}


class RatioTests(SynchronousTestCase):
    def slots(self, *ratios: float) -> list[int]:
        counts = Counter(one.address for one in rated(*ratios).slots()[0])
        return [counts[f"192.0.2.{n}"] for n in range(len(ratios))]

    def test_worked_examples(self) -> None:
        for ratios, slots in (
            ((-1, -1, -1, 0.05), [7, 7, 7, 1]),
            ((-1, -1, -1), [1, 1, 1]),
            ((-1, 0, -1), [1, 0, 1]),
            ((0.3, 1, -1), [0, 1, 0]),
            ((0.5, -1), [1, 1]),
            ((0.25, -1), [1, 3]),
            ((0.9, 0.3), [3, 1]),
            ((0.1, 0.1, 0.1), [1, 1, 1]),
            ((0.1, 0.2, 0.3, 0.4), [1, 2, 3, 4]),
            ((0, 0.2, 0.1), [0, 2, 1]),
            ((0, 0), [0, 0]),
        ):
            self.assertEqual(self.slots(*ratios), slots, ratios)

    def test_the_list_stays_bounded(self) -> None:
        for ratios in ((1e-9, -1), (1e-300, 1e-9, 0.5, -1), (0.0001, -1), (5e-324, -1)):
            slots = self.slots(*ratios)
            self.assertTrue(all(slots), ratios)
            self.assertLessEqual(sum(slots), MAX_SLOTS + len(ratios))

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.just(-1.0) | st.floats(0, 1), min_size=1, max_size=12))
    def test_any_ratios(self, ratios: list[float]) -> None:
        """Nothing of 0 is used, nothing else is left out that has a share, and more gets no less."""
        slots = self.slots(*ratios)
        self.assertLessEqual(sum(slots), MAX_SLOTS + len(ratios))
        for ratio, count in zip(ratios, slots, strict=True):
            if ratio == 0:
                self.assertEqual(count, 0)
            elif ratio > 0 and 1 not in ratios:
                self.assertGreaterEqual(count, 1)
        stated = sorted((ratio, count) for ratio, count in zip(ratios, slots, strict=True) if ratio > 0)
        self.assertEqual([count for _, count in stated], sorted(count for _, count in stated))

    def test_kinds_are_wholes_of_their_own(self) -> None:
        pool = Pool([PoolAddress(address="192.0.2.1", ratio=1), *addresses(1, 2)])
        self.assertEqual([one.address for one in pool.ipv4], ["192.0.2.1"])
        self.assertEqual(len(pool.slots()[1]), 2)

    def test_what_is_never_used_is_not_in_the_pool(self) -> None:
        pool = rated(0)
        self.assertEqual((pool.ipv4, pool.ipv6, pool.choose("x")), ((), (), ("", "", "", "")))


class ExcludedTests(SynchronousTestCase):
    @settings(max_examples=150, deadline=None)
    @given(st.integers(1, 8), st.integers(0, 3), st.sets(st.integers(0, 8)), st.text(max_size=20))
    def test_never_chosen(self, ipv4: int, ipv6: int, numbers: set[int], key: str) -> None:
        """What is left is chosen from as a pool of these alone."""
        key = key.encode("utf-8", "replace").decode()
        excluded = frozenset(f"192.0.2.{n}" for n in numbers)
        entries = addresses(ipv4, ipv6)
        local = Pool(entries).choose(key, excluded)
        self.assertEqual(local, Pool([one for one in entries if one.address not in excluded]).choose(key))
        self.assertNotIn(local.address, excluded)

    def test_none_left_of_a_kind(self) -> None:
        pool = Pool(addresses(1, 1))
        self.assertEqual(pool.choose("x", {"192.0.2.0"}), ("", "", "2001:db8::0", "six0.test"))
        self.assertEqual(pool.choose("x", ["192.0.2.0", "2001:db8::0"]), ("", "", "", ""))
        self.assertTrue(pool.ipv4 and pool.ipv6)

    def test_the_rest_share_what_it_had(self) -> None:
        pool = rated(-1, -1, -1, 0.05)
        self.assertEqual(parts(pool, frozenset({"192.0.2.0", "192.0.2.1"})), {2: 19 / 20, 3: 1 / 20})
        self.assertEqual(parts(pool, frozenset({"192.0.2.3"})), {0: 1 / 3, 1: 1 / 3, 2: 1 / 3})
        self.assertEqual(parts(pool, frozenset({"192.0.2.0", "192.0.2.1", "192.0.2.2"})), {3: 1.0})

    def test_the_only_one_has_no_stand_in(self) -> None:
        """Of others beside a ratio of 1 was said that they are not to be used."""
        self.assertEqual(rated(1, -1).choose("x", {"192.0.2.0"}).address, "")
        self.assertEqual(rated(0, -1).choose("x", {"192.0.2.1"}).address, "")

    def test_a_delivery_keeps_its_address(self) -> None:
        """Whatever others are excluded for in between."""
        pool = rated(*[-1.0] * 50)
        first = [pool.choose(f"{n:018x}.001") for n in range(300)]
        for n in range(300):
            pool.choose(f"{n:018x}.001", {f"192.0.2.{n % 50}", f"192.0.2.{n % 49}"})
        self.assertEqual([pool.choose(f"{n:018x}.001") for n in range(300)], first)
        self.assertLessEqual(len(pool._ipv4._known), 64)

    def test_the_number_of_a_key(self) -> None:
        for key in ("18f4a2b3c4d5e6f701.001", "a", "b", "c", ""):
            for size in (1, 2, 3, 7, 22, 9999):
                self.assertEqual(number(key) % size, remainder(key, size))
