"""New inputs from old ones, by chance alone: for where the guided fuzzer is not installed, and for a
quick pass that is the same each time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from random import Random

_word = re.compile(rb"[A-Za-z0-9_-]{2,}|[^A-Za-z0-9_\s]+|\s+").findall
_ODD = (
    b"\r\n", b"\r", b"\n", b"\0", b".", b"\r\n.\r\n", b" ", b"\t", b"\xff", b"\xc3\xa9", b"@", b"<", b">", b'"', b"\\",
    b",", b"=", b"-1", b"0", b"4294967296", b"99999999999999999999", b"\xff\xff\xff\xff", b"\xff\xf0a", b"\xff\xfd.",
)  # fmt: skip


class Mutations:
    """An endless row of inputs made of `seeds`."""

    def __init__(self, seeds: Sequence[bytes], longest: int, random: Random) -> None:
        self._seeds = [seed for seed in seeds if seed] or [b"\0\0\0\0"]
        self._words = sorted({word for seed in self._seeds for word in _word(seed)}) + list(_ODD)
        self._longest = longest
        self._random = random

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield self.next()

    def next(self) -> bytes:
        """A seed, changed in one to eight places."""
        data = self._random.choice(self._seeds)
        for _ in range(1 << self._random.randrange(4)):
            data = self._changed(data)
        return data[: self._longest]

    def _changed(self, data: bytes) -> bytes:
        random = self._random
        at = random.randrange(len(data) + 1)
        to = min(len(data), at + random.choice((1, 1, 2, 4, 16, 64)))
        match random.randrange(7):
            case 0:  # another byte
                return data[:at] + bytes([random.randrange(256)]) + data[at + 1 :]
            case 1:  # some less
                return data[:at] + data[to:]
            case 2:  # some twice
                return data[:to] + data[at:]
            case 3:  # a word in between
                return data[:at] + random.choice(self._words) + data[at:]
            case 4:  # a word instead
                return data[:at] + random.choice(self._words) + data[to:]
            case 5:  # the end of another
                other = random.choice(self._seeds)
                return data[:at] + other[random.randrange(len(other)) :]
            case _:  # another option
                place = random.randrange(min(5, len(data) or 1))
                return data[:place] + bytes([random.randrange(256)]) + data[place + 1 :]
