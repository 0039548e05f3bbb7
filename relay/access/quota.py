"""How much a user may send in a minute, an hour, a day. Pure: asked with "now", in seconds.

Within any span of its length a limit is never exceeded. To know that exactly each message would
have to be remembered; here a sixtieth of the span is, and a part counts until all of it is past.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from relay.access.refused import Refused
from relay.message.user import User
from relay.smtp.reply import Reply, reply

_PARTS = 60
_SPANS = {"m": 60.0, "h": 3600.0, "d": 86400.0}
#: User, what, limit, span, parts.
Saved = tuple[str, str, int, float, list[tuple[int, int]]]
_WORDS = {60.0: "a minute", 3600.0: "an hour", 86400.0: "a day"}


def read_limit(text: str) -> tuple[int, float]:
    """`100/h` as (100, 3600.0); the spans are m, h and d. Raises ValueError."""
    count, slash, span = text.partition("/")
    if not slash or span not in _SPANS or not (count.isascii() and count.isdigit()) or not int(count):
        raise ValueError(f'expected a limit such as "60/m", "1000/h" or "10000/d", got "{text[:40]}"')
    return int(count), _SPANS[span]


class Window:
    """What one limit has let through lately."""

    __slots__ = ("_limit", "_parts", "_span", "_sum")

    def __init__(self, limit: int, span: float, parts: Iterable[tuple[int, int]] = ()) -> None:
        """`parts` are (number of the part, count), as `parts` gave them."""
        self._limit = limit
        self._span = span
        self._parts = deque((int(part), int(count)) for part, count in parts)
        self._sum = sum(count for _, count in self._parts)

    def wait(self, count: int, now: float) -> float:
        """How long until `count` more fit (seconds): 0 for now, infinity for never."""
        if count > self._limit:
            return math.inf
        self._forget(now)
        over = self._sum + count - self._limit
        if over <= 0:
            return 0.0
        for part, used in self._parts:
            over -= used
            if over <= 0:
                return max(0.0, self._end(part) - now)
        raise AssertionError("what fits an empty window fits some time")

    def add(self, count: int, now: float) -> int:
        """Count them; the number of the part they are counted in."""
        part = int(now // (self._span / _PARTS))
        if self._parts and self._parts[-1][0] >= part:
            part, used = self._parts.pop()
            count += used
            self._sum -= used
        self._parts.append((part, count))
        self._sum += count
        return part

    def take_back(self, count: int, part: int) -> None:
        """They don't count after all."""
        for place, (number, used) in enumerate(self._parts):
            if number == part:
                self._parts[place] = (number, used - count)
                self._sum -= count
                return

    def used(self, now: float) -> int:
        """What still counts."""
        self._forget(now)
        return self._sum

    def parts(self) -> list[tuple[int, int]]:
        """What was counted and not forgotten yet."""
        return list(self._parts)

    def _end(self, part: int) -> float:
        """When a part is wholly past."""
        return (part + 1) * (self._span / _PARTS) + self._span

    def _forget(self, now: float) -> None:
        while self._parts and self._end(self._parts[0][0]) <= now:
            self._sum -= self._parts.popleft()[1]

    @property
    def limit(self) -> tuple[int, float]:
        return self._limit, self._span


class Used(NamedTuple):
    """One limit of a user: so many of `what`, messages or recipients, in `span` seconds, of which `used` count now."""

    what: str
    limit: int
    span: float
    used: int


class Charge:
    """One message that was counted."""

    __slots__ = ("_counted",)

    def __init__(self, counted: Sequence[tuple[Window, int, int]]) -> None:
        """`counted` are the windows, how much in each, and in which part."""
        self._counted = counted

    def give_back(self) -> None:
        """The message was not taken after all."""
        counted, self._counted = self._counted, ()
        for window, count, part in counted:
            window.take_back(count, part)


class Quotas:
    """The windows of all users."""

    #: Users whose windows are remembered; the longest idle go first.
    most = 100_000

    def __init__(self, messages: Sequence[tuple[int, float]], recipients: Sequence[tuple[int, float]]) -> None:
        """The limits of users who have none of their own."""
        self._messages = tuple(messages)
        self._recipients = tuple(recipients)
        self._windows: OrderedDict[tuple[str, str], list[Window]] = OrderedDict()

    def used(self, user: User, now: float) -> list[Used]:
        """What holds for a user, and how much of it is used."""
        found = []
        for what, limits in self._limits(user):
            kept = {window.limit[1]: window for window in self._windows.get((user.name.lower(), what), ())}
            found += [Used(what, *limit, kept[limit[1]].used(now) if limit[1] in kept else 0) for limit in limits]
        return found

    def charge(self, user: User, recipients: int, now: float) -> Charge | None:
        """Count one message to so many recipients; None when nothing limits the user. Raises
        Refused: 450 with the time to wait, or 550 when it could never fit. Nothing is counted then."""
        counted = []
        for (what, limits), count in zip(self._limits(user), (1, recipients), strict=True):
            for window in self._of(user.name, what, limits):
                wait = window.wait(count, now)
                if wait:
                    raise Refused(_over(what, window, wait))
                counted.append((window, count))
        return Charge([(window, n, window.add(n, now)) for window, n in counted]) if counted else None

    def _limits(self, user: User) -> tuple[tuple[str, Sequence[tuple[int, float]]], ...]:
        return ("messages", user.messages or self._messages), ("recipients", user.recipients or self._recipients)

    def _of(self, name: str, what: str, limits: Sequence[tuple[int, float]]) -> list[Window]:
        if not limits:
            return []
        # A service may know one user by many spellings.
        key = (name.lower(), what)
        windows = self._windows.get(key)
        if windows is None or [window.limit for window in windows] != list(limits):
            old = {} if windows is None else {window.limit[1]: window for window in windows}
            windows = [
                Window(*limit, old[limit[1]].parts() if limit[1] in old else ()) for limit in limits
            ]
            self._windows[key] = windows
            if len(self._windows) > self.most:
                self._windows.popitem(last=False)
        else:
            self._windows.move_to_end(key)
        return windows

    # -- over a restart

    def saved(self, now: float) -> list[Saved]:
        """What is to be kept: user, what, limit, span, parts. Minutes are not: a restart takes long enough.
        Users whose counts have all faded are forgotten."""
        for key in [key for key, windows in self._windows.items() if not any(w.used(now) for w in windows)]:
            del self._windows[key]
        return [
            (name, what, *window.limit, parts)
            for (name, what), windows in self._windows.items()
            for window in windows
            if window.limit[1] > _SPANS["m"] and (parts := window.parts())
        ]

    def restore(self, saved: Any, now: float) -> None:
        """Go on from what was kept. What a clock that was ahead has counted would count for too long: it
        counts as of now. Raises ValueError for what was never saved."""
        found: dict[tuple[str, str], list[Window]] = {}
        for name, what, limit, span, parts in msgspec.convert(saved, list[Saved]):
            if span in _WORDS:
                latest = int(now // (span / _PARTS))
                kept = sorted((min(part, latest), count) for part, count in parts if count > 0)
                found.setdefault((name, what), []).append(Window(limit, span, kept))
        self._windows.update(found)


def _over(what: str, window: Window, wait: float) -> Reply:
    limit, span = window.limit
    text = f"over the limit of {limit} {what} {_WORDS[span]}"
    if math.isinf(wait):
        return reply(550, f"5.7.1 Error: {text}: it can never be taken")
    return reply(450, f"4.7.1 Error: {text}, try again in {math.ceil(wait)} seconds")
