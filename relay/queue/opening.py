"""What has to be true before the queue is opened: ours alone, whole, and not to be made anew.

LevelDB would create an empty database over one that lost its CURRENT, and start without the
mail of a missing write log, both in silence. Nothing here changes a file, except that the
unsynced end of a log, which a power cut leaves, is cut off.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from relay.queue.manifest import Manifest, read_manifest
from relay.queue.store import QueueUnusable
from relay.queue.tail import judge, records

#: What a creation that was broken off leaves behind; anything else is a queue.
_LEFTOVERS = {"LOCK", "LOG", "LOG.old", "MANIFEST-000001", "000001.dbtmp"}


def prepare_directory(path: Path) -> None:
    """Make `path` with `db` and `journal` in it, for the owner alone, whatever the umask.
    QueueUnusable: not ours, not writable, not a directory."""
    for directory in (path, path / "db", path / "journal"):
        try:
            if not os.path.lexists(directory):
                directory.mkdir(mode=0o700, parents=True)
                sync_directory(directory.parent)
            _check_directory(directory)
        except OSError as error:
            raise QueueUnusable(f"queue {directory} can't be used: {error.strerror}") from error


def _check_directory(directory: Path) -> None:
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode):
        raise QueueUnusable(f"queue {directory} is not a directory")
    if status.st_uid != os.geteuid():
        raise QueueUnusable(f"queue {directory} belongs to user {status.st_uid}, not to us ({os.geteuid()})")
    if status.st_mode & 0o700 != 0o700 or not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise QueueUnusable(f"queue {directory} is not writable")
    if status.st_mode & 0o077:
        os.chmod(directory, 0o700)


class Lock:
    """The queue's lock file, held while this object lives; it names the holder's process."""

    def __init__(self, path: Path) -> None:
        """Take the lock. QueueUnusable, with the holder's pid, when another has it."""
        try:
            self._file = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise QueueUnusable(f"queue {path} can't be locked: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, b"%d\n" % os.getpid(), 0)
        except OSError as error:
            holder = os.pread(self._file, 20, 0).decode("ascii", "replace").strip()
            os.close(self._file)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise QueueUnusable(f"queue {path} is held by another master (pid {holder})") from error
            raise QueueUnusable(f"queue {path} can't be locked: {error.strerror}") from error

    def release(self) -> None:
        """Let another master have the queue."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def judge_database(db: Path) -> tuple[bool, list[str]]:
    """(whether to create the database, lines for the log about what was cut off).
    QueueUnusable when something that was once written is missing or damaged."""
    try:
        names = set(os.listdir(db))
        if "CURRENT" not in names:
            if names - _LEFTOVERS:
                raise QueueUnusable(f"queue {db} has no CURRENT file but is not empty: repair it")
            return True, []
        manifest, notes = _judge_manifest(db)
        _judge_tables(db, names, manifest)
        return False, notes + _judge_logs(db, names, manifest)
    except OSError as error:
        raise QueueUnusable(f"queue {db} can't be read: {error.strerror}: {error.filename}") from error


def _judge_manifest(db: Path) -> tuple[Manifest, list[str]]:
    current = (db / "CURRENT").read_bytes()
    name = current[:-1].decode("ascii", "replace")
    if not (current.endswith(b"\n") and name.startswith("MANIFEST-") and name[9:].isdigit()):
        raise QueueUnusable(f"queue {db} has a damaged CURRENT file: repair it")
    path = db / name
    if not path.exists():
        raise QueueUnusable(f"queue {db} has lost its {name}: repair it")
    tail = judge(path, batches=False)
    if tail.damage is not None or tail.end == 0:
        raise QueueUnusable(f"queue {db} has a damaged {name}: repair it")
    try:
        manifest = read_manifest(records(path))
    except ValueError as error:
        raise QueueUnusable(f"queue {db} has a damaged {name} ({error}): repair it") from error
    return manifest, _cut(path, tail.end, tail.size)


def _judge_tables(db: Path, names: set[str], manifest: Manifest) -> None:
    for number, size in manifest.tables.items():
        name = next((n for n in (f"{number:06d}.ldb", f"{number:06d}.sst") if n in names), None)
        if name is None or (db / name).stat().st_size != size:
            state = "lost" if name is None else "a wrong length of"
            raise QueueUnusable(f"queue {db} has {state} table {number:06d}.ldb: repair it")


def _judge_logs(db: Path, names: set[str], manifest: Manifest) -> list[str]:
    """Only the newest log may end badly: an older one was whole before the newer was begun.
    A MANIFEST that names none is that of a database which was being made: nothing was ever
    written to it."""
    logs = [f"{number:06d}.log" for number in sorted(write_logs(names)) if number >= manifest.log]
    if manifest.log and f"{manifest.log:06d}.log" not in logs:
        raise QueueUnusable(f"queue {db} has lost its write log {manifest.log:06d}.log: repair it")
    notes: list[str] = []
    following = 0
    for name in logs:
        tail = judge(db / name, batches=True)
        gap = following and tail.first and tail.first != following
        if tail.damage is not None or gap or (name != logs[-1] and tail.end != tail.size):
            place = tail.end if tail.damage is None else tail.damage
            raise QueueUnusable(f"queue {db} has a damaged write log {name} (near byte {place}): repair it")
        following = tail.following or following
        notes += _cut(db / name, tail.end, tail.size)
    return notes


def _cut(path: Path, end: int, size: int) -> list[str]:
    if end == size:
        return []
    with path.open("r+b") as file:
        file.truncate(end)
        os.fsync(file.fileno())
    return [f"{path}: cut off {size - end} bytes behind byte {end} that were never synced"]


def write_logs(names: Iterable[str]) -> list[int]:
    """The numbers of the write logs among the names of a directory."""
    return [int(name[:-4]) for name in names if name.endswith(".log") and name[:-4].isdigit()]


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable; silently not where the file system can't."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
