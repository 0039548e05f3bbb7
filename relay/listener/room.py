"""What all sessions of a process hold in memory, and what is given up first when that is too much.

Shares of `max_memory`, in this order: from a half on no new connection is taken, from three
quarters on no new message; from seven eighths on whoever holds something isn't read any more,
and if that doesn't help within a second, or all of it is used, the largest are cut off until
it is less than three quarters. Everything comes back by itself as memory becomes free.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from relay.smtp.reply import reply

#: What a session takes that does nothing (bytes): measured 2 KiB, and some for what the allocator wastes.
SESSION = 4 * 1024
#: What TLS takes for one that speaks it: OpenSSL's buffers and Twisted's, some 60 KiB.
TLS = 60 * 1024

TOO_BUSY = reply(421, "4.3.2 Too busy, try again later")
NO_ROOM = reply(452, "4.3.1 Not enough memory now, try again later")

_log = Logger()
#: What is said of each step.
_STEPS = (
    "new connections are turned away",
    "new messages are put off",
    "clients are held back",
    "the largest sessions are cut off",
)


class Holder(Protocol):
    """A session. `held` are the bytes that would be free without it."""

    held: int

    def weigh(self) -> None:
        """Tell what has changed since."""

    def read_on(self) -> None:
        """There is room again."""

    def make_room(self) -> None:
        """End, for the sake of the others."""


class Room:
    """Bytes held, against the bound.

    Attributes:
        held: bytes, as far as sessions have told.
        full: whoever holds something is to be read no more, and to be told to `hold_back`.
    """

    __slots__ = (
        "_before", "_bounds", "_called", "_clock", "_everyone", "_held_back", "_long", "_name", "_told", "held",
    )  # fmt: skip

    def __init__(self, bound: int, name: str, everyone: Iterable[Holder], clock: IReactorTime) -> None:
        """`bound` in bytes, 0 for none; `everyone` are all sessions there are; `name` is for the log."""
        bound = bound or sys.maxsize
        self._bounds = (bound // 2, bound * 3 // 4, bound * 7 // 8, bound)
        self._name = name
        self._everyone = everyone
        self._clock = clock
        self._held_back: set[Holder] = set()
        self._called = False
        self._long = False
        self._told = 0
        self._before = 0
        self.held = 0

    @property
    def crowded(self) -> bool:
        """No new connection can be taken."""
        return self.held >= self._bounds[0]

    @property
    def tight(self) -> bool:
        """No new message can."""
        return self.held >= self._bounds[1]

    @property
    def full(self) -> bool:
        """No further byte can, of those who hold some."""
        return self.held >= self._bounds[2]

    def change(self, more: int) -> None:
        """So many bytes more are held, or less."""
        self.held = held = self.held + more
        if self._called:
            return
        # Not at once: whoever tells us this is in the midst of something.
        if held >= self._bounds[3] or (self._held_back and held < self._bounds[1]):
            self._called = True
            self._clock.callLater(0, self._settle)

    def hold_back(self, session: Holder) -> None:
        """A session stops reading because of `full`; `read_on` is called when it is over."""
        self._held_back.add(session)

    def forget(self, session: Holder) -> None:
        """It is gone."""
        self._held_back.discard(session)

    def look(self) -> None:
        """To be called once a second."""
        for session in self._held_back:
            session.weigh()
        long, self._long = self._long, self.full
        still, self._before = self.held == self._before, self.held
        self._tell()
        if long and self._long:
            self._cut()
        elif still and not self.full:
            # Nobody else gives any of it up, perhaps since they are all held back: who isn't read can't end, either.
            self._read_on()

    def _settle(self) -> None:
        self._called = False
        if self.held >= self._bounds[3]:
            self._tell()
            self._cut()
        if not self.tight:
            self._read_on()

    def _read_on(self) -> None:
        waiting, self._held_back = self._held_back, set()
        for session in waiting:
            session.read_on()

    def _cut(self) -> None:
        for session in self._everyone:
            session.weigh()
        for session in sorted(self._everyone, key=lambda session: session.held, reverse=True):
            if not self.tight or not session.held:
                break
            session.make_room()
        self._long = False

    def _tell(self) -> None:
        """Log each step once, until all is well again."""
        step = sum(self.held >= bound for bound in self._bounds)
        if step > self._told:
            _log.warn(
                "{listener}: sessions hold {held} of {bound} bytes: {what}",
                listener=self._name,
                held=self.held,
                bound=self._bounds[3],
                what=_STEPS[step - 1],
            )
            self._told = step
        elif self._told and self.held < self._bounds[0] // 2:
            _log.info("{listener}: sessions hold {held} bytes again", listener=self._name, held=self.held)
            self._told = 0
