"""How every child begins: told on its standard input what it is for, heard on its standard error.

This is the child's side; the master's is in the other modules here.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from typing import Any, TypeVar

import msgspec

from relay.channel.briefing import Briefing, decode

_Kind = TypeVar("_Kind", bound=Briefing)
_PDEATHSIG = 1  # prctl


def briefed(kind: type[_Kind], module: str) -> _Kind:
    """The briefing. Exits where there is none: somebody started this by hand."""
    try:
        return decode(sys.stdin.buffer.read(), kind)
    except msgspec.MsgspecError:
        sys.exit(f"{module} is started by the relay, not by hand")


def settle(reactor: Any) -> None:
    """Make reactor and process ready: logs, signals, files, memory. Everything is imported by now."""
    from twisted.logger import (
        FilteringLogObserver,
        LogLevel,
        LogLevelFilterPredicate,
        globalLogBeginner,
        textFileLogObserver,
    )

    from relay.net.files import allow_many_files
    from relay.net.reactor import prepare

    prepare(reactor)
    told = LogLevelFilterPredicate()
    # Twisted tells of each port and factory, and there is one for each DNS query.
    for chatty in ("twisted", "log_legacy"):
        told.setLogLevelForNamespace(chatty, LogLevel.warn)
    observer = FilteringLogObserver(textFileLogObserver(sys.stderr), [told])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the master.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # So is the end of a whole process group.
    allow_many_files()  # Clients, and peers that hang, hold sockets.
    gc.freeze()  # What the start has made stays.
    gc.set_threshold(20_000, 20, 50)


def connect(reactor: Any, briefing: Briefing, link: Any) -> Any:
    """Connect the link to the master; the Deferred fails when there is no connection in 10 s."""
    from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, connectProtocol

    endpoint = TCP6ClientEndpoint if ":" in briefing.host else TCP4ClientEndpoint
    return connectProtocol(endpoint(reactor, briefing.host, briefing.port, timeout=10), link)


def die_with(master: int) -> None:
    """Be killed by the kernel the moment the master ends, however it ends. Exits when it has already."""
    # With use_errno, and by its number: no header is read at run time.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    if os.getppid() != master:
        sys.exit("the master has ended")
