"""Who may ask what of the API, as it is kept: keys, organisations, their members, sessions, on one shelf.

All of it is in memory too, for it is asked of each request. A change is in force at once, and fires when it is on
stable storage; where that fails it is taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.shelf import Shelf

_log = Logger()

_T = TypeVar("_T")

#: Entries that are read in one go.
_PAGE = 500
#: Changes that a batch takes.
MOST_CHANGES = 900


class Full(Exception):
    """There is no room for one more; the text says of what."""


class Records(Generic[_T]):
    """Those of one kind, by their names, in the order of these."""

    def __init__(self, what: str, prefix: bytes, kind: type[_T], most: int) -> None:
        """`what` they are called; `prefix` is that of their keys on the shelf; `most` there may be."""
        self.what = what
        self.prefix = prefix
        self.most = most
        self._decode = msgspec.msgpack.Decoder(kind).decode
        self._encode = msgspec.msgpack.Encoder().encode
        self._there: dict[str, _T] = {}

    def __len__(self) -> int:
        return len(self._there)

    def __iter__(self) -> Iterator[_T]:
        """In the order in which they came to be known."""
        return iter(self._there.values())

    def get(self, name: str) -> _T | None:
        """The one of that name."""
        return self._there.get(name)

    def items(self) -> list[tuple[str, _T]]:
        """All, each with its name."""
        return list(self._there.items())

    def page(self, after: str, limit: int, wanted: Callable[[_T], bool] | None = None) -> list[tuple[str, _T]]:
        """The first `limit` with names behind `after` of which `wanted` is true, in the order of their names."""
        names = sorted(name for name, one in self._there.items() if name > after and (wanted is None or wanted(one)))
        return [(name, self._there[name]) for name in names[:limit]]

    # -- what the register does with them

    def key(self, name: str) -> bytes:
        return self.prefix + name.encode()

    def value(self, record: _T) -> bytes:
        return self._encode(record)

    def read(self, name: str, value: bytes) -> None:
        """One from the shelf. Raises ValueError."""
        self._there[name] = self._decode(value)

    def set(self, name: str, record: _T | None) -> None:
        """Now it is this one; None: it is gone."""
        if record is None:
            self._there.pop(name, None)
        else:
            self._there[name] = record


#: One change: of which kind, the name, and what stands there from now on; None: nothing.
Change = tuple[Records[Any], str, Any]


class Register:
    """All of them, on one shelf."""

    def __init__(self, shelf: Shelf, kinds: Iterable[Records[Any]]) -> None:
        self._shelf = shelf
        self._kinds = tuple(kinds)

    def open(self) -> None:
        """Read what is on the shelf. Raises StoreError. One that can't be read is left out, and said: it opens nothing
        to anybody."""
        for kind in self._kinds:
            start = kind.prefix
            stop = start[:-1] + bytes((start[-1] + 1,))
            while found := self._shelf.scan(start, stop, _PAGE):
                for key, value in found:
                    name = key[len(kind.prefix) :].decode("utf-8", "replace")
                    try:
                        kind.read(name, value)
                    except (ValueError, msgspec.MsgspecError) as error:
                        _log.error("{what} {name} can't be read: {error}", what=kind.what, name=name, error=str(error))
                start = found[-1][0] + b"\0"

    def write(self, *changes: Change) -> Deferred[None]:
        """All of them in one batch; at most MOST_CHANGES. Raises Full. Fails with StoreError: nothing has changed."""
        for kind, name, record in changes:
            if record is not None and kind.get(name) is None and len(kind) >= kind.most:
                raise Full(f"there are {kind.most} {kind.what} already")
        put = {kind.key(name): kind.value(record) for kind, name, record in changes if record is not None}
        delete = [kind.key(name) for kind, name, record in changes if record is None]
        former = [(kind, name, record, kind.get(name)) for kind, name, record in changes]
        for kind, name, record in changes:
            kind.set(name, record)

        def failed(failure: Failure) -> Failure:
            for kind, name, record, old in former:
                if kind.get(name) is record:  # Else a later change has it.
                    kind.set(name, old)
            return failure

        return self._shelf.write(put, delete).addErrback(failed)
