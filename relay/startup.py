"""A start that fails says so in one line where somebody looks, and the exit code is 1.

twistd would print a traceback in the foreground. As a daemon it has sent its standard
error to /dev/null by the time services start, and its parent prints at most 98 characters
of the error, quoted. So the standard error of the start is kept until the start is over.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType, TracebackType
from typing import IO

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

_STOPS = (signal.SIGINT, signal.SIGTERM)


class Refused(Exception):
    """The start failed, and its reason has been printed already."""


class LoudStart(Service):
    """Starts and stops one service, and makes its refusal to start readable.

    `refusal` is the exception by which the service refuses; its text is the one line. It is
    printed on the standard error that the process had when this was made, logged unless
    `quiet` (the log goes to the same terminal), and raised on as Refused, which Python then
    ends the process for without a traceback.
    """

    _log = Logger()

    def __init__(
        self,
        service: IService,
        refusal: type[Exception],
        quiet: bool,
        when_running: Callable[[Callable[[], None]], object] = lambda call: None,
    ) -> None:
        """`when_running` is the reactor's callWhenRunning."""
        self._service = service
        self._when_running = when_running
        self._refusal = refusal
        self._quiet = quiet
        self._stderr = _second_stderr()

    def privilegedStartService(self) -> None:
        self._loudly(self._service.privilegedStartService)

    def startService(self) -> None:
        super().startService()
        self._loudly(self._service.startService)
        # From here on a daemon holds nothing of the terminal it was started from.
        self._close()
        self._when_running(_hear_one_signal)

    def stopService(self) -> Deferred[object]:
        super().stopService()
        _hear_no_more_signals()
        return maybeDeferred(self._service.stopService)  # a coroutine must not get lost

    def _loudly(self, step: Callable[[], object]) -> None:
        try:
            step()
        except self._refusal as refusal:
            line = " ".join(str(refusal).split())
            if self._stderr is not None:
                print(f"zonerelay: {line}", file=self._stderr, flush=True)
            self._close()
            if not self._quiet:
                self._log.critical("did not start: {reason}", reason=line)
            sys.excepthook = _without_refusals
            raise Refused("the reason is in the line above") from refusal

    def _close(self) -> None:
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None


def _hear_one_signal() -> None:
    """Of two signals that come together the reactor would hear both, and log an error: the
    second is to be ignored before the reactor has its turn."""
    for number in _STOPS:
        heard = signal.getsignal(number)
        if callable(heard):
            signal.signal(number, partial(_heard_first, heard))


def _heard_first(heard: Callable[[int, FrameType | None], object], number: int, frame: FrameType | None) -> None:
    _hear_no_more_signals()
    heard(number, frame)


def _hear_no_more_signals() -> None:
    """One signal is enough: a second one while the relay drains changes nothing."""
    if threading.current_thread() is threading.main_thread():
        for number in _STOPS:
            signal.signal(number, signal.SIG_IGN)


def _second_stderr() -> IO[str] | None:
    """A descriptor of our own for the standard error; None when the process has none."""
    try:
        return os.fdopen(os.dup(2), "w", errors="backslashreplace")
    except OSError:
        return None


def _without_refusals(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Python's report of what ended the process, but for what has been said already."""
    if not issubclass(kind, Refused):
        sys.__excepthook__(kind, error, traceback)
