"""What was said on a call before something failed, as text of a few lines and as a value.

    0.012 < 220 mx.example.org ESMTP
    0.013 > EHLO relay.example.com
    9.250 - No reply within 300 s

Each line is the seconds since the call began, who: `<` the host, `>` we, `-` nobody, and what. The last one is of the
moment of the failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

HOST, WE, NOBODY = "<", ">", "-"
#: Longest line and longest whole (characters).
MAX_LINE = 300
MAX_TEXT = 4000
#: Stands where lines were left out.
GAP = "[...]"


class Spoken(NamedTuple):
    """A line; `time` in ms since the epoch."""

    time: int
    who: str
    text: str


class Dialogue(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`text` as in the module; `time` is that of the failure (ms since the epoch)."""

    time: int
    text: str

    def lines(self) -> list[Spoken]:
        """Each with its time. What is no such line is left out."""
        found = [parsed for line in self.text.split("\n") if (parsed := _parse(line))]
        end = found[-1][0] if found else 0
        return [Spoken(self.time - end + after, who, text) for after, who, text in found]


def written(seconds: float, who: str, text: str) -> str:
    """A line, bounded and free of control characters."""
    if len(text) > MAX_LINE:
        text = text[: MAX_LINE - 3] + "..."
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return f"{seconds:.3f} {who} {text}"[:MAX_LINE]


def shown(dialogue: Dialogue | None) -> list[Mapping[str, object]]:
    """For the API: `time`, `who` (host, relay, or nobody) and `text` of each line; [] for None."""
    names = {HOST: "host", WE: "relay"}
    lines = [] if dialogue is None else dialogue.lines()
    return [{"time": one.time, "who": names.get(one.who, ""), "text": one.text} for one in lines]


def _parse(line: str) -> tuple[int, str, str] | None:
    seconds, _, rest = line.partition(" ")
    who, _, text = rest.partition(" ")
    try:
        return (round(float(seconds) * 1000), who, text) if who in (HOST, WE, NOBODY) else None
    except (ValueError, OverflowError):
        return None
