"""The messages of one request, written down together: all of them are on disk, or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.python.failure import Failure

from relay.intake.repeats import NO_SPACE
from relay.listener.door import Refused, Settled, Terms
from relay.message.envelope import Envelope
from relay.message.mark import Mark
from relay.message.user import User
from relay.message.values import Message, Origin
from relay.queue.store import Parcel, StoreError

if TYPE_CHECKING:
    from relay.intake.composing import Composed
    from relay.intake.submission import Intake, Submission


class Consignment:
    """Of one request. One message is open at a time."""

    __slots__ = ("_intake", "_open", "_settled")

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._open: Submission | None = None
        self._settled: list[tuple[Submission, Composed]] = []

    def open(self, origin: Origin, terms: Terms, user: User | None = None) -> Submission:
        """Begin the next message. Raises Refused when nothing can be taken now."""
        self._open = self._intake.open(origin, terms, user)
        return self._open

    def settle(self, envelope: Envelope) -> Settled:
        """The end of its text. Raises Refused: it isn't taken, the others stand."""
        submission, self._open = self._open, None
        assert submission is not None, "no message is open"
        composed = submission.settle(envelope)
        self._settled.append((submission, composed))
        return Settled(composed.message, [delivery.recipient for delivery in composed.deliveries])

    def keep(self, mark: Mark | None = None) -> Deferred[list[Message | Refused]]:
        """Write down those that were settled, and the mark of the key they came under. Fires when it is known of each,
        in their order, that it is on disk, or why not. Without a mark, one that has an X-Idempotency-Key goes by it."""
        settled, self._settled = self._settled, []
        alone = {
            number: self._intake.repeats.once(composed.token, submission)
            for number, (submission, composed) in enumerate(settled)
            if mark is None and composed.token and composed.deliveries
        }
        together = [submission for number, (submission, _) in enumerate(settled) if number not in alone]
        written = self._written(together, mark)
        if not alone:
            return written
        every: list[Deferred[Any]] = [written, *alone.values()]
        return DeferredList(every, consumeErrors=True).addCallback(_merged, list(alone))

    def _written(self, together: list[Submission], mark: Mark | None) -> Deferred[list[Message | Refused]]:
        parcels: list[Parcel] = []
        try:
            for submission in together:
                parcels.append(submission.parcel())
        except Refused as refused:  # A chunk of it was lost.
            for submission in together[: len(parcels)]:
                submission.lost("another of the same request isn't")
            for submission in together[len(parcels) :]:
                submission.abandon()
            return succeed([refused] * len(together))
        events = [event for parcel in parcels if not parcel.deliveries for event in parcel.events]
        written = self._intake.store.append_all([parcel for parcel in parcels if parcel.deliveries], mark, events)
        return written.addCallbacks(_stored, _lost, callbackArgs=(together,), errbackArgs=(together,))

    def abandon(self) -> None:
        """The client is gone, or its request is refused: forget what isn't given to be written."""
        for submission, _ in self._settled:
            submission.abandon()
        self._settled = []
        if self._open is not None:
            self._open.abandon()
            self._open = None


def _stored(_: None, together: Sequence[Submission]) -> list[Message | Refused]:
    return [submission.stored() for submission in together]


def _lost(failure: Failure, together: Sequence[Submission]) -> list[Message | Refused]:
    known = failure.check(StoreError) is not None
    for submission in together:
        submission.lost(failure.getErrorMessage() if known else "")
    if not known:
        failure.raiseException()
    return [Refused(NO_SPACE)] * len(together)


def _merged(told: list[Any], alone: Sequence[int]) -> list[Message | Refused]:
    """Those that were written together, and the others in their places."""
    (ok, written), *others = told
    if not ok:
        written.raiseException()
    found: list[Message | Refused] = list(written)
    for number, (taken, result) in zip(alone, others, strict=True):
        if not taken and not result.check(Refused):
            result.raiseException()
        found.insert(number, result if taken else result.value)
    return found
