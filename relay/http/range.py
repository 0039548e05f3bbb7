"""Which part of something is asked for (RFC 9110 14)."""

from __future__ import annotations

import re

_one = re.compile(r"bytes\s*=\s*([0-9]{0,18})-([0-9]{0,18})\s*", re.ASCII | re.IGNORECASE).fullmatch


class NoPart(ValueError):
    """There is no such part of it (416)."""


def part_of(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one behind the last, of `size` bytes; None: all of it. What isn't understood, or asks for
    several parts, is passed over (RFC 9110 14.2). Raises NoPart."""
    found = _one(header) if header is not None else None
    if found is None or found[1] == found[2] == "":
        return None
    if not found[1]:
        length = min(int(found[2]), size)
        if not length:
            raise NoPart
        return size - length, size
    first = int(found[1])
    if found[2] and int(found[2]) < first:
        return None
    if first >= size:
        raise NoPart
    return first, min(int(found[2]) + 1, size) if found[2] else size
