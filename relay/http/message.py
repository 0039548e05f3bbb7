"""One message: what it is, where its deliveries stand, its text; delete and send now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta
from twisted.internet.interfaces import IReactorTime

from relay.access.caller import Scope
from relay.dkim.canon import RelaxedBody
from relay.http.answer import failure, shielded
from relay.http.bodystream import BodyStream
from relay.http.frame import Call
from relay.http.message_shapes import Deferral, DeliveryRow, Lock, LogLine, MessageShown, described, logged
from relay.http.operation import operation
from relay.http.operator import Operator
from relay.http.slices import Slices
from relay.message.queueid import is_queue_id, parse_seq
from relay.message.values import Delivery, Message
from relay.queue.store import Store, Unreadable

_ROWS = 200


class FetchQuery(msgspec.Struct, frozen=True):
    """How much of the text."""

    body: Annotated[str, Meta(description="yes: only the body", examples=["yes"])] = ""


class Acted(msgspec.Struct, frozen=True):
    """On how many deliveries."""

    deliveries: int
    success: bool = True


class MessageApi:
    """The resources of single messages."""

    def __init__(
        self, store: Store, operator: Operator, clock: IReactorTime, now: Callable[[], int], timeout: float
    ) -> None:
        self._store = store
        self._operator = operator
        self._clock = clock
        self._now = now
        self._timeout = timeout

    @operation("GET", "/message/{queue_id}", scope=Scope.READ, tag="queue", answer=MessageShown)
    async def message(self, call: Call, queue_id: str) -> MessageShown:
        """Shows what is stored of a message, and each delivery of it that hasn't ended."""
        message = self._found(queue_id)
        slices = Slices(self._clock)
        rows: list[DeliveryRow] = []
        after, now = 0, self._now()
        while page := self._store.deliveries(queue_id, after, _ROWS):
            rows.extend(self._row(row, now) for row in page)
            after = page[-1].seq
            await slices.breathe()
        body_hash = message.body_hash or await self._body_hash(message, slices)
        return MessageShown(described(message, self._store.recipients(queue_id), body_hash), rows)

    @operation(
        "GET",
        "/fetch/{queue_id}",
        scope=Scope.READ,
        tag="queue",
        query=FetchQuery,
        gives="message/rfc822",
        errors=(500,),
    )
    async def fetch(self, call: Call, queue_id: str) -> None:
        """Streams the text of a message as it is stored.

        It has neither the Received field nor the signatures that it leaves with.
        """
        request = call.request
        message = self._found(queue_id)
        head = b"" if call.query.body == "yes" else message.headers + b"\r\n"
        try:
            first = self._store.chunk(queue_id, 0) if message.chunks else b""
        except Unreadable as error:
            raise failure(500, f"The body can't be read: {error}") from None
        request.setHeader(b"Content-Type", b"message/rfc822")
        request.setHeader(b"Content-Length", b"%d" % (len(head) + message.body_size))
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        request.setHeader(b"Content-Disposition", b"attachment; filename=%b.eml" % queue_id.encode("ascii"))
        request.write(head + first)
        if message.chunks > 1:
            await BodyStream(request, self._clock, self._timeout).send(
                self._store.chunk(queue_id, number) for number in range(1, message.chunks)
            )

    @operation("DELETE", "/message/{queue_id}", scope=Scope.OPERATE, tag="queue", answer=Acted)
    async def delete(self, call: Call, queue_id: str) -> Acted:
        """Deletes a message: strikes off all of its deliveries, and tells nobody.

        What doesn't exist, or is being sent, is no error; the answer says how many were struck off.
        """
        return await self._act(self._operator.delete, queue_id)

    @operation("DELETE", "/message/{queue_id}/{seq}", scope=Scope.OPERATE, tag="queue", answer=Acted)
    async def delete_one(self, call: Call, queue_id: str, seq: str) -> Acted:
        """Deletes one delivery, as it is done with all of a message."""
        return await self._act(self._operator.delete, queue_id, seq)

    @operation("PUT", "/message/{queue_id}", scope=Scope.OPERATE, tag="queue", answer=Acted)
    async def send_now(self, call: Call, queue_id: str) -> Acted:
        """Sends a message now: makes all of its deliveries due.

        What doesn't exist, or is being sent, is no error.
        """
        return await self._act(self._operator.send_now, queue_id)

    @operation("PUT", "/message/{queue_id}/{seq}", scope=Scope.OPERATE, tag="queue", answer=Acted)
    async def send_one_now(self, call: Call, queue_id: str, seq: str) -> Acted:
        """Sends one delivery now."""
        return await self._act(self._operator.send_now, queue_id, seq)

    # -- inside

    async def _act(self, action: Callable[[str, int | None], object], queue_id: str, seq: str = "") -> Acted:
        number = parse_seq(seq) if seq else None
        if not is_queue_id(queue_id) or (seq and number is None):
            return Acted(0)
        done: int = await shielded(action(queue_id, number))  # type: ignore[arg-type]
        return Acted(done)

    def _found(self, queue_id: str) -> Message:
        message = self._store.message(queue_id) if is_queue_id(queue_id) else None
        if message is None:
            raise failure(404, "Selected message does not exist")
        return message

    async def _body_hash(self, message: Message, slices: Slices) -> bytes:
        """Made on demand where no key may sign the message; empty when the body is gone."""
        body = RelaxedBody()
        try:
            for number in range(message.chunks):
                body.update(self._store.chunk(message.id, number))
                await slices.breathe()
        except Unreadable:
            return b""
        return body.digest()

    def _row(self, row: Delivery, now: int) -> DeliveryRow:
        return DeliveryRow(
            id=row.id,
            seq=f"{row.seq:03x}",
            zone=row.zone,
            recipient=row.recipient,
            status="HELD" if row.held else "DEFERRED" if row.due > now else "QUEUED",
            held=row.held,
            lock=self._lock(row),
            deferred=self._deferral(row) if row.attempts or row.due > now else None,
        )

    def _lock(self, row: Delivery) -> Lock | None:
        lease = self._operator.leased(row.id, row.seq)
        if lease is None:
            return None
        return Lock(f"lock {row.id} {row.seq:03x}", lease.zone, row.domain, lease.child, lease.since)

    def _deferral(self, row: Delivery) -> Deferral:
        return Deferral(
            first=row.first_failure,
            count=row.attempts,
            last=row.last_failure,
            next=row.due,
            response=row.response,
            category=row.category,
            log=self._log(row),
        )

    def _log(self, row: Delivery) -> list[LogLine]:
        """The dialogue of the last failure."""
        try:
            dialogue = self._store.dialogue(row.id, row.seq)
        except Unreadable:
            dialogue = None
        return [] if dialogue is None else [logged(one) for one in dialogue.lines()]
