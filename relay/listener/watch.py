"""When each session is next looked at, so that ten thousand idle ones cost nothing.

A wheel of seconds: a session lies in the second in which the first of its times may run out,
or a little earlier, and is looked at then. Activity moves nothing; the look finds it.
"""

from __future__ import annotations

from typing import Protocol

#: No session is left alone for longer than this (seconds).
LONGEST = 15.0
_GONE = -1


class Watched(Protocol):
    """What is looked at. `second` is the watch's own note of where it lies."""

    second: int

    def look_at(self, now: float) -> float:
        """End what has taken too long. Else: in how many seconds something could have."""


class Watch:
    """Sessions by the second of their next look."""

    def __init__(self, longest: float, now: float) -> None:
        """`longest` is the time between two looks that no session has to exceed (seconds)."""
        # Those that came together are not to be looked at together for ever: each has a period
        # of its own, of half of that and more.
        self._periods = [max(1.0, longest * (8 + share) / 16) for share in range(8)]
        self._count = 0
        self._seconds: dict[int, set[Watched]] = {}
        self._looking: set[Watched] = set()
        self._last = int(now)

    def begin(self, session: Watched, now: float) -> None:
        """Watch one more."""
        if not self._seconds:
            self._last = int(now)  # There was nobody, so nothing was missed.
        self._put(session, now + 1.0)

    def end(self, session: Watched) -> None:
        """Watch it no more."""
        self._take(session)
        session.second = _GONE

    def expect(self, session: Watched, when: float) -> None:
        """Look at it in the second after `when` at the latest."""
        if int(when) + 1 < session.second:
            self._take(session)
            self._put(session, when)

    def look(self, now: float) -> None:
        """Look at all whose time it is."""
        for second in range(self._last + 1, int(now) + 1):
            self._last = second
            self._looking = self._seconds.pop(second, self._looking)
            while self._looking:
                session = self._looking.pop()
                wait = session.look_at(now)
                if session.second != second:
                    continue  # It was ended, or moved, meanwhile.
                self._count += 1
                self._put(session, now + min(max(wait, 0.0), self._periods[self._count & 7]))

    def _put(self, session: Watched, when: float) -> None:
        session.second = second = max(int(when), self._last) + 1
        there = self._seconds.get(second)
        if there is None:
            self._seconds[second] = {session}
        else:
            there.add(session)

    def _take(self, session: Watched) -> None:
        there = self._seconds.get(session.second)
        if there is None:
            self._looking.discard(session)
            return
        there.discard(session)
        if not there:
            del self._seconds[session.second]
