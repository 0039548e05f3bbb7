"""The text that comes by BDAT (RFC 3030): counted octets, in which nothing means an end.

A dot is a dot here. All else that may not be in a text may not be in this one either, since it
leaves by DATA. A CR at the end of a chunk waits for the LF that may begin the next.
"""

from __future__ import annotations

from typing import Literal

from relay.smtp.body import Checked

#: Of a refused chunk so much is passed over (bytes); behind a larger one the session ends.
MAX_SKIPPED = 64 * 1024 * 1024


class Chunks(Checked):
    """One message text, in chunks, and each chunk in any split.

    Attributes:
        left: octets of this chunk that have not come.
        length: octets of this chunk.
        last: no chunk follows it.
    """

    __slots__ = ("_held", "last", "left", "length")

    def __init__(self, max_size: int = 0, bare_newlines: Literal["reject", "normalize"] = "reject") -> None:
        """As for Checked."""
        super().__init__(max_size, bare_newlines, 0)
        self._held = b""
        self.left = self.length = 0
        self.last = False

    def begin(self, length: int, last: bool) -> None:
        """A chunk of so many octets comes."""
        self.left = self.length = length
        self.last = last

    def feed(self, data: bytes) -> bytes:
        """The text within the next octets of this chunk; the caller gives no more than are left.
        Nothing any more once there is a problem."""
        self.left -= len(data)
        if self._held:
            data = self._held + data
            self._held = b""
        if data[-1:] == b"\r" and not (self.last and not self.left):
            data = data[:-1]
            self._held = b"\r"
        return self._text(data, stuffed=False) if data else b""

    def end(self) -> bytes:
        """The end of the last chunk: what is still to come out when it was empty."""
        return self.feed(b"") if self._held else b""
