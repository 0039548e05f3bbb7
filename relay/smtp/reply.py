"""An SMTP reply as a value, for both directions (RFC 5321 4.2, RFC 3463)."""

from __future__ import annotations

import re

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
    def permanent(self) -> bool:
        return self.code >= 500

    def encode(self) -> bytes:
        """The reply as it goes on the wire, CRLF at the end of each line."""
        if len(self.lines) == 1:
            return f"{self.code} {self.lines[0]}\r\n".encode("utf-8", "replace")
        last = len(self.lines) - 1
        return "".join(f"{self.code}{'-' if i < last else ' '}{line}\r\n" for i, line in enumerate(self.lines)).encode(
            "utf-8", "replace"
        )

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


def reply(code: int, *lines: str) -> Reply:
    """Short for `Reply(code, lines)`."""
    return Reply(code, lines)


#: Longest text of a reply line (RFC 5321 4.5.3.1.5: 512 with code and CRLF).
MAX_TEXT = 500

_status = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3} ").match


def fit(reply: Reply) -> Reply:
    """`reply` as it can be sent, wherever its text is from: bounded lines of printable ASCII."""
    for line in reply.lines:
        if len(line) > MAX_TEXT or not (line.isascii() and line.isprintable()):
            return Reply(reply.code, tuple(map(_clean, reply.lines)))
    return reply


def status_of(reply: Reply) -> str:
    """The enhanced status code that leads the text, with the blank behind it; "" where there is none."""
    found = _status(reply.lines[0])
    return found[0] if found else ""


def without_status(reply: Reply) -> Reply:
    """The same without the enhanced status code (RFC 2034)."""
    return Reply(reply.code, tuple(line[found.end() :] if (found := _status(line)) else line for line in reply.lines))


def _clean(line: str) -> str:
    text = line[:MAX_TEXT].encode("ascii", "replace").decode("ascii")
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
