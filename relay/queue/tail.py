"""Judges the end of LevelDB's log files before they are opened.

Every write is synced before the next begins, so a power cut can spoil at most the one record
that was being written: what lies behind the last whole record is then no record's beginning,
and is cut off. If a record does begin behind the bad place, something that was once synced has
been damaged, and opening would drop it without a word. LevelDB itself can't tell these two
apart: it either refuses both (paranoid checks) or takes both.

The format: blocks of 32 KiB; fragments of crc32c (4 bytes, masked), length (2), type (1), data;
a record is one FULL fragment or FIRST, MIDDLE …, LAST; a block's last six bytes are left zero.
A record of a write log begins with its sequence number (8 bytes) and its count of changes (4);
numbers go on without a gap.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import google_crc32c

_BLOCK = 32768
_HEAD = struct.Struct("<IHB")
_BATCH = struct.Struct("<QI")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
#: A batch takes 12 bytes, a change at least 2: no block holds more of them than this.
_CHANGES_PER_BLOCK = _BLOCK // 2


class Fragment(NamedTuple):
    """A valid fragment: its type, its data, and where in its block it ends."""

    kind: int
    data: bytes
    end: int


class Tail(NamedTuple):
    """What a log file holds.

    `end` is the offset behind the last whole record, `size` the file's length; `damage` the
    offset at which good records begin again behind a bad place, None when none do. `first`
    is the sequence number of the first record, `following` the one due after the last (0
    and 0: no record, or not a write log).
    """

    end: int
    size: int
    damage: int | None
    first: int = 0
    following: int = 0


def judge(path: Path, *, batches: bool) -> Tail:
    """Read a log file to its end. `batches`: it is a write log (not a MANIFEST).
    OSError when it can't be read."""
    first = following = end = 0
    size = path.stat().st_size
    with path.open("rb") as file:
        for offset, record in _whole_records(_blocks(file.read)):
            if batches:
                if len(record) < _BATCH.size:
                    break
                sequence, count = _BATCH.unpack_from(record)
                if following and sequence != following:
                    return Tail(end, size, end, first, following)
                first, following = first or sequence, sequence + count
            end = offset
        file.seek(end - end % _BLOCK)
        damage = _next_beginning(file.read, end, following)
    return Tail(end, size, damage, first, following)


def records(path: Path) -> Iterator[bytes]:
    """The whole records of a log file, up to the first bad place."""
    with path.open("rb") as file:
        for _, record in _whole_records(_blocks(file.read)):
            yield record


def _blocks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while block := read(_BLOCK):
        yield block


def _whole_records(blocks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """(offset behind it, data) of each record until the first thing that isn't as it must be."""
    parts: list[bytes] = []
    for number, block in enumerate(blocks):
        at = 0
        while len(block) - at >= _HEAD.size:
            fragment = fragment_at(block, at)
            if fragment is None or (fragment.kind in (_FULL, _FIRST)) == bool(parts):
                return
            parts.append(fragment.data)
            at = fragment.end
            if fragment.kind in (_FULL, _LAST):
                yield number * _BLOCK + at, b"".join(parts)
                parts = []


def fragment_at(block: bytes, at: int) -> Fragment | None:
    """The fragment that begins at `at`, None when there is no valid one."""
    checksum, length, kind = _HEAD.unpack_from(block, at)
    end = at + _HEAD.size + length
    if not _FULL <= kind <= _LAST or end > len(block):
        return None
    crc = google_crc32c.value(block[at + 6 : end])
    if ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF != checksum:
        return None
    return Fragment(kind, block[at + _HEAD.size : end], end)


def _next_beginning(read: Callable[[int], bytes], end: int, following: int) -> int | None:
    """Where a record begins behind the bad one at `end`.

    The lengths in between can't be trusted, so every offset is tried. What only looks like
    a record, in the body of a mail say, has not the sequence number that would fit there.
    """
    start = end - end % _BLOCK
    for number, block in enumerate(_blocks(read)):
        limit = following + (number + 1) * _CHANGES_PER_BLOCK
        at = end - start + 1 if number == 0 else 0
        for kind in (_FULL, _FIRST):
            found = block.find(kind, at + 6)
            while found >= 0:
                if _begins(block, found - 6, following, limit):
                    return start + number * _BLOCK + found - 6
                found = block.find(kind, found + 1)
    return None


def _begins(block: bytes, at: int, following: int, limit: int) -> bool:
    if len(block) - at < _HEAD.size + _BATCH.size:
        return False
    if following and not following < _BATCH.unpack_from(block, at + _HEAD.size)[0] < limit:
        return False
    return fragment_at(block, at) is not None
