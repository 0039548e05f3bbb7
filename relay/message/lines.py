"""Line ends made CRLF while the text streams by (RFC 5322 2.3).

For doors where a text may come from anything that writes files; SMTP has its own rules.
"""

from __future__ import annotations


class CrlfLines:
    """Turns bare LF and bare CR into CRLF; any split of the text gives the same."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = False

    def feed(self, data: bytes) -> bytes:
        """The next piece with CRLF line ends. A CR at its end waits for what follows."""
        if self._held:
            data = b"\r" + data
        self._held = data.endswith(b"\r")
        if self._held:
            data = data[:-1]
        pairs = data.count(b"\r\n")
        if pairs == data.count(b"\n") == data.count(b"\r"):
            return data
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")

    def end(self) -> bytes:
        """What is left when no more text comes."""
        held, self._held = self._held, False
        return b"\r\n" if held else b""
