"""Small pieces of work for threads: those that have gathered go together, for a way there and back costs as
much as the work itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

#: Threads that work at a time, and pieces that go together.
THREADS = 2
TOGETHER = 8

_T = TypeVar("_T")


class Gathered:
    """Call it with what is to be done; it is begun in the order in which it came."""

    def __init__(self, in_thread: Callable[..., Deferred[Any]]) -> None:
        """`in_thread` runs a function in a thread."""
        self._in_thread = in_thread
        self._waiting: deque[tuple[Callable[[], Any], Deferred[Any]]] = deque()
        self._running = 0

    def __call__(self, work: Callable[[], _T]) -> Deferred[_T]:
        """Fires with what `work` returns, or fails with what it raises. When it is cancelled the work is done all
        the same, unless it has yet to begin."""
        done: Deferred[_T] = Deferred()
        self._waiting.append((work, done))
        if self._running < THREADS:
            self._begin()
        return done

    def _begin(self) -> None:
        batch: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        while self._waiting and len(batch) < TOGETHER:
            work, done = self._waiting.popleft()
            if not done.called:
                batch.append((work, done))
        if batch:
            self._running += 1
            self._in_thread(_all, [work for work, _ in batch]).addBoth(self._ended, [done for _, done in batch])

    def _ended(self, results: Sequence[Any] | Failure, waiting: Sequence[Deferred[Any]]) -> None:
        self._running -= 1
        self._begin()
        for number, done in enumerate(waiting):
            if not done.called:
                done.callback(results if isinstance(results, Failure) else results[number])


def _all(works: Sequence[Callable[[], Any]]) -> list[Any]:
    """What each has returned, or the Failure that it has ended in."""
    results: list[Any] = []
    for work in works:
        try:
            results.append(work())
        except Exception:
            results.append(Failure())
    return results
