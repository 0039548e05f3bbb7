"""Bounces that a web server has refused, one by one, on disk until it takes them or they are too old."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping

import msgspec
from twisted.internet.defer import Deferred, succeed

from relay.events.sink import Aside
from relay.shelf import Shelf

#: So many may wait.
MOST = 1000
#: The first pause before one is tried again, and the longest (ms).
PAUSES = (60_000, 3_600_000)
_number = struct.Struct(">Q")
_encode = msgspec.msgpack.Encoder().encode


class Refused(msgspec.Struct, frozen=True, array_like=True):
    """One: refused so often since then, tried again at `due` (ms since the epoch)."""

    attempts: int
    since: int
    due: int
    form: bytes


_decode = msgspec.msgpack.Decoder(Refused).decode


class BounceShelf:
    """All of them, by the numbers of their events. In memory is only when each is due."""

    def __init__(self, shelf: Callable[[], Shelf], keep: float) -> None:
        """`shelf` is asked for when it is opened; none is kept for longer than `keep` seconds."""
        self._find = shelf
        self._keep = round(keep * 1000)
        self._shelf: Shelf | None = None
        self._due: dict[int, int] = {}
        #: How many were given up.
        self.given_up = 0

    def __len__(self) -> int:
        return len(self._due)

    @property
    def room(self) -> int:
        """For how many more."""
        return max(0, MOST - len(self._due))

    def open(self) -> None:
        """The store is open. Raises StoreError."""
        self._shelf = self._find()
        self._due = {_number.unpack(key)[0]: _decode(value).due for key, value in self._shelf.scan(b"", b"", MOST * 2)}

    def due(self, now: int, limit: int) -> dict[int, Refused]:
        """Those that are to be tried now, the oldest first. Raises StoreError."""
        assert self._shelf is not None, "it is open"
        found: dict[int, Refused] = {}
        for number in sorted(self._due):
            if self._due[number] <= now and len(found) < limit:
                value = self._shelf.get(_number.pack(number))
                if value is not None:
                    found[number] = _decode(value)
        return found

    def listed(self, after: int, limit: int) -> list[Aside]:
        """Up to `limit` behind the number `after`, in order. Raises StoreError."""
        assert self._shelf is not None, "it is open"
        found = []
        for key, value in self._shelf.scan(_number.pack(after + 1), b"", limit):
            number, one = _number.unpack(key)[0], _decode(value)
            found.append(Aside(number, one.attempts, one.since, self._due.get(number, one.due)))
        return found

    def hurry(self, now: int) -> None:
        """All of them are due; a restart forgets that."""
        self._due = {number: min(due, now) for number, due in self._due.items()}

    def add(self, forms: Mapping[int, bytes], now: int) -> Deferred[None]:
        """They were refused for the first time. Fires when they are on disk."""
        return self._write({number: Refused(1, now, now + PAUSES[0], form) for number, form in forms.items()}, ())

    def settle(self, tried: Mapping[int, Refused], refused: Iterable[int], now: int) -> Deferred[None]:
        """Of those that were tried these were refused again, the others were taken."""
        again: dict[int, Refused] = {}
        old: list[int] = []
        for number in refused:
            one = tried[number]
            if one.since + self._keep <= now:
                old.append(number)
            else:
                pause = min(PAUSES[0] << min(one.attempts, 10), PAUSES[1])
                again[number] = Refused(one.attempts + 1, one.since, now + pause, one.form)
        self.given_up += len(old)
        return self._write(again, tried.keys() - again.keys())

    def _write(self, put: Mapping[int, Refused], delete: Iterable[int]) -> Deferred[None]:
        gone = list(delete)
        if not put and not gone:
            return succeed(None)
        assert self._shelf is not None, "it is open"

        def written(_: None) -> None:
            self._due.update({number: one.due for number, one in put.items()})
            for number in gone:
                self._due.pop(number, None)

        entries = {_number.pack(number): _encode(one) for number, one in put.items()}
        return self._shelf.write(entries, [_number.pack(number) for number in gone]).addCallback(written)
