"""What an operator may do to deliveries by hand: send them now, hold, release, bounce, delete, move them.

What a child holds at that moment is left alone: its outcome comes first. Of several who act on the same delivery at
once one does, and the others are told that it is in hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.interfaces import IReactorTime

from relay.dispatch.actions import Action, Done, Verb
from relay.dispatch.results import Results
from relay.events.steps import Steps
from relay.logs.maillog import MailLog
from relay.message.values import Delivery, Message, Outcome, Result
from relay.queue.leases import Leases
from relay.queue.schedule import Schedule, Work
from relay.queue.store import Store, StoreError

_PAGE = 500
_HELD = "an operator has put it aside"
_BOUNCED = "5.7.0 The operator of this relay has returned it"
#: What the mail log and the events call what is changed.
_STEPS = {Verb.SEND_NOW: "released", Verb.RELEASE: "released", Verb.MOVE: "moved"}
_DELETE, _SEND_NOW = Action(Verb.DELETE), Action(Verb.SEND_NOW)


class LeaseInfo(NamedTuple):
    """Who holds a delivery, and since when (ms since the epoch)."""

    zone: str
    child: str
    since: int


class Operator:
    """Acts on single deliveries, or on all of a message."""

    def __init__(
        self,
        store: Store,
        schedule: Schedule,
        leases: Leases,
        results: Results,
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
        self._results = results
        self._log = log
        self._clock = clock
        self._now = now

    def act(self, action: Action, queue_id: str, seq: int) -> Deferred[Done]:
        """Do that to a delivery; fires once it is on disk. Fails, or raises, StoreError."""
        row, message = self._store.delivery(queue_id, seq), self._store.message(queue_id)
        return succeed(Done.GONE) if row is None or message is None else self._act(action, message, row)

    def delete(self, queue_id: str, seq: int | None) -> Deferred[int]:
        """Strike deliveries of a message off, without a bounce: one, or all of them; how many, once that is on disk.
        Fails, or raises, StoreError."""
        return self._act_on(_DELETE, queue_id, seq)

    def send_now(self, queue_id: str, seq: int | None) -> Deferred[int]:
        """Make deferred deliveries due at once; that uses up no retry step. The rest as in `delete`."""
        return self._act_on(_SEND_NOW, queue_id, seq)

    def leased(self, queue_id: str, seq: int) -> LeaseInfo | None:
        """Who has the delivery in hand."""
        work = self._schedule.work(queue_id, seq)
        lease = self._leases.get(work.lease) if work and work.lease else None
        if work is None or lease is None:
            return None
        held_for = round((self._clock.seconds() - lease.since) * 1000)
        return LeaseInfo(work.delivery.zone, lease.child, self._now() - held_for)

    def _act_on(self, action: Action, queue_id: str, seq: int | None) -> Deferred[int]:
        message = self._store.message(queue_id)
        if message is None:
            return succeed(0)
        done = gatherResults([self._act(action, message, row) for row in self._rows(queue_id, seq)], consumeErrors=True)
        return done.addCallbacks(lambda results: results.count(Done.DONE), lambda failure: failure.value.subFailure)

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

    def _act(self, action: Action, message: Message, row: Delivery) -> Deferred[Done]:
        now = self._now()
        if not action.applies(row, now):
            return succeed(Done.UNCHANGED)
        work = self._schedule.claim(message, row)
        if work is None:
            return succeed(Done.IN_HAND)
        if action.verb is Verb.HOLD:
            done = self._results.put_aside(work, action.reason or _HELD)
        elif action.verb is Verb.BOUNCE:
            words = f"{_BOUNCED}: {action.reason}" if action.reason else _BOUNCED
            done = self._results.record(work, Outcome(Result.BOUNCED, words, category="operator"))
        elif action.verb is Verb.DELETE:
            told = self._steps.happened("deleted", message, row)
            return self._settle(self._store.finish(message, row, told), "deleted", work, None)
        else:
            new, step = action.applied(row, now), _STEPS[action.verb]
            reason = f"from zone {row.zone}" if new.zone != row.zone else ""
            told = self._steps.happened(step, message, new, reason, new.due)
            return self._settle(self._store.change(row, new, told), step, work, new)
        return done.addCallback(_done)

    def _settle(self, written: Deferred[None], step: str, work: Work, new: Delivery | None) -> Deferred[Done]:
        def on_disk(_: None) -> Done:
            row = work.delivery
            moved = {"zone": new.zone, "before": row.zone} if new is not None and new.zone != row.zone else {}
            self._log.write(step, row.name, to=f"<{row.recipient}>", **moved)
            self._schedule.settled(work, new)
            return Done.DONE

        return written.addCallback(on_disk)


def _done(written: bool) -> Done:
    if not written:
        raise StoreError("the queue came to its end before")
    return Done.DONE
