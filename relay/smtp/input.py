"""What a client has sent and the server hasn't read yet; command lines are cut from it here."""

from __future__ import annotations

from relay.smtp import words
from relay.smtp.reply import Reply

#: Longest command line in bytes, without CRLF (RFC 5321 4.5.3.1.4 asks for 510).
MAX_LINE = 4096
#: The same for a line of a login, AUTH or a response to a challenge (RFC 4954 4).
MAX_AUTH_LINE = 12288


class Input:
    """Bytes in any split; lines, or everything, out. `len` is what waits."""

    __slots__ = ("_at", "_buffer", "_skipping")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        self._skipping = False

    def __len__(self) -> int:
        return len(self._buffer) - self._at

    def add(self, data: bytes) -> None:
        """Append what came."""
        if self._at < len(self._buffer):
            data = self._buffer[self._at :] + data
        self._buffer = data
        self._at = 0

    def take(self) -> bytes:
        """All of it; it is empty then."""
        data = self._buffer[self._at :] if self._at else self._buffer
        self._buffer = b""
        self._at = 0
        return data

    def take_at_most(self, count: int) -> bytes:
        """The first `count` bytes of it, or all there are."""
        data = self._buffer[self._at : self._at + count]
        self._at += len(data)
        return data

    def line(self, limit: int = MAX_LINE) -> bytes | Reply | None:
        """The next command line without its CRLF, None when it isn't complete, or a refusal.

        It has `limit` bytes at most, unless it is AUTH.

        A bare LF, a NUL or too many bytes: one refusal, and all up to the next CRLF is dropped,
        so that nothing another server might take for a second command is ever obeyed. How the
        bytes were split over packets makes no difference to any of it.
        """
        buffer, at = self._buffer, self._at
        if at >= len(buffer):
            return None
        if self._skipping:
            if not self._skip():
                return None
            at = self._at
        end = buffer.find(b"\n", at)
        if at < end <= at + limit + 1 and buffer[end - 1] == 13:
            self._at = end + 1
            if end + 1 == len(buffer):
                self._buffer = b""  # It isn't kept, as it may have been a password.
                self._at = 0
            return buffer[at : end - 1]
        length = (len(buffer) if end < 0 else end) - at
        if length > limit and buffer[at : at + 5].upper() == b"AUTH ":
            limit = MAX_AUTH_LINE
            if at < end <= at + limit + 1 and buffer[end - 1] == 13:
                return self.line(limit)
        if buffer.find(b"\0", at, at + min(length, limit + 1)) >= 0:
            refusal = words.CONTROL
        elif length > limit + 1:
            refusal = words.LINE_TOO_LONG
        elif end >= 0:
            refusal = words.CONTROL
        else:
            return None
        self._skipping = True
        return refusal

    def _skip(self) -> bool:
        """Drop up to the next CRLF; False when it hasn't come."""
        end = self._buffer.find(b"\r\n", self._at)
        if end < 0:
            # A CR at the end may be half of it.
            self._buffer = b"\r" if self._buffer.endswith(b"\r") else b""
            self._at = 0
            return False
        self._at = end + 2
        self._skipping = False
        return True
