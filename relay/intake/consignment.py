"""The messages of one request, written down together: all of them are on disk, or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
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

    def keep(self, mark: Mark | None = None) -> list[Deferred[Message]]:
        """Write down those that were settled, and the mark of the key they came under. Each is told, in their order,
        when it is on disk, or fails with Refused. Without a mark, one that has an X-Idempotency-Key goes by that."""
        settled, self._settled = self._settled, []
        told: list[Deferred[Message]] = []
        together: list[tuple[Submission, Deferred[Message]]] = []
        for submission, composed in settled:
            if mark is None and composed.token and composed.deliveries:
                told.append(self._intake.repeats.once(composed.token, submission))
            else:
                one: Deferred[Message] = Deferred()
                told.append(one)
                together.append((submission, one))
        self._write(together, mark)
        return told

    def _write(self, together: Sequence[tuple[Submission, Deferred[Message]]], mark: Mark | None) -> None:
        parcels: list[Parcel] = []
        problem: Refused | None = None
        for submission, _ in together:
            try:
                parcels.append(submission.parcel())
            except Refused as refused:  # A chunk of it was lost.
                problem = refused
                break
        if problem is not None:
            for number, (submission, one) in enumerate(together):
                if number < len(parcels):
                    submission.lost("another of the same request isn't")
                else:
                    submission.abandon()
                one.errback(problem)
            return
        events = [event for parcel in parcels if not parcel.deliveries for event in parcel.events]
        written = self._intake.store.append_all([parcel for parcel in parcels if parcel.deliveries], mark, events)
        written.addCallbacks(_stored, _lost, callbackArgs=(together,), errbackArgs=(together,))

    def abandon(self) -> None:
        """The client is gone, or its request is refused: forget what isn't given to be written."""
        for submission, _ in self._settled:
            submission.abandon()
        self._settled = []
        if self._open is not None:
            self._open.abandon()
            self._open = None


def _stored(_: None, together: Sequence[tuple[Submission, Deferred[Message]]]) -> None:
    for submission, one in together:
        try:
            message = submission.stored()
        except Exception:
            one.errback()
        else:
            one.callback(message)


def _lost(failure: Failure, together: Sequence[tuple[Submission, Deferred[Message]]]) -> None:
    known = failure.check(StoreError) is not None
    for submission, one in together:
        submission.lost(failure.getErrorMessage() if known else "")
        one.errback(Refused(NO_SPACE) if known else failure)
