"""What became of an attempt: outcome -> one batch in the store, one line, one count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import msgspec.structs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.bounce.diagnosis import Diagnosis
from relay.dispatch.notices import Notice, Notices
from relay.events.steps import Events, Steps
from relay.logs.maillog import MailLog
from relay.message.dialogue import Dialogue
from relay.message.values import Delivery, Outcome, Result
from relay.queue.retry import Retry
from relay.queue.schedule import Schedule, Work
from relay.queue.store import Store
from relay.suppression.entry import Entry

_log = Logger()

_AGAIN = "may be sent more than once"


class Counts(Protocol):
    """What is counted of results; the metrics implement it."""

    def delivery(self, zone: str, result: Result) -> None: ...
    def bounce(self) -> None: ...
    def refusal(self, category: str, action: str) -> None: ...
    def unsigned(self) -> None: ...
    def suppressed(self, where: Literal["attempt", "submission"], count: int = 1) -> None: ...


class Results:
    """Records outcomes. Nothing is said to be done before its batch is on disk."""

    def __init__(
        self,
        store: Store,
        schedule: Schedule,
        retry: Retry,
        log: MailLog,
        counts: Counts,
        now: Callable[[], int],
        steps: Steps | None = None,
        notices: Notices | None = None,
    ) -> None:
        """`now` gives ms since the epoch; `steps`: None where no events are kept; `notices`: where nobody is told."""
        self._store = store
        self._notices = notices
        self._steps = steps or Steps(False, now)
        self._schedule = schedule
        self._retry = retry
        self._log = log
        self._counts = counts
        self._now = now
        #: Outcomes not yet on disk.
        self.pending = 0

    def is_over(self, delivery: Delivery, since: int) -> bool:
        """Whether its retries would be over by now, all in vain, for what is shut since `since` (ms)."""
        return self._retry.is_over(delivery, since, self._now())

    def record(
        self, work: Work, outcome: Outcome, diagnosis: Diagnosis | None = None, site: str = ""
    ) -> Deferred[bool]:
        """Write one outcome at this site, and what its reply means. Fires when it is on disk, with True; with False
        when the store came to its end before: then it is not known to be."""
        delivery = work.delivery
        if outcome.result is Result.DEFERRED:
            due = self._retry.next(delivery, self._now())
            if due is not None:
                return self._defer(work, outcome, diagnosis, due, site)
            return self.give_up(work, msgspec.structs.replace(outcome, result=Result.BOUNCED), diagnosis, site)
        return self._end(outcome.result.value, work, outcome, diagnosis, site)

    def give_up(
        self, work: Work, outcome: Outcome, diagnosis: Diagnosis | None = None, site: str = ""
    ) -> Deferred[bool]:
        """Its retries are over; `outcome` is the last thing that came of it, bounced. Fires as `record` does."""
        return self._end("expired", work, outcome, diagnosis, site)

    def _end(
        self, kind: str, work: Work, outcome: Outcome, diagnosis: Diagnosis | None, site: str
    ) -> Deferred[bool]:
        message, delivery = work.held.message, work.delivery
        unreported = ""
        if self._notices is not None and outcome.result is Result.BOUNCED:
            unreported = self._notices.unreported(work)
        told = self._steps.attempted(kind, message, delivery, outcome, diagnosis, site=site, unreported=unreported)
        notice = None
        if self._notices is not None:
            if outcome.result is Result.BOUNCED:
                notice = self._notices.of_failure(work, outcome, kind == "expired")
            elif delivery.notify and outcome.result is Result.DELIVERED:
                notice = self._notices.of_success(work, outcome)
        said = self._said(told, outcome)
        if notice is None:
            written = self._store.finish(message, delivery, told, dialogue=said)
        else:
            written = self._store.finish(message, delivery, (*told, *notice.events), notice.parcel, said)
        return self._settle(written, work, None, lambda: self._tell(work, outcome, diagnosis), notice)

    def _defer(
        self, work: Work, outcome: Outcome, diagnosis: Diagnosis | None, due: int, site: str
    ) -> Deferred[bool]:
        now, old = self._now(), work.delivery
        new = msgspec.structs.replace(
            old,
            due=due,
            attempts=old.attempts + 1,
            first_failure=old.first_failure or now,
            last_failure=now,
            response=outcome.response,
            category=_category(outcome, diagnosis),
        )
        told = self._steps.attempted("deferred", work.held.message, old, outcome, diagnosis, due, site)
        said = self._said(told, outcome)
        notice = None
        if self._notices is not None and self._notices.is_late(new, new.first_failure):
            notice = self._notices.of_delay(work, outcome, self._retry.until(new))
            new = msgspec.structs.replace(new, warned=now)
            told = (*told, *notice.events)
        written = self._store.change(old, new, told, None if notice is None else notice.parcel, said)
        step = {"attempts": new.attempts, "seconds_to_retry": (due - now) // 1000}
        return self._settle(written, work, new, lambda: self._tell(work, outcome, diagnosis, **step), notice)

    def is_late(self, delivery: Delivery, since: int) -> bool:
        """Whether its sender is to be told that it waits for what is shut since `since` (ms)."""
        waits = max(since, delivery.first_failure or delivery.due)
        return self._notices is not None and self._notices.is_late(delivery, waits)

    def warn(self, work: Work, outcome: Outcome) -> Deferred[bool]:
        """Tell the sender so; `outcome` says what it waits for. It stays due, behind the others that are. Fires as
        `record` does."""
        assert self._notices is not None, "somebody is late"
        now, old = self._now(), work.delivery
        notice = self._notices.of_delay(work, outcome, self._retry.until(old))
        new = msgspec.structs.replace(
            old,
            due=now // 1000 * 1000,
            first_failure=old.first_failure or old.due,
            response=old.response or outcome.response,
            category=old.category or outcome.category,
            warned=now,
        )
        written = self._store.change(old, new, notice.events, notice.parcel)
        return self._settle(written, work, new, lambda: None, notice)

    def _said(self, told: Events, outcome: Outcome) -> Dialogue | None:
        """What is kept of a failure, where its event is."""
        return Dialogue(self._now(), outcome.dialogue) if told and outcome.dialogue else None

    def suppress(self, work: Work, entry: Entry) -> Deferred[bool]:
        """End a delivery that is for somebody who gets no mail, for the reason that this entry gives, without an
        attempt and without a bounce; fires as `record` does."""
        message, delivery = work.held.message, work.delivery
        told = self._steps.happened("suppressed", message, delivery, entry.words(message.tenant), about=entry.whom)
        written = self._store.finish(message, delivery, told)
        return self._settle(written, work, None, lambda: self._tell_suppressed(work, entry))

    def lost(self, work: Work) -> None:
        """Whoever had begun to send it is gone without a word of what came of it."""
        delivery = work.delivery
        self._log.write("lost", delivery.name, zone=delivery.zone, to=f"<{delivery.recipient}>", doubtful=_AGAIN)

    def put_aside(self, work: Work, why: str) -> Deferred[bool]:
        """Hold a delivery until somebody releases it; fires as `record` does."""
        new = msgspec.structs.replace(work.delivery, held=why)
        told = self._steps.happened("held", work.held.message, new, why)
        written = self._store.change(work.delivery, new, told)
        return self._settle(written, work, new, lambda: self._log.write("held", new.name, why=why))

    def _settle(
        self,
        written: Deferred[None],
        work: Work,
        new: Delivery | None,
        tell: Callable[[], None],
        notice: Notice | None = None,
    ) -> Deferred[bool]:
        self.pending += 1

        def on_disk(_: None) -> bool:
            self.pending -= 1
            tell()
            if notice is not None and self._notices is not None:
                self._notices.written(notice)
            self._schedule.settled(work, new)
            return True

        def lost(failure: Failure) -> bool:
            # The store keeps outcomes until they are written: only its end brings us here.
            self.pending -= 1
            _log.failure("outcome of {name} not recorded", failure, name=work.delivery.name)
            return False

        return written.addCallbacks(on_disk, lost)

    def _tell_suppressed(self, work: Work, entry: Entry) -> None:
        delivery = work.delivery
        self._counts.delivery(delivery.zone, Result.DROPPED)
        self._counts.suppressed("attempt")
        self._log.write(
            "suppressed",
            delivery.name,
            zone=delivery.zone,
            sender=f"<{work.held.message.sender}>",
            to=f"<{delivery.recipient}>",
            user=work.held.message.origin.user,
            entry=entry.id,
            source=entry.source,
            reason=entry.reason,
        )

    def _tell(self, work: Work, outcome: Outcome, diagnosis: Diagnosis | None, **more: object) -> None:
        delivery, result = work.delivery, outcome.result
        self._counts.delivery(delivery.zone, result)
        if result is Result.BOUNCED:
            self._counts.bounce()
        if diagnosis is not None:
            self._counts.refusal(diagnosis.category, diagnosis.action)
        message = work.held.message
        if outcome.unsigned:
            self._counts.unsigned()
            more["unsigned"] = outcome.unsigned
        if outcome.doubtful:
            more["doubtful"] = _AGAIN
        self._log.write(
            result.value,
            delivery.name,
            zone=delivery.zone,
            sender=f"<{message.sender}>",
            to=f"<{delivery.recipient}>",
            mx=outcome.host,
            ip=outcome.host_address,
            local=outcome.local_address,
            size=message.size,
            stage=outcome.stage,
            category=_category(outcome, diagnosis),
            action="" if diagnosis is None else diagnosis.action,
            tls=outcome.tls,
            took=f"{outcome.seconds:.3f}",
            reply=outcome.response,
            **more,
        )


def _category(outcome: Outcome, diagnosis: Diagnosis | None) -> str:
    """What is remembered and told: of a reply what the rules make of it, of all else where it failed."""
    return outcome.category if diagnosis is None else diagnosis.category
