"""A shelf: what parts of the relay keep beside the mail, in the same store and by the same promises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from twisted.internet.defer import Deferred


class Shelf(Protocol):
    """An ordered map of bytes under a name of its own.

    What is read is what is durable. A write that fails (StoreError) may be tried again. Keys are at most 1,024 bytes,
    values 64 KB, and a write has at most 1,000 of both together: the queue's own commits wait for it.
    """

    def get(self, key: bytes) -> bytes | None:
        """The value, or None. Raises StoreError when it can't be read."""

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Up to `limit` entries with start <= key < stop, in order of their keys; an empty `stop` is no bound.
        Raises StoreError."""

    def write(self, put: Mapping[bytes, bytes], delete: Iterable[bytes] = ()) -> Deferred[None]:
        """All of it in one batch, together with what else is written then. Fires once it is on stable storage."""
