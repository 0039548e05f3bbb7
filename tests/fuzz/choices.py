"""What a target makes of its input before it uses it: options, splits, long runs."""

from __future__ import annotations

import re
from collections.abc import Iterator

#: Most bytes that an input becomes by its runs.
LONGEST = 256 * 1024
#: Most pieces of one text: what is given byte by byte costs its length squared.
_PIECES = 256
_run = re.compile(rb"\xff(.)(.)", re.DOTALL)


def head(data: bytes, count: int) -> tuple[bytes, bytes]:
    """The first `count` bytes (zero where there are none), which choose options, and the rest."""
    return data[:count].ljust(count, b"\0"), data[count:]


def bit(byte: int, number: int) -> bool:
    return bool(byte >> number & 1)


def pieces(data: bytes, first: int, second: int) -> Iterator[bytes]:
    """`data` cut into pieces of `first` + 1 and `second` + 1 bytes in turn."""
    least = len(data) // _PIECES + 1
    sizes = max(first + 1, least), max(second + 1, least)
    at = turn = 0
    while at < len(data):
        yield data[at : at + sizes[turn]]
        at += sizes[turn]
        turn ^= 1


def long(data: bytes) -> bytes:
    """`data` with each FF n c replaced by n * n times c: what is long should not need a long input."""
    found = _run.sub(lambda run: run[2] * (run[1][0] * run[1][0]), data) if b"\xff" in data else data
    return found[:LONGEST]


def crlf(data: bytes) -> bytes:
    """`data` as a text that has passed the door: CRLF line ends, no NUL."""
    return data.replace(b"\0", b"").replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
