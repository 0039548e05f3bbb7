"""Pools of local addresses, and which of them a delivery leaves by.

A pool is two: one for hosts that are reached over IPv4, one for IPv6. Which address of each
is taken hangs on the CRC-32 of `id.seq`, so that a delivery keeps its addresses over its
retries as long as the pool stays the same. Pure.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

from relay.config.schema import PoolAddress


class Local(NamedTuple):
    """What a delivery leaves by: for IPv4 and for IPv6 an address to bind to and the name said
    there. An address is "" when the pool has none of that kind."""

    address: str
    name: str
    address6: str
    name6: str


class Pool:
    """The addresses of a pool by their kind; `0.0.0.0` is one of IPv4, `::` one of IPv6."""

    __slots__ = ("_only", "ipv4", "ipv6")

    def __init__(self, addresses: Sequence[PoolAddress]) -> None:
        self.ipv4 = tuple((one.address, one.name) for one in addresses if ":" not in one.address)
        self.ipv6 = tuple((one.address, one.name) for one in addresses if ":" in one.address)
        single = len(self.ipv4) < 2 and len(self.ipv6) < 2
        self._only = self._at(0) if single else None

    def choose(self, name: str) -> Local:
        """The addresses of the delivery called `name` (`id.seq`): by its CRC-32 as a signed
        number, whose remainder is taken as C does and without its sign."""
        if self._only is not None:
            return self._only
        crc = zlib.crc32(name.encode())
        return self._at((1 << 32) - crc if crc & 0x80000000 else crc)

    def _at(self, number: int) -> Local:
        address, name = self.ipv4[number % len(self.ipv4)] if self.ipv4 else ("", "")
        address6, name6 = self.ipv6[number % len(self.ipv6)] if self.ipv6 else ("", "")
        return Local(address, name, address6, name6)
