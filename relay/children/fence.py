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
    """Return when no process holds any of the journals; kill those that stay. A journal that
    does not tell who holds it is passed over in the end: it must not keep all mail waiting."""
    started = clock.seconds()
    done: set[int] = set()
    watched = list(journals)
    while watched:
        orphans, silent = _holders(watched)
        if not orphans and not silent:
            return
        if clock.seconds() - started > PATIENCE:
            for pid in orphans - done:
                _end(pid)
            done |= orphans
            for journal, error in silent.items():
                _log.error("journal {file} does not tell who holds it: {error}", file=str(journal), error=error)
                watched.remove(journal)
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


def _holders(journals: Sequence[Path]) -> tuple[set[int], dict[Path, str]]:
    """Who holds them, and which can't be asked and why."""
    orphans: set[int] = set()
    silent: dict[Path, str] = {}
    for journal in journals:
        try:
            pid = holder(journal)
        except FileNotFoundError:
            continue
        except OSError as error:
            silent[journal] = str(error)
            continue
        if pid is not None:
            orphans.add(pid)
    return orphans, silent
