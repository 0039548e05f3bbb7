"""The only file that knows plyvel: one open LevelDB, its tuning, and what its errors mean.

Reading is done by the reactor's thread alone, writing, opening and closing by the committer's.
A handle that failed to write is dead: it is closed and another one opened.

The tuning keeps memory flat. LevelDB maps every table it has open, and mapped pages count as
ours: 64 open tables (the least LevelDB allows) of 1 MB, and two write buffers of 8 MB, bound that,
whether one mail has 1 GB or there are a million; what is mapped needs no cache beside. A table
that isn't open costs some 30 µs, and mail that is due together was mostly written together.
Bloom filters spare the look into tables that don't have the key. No compression: snappy can't shrink base64, and
costs a seventh of the processor time of a message's whole stay in the queue.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import plyvel

from relay.queue.opening import judge_database, sync_directory, write_logs
from relay.queue.store import QueueUnusable, Unreadable

_TUNING: dict[str, Any] = {
    "write_buffer_size": 8 << 20,
    "max_open_files": 74,
    "lru_cache_size": 1 << 20,
    "max_file_size": 1 << 20,
    "bloom_filter_bits": 10,
    "compression": None,
}

#: Nanoseconds that a file's time may be coarse by.
_TICK = 20_000_000


class Batch(Protocol):
    """Changes that will be written together or not at all."""

    def put(self, key: bytes, value: bytes) -> None: ...

    def delete(self, key: bytes) -> None: ...


class Engine(Protocol):
    """An ordered map of bytes with atomic, synced batches: what the store needs of a database.

    The reading methods raise Unreadable; `write`, and opening, raise what the database raises.
    `stop` is exclusive everywhere.
    """

    def batch(self) -> Batch: ...

    def write(self, batch: Batch) -> None: ...

    def get(self, key: bytes) -> bytes | None: ...

    def keys(self, start: bytes, stop: bytes, limit: int) -> list[bytes]: ...

    def items(self, start: bytes, stop: bytes, limit: int = ...) -> list[tuple[bytes, bytes]]: ...

    def last(self, start: bytes, stop: bytes) -> bytes | None: ...

    def hop(self, start: bytes, stop: bytes, onward: Callable[[bytes], bytes], limit: int) -> list[bytes]: ...

    def size(self, start: bytes, stop: bytes) -> int: ...

    def close(self) -> None: ...


class LevelDb:
    """An Engine on a LevelDB in a directory."""

    __slots__ = ("_changed", "_db", "_log", "_path", "_sync", "batch", "notes")

    def __init__(self, path: Path, sync: bool) -> None:
        """Open it; create it only in an empty directory. QueueUnusable with one clear line.
        `notes`: lines for the log about what was cut off."""
        fresh, self.notes = judge_database(path)
        try:
            self._db = plyvel.DB(str(path), create_if_missing=fresh, paranoid_checks=True, **_TUNING)
        except (plyvel.Error, OSError) as error:
            raise QueueUnusable(f"queue {path} can't be opened: {_text(error)}") from error
        self._path = path
        self._sync = sync
        self._changed = self._log = 0
        self.batch: Callable[[], Batch] = lambda: self._db.write_batch(sync=sync)

    def write(self, batch: Batch) -> None:
        """Write a batch, synced. OSError, or plyvel's error, when that failed."""
        batch.write()  # type: ignore[attr-defined]
        if self._sync:
            self._sync_log_name()

    def _sync_log_name(self) -> None:
        """LevelDB syncs a new write log, but not the directory that has its name."""
        changed = os.stat(self._path).st_mtime_ns
        if changed != self._changed:
            # Within one tick of the file system's clock a later change would look the same.
            settled = time.time_ns() - changed > _TICK
            self._changed = changed if settled else 0
            log = max(write_logs(os.listdir(self._path)), default=0)
            if log != self._log:
                sync_directory(self._path)
                self._log = log

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        try:
            value: bytes | None = self._db.get(key, verify_checksums=True)
        except (plyvel.Error, OSError) as error:
            raise Unreadable(_text(error)) from error
        return value

    # Only raw iterators tell of damage: plyvel's others take it for the end of the range.

    def keys(self, start: bytes, stop: bytes, limit: int) -> list[bytes]:
        """Up to `limit` keys."""
        found: list[bytes] = []
        try:
            with self._db.raw_iterator(verify_checksums=True) as cursor:
                cursor.seek(start)
                while len(found) < limit and cursor.valid() and (key := cursor.key()) < stop:
                    found.append(key)
                    cursor.next()
        except (plyvel.Error, OSError) as error:
            raise Unreadable(_text(error)) from error
        return found

    def items(self, start: bytes, stop: bytes, limit: int = 1 << 32) -> list[tuple[bytes, bytes]]:
        """Up to `limit` keys with their values."""
        found: list[tuple[bytes, bytes]] = []
        try:
            with self._db.raw_iterator(verify_checksums=True) as cursor:
                cursor.seek(start)
                while len(found) < limit and cursor.valid() and (key := cursor.key()) < stop:
                    found.append((key, cursor.value()))
                    cursor.next()
        except (plyvel.Error, OSError) as error:
            raise Unreadable(_text(error)) from error
        return found

    def last(self, start: bytes, stop: bytes) -> bytes | None:
        """The last key."""
        try:
            with self._db.raw_iterator(verify_checksums=True) as cursor:
                cursor.seek(stop)
                if cursor.valid():
                    cursor.prev()
                else:
                    cursor.seek_to_last()
                if cursor.valid() and (key := cursor.key()) >= start:
                    return bytes(key)
        except (plyvel.Error, OSError) as error:
            raise Unreadable(_text(error)) from error
        return None

    def hop(self, start: bytes, stop: bytes, onward: Callable[[bytes], bytes], limit: int) -> list[bytes]:
        """Up to `limit` keys, each the first one from `onward(the one before)`."""
        found: list[bytes] = []
        try:
            with self._db.raw_iterator(verify_checksums=True) as cursor:
                cursor.seek(start)
                while len(found) < limit and cursor.valid() and (key := cursor.key()) < stop:
                    found.append(key)
                    cursor.seek(onward(key))
        except (plyvel.Error, OSError) as error:
            raise Unreadable(_text(error)) from error
        return found

    def size(self, start: bytes, stop: bytes) -> int:
        """About how many bytes on disk a range takes; what came last isn't counted yet."""
        size: int = self._db.approximate_size(start, stop)
        return size

    def close(self) -> None:
        """Close it; waits for a compaction under way."""
        self._db.close()


def _text(error: BaseException) -> str:
    text = error.args[0] if error.args else ""
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
