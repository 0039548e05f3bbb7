"""The text of a message: what may not be in it, and after DATA where it ends and what it says
without the stuffed dots. (What comes by BDAT is in `chunks`.)

Only CRLF.CRLF ends it (RFC 5321 4.1.1.4). Whatever else might pass for an end of line
somewhere else (a CR or LF alone, NUL) never does so here: that is what SMTP smuggling lives
on. The text isn't kept: each piece given in comes out at once, but for the last four bytes.
"""

from __future__ import annotations

import re
import sys
from typing import Literal

from relay.smtp.reply import Reply, reply

#: Longest line of a message in bytes, without CRLF. RFC 5321 4.5.3.1.6 asks for 998 at least;
#: real mail (unwrapped HTML) has far longer ones. What leaves the relay is another matter.
MAX_LINE = 64 * 1024

_END = b"\r\n.\r\n"
_stray_cr = re.compile(rb"\r(?!\n)").search

HAS_NUL = reply(554, "5.6.0 Error: NUL in message text")
BARE_NEWLINE = reply(554, "5.6.0 Error: bare CR or LF in message text, lines end with CRLF")
LONG_LINE = reply(554, f"5.6.0 Error: line longer than {MAX_LINE} bytes in message text")


class Checked:
    """A text as far as it has come, and what is wrong with it.

    Attributes:
        size: bytes of text so far, without stuffed dots (RFC 1870 message size).
    """

    __slots__ = ("_fresh", "_header", "_line", "_long", "_max_size", "_normalize", "_nul", "_skip", "_stray", "size")

    def __init__(self, max_size: int, bare_newlines: Literal["reject", "normalize"], skip: int) -> None:
        """`max_size` in bytes, 0 for no limit. With "normalize" a bare CR or LF becomes CRLF; in the
        header it is refused all the same. `skip`: so many bytes at the beginning are no text."""
        self.size = 0
        self._skip = skip
        self._line = 0
        self._max_size = max_size or sys.maxsize
        self._normalize = bare_newlines == "normalize"
        self._header = self._normalize  # it isn't over, and has to be looked at
        self._fresh = not self._skip  # a line begins
        self._nul = self._stray = self._long = False

    @property
    def problem(self) -> Reply | None:
        """Why this text can't be taken, as far as it is known; the same for any split at the end."""
        if self.size > self._max_size:
            limit = f"{self._max_size} B ({self.size} B)"
            return reply(552, f"5.3.4 Error: message exceeds fixed maximum message size {limit}")
        if self._nul:
            return HAS_NUL
        if self._stray:
            return BARE_NEWLINE
        return LONG_LINE if self._long else None

    def _text(self, data: bytes, stuffed: bool) -> bytes:
        """Check and decode `data`, which never begins or ends within a CRLF."""
        if self._header:
            self._guard(data)
        # As many CR as LF, and none that something else follows or nothing (what might follow it
        # was kept back, and is a CR too): all of them are CRLF.
        if data.count(b"\r") != data.count(b"\n") or _stray_cr(data):
            if self._normalize:
                # Stuffed dots first: a line that a bare CR or LF makes has none.
                data = _normalized(data.replace(b"\r\n.", b"\r\n") if stuffed else data)
                stuffed = False
            else:
                self._stray = True
        if stuffed:
            data = data.replace(b"\r\n.", b"\r\n")
        if self._skip:
            data = data[self._skip :]
            self._skip = 0
        if b"\0" in data:
            self._nul = True
        self.size += len(data)
        self._measure(data)
        if self._nul or self._stray or self._long or self.size > self._max_size:
            return b""
        return data

    def _guard(self, data: bytes) -> None:
        """What follows a bare CR or LF in the header would become a field that nobody wrote."""
        end = 0 if self._fresh and data[:2] == b"\r\n" else data.find(b"\r\n\r\n") + 2
        if end == 1:
            self._fresh = data[-2:] == b"\r\n"
            header = data
        else:
            self._header = False
            header = data[:end]
        if header.count(b"\r") != header.count(b"\n") or _stray_cr(header):
            self._stray = True

    def _measure(self, data: bytes) -> None:
        """Look for an over-long line: one search for each 64 KiB, not one for each line."""
        length = len(data)
        start = -self._line
        while length - start > MAX_LINE:
            # A line may be MAX_LINE bytes long, then comes CRLF.
            newline = data.rfind(b"\n", max(start, 0), start + MAX_LINE + 2)
            if newline < 0:
                self._long = True
                return
            start = newline + 1
        newline = data.rfind(b"\n", max(start, 0))
        self._line = length - (start if newline < 0 else newline + 1)


class Body(Checked):
    """Decodes one message text, given in any split.

    Attributes:
        over: the end has been seen.
        rest: what came after the end; commands.
    """

    __slots__ = ("_held", "over", "rest")

    def __init__(self, max_size: int = 0, bare_newlines: Literal["reject", "normalize"] = "reject") -> None:
        """As for Checked."""
        # The CRLF of the DATA line counts as the first half of the end of an empty message.
        # It is put in front of the text and skipped on the way out.
        super().__init__(max_size, bare_newlines, 2)
        self.over = False
        self.rest = b""
        self._held = b"\r\n"

    def feed(self, data: bytes) -> bytes:
        """The text within `data`. Nothing any more once there is a problem. Not after `over`."""
        if self._held:
            data = self._held + data
            self._held = b""
        # One search tells both whether dots are stuffed and, mostly, where the end is. Backwards
        # it costs half in bytes without any, and the end of a message is near its end.
        dot = data.rfind(b"\r\n.")
        if dot > 0 and data.rfind(b"\r\n.", 0, dot + 2) >= 0:
            dot = data.find(b"\r\n.")
        end = -1
        if dot >= 0:
            end = dot if data.startswith(_END, dot) else data.find(_END, dot)
        if end >= 0:
            self.over = True
            self.rest = data[end + 5 :]
            data = data[: end + 2]
        elif data[-1:] in (b"\r", b"\n", b"."):
            keep = _begun(data)
            self._held = data[len(data) - keep :]
            data = data[: len(data) - keep]
        if not data:
            return b""
        return self._text(data, stuffed=dot not in (-1, end))


def _begun(data: bytes) -> int:
    """How many bytes at the end of `data` may be the beginning of the end."""
    for length in (4, 3, 2, 1):
        if data.endswith(_END[:length]):
            return length
    return 0


def _normalized(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
