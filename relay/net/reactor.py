"""What a reactor needs before it runs a relay: a clock that never jumps, and a short way to a socket.

Both are settings on the one reactor object, made once at the start of a process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import MethodType
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ReactorNotRunning


def prepare(reactor: Any) -> None:
    """Make a reactor that is not yet running ready for the relay.

    Twisted measures time by the system clock: when that is set, every time-out would fire at
    once, or none for as long as it was set back.

    Twisted's epoll reactor also enters a log context for each event of each socket, whose
    prefix nobody here reads; that is a tenth of the work for a small message.

    Two signals to stop that come in one turn would be a failure to the second: here they are one stop.
    """
    reactor.seconds = time.monotonic
    reactor.stop = partial(_stop, reactor.stop)
    if type(reactor) is EPollReactor:
        reactor.doIteration = MethodType(_poll, reactor)  # type: ignore[method-assign]


def _stop(stop: Callable[[], None]) -> None:
    with suppress(ReactorNotRunning):
        stop()


def _poll(reactor: Any, timeout: float | None) -> None:
    """EPollReactor.doPoll less the log context. What a socket raises is logged, and its
    connection ended, by `_doReadOrWrite` in both."""
    try:
        events = reactor._poller.poll(-1 if timeout is None else timeout, len(reactor._selectables))
    except InterruptedError:
        return
    selectables, serve = reactor._selectables, reactor._doReadOrWrite
    for descriptor, event in events:
        selectable = selectables.get(descriptor)
        if selectable is not None:  # Else another event of this turn has closed it.
            serve(selectable, descriptor, event)
