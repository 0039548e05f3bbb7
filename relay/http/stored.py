"""Messages and deliveries one by one: what they are, where they stand and why, what has become of them, their text."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from twisted.internet.interfaces import IReactorTime

from relay.access.caller import Caller, Scope
from relay.channel.frames import CHUNK
from relay.config.plain import shown
from relay.events.shape import shape
from relay.http.answer import failure, iso, refusal
from relay.http.bodystream import BodyStream
from relay.http.delivery import DeliveryShown, described
from relay.http.events import EventShown, LineSaid
from relay.http.fields import wrong
from relay.http.frame import Call
from relay.http.operation import operation
from relay.http.range import NoPart, part_of
from relay.http.why import DeliveryWhy, Knowing, told
from relay.message.dialogue import shown as spoken
from relay.message.headers import HeaderBlock
from relay.message.queueid import is_queue_id, parse_name
from relay.message.values import Message
from relay.queue.filter import Filter
from relay.queue.search import Search
from relay.queue.store import Store, Unreadable

#: Deliveries of a message that are shown with it, and events of a delivery.
_DELIVERIES, _STEPS = 100, 5000
_NO_MESSAGE = "Not in the queue: all its deliveries have ended, or it never was there. See its history"


class OriginShown(msgspec.Struct, frozen=True):
    """Where a message came from: by which listener, from whom, how."""

    listener: str
    address: str
    host: str
    helo: str
    transport: str
    user: str
    tls: str


class MessageShown(msgspec.Struct, frozen=True, kw_only=True):
    """A message in the queue. `recipients` is how many it had, `deliveries` the first hundred that haven't ended;
    `more`: there are others, see `/v1/queue?id=`."""

    id: str
    sender: str
    message_id: str
    taken: str
    size: int
    header_size: int
    body_size: int
    recipients: int
    tenant: str | None
    tags: tuple[str, ...]
    metadata: dict[str, str]
    origin: OriginShown
    deliveries: list[DeliveryShown]
    more: bool


class FieldShown(msgspec.Struct, frozen=True):
    """A field of a header, its value on one line."""

    name: str
    value: str


class HeaderShown(msgspec.Struct, frozen=True):
    """The header as it is stored, in its order."""

    id: str
    fields: list[FieldShown]


class WholeDelivery(msgspec.Struct, frozen=True):
    """All that is known of a delivery. `delivery` and `why` are null when it has ended: `why` is as in
    `/v1/deliveries/{name}/why`, `events` as in `/v1/events`, oldest first, `dialogue` what was said at its last
    failure."""

    name: str
    delivery: DeliveryShown | None
    why: DeliveryWhy | None
    events: list[EventShown]
    dialogue: list[LineSaid]


class StoredApi:
    """The resources."""

    def __init__(
        self, store: Store, search: Search, reasons: Knowing, clock: IReactorTime, timeout: float
    ) -> None:
        """A client that takes nothing for `timeout` seconds is cut off."""
        self._store = store
        self._search = search
        self._reasons = reasons
        self._clock = clock
        self._timeout = timeout

    @operation(
        "GET", "/v1/messages/{queue_id}", scope=Scope.READ, tag="queue", answer=MessageShown, by_tenant=True
    )
    async def stored(self, call: Call, queue_id: str) -> MessageShown:
        """Shows a message, and where its deliveries stand."""
        message = self._found(call.caller, queue_id)
        page = self._search.page(Filter(id=queue_id), None, _DELIVERIES, _DELIVERIES + 1)
        origin = message.origin
        return MessageShown(
            id=message.id,
            sender=message.sender,
            message_id=message.message_id,
            taken=iso(message.created),
            size=message.size,
            header_size=len(message.headers),
            body_size=message.body_size,
            recipients=message.recipients,
            tenant=message.tenant or None,
            tags=message.tags,
            metadata=message.metadata,
            origin=OriginShown(
                origin.listener, origin.address, origin.host, origin.helo, origin.transport, origin.user, origin.tls
            ),
            deliveries=[described(one._replace(message=message), self._store) for one in page.found],
            more=page.next is not None and bool(self._search.page(Filter(id=queue_id), page.next, 1, 1).found),
        )

    @operation(
        "GET",
        "/v1/messages/{queue_id}/headers",
        scope=Scope.READ,
        tag="queue",
        answer=HeaderShown,
        by_tenant=True,
    )
    async def headers(self, call: Call, queue_id: str) -> HeaderShown:
        """Shows the header of a message, field by field."""
        lines = [line.partition(":") for _, line in HeaderBlock(self._found(call.caller, queue_id).headers).fields()]
        return HeaderShown(queue_id, [FieldShown(name.rstrip(), _unfolded(value)) for name, _, value in lines])

    @operation(
        "GET",
        "/v1/messages/{queue_id}/body",
        scope=Scope.READ,
        tag="queue",
        fields=("Range",),
        gives="application/octet-stream",
        also=(206,),
        errors=(416, 500),
        by_tenant=True,
    )
    async def body(self, call: Call, queue_id: str) -> None:
        """Streams the body of a message as it is stored, without the header.

        With `Range: bytes=0-999` it is that part of it (206).
        """
        message, request = self._found(call.caller, queue_id), call.request
        size = message.body_size
        request.setHeader(b"Accept-Ranges", b"bytes")
        try:
            part = part_of(request.getHeader("range"), size)
        except NoPart:
            of = b"bytes */%d" % size
            raise refusal(416, "NoSuchPart", f"It has {size} bytes", {b"Content-Range": of}) from None
        first, behind = part or (0, size)
        pieces = self._pieces(message, first, behind)
        try:
            begin = next(pieces, b"")
        except Unreadable as error:
            raise failure(500, f"The body can't be read: {error}") from None
        if part is not None:
            request.setResponseCode(206)
            request.setHeader(b"Content-Range", b"bytes %d-%d/%d" % (first, behind - 1, size))
        request.setHeader(b"Content-Type", b"application/octet-stream")
        request.setHeader(b"Content-Length", b"%d" % (behind - first))
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        request.setHeader(b"Cache-Control", b"no-store")
        request.setHeader(b"Content-Disposition", b"attachment; filename=%b.txt" % queue_id.encode("ascii"))
        request.write(begin)
        await BodyStream(request, self._clock, self._timeout).send(pieces)

    @operation(
        "GET",
        "/v1/deliveries/{name}",
        scope=Scope.READ,
        tag="queue",
        answer=WholeDelivery,
        by_tenant=True,
    )
    async def delivery(self, call: Call, name: str) -> WholeDelivery:
        """Shows all that is known of a delivery, also of one that has ended.

        That is where it stands and why, what has happened to it, and what was said when it failed last.
        """
        queue_id, seq = parse_name(name) or ("", None)
        if seq is None:
            raise wrong("name", f'expected the name of a delivery, "id.seq", got {shown(name)}')
        row = self._store.delivery(queue_id, seq)
        events = [shape(one) for one in self._store.history(queue_id, seq, _STEPS)]
        message = self._store.message(queue_id) if row is not None else None
        tenant = call.caller.tenant
        if tenant:
            events = [one for one in events if one.get("tenant") == tenant]
            if message is None or message.tenant != tenant:
                row = message = None
        if row is None and not any(one.get("seq") == seq for one in events):
            raise refusal(404, "ResourceNotFound", "Nothing is known of it")
        found = None if row is None else self._search.look(row)
        why = None if row is None else self._reasons.why(queue_id, seq)
        try:
            dialogue = msgspec.convert(spoken(self._store.dialogue(queue_id, seq)), list[LineSaid])
        except Unreadable as error:
            raise failure(500, f"The dialogue can't be read: {error}") from None
        return WholeDelivery(
            name,
            None if found is None else described(found._replace(message=message), self._store),
            None if why is None else told(why, call.caller),
            events,
            dialogue,
        )

    # -- inside

    def _found(self, caller: Caller, id: str) -> Message:
        """Raises Problem."""
        message = self._store.message(id) if is_queue_id(id) else None
        if message is None or caller.tenant not in ("", message.tenant):
            raise refusal(404, "ResourceNotFound", _NO_MESSAGE)
        return message

    def _pieces(self, message: Message, first: int, behind: int) -> Iterator[bytes]:
        """The body from byte `first` on, before `behind`. Raises Unreadable."""
        if first < behind:
            for number in range(first // CHUNK, (behind - 1) // CHUNK + 1):
                begin = number * CHUNK
                yield self._store.chunk(message.id, number)[max(0, first - begin) : behind - begin]


def _unfolded(value: str) -> str:
    return " ".join(part.strip() for part in value.split("\r\n")).strip()
