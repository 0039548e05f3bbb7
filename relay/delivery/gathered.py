"""Small pieces of work for threads: those that have gathered go together, for a way there and back costs as
much as the work itself.

They gather until the turn of the reactor is over. A thread that begins in the midst of it fights with the reactor's own
for the interpreter's lock, at each signature anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

#: Threads that work at a time, and pieces that go together.
THREADS = 2
TOGETHER = 16

_T = TypeVar("_T")


class Gathered:
    """Call it with what is to be done; it is begun in the order in which it came."""

    def __init__(
        self, in_thread: Callable[..., Deferred[Any]], soon: Callable[[Callable[[], None]], object]
    ) -> None:
        """`in_thread` runs a function in a thread; `soon` calls one when the turn of the reactor is over."""
        self._in_thread = in_thread
        self._soon = soon
        self._due = False
        self._waiting: deque[tuple[Callable[[], Any], Deferred[Any]]] = deque()
        self._running = 0

    def __call__(self, work: Callable[[], _T]) -> Deferred[_T]:
        """Fires with what `work` returns, or fails with what it raises. When it is cancelled the work is done all
        the same, unless it has yet to begin."""
        done: Deferred[_T] = Deferred()
        self._waiting.append((work, done))
        self._plan()
        return done

    def _plan(self) -> None:
        if self._waiting and not self._due and self._running < THREADS:
            self._due = True
            self._soon(self._begin)

    def _begin(self) -> None:
        self._due = False
        while self._waiting and self._running < THREADS:
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
        self._plan()
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
