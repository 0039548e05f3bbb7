"""An SMTP reply as a value, for both directions (RFC 5321 4.2, RFC 3463)."""

from __future__ import annotations

import msgspec


class Reply(msgspec.Struct, frozen=True):
    """`code` and the text of each line; an enhanced status code, if any, leads the text."""

    code: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """All lines as one, separated by blanks."""
        return " ".join(self.lines)

    @property
    def positive(self) -> bool:
        return self.code < 400

    @property
    def permanent(self) -> bool:
        return self.code >= 500

    def encode(self) -> bytes:
        """The reply as it goes on the wire, CRLF at the end of each line."""
        if len(self.lines) == 1:
            return f"{self.code} {self.lines[0]}\r\n".encode("utf-8", "replace")
        last = len(self.lines) - 1
        return "".join(
            f"{self.code}{'-' if i < last else ' '}{line}\r\n" for i, line in enumerate(self.lines)
        ).encode("utf-8", "replace")

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


def reply(code: int, *lines: str) -> Reply:
    """Short for `Reply(code, lines)`."""
    return Reply(code, lines)
