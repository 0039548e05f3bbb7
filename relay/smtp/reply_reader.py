"""Replies out of a stream of bytes, in any split, each bounded in every direction (RFC 5321 4.2)."""

from __future__ import annotations

from relay.smtp.reply import Reply

#: Longest line in bytes without its end. RFC 5321 4.5.3.1.5 says 512; some hosts say more.
MAX_LINE = 2048
#: Most lines of one reply, and their size in bytes together.
MAX_LINES = 500
MAX_REPLY = 64 * 1024


class BadReply(Exception):
    """What came is no reply; the stream can't be read any further. The text says why."""


class ReplyReader:
    """Takes bytes by `feed`, gives one reply at a time by `next`.

    A bare LF ends a line as CRLF does. What stands behind the last line of a reply stays
    unread until it is asked for: `pending` says whether there is anything.
    """

    __slots__ = ("_at", "_buffer", "_code", "_lines", "_size")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        self._code = b""
        self._lines: list[str] = []
        self._size = 0

    @property
    def pending(self) -> bool:
        """Whether bytes lie here that no finished reply has used up."""
        return self._at < len(self._buffer) or bool(self._lines)

    @property
    def refusing(self) -> bool:
        """Whether the beginning of a reply lies here that can only become a 4xx or 5xx."""
        code = self._code if self._lines else self._buffer[self._at :]
        return code[:1] in (b"4", b"5")

    def feed(self, data: bytes) -> None:
        """Add what the peer sent."""
        if self._at < len(self._buffer):
            data = self._buffer[self._at :] + data
        self._buffer = data
        self._at = 0

    def next(self) -> Reply | None:
        """The next whole reply, None when more bytes are needed. Raises BadReply."""
        buffer = self._buffer
        while (end := buffer.find(b"\n", self._at)) >= 0:
            line = buffer[self._at : end]
            self._at = end + 1
            if self._line(line[:-1] if line[-1:] == b"\r" else line):
                answer = Reply(int(self._code), tuple(self._lines))
                self._lines = []
                self._size = 0
                return answer
        if len(buffer) - self._at > MAX_LINE + 1:
            raise BadReply("reply line too long")
        return None

    def _line(self, line: bytes) -> bool:
        """Take one line; whether it is the last of its reply."""
        self._size += len(line) + 2
        if len(line) > MAX_LINE:
            raise BadReply("reply line too long")
        if self._size > MAX_REPLY or len(self._lines) >= MAX_LINES:
            raise BadReply("reply too long")
        code, mark = line[:3], line[3:4]
        if len(code) != 3 or not code.isdigit() or not b"2" <= code < b"6" or mark not in (b" ", b"-", b""):
            raise BadReply(f"no SMTP reply: {line[:80].decode('utf-8', 'replace')}")
        if b"\0" in line:
            raise BadReply("NUL in reply")
        if self._lines and code != self._code:
            raise BadReply(f"reply with two codes, {self._code.decode()} and {code.decode()}")
        self._code = code
        self._lines.append(line[4:].decode("utf-8", "replace"))
        return mark != b"-"
