"""What is to be known again after a restart: something's state in a small file beside the queue.

It is written every now and then, soon when asked, and at the stop. What a crash loses are the
last moments, or the last half minute: it is for brakes, and no promise to anybody. The file
itself is always whole, the old one or the new.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

_log = Logger()

#: Seconds between looks at what has changed, and at least between two writings that were asked for.
EVERY = 30.0
SOON = 1.0
#: A longer file is none of ours (bytes).
LONGEST = 256 * 1024 * 1024
#: Entries that are encoded in one go: a third of a millisecond.
_AT_ONCE = 1000

_Time_contra = TypeVar("_Time_contra", contravariant=True)
_Time = TypeVar("_Time")


class Kept(Protocol[_Time_contra]):
    """Something with a state that can be kept."""

    def saved(self, now: _Time_contra) -> Sequence[object]:
        """The state as lists, numbers and strings. Nothing in it changes any more, and to give it is cheap."""

    def restore(self, saved: Any, now: _Time_contra) -> None:
        """Go on from what `saved` gave once, or from whatever else is in the file. Raises
        ValueError, and has changed nothing then."""


#: Does a job somewhere else, such as `reactor`'s threads.
InThread = Callable[[Callable[[], None]], "Deferred[None]"]


class Keep(Generic[_Time]):
    """Keeps one thing in one file."""

    def __init__(
        self,
        kept: Kept[_Time],
        path: Path,
        clock: Any,
        now: Callable[[], _Time],
        what: str,
        in_thread: InThread = maybeDeferred,
    ) -> None:
        """`now` gives the time as `kept` counts it. `what` is what log lines call it. The state is put into
        words, and the disk waited for, `in_thread`; by default in the caller's."""
        self._kept = kept
        self._path = path
        self._clock = clock
        self._now = now
        self._what = what
        self._in_thread = in_thread
        self._loop = LoopingCall(self.write)
        self._loop.clock = clock
        self._soon: Any = None
        self._free = -SOON
        # The number of the state that was asked for last. Under the lock: that of what is on disk, and its words.
        self._number = 0
        self._stored = 0
        self._data = b""
        self._disk = threading.Lock()

    def start(self) -> None:
        """Go on from the file, if there is one. A file that can't be read is forgotten, and said."""
        try:
            with self._path.open("rb") as file:
                data = file.read(LONGEST + 1)
            if len(data) > LONGEST:
                raise ValueError(f"longer than {LONGEST} bytes")
            self._kept.restore(msgspec.json.decode(data), self._now())
        except FileNotFoundError:
            pass
        except (OSError, ValueError, RecursionError) as error:
            self._tell("start anew", error)
        self._data = encoded(self._kept.saved(self._now()))
        self._loop.start(EVERY, now=False)

    def soon(self) -> None:
        """Write within a second (a state of many MB: some seconds); many calls are one writing."""
        if self._soon is None and self._loop.running:
            wait = max(0.0, self._free - self._clock.seconds())
            self._soon = self._clock.callLater(wait, self._due)

    def _due(self) -> None:
        self._soon = None
        self.write()

    def write(self) -> None:
        """Write what has changed."""
        self._in_thread(self._job()).addErrback(lambda failure: self._tell("not written", failure.value))

    def stop(self) -> None:
        """Write for the last time; it is on disk, or was said not to be, when this returns."""
        if not self._loop.running:
            return
        self._loop.stop()
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        try:
            self._job()()
        except OSError as error:
            self._tell("not written", error)

    # -- inside

    def _job(self) -> Callable[[], None]:
        begun = self._clock.seconds()
        state = self._kept.saved(self._now())
        self._took(begun)
        self._number += 1
        number = self._number
        return lambda: self._store(state, number)

    def _store(self, state: Sequence[object], number: int) -> None:
        """Raises OSError. Threads may come in any order: an older state never follows a newer one."""
        with self._disk:
            if number < self._stored:
                return
            begun = self._clock.seconds()
            data = encoded(state)
            self._took(begun)
            if data != self._data:
                self._data = b""  # Should it fail, it is tried again, changed or not.
                replace(self._path, data)
                self._data = data
            self._stored = number

    def _took(self, begun: float) -> None:
        """A big state isn't written as often: each step of it takes a hundredth of the time at most."""
        self._free = max(self._free, begun + SOON, begun + 100 * (self._clock.seconds() - begun))

    def _tell(self, fate: str, error: BaseException | None) -> None:
        _log.warn(
            "{path}: {what} {fate}: {error}", path=str(self._path), what=self._what, fate=fate, error=str(error)
        )


def encoded(state: object) -> bytes:
    """As JSON, so much at a time that other threads get a turn meanwhile: the interpreter is one for all."""
    if isinstance(state, list) and len(state) > _AT_ONCE:
        pieces = (msgspec.json.encode(state[n : n + _AT_ONCE])[1:-1] for n in range(0, len(state), _AT_ONCE))
        return b"".join((b"[", b",".join(pieces), b"]"))
    if isinstance(state, tuple):
        return b"".join((b"[", b",".join(map(encoded, state)), b"]"))
    return msgspec.json.encode(state)


def replace(path: Path, data: bytes, suffix: str = ".new") -> None:
    """Make `data` the content of a file, for its owner only; it is on disk when this returns. Raises OSError,
    and the file is what it was. Until then the data is in a file beside it, whose name ends in `suffix`: where
    several processes write, each has one of its own."""
    new = path.with_name(path.name + suffix)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    except OSError as error:
        # Some file systems have nothing to sync there.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(directory)
