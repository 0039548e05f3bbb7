"""The text of one message as it comes in: header found, body broken where a line is too long to
leave, counted, hashed, cut into chunks.

What becomes of a chunk is for the owner to say: the master gives it to the store, a receiver
child to the data channel. A small message comes out in one piece at the end.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from relay.channel.frames import CHUNK
from relay.dkim.canon import RelaxedBody
from relay.message.headers import HeaderBlock, HeaderCollector, HeaderTooLong
from relay.message.longlines import LineBreaker
from relay.smtp.reply import reply

TOO_LONG_HEADER = reply(552, "5.3.4 Error: the header is too long")


class Text(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A whole text, less the chunks that were given away.

    `header` are the lines as they came, each with its CRLF; `body_size` counts all of the body,
    `chunks` the pieces of it that were given away before, `rest` is what follows them.
    `eight_bit`: a byte above 127 is somewhere. `body_hash`: relaxed (RFC 6376 3.4.4), b"" when
    it wasn't asked for.
    """

    header: bytes
    body_size: int
    chunks: int
    rest: bytes
    eight_bit: bool
    body_hash: bytes


class Draft:
    """Takes a text in any split.

    Attributes:
        chunks: how many were given away.
    """

    __slots__ = (
        "_block", "_body", "_collector", "_eight_bit", "_give", "_hash", "_hashes", "_lines", "_size", "chunks",
    )  # fmt: skip

    def __init__(
        self,
        max_header: int,
        hashes: Callable[[HeaderBlock], bool],
        give: Callable[[int, bytes], None],
    ) -> None:
        """`hashes` says, once the header is known, whether the body is to be hashed; `give` takes
        a chunk of CHUNK bytes with its number, from 0."""
        self.chunks = 0
        self._hashes = hashes
        self._give = give
        self._collector: HeaderCollector | None = HeaderCollector(max_header)
        self._block = HeaderBlock(b"")
        self._body: list[bytes] = []
        self._lines = LineBreaker()
        self._size = 0
        self._hash: RelaxedBody | None = None
        self._eight_bit = False

    @property
    def held(self) -> int:
        """Bytes of it that are here and not given away."""
        if self._collector is not None:
            return self._collector.held
        return len(self._block.raw) + self._size - self.chunks * CHUNK

    def write(self, data: bytes) -> None:
        """The next piece, with CRLF line ends. Raises HeaderTooLong: write no more."""
        if self._collector is None:
            self._add(data)
            return
        found = self._collector.feed(data)
        if found is not None:
            self._header(*found)

    def end(self) -> tuple[HeaderBlock, Text]:
        """The end of the text. Raises HeaderTooLong."""
        if self._collector is not None:
            self._header(*self._collector.end())
        rest = self._lines.end()
        if rest:
            self._keep(rest)
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        digest = self._hash.digest() if self._hash is not None else b""
        block = self._block
        return block, Text(block.raw, self._size, self.chunks, body, self._eight_bit, digest)

    def _header(self, block: HeaderBlock, body: bytes) -> None:
        self._collector = None
        self._block = block
        self._eight_bit = not block.raw.isascii()
        if self._hashes(block):
            self._hash = RelaxedBody()
        if body:
            self._add(body)

    def _add(self, data: bytes) -> None:
        data = self._lines.feed(data)
        if data:
            self._keep(data)

    def _keep(self, data: bytes) -> None:
        if self._hash is not None:
            self._hash.update(data)
        if not self._eight_bit:
            self._eight_bit = not data.isascii()
        self._body.append(data)
        self._size += len(data)
        if self._size - self.chunks * CHUNK > CHUNK:
            self._cut()

    def _cut(self) -> None:
        """Give whole chunks away; at least one byte stays for the end."""
        text = b"".join(self._body)
        start = 0
        while len(text) - start > CHUNK:
            number = self.chunks
            self.chunks += 1
            self._give(number, text[start : start + CHUNK])
            start += CHUNK
        self._body = [text[start:]]


__all__ = ["TOO_LONG_HEADER", "Draft", "HeaderTooLong", "Text"]
