"""The outcome journal: what a child writes down the moment a peer has taken a message.

Between the peer's 2xx and the master's synced commit lies a window in which a death
would make a second copy. The child closes most of it by appending one line here (written,
not synced) before it reports; the master reads journals left behind before it offers
anything again. A line: CRC-32 in hex, blank, JSON array, newline. A torn or damaged line is
no acceptance: that message is delivered again, which is what at-least-once allows.

The file is locked by its child for as long as it lives, so that a new master can tell
an orphan that may still write from one that is gone, and who it is.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import msgspec

#: A file is left for the other one of its pair when it is longer than this (bytes).
_ROTATE = 256 * 1024

_encode = msgspec.json.encode
# struct flock of Linux: l_type, l_whence, l_start, l_len, l_pid
_FLOCK = struct.Struct("hhqqi4x")


class Acceptance(NamedTuple):
    """A peer took delivery `id.seq` under `lease`; `dsn` as in relay.message.values.Outcome."""

    id: str
    seq: int
    lease: int
    host: str
    response: str
    dsn: bool = False


_decode = msgspec.json.Decoder(Acceptance).decode


def encode(entry: Acceptance) -> bytes:
    """One line."""
    text = _encode(entry)
    return b"%08x %b\n" % (zlib.crc32(text), text)


def decode(data: bytes) -> tuple[list[Acceptance], int]:
    """The entries of a journal and how many lines could not be read."""
    entries, damaged = [], 0
    for line in data.splitlines():
        try:
            if int(line[:8], 16) != zlib.crc32(line[9:]):
                raise ValueError
            entries.append(_decode(line[9:]))
        except (ValueError, msgspec.MsgspecError):
            damaged += 1
    return entries, damaged


class Journal:
    """The child's end: a pair of files written in turn, each emptied when all that it tells of is settled.

    An acceptance may be told of long after it was written, and others before it. Those that are left of a file
    otherwise settled are written again into the other one.
    """

    def __init__(self, path: Path) -> None:
        """Creates and locks the files. Raises OSError."""
        self._files = [_locked(path.with_suffix(suffix)) for suffix in (".0", ".1")]
        self._turn = 0
        # Of each file: its length, what the master wasn't told of yet, and how many it had been told of with the last.
        self._lengths = [0, 0]
        self._untold: tuple[dict[int, Acceptance], dict[int, Acceptance]] = ({}, {})
        self._last = [0, 0]
        self._told = 0

    def write(self, *entries: Acceptance) -> None:
        """Hand acceptances to the kernel, all at once. Raises OSError when they can't be written."""
        turn = self._turn
        self._untold[turn].update((entry.lease, entry) for entry in entries)
        lines, file = b"".join(map(encode, entries)), self._files[turn]
        if os.write(file, lines) != len(lines):
            os.ftruncate(file, self._lengths[turn])  # Half a line would spoil the next one too.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._lengths[turn] += len(lines)
        if self._lengths[turn] > _ROTATE and not self._lengths[turn ^ 1]:
            self._turn ^= 1

    def told(self, lease: int) -> None:
        """The master is told of this acceptance, whether it could be written or not."""
        turns = [turn for turn, untold in enumerate(self._untold) if untold.pop(lease, None)]
        if turns:
            self._told += 1
        for turn in turns:
            self._last[turn] = self._told

    def settled(self, count: int) -> None:
        """Of those that it was told of the master has the first `count` on disk. Raises OSError when what is left of a
        file can't be written into the other one: all of it stays."""
        turn, left = self._turn, self._turn ^ 1
        if self._lengths[left] and count >= self._last[left]:
            self.write(*self._untold[left].values())
            self._untold[left].clear()
            self._empty(left)
        if self._lengths[turn] and not self._untold[turn] and count >= self._last[turn]:
            self._empty(turn)

    def _empty(self, turn: int) -> None:
        os.ftruncate(self._files[turn], 0)
        self._lengths[turn] = 0

    def close(self) -> None:
        for file in self._files:
            os.close(file)


def _locked(path: Path) -> int:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def holder(path: Path) -> int | None:
    """The process that still has this journal locked, or None. Not above 0: somebody whose
    id can't be told (another host's, another namespace's). Raises OSError."""
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(file, fcntl.F_GETLK, asked))
        return pid if kind != fcntl.F_UNLCK else None
    finally:
        os.close(file)


def left_behind(directory: Path, child: str | None = None) -> list[Path]:
    """Journals in `directory`, of one child or of all."""
    return sorted(directory.glob(f"{child or '*'}.[01]"))
