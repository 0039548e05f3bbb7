"""The text of a message as it goes on the wire: dots doubled, one dot at the end (RFC 5321 4.5.2)."""

from __future__ import annotations


class Stuffing:
    """Encodes one text, given in any split. It has CRLF line ends already; a text without one
    at its very end gets it, since the dot must stand on a line of its own."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        # The last bytes so far, as far as they matter: "\r\n" (a line begins), "\r", or neither.
        self._tail = b"\r\n"

    def piece(self, data: bytes) -> bytes:
        """A piece that isn't the last."""
        if not data:
            return b""
        tail = self._tail
        # What lies on the seam: a line that begins with this piece, or a CRLF cut in half.
        if tail == b"\r\n" and data[:1] == b".":
            stuffed = b"." + data.replace(b"\r\n.", b"\r\n..")
        elif tail == b"\r" and data[:2] == b"\n.":
            stuffed = b"\n." + data[1:].replace(b"\r\n.", b"\r\n..")
        else:
            stuffed = data.replace(b"\r\n.", b"\r\n..")
        last = (tail + data[-2:])[-2:]
        self._tail = last if last == b"\r\n" else b"\r" if last[-1:] == b"\r" else b""
        return stuffed

    def end(self, data: bytes) -> bytes:
        """The last piece, maybe empty, and the final dot."""
        stuffed = self.piece(data)
        return b"".join((stuffed, b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"))
