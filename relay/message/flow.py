"""Whose mail it is and how urgent: by that deliveries to one domain are kept apart and take turns."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

Priority = Literal["high", "normal", "low"]
#: From the most urgent to the least.
PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")


#: What is kept of a user's name (characters).
LONGEST = 255


class Flow(NamedTuple):
    """A user ("" is nobody) and the priority of some of their mail."""

    user: str = ""
    priority: Priority = "normal"


def flow_text(flow: Flow) -> str:
    """One short text for a flow, "" for the usual one. The same user in another case is the same flow."""
    if flow == _USUAL:
        return ""
    return f"{PRIORITIES.index(flow.priority)}{known_as(flow.user)}"


def known_as(user: str) -> str:
    """A user's name as flows have it: in lower case, of bounded length, and printable."""
    user = user.lower()[:LONGEST]
    if not user.isprintable():
        user = "".join(char if char.isprintable() else "?" for char in user)
    return user


@lru_cache(4096)
def read_flow(text: str) -> Flow:
    """The flow that was written so; what can't be read is of nobody, and of no urgency."""
    if not text:
        return _USUAL
    number = "012".find(text[0])
    return Flow(text[1:], PRIORITIES[number]) if number >= 0 else Flow(text, "normal")


_USUAL = Flow()
