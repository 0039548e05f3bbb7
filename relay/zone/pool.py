"""Pools of local addresses, and which one a delivery leaves by.

The choice hangs on the CRC-32 of `id.seq`, so that a delivery keeps its address over its
retries as long as the pool stays the same. Pure.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

from relay.config.schema import PoolAddress


def choose(pool: Sequence[PoolAddress], name: str) -> PoolAddress:
    """The address of the delivery called `name` (`id.seq`): signed CRC-32, absolute
    value of the remainder as C takes it."""
    if len(pool) == 1:
        return pool[0]
    crc = zlib.crc32(name.encode())
    signed = crc - (1 << 32) if crc & 0x80000000 else crc
    return pool[int(abs(math.fmod(signed, len(pool))))]
