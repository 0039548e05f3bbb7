"""What a target makes of its input before it uses it: options, splits, long runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

#: Most bytes that an input becomes by its runs.
LONGEST = 80 * 1024
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
    least = len(data) // (_PIECES if len(data) < 8192 else 32) + 1
    sizes = max(first + 1, least), max(second + 1, least)
    at = turn = 0
    while at < len(data):
        yield data[at : at + sizes[turn]]
        at += sizes[turn]
        turn ^= 1


def long(data: bytes, most: int = LONGEST) -> bytes:
    """`data` with each FF n c replaced by many times c: what is long should not need a long input.

    Up to n = 249 it is 8 n times; from there on as many as the longest line has, give or take
    some, for that is where most bounds are but slow.
    """
    if b"\xff" not in data:
        return data

    def times(run: re.Match[bytes]) -> bytes:
        count = run[1][0]
        return run[2] * (8 * count if count < 250 else 65536 + count - 253)

    return _run.sub(times, data)[:most]


@contextmanager
def bound(module: ModuleType, name: str, value: int) -> Iterator[None]:
    """A bound of the relay's made so small that short inputs reach it."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def crlf(data: bytes) -> bytes:
    """`data` as a text that has passed the door: CRLF line ends, no NUL."""
    return data.replace(b"\0", b"").replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
