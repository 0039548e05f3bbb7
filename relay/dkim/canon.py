"""The canonical forms of DKIM: of a body while it streams by, of a header field (RFC 6376 3.4, 3.7).

A signature is made at each attempt, but the body never changes: its hash is made once.
Nothing is done per line; a body that is already canonical is only searched.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

_BLANKS = b" \t\r\n"
_MAX_HELD = 64 * 1024
_EMPTY_LINES = b"\r\n" * 4096


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


class RelaxedBody:
    """SHA-256 of a body in relaxed form; any split of the body gives the same.

    Line ends have to be CRLF. What may turn out to be the end of a line or of the body
    (blanks and empty lines) is held back until something follows; long runs are counted.
    """

    __slots__ = ("_any", "_hash", "_held", "_lines")

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._held = b""
        self._lines = 0
        self._any = False

    def update(self, data: bytes) -> None:
        """Takes the next piece of the body."""
        text = self._held + data if self._held else data
        kept = text.rstrip(_BLANKS)
        if not kept:
            self._held = text if len(text) <= _MAX_HELD else self._counted(text)
            return
        self._held = text[len(kept) :]
        if self._lines:
            _hash_empty_lines(self._hash, self._lines)
            self._lines = 0
        self._hash.update(_relaxed(kept))
        self._any = True

    def digest(self) -> bytes:
        """The 32 bytes of `bh=`; the last call. A body without any text hashes as nothing."""
        if self._any:
            self._hash.update(b"\r\n")
        return self._hash.digest()

    def _counted(self, blanks: bytes) -> bytes:
        """Adds the line ends in `blanks` to the count; what remains of the last line."""
        start = blanks.rfind(b"\r\n") + 2
        if start > 1:
            self._lines += blanks.count(b"\r\n", 0, start)
            blanks = blanks[start:]
        return _relaxed(blanks)


class SimpleBody:
    """The same for a body in simple form (RFC 6376 3.4.3), where only empty lines at the end don't count."""

    __slots__ = ("_hash", "_held", "_lines")

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._held = b""
        self._lines = 0

    def update(self, data: bytes) -> None:
        """Takes the next piece of the body."""
        text = self._held + data if self._held else data
        kept = text.rstrip(b"\r\n")
        ends = text[len(kept) :]
        if kept:
            _hash_empty_lines(self._hash, self._lines)
            self._hash.update(kept)
            self._lines = 0
        self._lines += len(ends) // 2
        self._held = ends[len(ends) & ~1 :]

    def digest(self) -> bytes:
        """The 32 bytes of `bh=`; the last call. A body without any text hashes as an empty line."""
        self._hash.update(b"\r\n")
        return self._hash.digest()


BodyHash = RelaxedBody | SimpleBody


def relaxed_field(name: bytes, value: bytes) -> bytes:
    """A header field in relaxed form without its end (RFC 6376 3.4.2); `name` is in lower case, `value` what
    stands behind the colon."""
    value = value.replace(b"\r\n", b"").strip(_BLANKS)
    return b"%b:%b" % (name, _single_blanks(value))


def _hash_empty_lines(target: _Hash, lines: int) -> None:
    full, rest = divmod(lines, len(_EMPTY_LINES) // 2)
    for _ in range(full):
        target.update(_EMPTY_LINES)
    target.update(_EMPTY_LINES[: rest * 2])


def _relaxed(text: bytes) -> bytes:
    return _single_blanks(text).replace(b" \r\n", b"\r\n")


def _single_blanks(text: bytes) -> bytes:
    if b"\t" in text:
        text = text.replace(b"\t", b" ")
    while b"  " in text:
        text = text.replace(b"  ", b" ")
    return text
