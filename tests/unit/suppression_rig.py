"""A shelf that fits on a page, and a list on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from relay.suppression.suppressions import Suppressions
from tests.unit.journey_rig import a_clock, milliseconds


class FakeShelf:
    """As the real one: what is read is what is durable. It tells of writes when asked to, or `at_once`."""

    def __init__(self, at_once: bool = True) -> None:
        self.kept: dict[bytes, bytes] = {}
        self.at_once = at_once
        self.error: Exception | None = None
        self.unreadable: Exception | None = None
        self.writes: list[int] = []
        self.reads = 0
        self._untold: list[tuple[Mapping[bytes, bytes], list[bytes], Deferred[None]]] = []

    def get(self, key: bytes) -> bytes | None:
        assert len(key) <= 1024
        self.reads += 1
        if self.unreadable is not None:
            raise self.unreadable
        return self.kept.get(key)

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        self.reads += 1
        found = sorted(key for key in self.kept if start <= key and (not stop or key < stop))
        return [(key, self.kept[key]) for key in found[:limit]]

    def write(self, put: Mapping[bytes, bytes], delete: Iterable[bytes] = ()) -> Deferred[None]:
        gone = list(delete)
        assert len(put) + len(gone) <= 1000 and not set(put) & set(gone)
        assert all(len(key) <= 1024 for key in (*put, *gone))
        if self.error is not None:
            return fail(self.error)
        self.writes.append(len(put) + len(gone))
        done: Deferred[None] = Deferred()
        self._untold.append((dict(put), gone, done))
        if self.at_once:
            self.tell()
        return done

    def tell(self) -> None:
        """What was written is durable."""
        while self._untold:
            put, gone, done = self._untold.pop(0)
            for key in gone:
                self.kept.pop(key, None)
            self.kept.update(put)
            done.callback(None)


def a_list(shelf: FakeShelf | None = None, clock: Clock | None = None) -> Suppressions:
    made = Suppressions(shelf or FakeShelf(), milliseconds(clock or a_clock()))
    made.open()
    return made
