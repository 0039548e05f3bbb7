"""Changes of the list take turns: what is read is what is durable, so one batch is written before the next is made.

Those that come while one is being written form the next batch together, and each sees what those before it left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.shelf import Shelf
from relay.suppression import keys
from relay.suppression.draft import Draft

#: Keys that one batch has, more or less: some milliseconds of work. A change has ten at most, or a page of sweeping.
_FULL = 600

_T = TypeVar("_T")
_Made = Sequence[tuple[Deferred[Any], Any]]


class Changes:
    """Writes them."""

    def __init__(self, shelf: Shelf, written: Callable[[Draft, int], None], failed: Callable[[], None]) -> None:
        """`written` is told of each batch that is on disk, with the number of entries there are; `failed` of one that
        may be there or not."""
        self._shelf = shelf
        self._on_disk = written
        self._in_doubt = failed
        self._waiting: deque[tuple[Callable[[Draft], Any], Deferred[Any]]] = deque()
        self._writing = False

    def make(self, change: Callable[[Draft], _T]) -> Deferred[_T]:
        """Fires with what `change` gave once that is on disk; fails with what it raised, and then it must have changed
        nothing, or with StoreError."""
        done: Deferred[Any] = Deferred()
        self._waiting.append((change, done))
        if not self._writing:
            self._write()
        return done

    def count(self) -> int:
        """How many entries there are. Raises StoreError."""
        return keys.read_number(self._shelf.get(keys.COUNT))

    def _write(self) -> None:
        """The next batch: of what waits, as much as fits. Raises nothing."""
        draft = Draft(self._shelf)
        made: list[tuple[Deferred[Any], Any]] = []
        while self._waiting and len(draft) < _FULL:
            change, done = self._waiting.popleft()
            try:
                made.append((done, change(draft)))
            except Exception:
                made.append((done, Failure()))
        if not len(draft):
            _tell(made)
            return
        self._writing = True
        try:
            count = self.count() + draft.more
            if draft.more:
                draft.set(keys.COUNT, keys.number(count))
            written = self._shelf.write(draft.put, draft.gone)
        except Exception:
            self._failed(Failure(), made)
            return
        written.addCallbacks(self._written, self._failed, callbackArgs=(draft, count, made), errbackArgs=(made,))

    def _written(self, _: None, draft: Draft, count: int, made: _Made) -> None:
        self._on_disk(draft, count)
        self._next()
        _tell(made)

    def _failed(self, failure: Failure, made: _Made) -> None:
        self._in_doubt()
        self._next()
        _tell([(done, failure) for done, _ in made])

    def _next(self) -> None:
        self._writing = False
        if self._waiting:
            self._write()


def _tell(made: _Made) -> None:
    for done, result in made:
        done.callback(result)  # A Failure takes the other way.
