"""A file of events: one a line, in JSON, on disk before they count as taken.

The writing is done in a thread. A line that a crash or a full disk has left half-written is cut off before the next one
is written; whoever reads along takes only lines that end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, DeferredLock

from relay.config.schema import Sink
from relay.events.shape import shape
from relay.events.taker import Means
from relay.message.event import Numbered

_encode = msgspec.json.Encoder().encode
#: How each line begins.
BEGIN = b'{"number":'
_BLOCK = 64 * 1024
#: Addresses of people are in it.
_MODE = 0o640


class NotOurs(OSError):
    """The file holds something else than events."""


class EventFile:
    """The file at a path, and those it was before: `path.1` is the youngest of `keep`. Blocks."""

    def __init__(self, path: str, max_size: int, keep: int) -> None:
        """It is begun anew when it would have more than `max_size` bytes; 0: never, others see to it."""
        self._path = path
        self._max_size = max_size
        self._keep = keep
        self._file = -1
        self._size = 0

    def append(self, lines: bytes) -> None:
        """Whole lines; they are on disk then. Raises OSError: some may be there."""
        try:
            self._open()
            if 0 < self._max_size < self._size + len(lines) and self._size:
                self._turn()
                self._open()
            self._write(lines)
        except BaseException:
            # The next one looks at what stands there.
            self.close()
            raise

    def close(self) -> None:
        """Until the next line."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        """Have the file that is at the path now open, and its last line whole."""
        if self._file >= 0:
            try:
                there, mine = os.stat(self._path), os.fstat(self._file)
            except FileNotFoundError:
                pass
            else:
                if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino) and mine.st_size == self._size:
                    return
            self.close()
        new = not os.path.exists(self._path)
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
        if new:
            self._sync_directory()
        self._size = _whole(self._file)
        if self._size < os.fstat(self._file).st_size:
            os.ftruncate(self._file, self._size)

    def _write(self, lines: bytes) -> None:
        view = memoryview(lines)
        try:
            while view:
                view = view[os.write(self._file, view) :]
            os.fsync(self._file)
        except OSError:
            # A disk that is full isn't to be filled with the same lines, time and again.
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(lines)

    def _turn(self) -> None:
        """Make the file an old one; the oldest goes."""
        self.close()
        for number in range(self._keep, 0, -1):
            younger = f"{self._path}.{number - 1}" if number > 1 else self._path
            if os.path.exists(younger):
                os.replace(younger, f"{self._path}.{number}")
        self._sync_directory()

    def _sync_directory(self) -> None:
        directory = os.open(os.path.dirname(self._path) or ".", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _whole(file: int) -> int:
    """How many bytes of it are whole lines. Raises NotOurs: the rest isn't the beginning of one of ours."""
    end = os.fstat(file).st_size
    torn = b""
    position = end
    while position:
        start = max(0, position - _BLOCK)
        block = os.pread(file, position - start, start)
        line_end = block.rfind(b"\n")
        torn = block[line_end + 1 :] + torn[: len(BEGIN)]
        if line_end >= 0:
            position = start + line_end + 1
            break
        position = start
    # A power cut leaves zeros where something was about to be written.
    begin = torn.rstrip(b"\0")[: len(BEGIN)]
    if not BEGIN.startswith(begin):
        raise NotOurs("the file ends with what is no line of events")
    return position


class File:
    """The taker."""

    def __init__(self, file: EventFile, where: str, in_thread: Callable[..., Deferred[Any]]) -> None:
        self.where = where
        self._file = file
        self._in_thread = in_thread
        self._turn = DeferredLock()
        self._writing = 0
        self._stopped = False

    def take(self, events: Sequence[Numbered]) -> Deferred[int]:
        """They are on disk when it fires. Those that come while others are being written are written after them."""
        lines = b"".join(_encode(shape(one)) + b"\n" for one in events)
        taken: Deferred[int] = Deferred()
        self._writing += 1
        written = self._turn.run(self._in_thread, self._file.append, lines)

        def over(result: Any) -> Any:
            self._writing -= 1
            if self._stopped and not self._writing:
                self._file.close()
            return result

        # A thread goes on when whoever waits for it doesn't.
        written.addBoth(over).addCallbacks(lambda _: taken.callback(0), taken.errback)
        return taken

    def stop(self) -> None:
        self._stopped = True
        if not self._writing:
            self._file.close()


def maker(name: str, section: Sink, means: Means) -> File:
    """As [sinks] say."""
    return File(EventFile(section.path, section.max_size, section.keep), section.path, means.in_thread)
