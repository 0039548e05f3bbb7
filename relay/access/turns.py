"""Guesses at one user's password take turns, so that each is judged knowing what came of the last."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, DeferredLock

#: From which network, and as whom.
Key = tuple[str, str]


class Turns:
    """One at a time for each key; others wait in the order in which they came."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._locks: dict[Key, DeferredLock] = {}

    def __len__(self) -> int:
        """Keys that somebody has the turn of."""
        return len(self._locks)

    def take(self, key: Key) -> Deferred[Any]:
        """Fires when it is the caller's turn, who then owes a `give`. Cancelling it leaves the queue."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = DeferredLock()
        return lock.acquire()

    def give(self, key: Key) -> None:
        """The turn is over."""
        if self._locks[key].waiting:
            # Not at once: a thousand that wait for a remembered answer would be a thousand calls deep.
            self._reactor.callLater(0, self._next, key)
        else:
            del self._locks[key]

    def _next(self, key: Key) -> None:
        lock = self._locks[key]
        if lock.waiting:
            lock.release()
        else:  # They have gone in the meantime.
            del self._locks[key]
