"""A message on its way in: header made fit, body cut into chunks, all of it on disk.

Every way in (SMTP, HTTP, later the relay's own bounces) ends here. The text comes in any
split; small messages stay in one piece, large ones go to the store chunk by chunk and the
client is held back while the disk is behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.access.quota import Charge
from relay.channel.frames import CHUNK, MAX_HEADER
from relay.dkim.keys import KeyIndex
from relay.intake.author import check_author
from relay.listener.destination import LOCAL_DESTINATION, is_local
from relay.listener.door import Refused, Terms
from relay.listener.draft import Draft, HeaderTooLong, Text
from relay.logs.maillog import MailLog
from relay.message.addresslist import recipients_of, sender_of
from relay.message.envelope import Envelope, Recipient
from relay.message.headers import HeaderBlock, completed
from relay.message.queueid import QueueIds
from relay.message.user import User
from relay.message.values import Delivery, Message, Origin
from relay.queue.schedule import Schedule
from relay.queue.store import Store, StoreError
from relay.smtp.reply import Reply, reply
from relay.zone.routing import Router

_log = Logger()

#: Chunks given to the store and not yet on disk before the client has to wait.
_AHEAD = 4
#: The same over all submissions: beyond it each may have one.
_AHEAD_IN_ALL = 48

NO_SPACE = reply(452, "4.3.1 The queue can't take mail now, try again later")
TOO_LONG_HEADER = reply(552, "5.3.4 Error: the header is too long")


class Counts(Protocol):
    """What is counted of messages; the metrics implement it."""

    def pushed(self, ok: bool) -> None: ...


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
    ) -> None:
        self.store = store
        self.schedule = schedule
        self.router = router
        self.keys = keys
        self.hostname = hostname
        self.log = log
        self.counts = counts
        self.now = now
        self.ids = QueueIds(now)
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

    def hashes(self, block: HeaderBlock) -> bool:
        """Whether a key may sign a message with this header."""
        domain, keys = _domain_of(block.get("From") or ""), self.keys
        # Without a domain to go by here it is the sender's that signs, and who that is is told at the end.
        return keys.may_sign(domain) or (not _is_plain(domain) and keys.any())


class Submission:
    """One message until it is on disk or refused."""

    __slots__ = (
        "_charge",
        "_chunks",
        "_draft",
        "_flying",
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
        self._draft = Draft(min(terms.max_header, MAX_HEADER), intake.hashes, self._give)
        self._chunks = 0
        self._flying = 0
        self._waiter: Deferred[None] | None = None
        self._problem: Reply | None = None

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

    def _give(self, number: int, chunk: bytes) -> None:
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
            if self._problem is not None:
                raise Refused(self._problem)
            message, deliveries, body = self._compose(envelope, *self._draft.end())
        except HeaderTooLong:
            return self._refused(Refused(TOO_LONG_HEADER))
        except Refused as refused:
            return self._refused(refused)
        # The chunks are the message's from now on: what is abandoned takes none away.
        chunks, self._chunks = self._chunks, 0
        written = self._intake.store.append(message, deliveries, body)
        return written.addCallbacks(
            self._stored,
            self._not_stored,
            callbackArgs=(message, deliveries, body),
            errbackArgs=(chunks,),
        )

    def _refused(self, refused: Refused) -> Deferred[Message]:
        self.abandon()
        self._intake.counts.pushed(False)
        return fail(refused)

    def _compose(
        self, envelope: Envelope, block: HeaderBlock, text: Text
    ) -> tuple[Message, list[Delivery], bytes]:
        intake, now = self._intake, self._intake.now()
        sender, recipients = envelope.sender, envelope.recipients
        try:
            if sender is None:
                sender = sender_of(block).text
            if recipients is None:
                recipients = _once(address.text for address in recipients_of(block, envelope.most))
        except ValueError as error:
            raise Refused(reply(550, f"5.5.2 Error: {error}")) from None
        if not recipients:
            raise Refused(reply(550, "5.5.1 Error: Empty recipients list"))
        if self._user is not None:
            check_author(self._user, block)
        sender_domain = sender.rpartition("@")[2]
        asked = block.get("X-Sending-Zone") if self._terms.routing_headers else None
        zone = intake.router.for_message(
            (self._user.zone if self._user is not None else "") or asked or "",
            block.all,
            _domain_of(block.get("From") or ""),
            sender_domain,
        )
        headers, message_id = completed(block, sender_domain or intake.hostname, now)
        message = Message(
            self.id,
            sender,
            self._origin,
            now,
            headers.raw,
            text.body_size,
            text.chunks + bool(text.rest),
            len(recipients),
            text.eight_bit,
            message_id,
            text.body_hash,
        )
        for_recipient = intake.router.for_recipient
        deliveries = []
        for seq, recipient in enumerate(recipients, 1):
            domain = recipient.address.rpartition("@")[2]
            if is_local(domain):
                raise Refused(LOCAL_DESTINATION)
            deliveries.append(
                Delivery(self.id, seq, for_recipient(zone, domain), domain, recipient.address, now)
            )
        return message, deliveries, text.rest

    def _stored(self, _: None, message: Message, deliveries: list[Delivery], body: bytes) -> Message:
        intake = self._intake
        self._charge = None  # It was taken: nothing gives that back any more.
        intake.counts.pushed(True)
        intake.log.write(
            "queued",
            self.id,
            listener=self._origin.listener,
            client=self._origin.address,
            user=self._origin.user,
            sender=f"<{message.sender}>",
            recipients=len(deliveries),
            size=message.size,
            message_id=message.message_id,
        )
        intake.schedule.add(message, deliveries, body if message.chunks <= 1 else None)
        return message

    def _not_stored(self, failure: Failure, chunks: int) -> Failure:
        self._intake.counts.pushed(False)
        self._chunks = chunks
        self._forget_chunks()
        self._give_back()
        if failure.check(StoreError):
            _log.warn("{id} not stored: {why}", id=self.id, why=failure.getErrorMessage())
            raise Refused(NO_SPACE)
        return failure

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


def _domain_of(field: str) -> str:
    """The domain of the last address in a From field, as far as a glance tells: it picks
    a zone or a key, it is never mailed to. "" when there is no address."""
    _, at, rest = field.rpartition("@")
    return rest.partition(">")[0].strip().lower() if at else ""


def _is_plain(domain: str) -> bool:
    """Whether a glance has found a domain and nothing else."""
    return domain.replace("-", "").replace(".", "").isalnum()


def _once(recipients: Iterable[str]) -> tuple[Recipient, ...]:
    """Each address once, whatever its case; a later spelling replaces the earlier."""
    return tuple(Recipient(one) for one in {recipient.lower(): recipient for recipient in recipients}.values())
