"""Line ends made CRLF while the text streams by (RFC 5322 2.3).

For doors where a text may come from anything that writes files; SMTP has its own rules.
"""

from __future__ import annotations

import re

_empty_first = re.compile(rb"\r?\n").match
_empty_line = re.compile(rb"\n\r?\n").search


class CrlfLines:
    """Turns bare LF and bare CR into CRLF; any split of the text gives the same.

    But within the header a bare CR becomes a blank: no program ends its lines so, and what follows
    it would become a field that nobody wrote.
    """

    __slots__ = ("_fresh", "_held", "_in_header")

    def __init__(self) -> None:
        self._held = False
        self._in_header = True
        self._fresh = True  # a line begins

    def feed(self, data: bytes) -> bytes:
        """The next piece with CRLF line ends. A CR at its end waits for what follows."""
        if self._held:
            data = b"\r" + data
        self._held = data.endswith(b"\r")
        if self._held:
            data = data[:-1]
        return self._header(data) if self._in_header else _crlf(data)

    def end(self) -> bytes:
        """What is left when no more text comes."""
        held, self._held = self._held, False
        return b"\r\n" if held else b""

    def _header(self, data: bytes) -> bytes:
        if not data:
            return data
        empty = (_empty_first(data) if self._fresh else None) or _empty_line(data)
        end = len(data)
        if empty is not None:
            end = empty.end()
            self._in_header = False
        self._fresh = data[-1:] == b"\n"
        header = data[:end].replace(b"\r\n", b"\n").replace(b"\r", b" ").replace(b"\n", b"\r\n")
        return header + _crlf(data[end:])


def _crlf(data: bytes) -> bytes:
    pairs = data.count(b"\r\n")
    if pairs == data.count(b"\n") == data.count(b"\r"):
        return data
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
