"""The text of a message as it goes on the wire in counted chunks, in which no dot means anything (RFC 3030)."""

from __future__ import annotations


class Chunked:
    """Encodes one text as `relay.smtp.stuffing.Stuffing` does: a text without CRLF at its very end gets it, so
    that a host is given the same by either way."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        # The last bytes so far; a text that is empty ends as one whose last line has ended.
        self._tail = b"\r\n"

    def piece(self, data: bytes) -> bytes:
        """A piece that isn't the last, as a chunk; none for an empty one."""
        if not data:
            return b""
        self._tail = (self._tail + data[-2:])[-2:]
        return b"BDAT %d\r\n%b" % (len(data), data)

    def end(self, data: bytes) -> bytes:
        """The last piece, maybe empty, as the last chunk."""
        end = b"" if (self._tail + data[-2:])[-2:] == b"\r\n" else b"\r\n"
        return b"BDAT %d LAST\r\n%b%b" % (len(data) + len(end), data, end)
