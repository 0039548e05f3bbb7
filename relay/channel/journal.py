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
    """A peer took delivery `id.seq` under `lease`."""

    id: str
    seq: int
    lease: int
    host: str
    response: str


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
    """The child's end: a pair of files written in turn, emptied once all is settled."""

    def __init__(self, path: Path) -> None:
        """Creates and locks the files. Raises OSError."""
        self._files = [_locked(path.with_suffix(suffix)) for suffix in (".0", ".1")]
        self._turn = 0
        self._length = 0
        self._written = 0
        self._left_at: int | None = None

    def write(self, *entries: Acceptance) -> None:
        """Hand acceptances to the kernel, all at once. Raises OSError when they can't be written."""
        self._written += len(entries)
        lines, file = b"".join(map(encode, entries)), self._files[self._turn]
        if os.write(file, lines) != len(lines):
            os.ftruncate(file, self._length)  # Half a line would spoil the next one too.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._length += len(lines)
        if self._length > _ROTATE and self._left_at is None:
            self._turn ^= 1
            self._left_at, self._length = self._written, 0

    def settled(self, count: int) -> None:
        """The master has the first `count` acceptances on disk."""
        if self._left_at is not None and count >= self._left_at:
            os.ftruncate(self._files[self._turn ^ 1], 0)
            self._left_at = None
        if count == self._written and self._length:
            os.ftruncate(self._files[self._turn], 0)
            self._length = 0

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
