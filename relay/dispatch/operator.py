"""What an operator may do to deliveries by hand: delete them, send them now.

What a child holds at that moment is left alone: its outcome comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec.structs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime

from relay.events.steps import Steps
from relay.logs.maillog import MailLog
from relay.message.values import Delivery, Message
from relay.queue.leases import Leases
from relay.queue.schedule import Schedule, Work
from relay.queue.store import Store

_PAGE = 500


class LeaseInfo(NamedTuple):
    """Who holds a delivery, and since when (ms since the epoch)."""

    zone: str
    child: str
    since: int


class Operator:
    """Acts on the deliveries of a message: all of them, or one by its sequence number."""

    def __init__(
        self,
        store: Store,
        schedule: Schedule,
        leases: Leases,
        log: MailLog,
        clock: IReactorTime,
        now: Callable[[], int],
        steps: Steps | None = None,
    ) -> None:
        """`now` gives ms since the epoch; `steps`: None where no events are kept."""
        self._steps = steps or Steps(False, now)
        self._store = store
        self._schedule = schedule
        self._leases = leases
        self._log = log
        self._clock = clock
        self._now = now

    def delete(self, queue_id: str, seq: int | None) -> Deferred[int]:
        """Strike deliveries off, without a bounce; how many, once that is on disk. Fails,
        or raises, StoreError."""
        message = self._store.message(queue_id)
        done = []
        for work in self._claim(message, queue_id, seq):
            told = self._steps.happened("deleted", work.held.message, work.delivery)
            written = self._store.finish(work.held.message, work.delivery, told)
            done.append(self._settle(written, "deleted", work, None))
        return _all(done)

    def send_now(self, queue_id: str, seq: int | None) -> Deferred[int]:
        """Make deferred deliveries due at once; that uses up no retry step. How many, once
        that is on disk. Fails, or raises, StoreError."""
        message, now = self._store.message(queue_id), self._now()
        done = []
        for work in self._claim(message, queue_id, seq):
            if work.delivery.due <= now and not work.delivery.held:
                self._schedule.give_back(work)
                continue
            new = msgspec.structs.replace(work.delivery, due=now // 1000 * 1000, held="")
            told = self._steps.happened("released", work.held.message, work.delivery, due=new.due)
            done.append(self._settle(self._store.change(work.delivery, new, told), "released", work, new))
        return _all(done)

    def leased(self, queue_id: str, seq: int) -> LeaseInfo | None:
        """Who has the delivery in hand."""
        work = self._schedule.work(queue_id, seq)
        lease = self._leases.get(work.lease) if work and work.lease else None
        if work is None or lease is None:
            return None
        held_for = round((self._clock.seconds() - lease.since) * 1000)
        return LeaseInfo(work.delivery.zone, lease.child, self._now() - held_for)

    def _claim(self, message: Message | None, queue_id: str, seq: int | None) -> Iterator[Work]:
        if message is None:
            return
        for row in self._rows(queue_id, seq):
            work = self._schedule.claim(message, row)
            if work is not None:
                yield work

    def _rows(self, queue_id: str, seq: int | None) -> Iterator[Delivery]:
        if seq is not None:
            row = self._store.delivery(queue_id, seq)
            if row is not None:
                yield row
            return
        after = 0
        while page := self._store.deliveries(queue_id, after, _PAGE):
            yield from page
            after = page[-1].seq

    def _settle(
        self, written: Deferred[None], step: str, work: Work, new: Delivery | None
    ) -> Deferred[None]:
        def on_disk(_: None) -> None:
            self._log.write(step, work.delivery.name, to=f"<{work.delivery.recipient}>")
            self._schedule.settled(work, new)

        return written.addCallback(on_disk)


def _all(done: list[Deferred[None]]) -> Deferred[int]:
    """How many there were, once all are done; else the first failure, as it was."""
    return gatherResults(done, consumeErrors=True).addCallbacks(len, lambda failure: failure.value.subFailure)
