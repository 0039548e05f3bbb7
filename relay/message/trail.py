"""Where a message has been: how many relays it passed, and how often this one (RFC 5321 6.3).

A loop through this relay is seen by our own Received lines: they have one of our names, an id whose
last four digits are those of this process, and the recipient. All three together, since two
relays may have one name, and a list may well send mail back through us, to other people. Where recipients travelled
together the line names none of them; such passes count for everybody, and more of them may be.
Nothing has to be added to mail for that, and mail without any Received costs one search.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from relay.message.headers import HeaderBlock, field_names
from relay.message.received import as_shown

#: Passes of one message to one recipient that are no loop yet: somebody may send again what came.
MOST_PASSES = 1
#: Passes for recipients that aren't named: list after list may have sent it through us.
MOST_UNNAMED = 4

_FAR = 2500  # characters of a line that are looked at; ours are shorter
_ADDRESS = r"[0-9a-f.:]+"
_received = field_names("Received").finditer


def hops(block: HeaderBlock) -> int:
    """How many Received fields the header has."""
    if b"\r\nreceived" not in block.lower:
        return 0
    return sum(1 for _ in _received(block.lower))


class Trail:
    """Knows the Received lines of this relay."""

    __slots__ = ("_mark", "_ours")

    def __init__(self, names: Collection[str], node: str) -> None:
        """`names`: what we call ourselves when we deliver, beside addresses; `node`: what all our ids end with."""
        known = "|".join([_ADDRESS, *(re.escape(name.lower()) for name in names)])
        self._mark = f"{node}.".encode("ascii")
        self._ours = re.compile(
            rf" by (?:{known}) \([^()]{{0,255}}\) with \S{{1,255}} id [0-9a-f]{{14}}{node}\.[0-9a-f]{{3,8}}"
            r"(?: for <([^>]*)>|;| \(version=)"
        ).search

    def loops(self, block: HeaderBlock, recipients: Iterable[str]) -> bool:
        """Whether one of `recipients` would get the message from here once too often."""
        if self._mark not in block.lower:
            return False
        passes: dict[str | None, int] = {}
        for line in block.all("Received"):
            match = self._ours(" ".join(line[:_FAR].lower().split()))
            if match is not None:
                passes[match[1]] = passes.get(match[1], 0) + 1
        if passes.pop(None, 0) > MOST_UNNAMED:
            return True
        return bool(passes) and any(
            passes.get(" ".join(as_shown(one).lower().split()), 0) > MOST_PASSES for one in recipients
        )
