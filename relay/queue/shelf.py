"""A shelf in the queue's database: entries under a name of their own, written with the same commits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from twisted.internet.defer import Deferred

from relay.queue import keys
from relay.queue.book import Book
from relay.queue.engine import Engine
from relay.queue.operations import Operation

_MOST = 1000
_LONGEST_KEY = 1024
_LONGEST_VALUE = 64 * 1024


class Shelve(Operation):
    """Entries come and go."""

    __slots__ = ("delete", "put")
    lasting = False

    def __init__(self, put: Mapping[bytes, bytes], delete: Iterable[bytes]) -> None:
        self.deferred = Deferred()
        self.put = put
        self.delete = delete

    def plan(self, book: Book) -> None:
        batch = book.filling.batch
        for key in self.delete:
            batch.delete(key)
        for key, value in self.put.items():
            batch.put(key, value)


class LevelShelf:
    """A Shelf (relay.shelf)."""

    __slots__ = ("_add", "_engine", "_prefix", "_stop")

    def __init__(
        self, name: str, engine: Callable[[], Engine], add: Callable[[Operation], Deferred[None]]
    ) -> None:
        """`engine` gives the open one, or raises StoreError."""
        self._prefix = keys.shelf(name)
        self._stop = keys.after(self._prefix)
        self._engine = engine
        self._add = add

    def get(self, key: bytes) -> bytes | None:
        return self._engine().get(self._prefix + key)

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        prefix = self._prefix
        end = prefix + stop if stop else self._stop
        return [(key[len(prefix) :], value) for key, value in self._engine().items(prefix + start, end, limit)]

    def write(self, put: Mapping[bytes, bytes], delete: Iterable[bytes] = ()) -> Deferred[None]:
        """See Shelf. ValueError for more than it takes."""
        prefix = self._prefix
        put = {prefix + key: value for key, value in put.items()}
        gone = [prefix + key for key in delete]
        if len(put) + len(gone) > _MOST or any(len(value) > _LONGEST_VALUE for value in put.values()):
            raise ValueError("too much for one write to a shelf")
        if any(len(key) > len(prefix) + _LONGEST_KEY for key in (*put, *gone)):
            raise ValueError("too long a key for a shelf")
        return self._add(Shelve(put, gone))
