"""The mail log: one line per step of a message, cheap enough to write for every message.

A line is a time, the step, and fields as `name=value`. Every value comes from outside
sooner or later, so whatever is not plain is written as a JSON string: one record is one
line, control bytes escaped, cut to a bound. Mail never waits for the log: when it can't be
written its lines are counted and dropped.
"""

from __future__ import annotations

import json
import os
import re
import select
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from twisted.internet.interfaces import IReactorTime

_LONGEST = 600
_plain = re.compile(rf"[A-Za-z0-9.:@_+/<>\[\]-]{{1,{_LONGEST}}}").fullmatch
_FLUSH_AFTER = 0.1
_FULL = 64 * 1024
#: A pipe or socket that is ready takes this much at once (bytes; PIPE_BUF of Linux).
_BITE = 4096


class MailLog:
    """Lines are gathered and written at most a tenth of a second later."""

    def __init__(self, clock: IReactorTime, now: Callable[[], int], file: BinaryIO | None = None) -> None:
        """`now` gives ms since the epoch."""
        self._file = file
        self._watch = _watch(file) if file is not None else None
        self._torn = False
        self._clock = clock
        self._now = now
        self._lines: list[str] = []
        self._size = 0
        self._waiting = False
        self._second = -1
        self._stamp = ""
        #: Lines lost because the log could not be written.
        self.lost = 0

    def open(self, path: str, beside: Path) -> None:
        """Where lines go from now on: the file `path`, appended to; "-" is standard output;
        "" is standard output too, or `beside`/mail.log where that leads nowhere, as in a
        daemon. Raises OSError."""
        if path == "-" or (not path and _leads_somewhere()):
            self._file = open(1, "ab", buffering=0, closefd=False)
        else:
            self._file = open(path or beside / "mail.log", "ab", buffering=0)
        self._watch = _watch(self._file)

    def write(self, step: str, name: str, **fields: object) -> None:
        """One step of the message or delivery called `name`; fields that are empty are left out."""
        now = self._now()
        second, ms = divmod(now, 1000)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        parts = [f"{self._stamp}.{ms:03d}Z {step} id={name}"]
        for key, value in fields.items():
            if value.__class__ is int:
                parts.append(f"{key}={value}")
            elif value:
                text = value if value.__class__ is str else str(value)
                parts.append(f"{key}={text if _plain(text) else quoted(text)}")
        line = " ".join(parts)
        self._lines.append(line)
        self._size += len(line)
        if self._size > _FULL:
            self.flush()
        elif not self._waiting:
            self._waiting = True
            self._clock.callLater(_FLUSH_AFTER, self._due)

    def _due(self) -> None:
        self._waiting = False
        self.flush()

    def flush(self) -> None:
        """Write what was gathered, as far as it can be written without waiting."""
        if not self._lines:
            return
        data = ("\n".join(self._lines) + "\n").encode()
        self._lines, self._size = [], 0
        if self._torn:
            data = b"\n" + data
        written = self._put(data)
        self.lost += data.count(b"\n", max(written, self._torn))
        if written:
            self._torn = data[written - 1] != 10

    def _put(self, data: bytes) -> int:
        written, bite = 0, _BITE if self._watch else len(data)
        try:
            while self._file and written < len(data) and (self._watch is None or self._watch.poll(0)):
                taken = self._file.write(data[written : written + bite])
                if not taken:
                    break
                written += taken
        except OSError:
            pass  # What was not written is counted.
        return written


def _leads_somewhere() -> bool:
    """Whether standard output is more than the null device."""
    try:
        return os.fstat(1).st_rdev != os.stat(os.devnull).st_rdev
    except OSError:
        return False


def _watch(file: BinaryIO) -> select.poll | None:
    """Tells whether `file` can be written without waiting for a reader; None: files always can."""
    try:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return None
    except OSError:
        return None
    watch = select.poll()
    watch.register(file, select.POLLOUT)
    return watch


def quoted(text: str) -> str:
    """A field's value that is not plain: a JSON string, cut with a mark."""
    if len(text) > _LONGEST:
        text = text[:_LONGEST] + "[cut]"
    return json.dumps(text).replace("\x7f", "\\u007f")
