"""Orphans of an earlier master: nobody may write a journal any more when it is read.

Children leave by themselves when their channel is lost, within a few seconds. One that can't
(stopped, stuck) still holds the lock on its journal, which tells its process id.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from relay.channel.journal import holder

_log = Logger()

_LOOK_EVERY = 0.1
#: How long orphans get to leave by themselves (seconds).
PATIENCE = 5.0


async def fence(journals: Sequence[Path], clock: IReactorTime) -> None:
    """Return when no process holds any of the journals; kill those that stay."""
    started = clock.seconds()
    done: set[int] = set()
    while orphans := {pid for pid in map(_holder, journals) if pid is not None}:
        if clock.seconds() - started > PATIENCE:
            for pid in orphans - done:
                _end(pid)
            done |= orphans
        await deferLater(clock, _LOOK_EVERY)


def _end(pid: int) -> None:
    if pid <= 0:
        _log.error("journals are locked by a process out of sight: no delivery before it ends")
        return
    _log.warn("orphan {pid} of an earlier start is killed", pid=pid)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # It went by itself just now.
    except PermissionError:
        _log.error("orphan {pid} can't be killed: no delivery before it ends", pid=pid)


def _holder(journal: Path) -> int | None:
    try:
        return holder(journal)
    except FileNotFoundError:
        return None
