"""Changes of the list that will be written together: what is read sees those before it."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from relay.shelf import Shelf
from relay.suppression import keys
from relay.suppression.entry import Entry

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(Entry).decode


class Damaged(ValueError):
    """What stands on the shelf is none of ours: whom it is about nobody knows."""


class Standing(NamedTuple):
    """What is on the list at a place: the id, and until when (ms, 0: for ever)."""

    id: str
    expires: int

    def is_over(self, now: int) -> bool:
        return 0 < self.expires <= now


class Draft:
    """One write to the shelf. Its methods raise StoreError where the shelf can't be read, and have changed nothing.

    Attributes:
        put, gone: what is to be written, and to be deleted.
        more: entries that are added, less those that are taken away.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self.put: dict[bytes, bytes] = {}
        self.gone: set[bytes] = set()
        self.more = 0

    def __len__(self) -> int:
        return len(self.put) + len(self.gone)

    def get(self, key: bytes) -> bytes | None:
        value = self.put.get(key)
        return value if value is not None or key in self.gone else self._shelf.get(key)

    def set(self, key: bytes, value: bytes) -> None:
        self.gone.discard(key)
        self.put[key] = value

    def delete(self, key: bytes) -> None:
        self.put.pop(key, None)
        self.gone.add(key)

    # -- entries

    def standing(self, place: bytes) -> Standing | None:
        """What is there, over or not."""
        value = self.get(place)
        return read_standing(value)

    def entry(self, id: str) -> Entry | None:
        return read(self.get(keys.entry(id)), id)

    def add(self, entry: Entry) -> None:
        """Put an entry there, which has an id. Nothing is at its place."""
        own = keys.entry(entry.id)
        self.set(keys.place(entry.tenant, entry.whom), keys.link(entry.id, entry.expires))
        self.set(own, _encode(msgspec.structs.replace(entry, id="")))
        if entry.expires:
            self.set(keys.end(entry.expires, own), b"")
        self.more += 1

    def remove(self, entry: Entry) -> None:
        """Take one away that is there."""
        own = keys.entry(entry.id)
        self.delete(keys.place(entry.tenant, entry.whom))
        self.delete(own)
        if entry.expires:
            self.delete(keys.end(entry.expires, own))
        self.more -= 1

    # -- counts of hard bounces

    def strike(self, place: bytes, number: int, now: int, until: int) -> int:
        """Count one more, told by the event of that number: how many there are now; 0: it was counted before. What
        was counted is forgotten at `until` (ms)."""
        key = keys.strikes(place)
        count, last, expires = keys.read_strike(self.get(key))
        if number <= last:
            return 0
        if expires:
            self.delete(keys.end(expires, key))
        count = 1 if expires <= now else count + 1
        self.set(key, keys.strike(count, number, until))
        self.set(keys.end(until, key), b"")
        return count

    def forget_strikes(self, place: bytes) -> None:
        key = keys.strikes(place)
        value = self.get(key)
        if value is not None:
            self.delete(key)
            self.delete(keys.end(keys.read_strike(value)[2], key))


def read_standing(value: bytes | None) -> Standing | None:
    """What is at a place where this is kept. Raises Damaged."""
    if value is None:
        return None
    try:
        return Standing(*keys.read_link(value))
    except ValueError as error:
        raise Damaged(str(error)) from None


def read(value: bytes | None, id: str) -> Entry | None:
    """The entry that is kept so. Raises Damaged."""
    if value is None:
        return None
    try:
        return msgspec.structs.replace(_decode(value), id=id)
    except msgspec.MsgspecError as error:
        raise Damaged(f"entry {id}: {error}") from None
