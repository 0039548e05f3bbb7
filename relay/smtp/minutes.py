"""The minutes of a call: what was said on it, for whoever asks why it failed.

Taking them costs next to nothing, for nearly all of them are thrown away: they become text only when they are asked
for. What led to the first transaction is kept, and of the transactions the one under way or the last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from relay.message.dialogue import GAP, HOST, MAX_TEXT, NOBODY, WE, written
from relay.smtp.reply import Reply

#: Stands for what a login says.
HIDDEN = "..."

#: Entries of a transaction; beyond that those in its midst go.
_MOST = 400
_ENDS = 100

#: When, and what: bytes were said by us, a reply by the host, a text by nobody.
_Entry = tuple[float, "bytes | Reply | str"]


class Minutes:
    """See the module."""

    __slots__ = ("_began", "_clock", "_entries", "_opening", "_since")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self._began = clock()
        self._opening: list[_Entry] | None = None
        self._entries: list[_Entry] = []
        # When a transaction began that was not the first.
        self._since = 0.0

    def began(self) -> None:
        """A transaction begins: the one before is forgotten."""
        if self._opening is None:
            self._opening = self._entries
        else:
            self._since = self._clock()
        self._entries = []

    def note(self, what: bytes | Reply | str) -> None:
        """Lines that we say, a reply, or what happened without a word."""
        entries = self._entries
        entries.append((self._clock(), what))
        if len(entries) > _MOST:
            entries[_ENDS:-_ENDS] = [(self._clock(), GAP)]

    def told(self, ending: str = "") -> str:
        """All of it, as in relay.message.dialogue; `ending` says what happened that nobody said. "" when nothing was
        said at all."""
        lines = list(self._lines(self._opening or []))
        if self._since:
            lines.append(written(self._since - self._began, NOBODY, GAP))
        lines += self._lines(self._entries)
        if lines and ending:
            lines.append(written(self._clock() - self._began, NOBODY, ending))
        return _shortened(lines)

    def _lines(self, entries: list[_Entry]) -> Iterator[str]:
        for when, what in entries:
            after = when - self._began
            if isinstance(what, str):
                yield written(after, NOBODY, what)
            elif isinstance(what, bytes):
                for command in what.decode("utf-8", "replace").split("\r\n"):
                    if command:
                        yield written(after, WE, command)
            else:
                *others, last = what.lines
                for line in others:
                    yield written(after, HOST, f"{what.code}-{line}")
                yield written(after, HOST, f"{what.code} {last}")


def without_secrets(line: bytes) -> bytes:
    """What may be noted of a line of a login: the command and the mechanism."""
    words = line.split()
    return b" ".join((*words[:2], HIDDEN.encode())) if words[:1] == [b"AUTH"] else HIDDEN.encode()


def _shortened(lines: list[str]) -> str:
    """Whole lines of at most MAX_TEXT together: half of it from the head, the rest from the tail."""
    if sum(map(len, lines)) + len(lines) <= MAX_TEXT:
        return "\n".join(lines)
    room = MAX_TEXT // 2
    head = 0
    while len(lines[head]) < room:
        room -= len(lines[head]) + 1
        head += 1
    gap = f"{lines[head].partition(' ')[0]} {NOBODY} {GAP}"
    room += MAX_TEXT // 2 - len(gap) - 1
    tail = len(lines)
    while tail > head and len(lines[tail - 1]) < room:
        tail -= 1
        room -= len(lines[tail]) + 1
    return "\n".join((*lines[:head], gap, *lines[tail:]))
