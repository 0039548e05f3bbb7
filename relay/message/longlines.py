"""Lines that are too long to leave (RFC 5322 2.1.1, RFC 5321 4.5.3.1.6), and what is done to them.

A line of the body is broken as other relays break it: CRLF and a blank are put in. It is done
before the body is hashed, so that our own signature holds. A field of the header is folded where
it has a blank; where it has none for too long it can't leave at all.
"""

from __future__ import annotations

#: Longest line in bytes, without its CRLF.
LIMIT = 998

# What can be told of a line that goes on: so much of it is left as it is, wherever it is broken.
_SURE = LIMIT - 3
_WITH_END = LIMIT + 2


class LineTooLong(ValueError):
    """A line of the header can't be folded."""


class LineBreaker:
    """Breaks lines of a body that comes in any split; line ends are CRLF.

    Nothing is taken away: the text without the CRLF and the blanks that were put in is the text
    as it came. A character of UTF-8 stays whole. At most four bytes are held back.
    """

    __slots__ = ("_held", "_line")

    def __init__(self) -> None:
        self._held = b""
        self._line = 0  # bytes of the line that isn't complete, as far as they came out

    def feed(self, data: bytes) -> bytes:
        """The next piece, broken where it has to be. One search for each 1000 bytes."""
        if self._held:
            data = self._held + data
            self._held = b""
        length = len(data)
        start = -self._line
        while length - start > _SURE:
            newline = data.rfind(b"\n", max(start, 0), start + _WITH_END)
            if newline < 0:
                return self._broken(data, start)
            start = newline + 1
        newline = data.rfind(b"\n", max(start, 0))
        self._line = length - (start if newline < 0 else newline + 1)
        return data

    def end(self) -> bytes:
        """What is left when no more text comes."""
        held, self._held = self._held, b""
        if self._line + len(held) <= LIMIT:
            return held
        cut = _cut(held, -self._line)
        return b"".join((held[:cut], b"\r\n ", held[cut:]))

    def _broken(self, data: bytes, start: int) -> bytes:
        """The same for `data` with a long line; the first one begins at `start`, which is
        negative where it began in an earlier piece."""
        pieces: list[bytes] = []
        done, length = 0, len(data)
        while length - start > _SURE:
            newline = data.rfind(b"\n", max(start, 0), start + _WITH_END)
            if newline >= 0:
                start = newline + 1
            elif length - start < _WITH_END:
                break  # CRLF may follow, or a character end: that is to be seen.
            else:
                cut = _cut(data, start)
                pieces += (data[done:cut], b"\r\n ")
                done = cut
                start = cut - 1  # The blank is part of the new line.
        newline = data.rfind(b"\n", max(start, 0))
        if newline >= 0:
            start = newline + 1
        sure = min(length, start + _SURE)
        pieces.append(data[done:sure])
        self._held = data[sure:]
        self._line = sure - start
        return b"".join(pieces)


def _cut(data: bytes, start: int) -> int:
    """Where to break the line that begins at `start`: not within a character, if it is one."""
    cut = start + LIMIT
    for place in range(cut, cut - 4, -1):
        if data[place] & 0xC0 != 0x80:
            return place
    return cut


def folded(header: bytes) -> bytes:
    """Header lines, each with its CRLF, none of them too long; the very same when none was.

    Raises:
        LineTooLong: a field has no blank for too long.
    """
    start, length = 0, len(header)
    while length - start > _WITH_END:
        newline = header.rfind(b"\n", start, start + _WITH_END)
        if newline < 0:
            return _folded(header, start)
        start = newline + 1
    return header


def _folded(header: bytes, start: int) -> bytes:
    pieces, length = [header[:start]], len(header)
    while start < length:
        newline = header.find(b"\n", start) + 1
        if newline - start <= _WITH_END:
            pieces.append(header[start:newline])
        else:
            pieces += _folds(header[start:newline])
        start = newline
    return b"".join(pieces)


def _folds(line: bytes) -> list[bytes]:
    """One long line in several. Each has more than blanks in it, or it might pass for the end of the
    header somewhere. Blanks at the end stay where they have room; a line of nothing else is left out."""
    text = line.rstrip(b"\r\n")
    end = len(text.rstrip(b" \t"))
    pieces: list[bytes] = []
    start = 0
    while end and len(text) - start > LIMIT:
        reach = min(start + LIMIT + 1, end)
        blank = max(text.rfind(b" ", start, reach), text.rfind(b"\t", start, reach))
        foldable = blank >= 0 and text[start:blank].strip(b" \t")
        if end - start <= LIMIT and not (foldable and len(text) - blank <= LIMIT):
            text = text[:end]
        elif foldable:
            pieces += (text[start:blank], b"\r\n")
            start = blank
        else:
            raise LineTooLong(f"header line longer than {LIMIT} bytes without a blank")
    if end:
        pieces += (text[start:], b"\r\n")
    return pieces
