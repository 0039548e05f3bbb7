"""Pools of local addresses, and which of them a delivery leaves by.

A pool is two: one for hosts that are reached over IPv4, one for IPv6. In each, an address has as
many slots as its share is worth, and the CRC-32 of a key picks the slot, so that a delivery keeps
its addresses over its retries as long as the pool stays the same. Pure.
"""

from __future__ import annotations

import zlib
from collections.abc import Container, Sequence
from math import ceil
from typing import NamedTuple

from relay.config.schema import PoolAddress

#: The slots of one kind, and one more for each address at most: a smaller share than one of so many gets one.
MAX_SLOTS = 10_000
#: Sets of addresses that are left out, for which the slots are remembered.
_REMEMBERED = 64


class Named(NamedTuple):
    """An address to bind to, and the name that is said there."""

    address: str
    name: str


class Local(NamedTuple):
    """What a delivery leaves by: for IPv4 and for IPv6 an address to bind to and the name said
    there. An address is "" when the pool has none of that kind, or none that may be used."""

    address: str
    name: str
    address6: str
    name6: str

    def facing(self, host: str) -> str:
        """The address that a host sees, by the kind of its own."""
        return self.address6 if ":" in host else self.address

    @property
    def kinds(self) -> tuple[Local, ...]:
        """All that a connection may leave by that was made for it: both addresses, or one."""
        return (self, self.of_kind(False), self.of_kind(True)) if self.address and self.address6 else (self,)

    def of_kind(self, six: bool) -> Local:
        """That for IPv6 alone, or that for IPv4."""
        return Local("", "", self.address6, self.name6) if six else Local(self.address, self.name, "", "")


#: Slots of one kind, in the order of the pool.
Slots = tuple[Named, ...]
_NONE = Named("", "")


class Pool:
    """The addresses of a pool by their kind; `0.0.0.0` is one of IPv4, `::` one of IPv6. Those that are never
    used (`ratio` 0, or beside one of 1) are not among them."""

    __slots__ = ("_ipv4", "_ipv6", "_only")

    def __init__(self, addresses: Sequence[PoolAddress]) -> None:
        self._ipv4 = _Kind([one for one in addresses if ":" not in one.address])
        self._ipv6 = _Kind([one for one in addresses if ":" in one.address])
        single = len(set(self.ipv4)) < 2 and len(set(self.ipv6)) < 2
        self._only = self._at(0, ()) if single else None

    @property
    def ipv4(self) -> tuple[Named, ...]:
        """The IPv4 addresses in use."""
        return self._ipv4.named

    @property
    def ipv6(self) -> tuple[Named, ...]:
        """The IPv6 addresses in use."""
        return self._ipv6.named

    def choose(self, key: str, excluded: Container[str] = ()) -> Local:
        """The addresses of the delivery that `key` stands for, none of them in `excluded`."""
        if self._only is not None and not excluded:
            return self._only
        return self._at(number(key), excluded)

    def slots(self, excluded: Container[str] = ()) -> tuple[Slots, Slots]:
        """What is chosen from, for IPv4 and for IPv6: slot `number(key)` modulo their count. The shares
        of what is excluded go to the others, as if it were not there."""
        return self._ipv4.slots(excluded), self._ipv6.slots(excluded)

    def _at(self, number: int, excluded: Container[str]) -> Local:
        ipv4, ipv6 = self.slots(excluded)
        return Local(
            *(ipv4[number % len(ipv4)] if ipv4 else _NONE),
            *(ipv6[number % len(ipv6)] if ipv6 else _NONE),
        )


def number(key: str) -> int:
    """What picks the slot: the CRC-32 of `key` as a signed number, without its sign. Its remainder is the
    same whether the sign is dropped before, or after a remainder as C takes it."""
    crc = zlib.crc32(key.encode())
    return (1 << 32) - crc if crc & 0x80000000 else crc


class _Kind:
    """The addresses of one kind."""

    __slots__ = ("_all", "_known", "_used", "named")

    def __init__(self, addresses: Sequence[PoolAddress]) -> None:
        shares = _shares([one.ratio for one in addresses])
        self._used = [one for one, share in zip(addresses, shares, strict=True) if share]
        self.named = tuple(Named(one.address, one.name) for one in self._used)
        self._all = self._multiplied(tuple(range(len(self._used))))
        self._known: dict[tuple[int, ...], Slots] = {}

    def slots(self, excluded: Container[str]) -> Slots:
        if not excluded:
            return self._all
        left = tuple(index for index, one in enumerate(self.named) if one.address not in excluded)
        if len(left) == len(self.named):
            return self._all
        slots = self._known.get(left)
        if slots is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            slots = self._known[left] = self._multiplied(left)
        return slots

    def _multiplied(self, left: tuple[int, ...]) -> Slots:
        """Those that are left, each as often as its share is worth; the smallest share is one slot."""
        shares = _shares([self._used[index].ratio for index in left])
        if not shares:
            return ()
        unit = max(min(shares), sum(shares) / MAX_SLOTS)
        # Shares are sums of fractions: what is a whole number but for their last digits is that number.
        counts = [max(1, ceil(round(share / unit, 6))) for share in shares]
        return tuple(self.named[index] for index, count in zip(left, counts, strict=True) for _ in range(count))


def _shares(ratios: Sequence[float]) -> list[float]:
    """What each is worth beside the others. A ratio is a part of the whole; -1, none, is an equal part of what
    the others leave."""
    stated = sum(ratio for ratio in ratios if ratio > 0)
    plain = sum(ratio < 0 for ratio in ratios)
    if 1 in ratios:
        return [float(ratio == 1) for ratio in ratios]
    left = max(1 - stated, 0.0) / max(plain, 1)
    return [ratio if ratio >= 0 else left for ratio in ratios]
