"""Things that a receiver began and numbered: what may be begun, and what has ended already."""

from __future__ import annotations

from typing import Generic, TypeVar

from relay.channel.codec import BadFrame

_Thing = TypeVar("_Thing")


class Numbered(Generic[_Thing]):
    """What is under way, of one kind. Numbers only grow, and none is used twice."""

    __slots__ = ("_last", "_most", "_things", "_what")

    def __init__(self, what: str, most: int) -> None:
        """No more than `most` at once."""
        self._what = what
        self._most = most
        self._last = 0
        self._things: dict[int, _Thing] = {}

    def begin(self, number: int, thing: _Thing) -> None:
        """Raises BadFrame."""
        if number <= self._last:
            raise BadFrame(f"{self._what} {number} was begun before")
        if len(self._things) >= self._most:
            raise BadFrame(f"more than {self._most} of {self._what} at once")
        self._last = number
        self._things[number] = thing

    def find(self, number: int) -> _Thing | None:
        """None when it has ended: that and what was said crossed. Raises BadFrame when it was never begun."""
        if number > self._last:
            raise BadFrame(f"{self._what} {number} was never begun")
        return self._things.get(number)

    def end(self, number: int) -> bool:
        """Whether it was under way until now."""
        return self._things.pop(number, None) is not None

    def end_all(self) -> list[_Thing]:
        """All that was under way."""
        things = list(self._things.values())
        self._things.clear()
        return things

    def __len__(self) -> int:
        return len(self._things)
