"""What children of earlier starts had delivered and could not report: read from their journals.

It is settled before anything is offered, or hosts would get second copies. But no trouble
with it may keep the mail from flowing: what can't be read is named in the log and passed
over, and its journal is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.channel.journal import Acceptance
from relay.children.fence import fence
from relay.children.senders import read_journals, remove
from relay.queue.schedule import Schedule, Work
from relay.queue.store import Store, StoreError, Unreadable

_log = Logger()

#: A store that can't be used now is asked again this much later (seconds).
_PATIENCE = 1.0
#: How often a delivery that an operator is changing is looked at.
_LOOKS = 3

#: Records an acceptance; fails with StoreError when it does not come on disk.
Settle = Callable[[Work, Acceptance], Deferred[None]]


class Legacy:
    """The journals that earlier starts left behind."""

    def __init__(self, store: Store, schedule: Schedule, settle: Settle, clock: IReactorTime) -> None:
        self._store = store
        self._schedule = schedule
        self._settle = settle
        self._clock = clock

    async def settle(self, journals: Sequence[Path]) -> None:
        """Wait until nobody writes these journals any more and record what they tell of;
        each is removed once all of it is on disk. Can be cancelled: then they are kept."""
        await fence(journals, self._clock)
        for journal, entries in read_journals(journals).items():
            if await self._settled(entries):
                remove([journal])
            else:
                _log.error("journal {file} is kept: not all of it is recorded", file=str(journal))

    async def _settled(self, entries: Sequence[Acceptance]) -> bool:
        """Whether all of these are on disk now, or were settled before."""
        troubles: list[object] = []
        for entry in entries:
            try:
                work = await self._claimed(entry)
            except Unreadable as error:
                _log.error("{id}.{seq:03x} can't be read: {why}", id=entry.id, seq=entry.seq, why=str(error))
                troubles.append(error)
                continue
            if work is not None:
                self._settle(work, entry).addErrback(_noted, troubles)
        await self._all_written()
        return not troubles

    async def _claimed(self, entry: Acceptance) -> Work | None:
        """The delivery, nobody else's from now on; None when it is in the queue no more.
        Raises Unreadable, also when it can't be had."""
        looks = 0
        while True:
            try:
                message = self._store.message(entry.id)
                row = self._store.delivery(entry.id, entry.seq) if message else None
            except Unreadable:
                raise
            except StoreError as error:
                await self._later(error)
                continue
            if message is None or row is None:
                return None
            work = self._schedule.claim(message, row)
            if work is not None:
                return work
            # An operator's change of it is being written, or another entry tells of it too.
            looks += 1
            if looks > _LOOKS:
                raise Unreadable("it is being changed and does not come free")
            await self._all_written()

    async def _all_written(self) -> None:
        while True:
            try:
                # Not the writes themselves are waited for: cancelling would end them.
                await self._store.barrier()
                return
            except StoreError as error:
                await self._later(error)

    async def _later(self, error: StoreError) -> None:
        _log.warn("journals wait for the queue: {error}", error=str(error))
        await deferLater(self._clock, _PATIENCE)


def _noted(failure: Failure, troubles: list[object]) -> None:
    failure.trap(StoreError)
    troubles.append(failure.value)
