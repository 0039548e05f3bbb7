"""What quotas have counted, over a restart: a small file beside the queue.

It is written every now and then and at the stop, so that a crash forgives what was sent in
the last seconds; it is no promise to anybody but a brake.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from relay.access.quota import Quotas

_log = Logger()

_EVERY = 30.0
_decode = msgspec.json.Decoder(list[tuple[str, str, int, float, list[tuple[int, int]]]]).decode


class Keep:
    """Keeps the counts of one relay in one file."""

    def __init__(self, quotas: Quotas, path: Path, clock: Any, now: Callable[[], int]) -> None:
        """`now` gives ms since the epoch."""
        self._quotas = quotas
        self._path = path
        self._now = now
        self._loop = LoopingCall(self.write)
        self._loop.clock = clock
        self._written = b"[]"

    def start(self) -> None:
        """Go on from the file, if there is one. A file that can't be read is forgotten, and said."""
        try:
            self._quotas.restore(_decode(self._path.read_bytes()), self._now() / 1000)
        except FileNotFoundError:
            pass
        except (OSError, msgspec.MsgspecError) as error:
            _log.warn("{path}: counts of users start anew: {error}", path=str(self._path), error=str(error))
        self._loop.start(_EVERY, now=False)

    def write(self) -> None:
        """Write what has changed."""
        data = msgspec.json.encode(self._quotas.saved(self._now() / 1000))
        if data == self._written:
            return
        new = self._path.with_suffix(".new")
        try:
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(data)
            os.replace(new, self._path)
        except OSError as error:
            _log.warn("{path}: counts of users not written: {error}", path=str(self._path), error=str(error))
        else:
            self._written = data

    def stop(self) -> None:
        """Write for the last time."""
        if self._loop.running:
            self._loop.stop()
            self.write()
