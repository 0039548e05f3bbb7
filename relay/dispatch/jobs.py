"""What an operator does to many deliveries at once: counted first, then done a piece at a time, while mail goes on.

A job isn't kept over a restart. That does no harm: what it has done is on disk, and to give it again does the rest.
"""

from __future__ import annotations

import enum
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence

from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.dispatch.actions import Action, Done
from relay.dispatch.operator import Operator
from relay.message.queueid import time_of
from relay.message.values import Delivery
from relay.queue.filter import Filter
from relay.queue.search import Cursor, Search
from relay.queue.store import Store, StoreError, Unreadable

#: Jobs that run at a time, and those that are remembered when they have ended.
RUNNING, REMEMBERED = 4, 100
#: Looks at a time, and deliveries that are on their way to the disk together.
_PIECE = 250

_log = Logger()

Name = tuple[str, int]


class TooManyJobs(Exception):
    """As many run as may."""


class Stage(enum.StrEnum):
    COUNTING = "counting"
    ACTING = "acting"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Job:
    """One of them, and how far it is.

    `total` is how many deliveries it would change, `results` what came of those that it has come to. `started` and
    `ended` are ms since the epoch, `ended` 0 while it runs. `error` is why it failed. `tenant` is whose it is, "" for
    the relay's operator.
    """

    def __init__(
        self, id: str, action: Action, wanted: Filter | None, names: Sequence[Name], dry_run: bool, tenant: str,
        started: int,
    ) -> None:  # fmt: skip
        self.id = id
        self.action = action
        self.wanted = wanted
        self.names = names
        self.dry_run = dry_run
        self.tenant = tenant
        self.started = started
        self.ended = 0
        self.stage = Stage.COUNTING
        self.total = 0
        self.results: Counter[Done] = Counter()
        self.error = ""
        self._run: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []

    def wait(self) -> Deferred[None]:
        """Fires when it has ended; it may be cancelled."""
        waiting: Deferred[None] = Deferred(lambda it: self._waiting.remove(it))
        if self.ended:
            waiting.callback(None)
        else:
            self._waiting.append(waiting)
        return waiting

    def begin(self, run: Deferred[None]) -> None:
        """`run` is what it does."""
        self._run = run

    def cancel(self) -> None:
        """Do no more of it; what is on its way to the disk gets there."""
        if self._run is not None:
            self._run.cancel()

    def end(self, stage: Stage, when: int) -> None:
        """It does nothing more, from `when` (ms since the epoch) on."""
        self.stage, self.ended, self._run = stage, when, None
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)


class Jobs:
    """All of them."""

    def __init__(
        self,
        search: Search,
        operator: Operator,
        store: Store,
        clock: IReactorTime,
        now: Callable[[], int],
        new_id: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        """`now` gives ms since the epoch."""
        self._search = search
        self._operator = operator
        self._store = store
        self._clock = clock
        self._now = now
        self._new_id = new_id
        self._jobs: dict[str, Job] = {}

    def start(
        self, action: Action, wanted: Filter | None, names: Sequence[Name] = (), dry_run: bool = False, tenant: str = ""
    ) -> Job:
        """Do that to all that fits `wanted` and is in the queue now, or to these; a `dry_run` only counts them.
        Raises TooManyJobs."""
        if sum(not job.ended for job in self._jobs.values()) >= RUNNING:
            raise TooManyJobs(f"{RUNNING} jobs run already")
        ended = [job.id for job in self._jobs.values() if job.ended]
        for id in ended[: max(0, len(ended) - REMEMBERED + 1)]:
            del self._jobs[id]
        now = self._now()
        if wanted is not None:
            # What comes in meanwhile isn't meant.
            newest = time_of(self._store.newest) if self._store.newest else 0
            wanted = replace(wanted, until=min(wanted.until, max(now, newest)))
        job = Job(self._new_id(), action, wanted, names, dry_run, tenant, now)
        self._jobs[job.id] = job
        run = Deferred.fromCoroutine(self._do(job))
        if not job.ended:
            job.begin(run)
        run.addErrback(lambda failure: _log.failure("job {id}", failure, id=job.id))
        return job

    def get(self, id: str) -> Job | None:
        return self._jobs.get(id)

    def all(self) -> list[Job]:
        """Those that run and those that are remembered, in the order in which they came."""
        return list(self._jobs.values())

    def stop(self) -> None:
        """Cancel them all."""
        for job in self._jobs.values():
            job.cancel()

    # -- inside

    async def _do(self, job: Job) -> None:
        try:
            async for rows in self._pieces(job):
                job.total += len(rows)
            if not job.dry_run:
                job.stage = Stage.ACTING
                async for rows in self._pieces(job):
                    await self._act(job, rows)
        except CancelledError:
            job.end(Stage.CANCELLED, self._now())
        except StoreError as error:
            job.error = str(error) or "the queue can't be used now"
            job.end(Stage.FAILED, self._now())
        except BaseException:
            job.error = "a fault of the relay, which its log tells of"
            job.end(Stage.FAILED, self._now())
            raise
        else:
            job.end(Stage.DONE, self._now())

    async def _pieces(self, job: Job) -> AsyncIterator[list[Delivery]]:
        """What the job has to do with, some at a time; mail has its turn in between."""
        if job.wanted is None:
            for at in range(0, len(job.names), _PIECE):
                found = map(self._row, job.names[at : at + _PIECE])
                yield [row for row in found if row is not None and self._applies(job, row)]
                await deferLater(self._clock, 0)
            return
        cursor: Cursor | None = None
        while True:
            page = self._search.page(job.wanted, cursor, _PIECE, _PIECE)
            yield [one.row for one in page.found if self._applies(job, one.row)]
            await deferLater(self._clock, 0)
            cursor = page.next
            if cursor is None:
                return

    def _row(self, name: Name) -> Delivery | None:
        try:
            return self._store.delivery(*name)
        except Unreadable:
            return None

    def _applies(self, job: Job, row: Delivery) -> bool:
        return job.action.applies(row, self._now())

    async def _act(self, job: Job, rows: Sequence[Delivery]) -> None:
        begun = [maybeDeferred(self._operator.act, job.action, row.id, row.seq) for row in rows]
        for one in begun:
            one.addErrback(_unreadable).addCallback(self._count, job)
        written: Deferred[None] = Deferred()
        gatherResults(begun, consumeErrors=True).addCallbacks(
            lambda _: written.callback(None), lambda failure: written.errback(failure.value.subFailure)
        )
        await written

    def _count(self, done: Done, job: Job) -> None:
        job.results[done] += 1


def _unreadable(failure: Failure) -> Done:
    """One that can't be read doesn't keep the others."""
    failure.trap(Unreadable)
    return Done.UNREADABLE
