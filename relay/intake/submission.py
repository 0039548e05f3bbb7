"""A message on its way in: header made fit, body cut into chunks, all of it on disk.

Every way in (SMTP, HTTP, later the relay's own bounces) ends here. The text comes in any
split; small messages stay in one piece, large ones go to the store chunk by chunk and the
client is held back while the disk is behind. A receiver child makes the chunks itself; what
is done with them and with the header is the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Literal, Protocol

import msgspec.structs
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.access.quota import Charge
from relay.channel.frames import CHUNK, MAX_HEADER
from relay.config.schema import Dkim
from relay.dkim.keys import KeyIndex
from relay.dkim.need import is_hashed
from relay.events.steps import Events, Steps
from relay.intake.author import check_author, check_sender
from relay.intake.composing import Composed, Composer
from relay.intake.consignment import Consignment
from relay.intake.heed import Heed
from relay.intake.onetime import OneTime
from relay.intake.repeats import NO_SPACE, Repeats
from relay.listener.door import Refused, Terms
from relay.listener.draft import TOO_LONG_HEADER, Draft, HeaderTooLong, Text
from relay.logs.maillog import MailLog
from relay.message.envelope import Envelope
from relay.message.headers import HeaderBlock
from relay.message.queueid import QueueIds
from relay.message.trail import Trail
from relay.message.user import User
from relay.message.values import Delivery, Message, Origin
from relay.queue.schedule import Schedule
from relay.queue.store import Parcel, Store, StoreError
from relay.smtp.reply import Reply
from relay.zone.routing import Router

_log = Logger()

#: Chunks given to the store and not yet on disk before the client has to wait.
_AHEAD = 4
#: The same over all submissions: beyond it each may have one.
_AHEAD_IN_ALL = 48


class Counts(Protocol):
    """What is counted of messages; the metrics implement it."""

    def pushed(self, ok: bool) -> None: ...
    def dropped(self) -> None: ...
    def accepted(self, transport: str, seconds: float) -> None: ...
    def suppressed(self, where: Literal["attempt", "submission"], count: int = 1) -> None: ...


class Intake:
    """The single door into the queue."""

    def __init__(
        self,
        *,
        store: Store,
        schedule: Schedule,
        router: Router,
        keys: KeyIndex,
        hostname: str,
        log: MailLog,
        counts: Counts,
        now: Callable[[], int],
        heed: Heed,
        names: Collection[str] = (),
        idempotency: float = 86400.0,
        urgency: Callable[[str], str] = lambda user: "",
        dkim: Dkim | None = None,
        steps: Steps | None = None,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """`heed`: what is done with recipients who get no mail; `names`: what deliveries call us, beside `hostname`;
        `idempotency`: for how long an X-Idempotency-Key is remembered (seconds); `urgency`: see Composer; `steps`: None
        where no events are kept."""
        self.store = store
        self.schedule = schedule
        self.keys = keys
        self.dkim = dkim or Dkim()
        self.log = log
        self.counts = counts
        self.now = now
        self.seconds = seconds
        self.steps = steps or Steps(False, now)
        self.ids = QueueIds(now)
        self.heed = heed
        self.composer = Composer(router, Trail({hostname, *names}, self.ids.node), hostname, heed, urgency)
        self.repeats = Repeats(store, now, round(idempotency * 1000))
        self.once = OneTime(store, now, round(idempotency * 1000))
        #: Chunks of all submissions that are given to the store and not yet on disk.
        self.flying = 0

    def open(
        self, origin: Origin, terms: Terms, user: User | None = None, charge: Charge | None = None
    ) -> Submission:
        """Begin a submission; `charge` is given back when it comes to nothing. Raises Refused
        when nothing can be taken now."""
        if not self.store.accepting():
            raise Refused(NO_SPACE)
        return Submission(self, self.ids.next(), origin, terms, user, charge)

    def consignment(self) -> Consignment:
        """For messages that come together."""
        return Consignment(self)

    def note_refusal(self, name: str, origin: Origin, refusal: Reply, sender: str = "") -> None:
        """A line of the mail log; `name` is the queue id that the message was to have, "-" for none."""
        self.log.write(
            "refused",
            name,
            listener=origin.listener,
            client=origin.address,
            user=origin.user,
            sender=sender,
            reply=f"{refusal.code} {refusal.text}",
        )

    def taken(self, message: Message, deliveries: Sequence[Delivery], body: bytes) -> None:
        """A message is on disk; `body` is the last chunk of it."""
        self.counts.pushed(True)
        wait = deliveries[0].due - message.created
        self.log.write(
            "queued",
            message.id,
            listener=message.origin.listener,
            client=message.origin.address,
            user=message.origin.user,
            sender=f"<{message.sender}>",
            recipients=len(deliveries),
            size=message.size,
            message_id=message.message_id,
            **({"seconds_to_first": wait // 1000} if wait else {}),
        )
        self.schedule.add(message, deliveries, body if message.chunks <= 1 else None)

    def hashes(self, block: HeaderBlock) -> bool:
        """Whether a key may sign a message with this header."""
        return is_hashed(self.keys, block, self.dkim)


class Submission:
    """One message until it is on disk or refused."""

    __slots__ = (
        "_charge",
        "_chunks",
        "_composed",
        "_draft",
        "_ended",
        "_flying",
        "_given",
        "_intake",
        "_origin",
        "_problem",
        "_terms",
        "_user",
        "_waiter",
        "id",
    )

    def __init__(
        self,
        intake: Intake,
        queue_id: str,
        origin: Origin,
        terms: Terms,
        user: User | None,
        charge: Charge | None,
    ) -> None:
        self.id = queue_id
        self._intake = intake
        self._origin = origin
        self._terms = terms
        self._user = user
        self._charge = charge
        self._draft = Draft(min(terms.max_header, MAX_HEADER), intake.hashes, self.give)
        self._composed: Composed | None = None
        self._chunks = 0
        self._given = 0
        self._flying = 0
        self._waiter: Deferred[None] | None = None
        self._problem: Reply | None = None
        self._ended = 0.0

    @property
    def held(self) -> int:
        """Bytes of it in memory: what is collected, and chunks on their way to the disk."""
        return self._draft.held + self._flying * CHUNK

    # -- text in

    def write(self, data: bytes) -> None:
        """Message text with CRLF line ends, in any split."""
        if self._problem is not None:
            return
        try:
            self._draft.write(data)
        except HeaderTooLong:
            self._problem = TOO_LONG_HEADER

    def give(self, number: int, chunk: bytes) -> None:
        """The next whole chunk of body, of CHUNK bytes, from a receiver; see `wait`, `complete`."""
        written = self._intake.store.add_chunk(self.id, number, chunk)
        self._chunks += 1
        self._flying += 1
        self._intake.flying += 1
        written.addCallbacks(self._landed, self._lost)

    def _landed(self, _: object) -> None:
        self._flying -= 1
        self._intake.flying -= 1
        if self._waiter is not None and self._flying < _AHEAD // 2:
            waiter, self._waiter = self._waiter, None
            waiter.callback(None)

    def _lost(self, failure: Failure) -> None:
        self._problem = NO_SPACE
        self._landed(None)
        if not failure.check(StoreError):
            _log.failure("chunk of {id} not stored", failure, id=self.id)

    def wait(self) -> Deferred[None] | None:
        """None: give more. Else pause the client until it fires."""
        if self._flying < (_AHEAD if self._intake.flying < _AHEAD_IN_ALL else 1):
            return None
        if self._waiter is None:
            self._waiter = Deferred()
        return self._waiter

    # -- the end

    def finish(self, envelope: Envelope) -> Deferred[Message]:
        """End of text: fires when the message is on disk, or fails with Refused."""
        try:
            composed = self.settle(envelope)
        except Refused as refused:
            return fail(refused)
        return self._kept(composed)

    def settle(self, envelope: Envelope) -> Composed:
        """End of text: what is to be kept of it, in whichever way. Raises Refused, and it is forgotten."""
        if self._problem is None:
            try:
                block, text = self._draft.end()
                return self._settle(envelope, block, text)
            except HeaderTooLong:
                self._problem = TOO_LONG_HEADER
        self.reject(envelope.sender, self._problem)
        raise Refused(self._problem)

    def complete(self, envelope: Envelope, block: HeaderBlock, text: Text) -> Deferred[Message]:
        """`finish` for a text whose chunks were given and whose header is known."""
        try:
            composed = self._settle(envelope, block, text)
        except Refused as refused:
            return fail(refused)
        return self._kept(composed)

    def _settle(self, envelope: Envelope, block: HeaderBlock, text: Text) -> Composed:
        self._ended = self._intake.seconds()
        try:
            if self._problem is not None:
                raise Refused(self._problem)
            self._composed = self._compose(envelope, block, text)
        except Refused as refused:
            self.reject(envelope.sender, refused.reply)
            raise
        return self._composed

    def _kept(self, composed: Composed) -> Deferred[Message]:
        if composed.token and composed.deliveries:
            return self._intake.repeats.once(composed.token, self)
        return self.keep(b"")

    def keep(self, token: bytes) -> Deferred[Message]:
        """Write it down. `token` goes into the same batch."""
        try:
            parcel = self.parcel()
        except Refused as refused:
            return self.refuse(refused)
        store = self._intake.store
        written = store.append(*parcel[:3], token, parcel.events) if parcel.deliveries else store.tell(parcel.events)
        return written.addCallbacks(lambda _: self.stored(), self._not_stored)

    def parcel(self) -> Parcel:
        """What goes to the store of a message that is settled: where all its recipients are dropped, its events alone.
        `stored` or `lost` is to follow. Raises Refused, once."""
        assert self._composed is not None
        if self._problem is not None:
            raise Refused(self._problem)  # a chunk was lost while another was waited for
        message, deliveries, body, *_ = self._composed
        left_out = self._left_out(self._composed)
        if not deliveries:
            return Parcel(message, deliveries, body, left_out)
        # The chunks are the message's from now on: what is abandoned takes none away.
        self._given, self._chunks = self._chunks, 0
        return Parcel(message, deliveries, body, self._intake.steps.queued(message, deliveries) + left_out)

    def stored(self) -> Message:
        """What `parcel` gave is on disk."""
        assert self._composed is not None
        message, deliveries, body, *_ = self._composed
        self._charge = None  # It was taken: nothing gives that back any more.
        self._count_time()
        if deliveries:
            self._intake.taken(message, deliveries, body)
        else:
            self._forget_chunks()
            self._intake.counts.pushed(True)
            self._intake.counts.dropped()
        self._note_unwanted(self._composed)
        return message

    def lost(self, why: str) -> None:
        """What `parcel` gave could not be written: forget it."""
        self._intake.counts.pushed(False)
        self._chunks += self._given
        self._forget_chunks()
        self._give_back()
        if why:
            _log.warn("{id} not stored: {why}", id=self.id, why=why)
            self._intake.note_refusal(self.id, self._origin, NO_SPACE)

    def _not_stored(self, failure: Failure) -> Failure:
        if failure.check(StoreError):
            self.lost(failure.getErrorMessage())
            raise Refused(NO_SPACE)
        self.lost("")
        return failure

    def _left_out(self, composed: Composed) -> Events:
        if not composed.unwanted:
            return ()
        whom = ((recipient, entry.words, entry.whom) for recipient, entry in composed.unwanted)
        return self._intake.steps.left_out(composed.message, whom)

    def _note_unwanted(self, composed: Composed) -> None:
        """Those who are dropped: nobody else is told."""
        for recipient, entry in composed.unwanted:
            self._intake.log.write(
                "suppressed",
                self.id,
                listener=self._origin.listener,
                sender=f"<{composed.message.sender}>",
                to=f"<{recipient}>",
                user=self._origin.user,
                entry=entry.id,
                source=entry.source,
                reason=entry.reason,
            )
        if composed.unwanted:
            self._intake.counts.suppressed("submission", len(composed.unwanted))

    def refuse(self, refused: Refused) -> Deferred[Message]:
        """Forget it; the Deferred has failed with `refused`."""
        self.reject(None if self._composed is None else self._composed.message.sender, refused.reply)
        return fail(refused)

    def reject(self, sender: str | None, refusal: Reply) -> None:
        """It is refused with these words: forget it, and note that. `sender` None: nobody knows."""
        self.abandon()
        self._intake.counts.pushed(False)
        self._intake.counts.dropped()
        self._intake.note_refusal(self.id, self._origin, refusal, "" if sender is None else f"<{sender}>")

    def _compose(self, envelope: Envelope, block: HeaderBlock, text: Text) -> Composed:
        intake, user = self._intake, self._user
        if user is not None:
            check_author(user, block)
        composed = intake.composer.compose(
            self.id,
            envelope,
            block,
            text,
            self._origin,
            self._terms,
            intake.now(),
            user=self._origin.user if user is None else user.name,
            zone="" if user is None else user.zone,
            tenant="" if user is None else user.tenant,
        )
        if user is not None:
            check_sender(user, composed.message.sender)
        return composed

    def repeated(self, queue_id: str) -> Message:
        """The message is here already, by another id."""
        assert self._composed is not None
        self.abandon()
        self._intake.log.write("repeated", queue_id, listener=self._origin.listener, client=self._origin.address)
        return msgspec.structs.replace(self._composed.message, id=queue_id)

    def _count_time(self) -> None:
        self._intake.counts.accepted(self._origin.transport, self._intake.seconds() - self._ended)

    def abandon(self) -> None:
        """The client is gone or the message was refused: forget what was written."""
        if self._problem is None:
            self._problem = NO_SPACE
        self._forget_chunks()
        self._give_back()

    def _give_back(self) -> None:
        charge, self._charge = self._charge, None
        if charge is not None:
            charge.give_back()

    def _forget_chunks(self) -> None:
        if self._chunks:
            chunks, self._chunks = self._chunks, 0
            # A failure leaves chunks without a message, which the next start sweeps.
            self._intake.store.discard(self.id, chunks).addErrback(
                lambda failure: _log.info("chunks of {id} stay for the sweep", id=self.id)
            )
