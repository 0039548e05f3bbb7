"""One message: what it is, where its deliveries stand, its text; delete and send now."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable

from klein import Klein
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IRequest
from twisted.web.server import Request

from relay.dkim.canon import RelaxedBody
from relay.http.answer import answer, failure, shielded
from relay.http.bodystream import BodyStream
from relay.http.operator import Operator
from relay.http.slices import Slices
from relay.message.addresslist import parse_list
from relay.message.dialogue import HOST, WE, Spoken
from relay.message.headers import HeaderBlock
from relay.message.queueid import is_queue_id, parse_seq
from relay.message.values import Delivery, Message
from relay.queue.store import Store, Unreadable

_ROWS = 200
_ADDRESSES = 10_000
_ENDS = {HOST: "server", WE: "client"}
_ENVELOPE = {"from": "From", "to": "To", "cc": "Cc", "bcc": "Bcc", "replyTo": "Reply-To", "sender": "Sender"}


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

    def add_routes(self, app: Klein) -> None:
        app.route("/message/<queue_id>", methods=["GET"])(self.message)
        app.route("/fetch/<queue_id>", methods=["GET"])(self.fetch)
        for number, path in enumerate(("", "/", "/<seq>")):
            path = "/message/<queue_id>" + path
            app.route(path, methods=["DELETE"], endpoint=f"delete{number}")(self.delete)
            app.route(path, methods=["PUT"], endpoint=f"send_now{number}")(self.send_now)

    async def message(self, request: IRequest, queue_id: str) -> bytes:
        """What is stored of a message, and each delivery that hasn't ended."""
        message = self._found(queue_id)
        slices = Slices(self._clock)
        rows: list[dict[str, object]] = []
        after, now = 0, self._now()
        while page := self._store.deliveries(queue_id, after, _ROWS):
            rows.extend(self._row(row, now) for row in page)
            after = page[-1].seq
            await slices.breathe()
        body_hash = message.body_hash or await self._body_hash(message, slices)
        meta = described(message, self._store.recipients(queue_id), body_hash)
        return answer(request, {"meta": meta, "messages": rows})

    async def fetch(self, request: Request, queue_id: str) -> bytes | None:
        """The stored text, streamed; only the body with `?body=yes`."""
        message = self._found(queue_id)
        head = b"" if request.args.get(b"body", [b""])[-1] == b"yes" else message.headers + b"\r\n"
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
        return None

    async def delete(self, request: IRequest, queue_id: str, seq: str = "") -> bytes:
        """Strikes deliveries off. What doesn't exist, or is being sent, is no error."""
        return answer(
            request, {"success": True, "deliveries": await self._act(self._operator.delete, queue_id, seq)}
        )

    async def send_now(self, request: IRequest, queue_id: str, seq: str = "") -> bytes:
        """Makes deliveries due; errors as `delete`."""
        return answer(
            request, {"success": True, "deliveries": await self._act(self._operator.send_now, queue_id, seq)}
        )

    # -- inside

    async def _act(self, action: Callable[[str, int | None], object], queue_id: str, seq: str) -> int:
        number = parse_seq(seq) if seq else None
        if not is_queue_id(queue_id) or (seq and number is None):
            return 0
        done: int = await shielded(action(queue_id, number))  # type: ignore[arg-type]
        return done

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

    def _row(self, row: Delivery, now: int) -> dict[str, object]:
        seq = f"{row.seq:03x}"
        shown: dict[str, object] = {
            "id": row.id,
            "seq": seq,
            "zone": row.zone,
            "recipient": row.recipient,
            "status": "HELD" if row.held else "DEFERRED" if row.due > now else "QUEUED",
        }
        if row.held:
            shown["held"] = row.held
        lease = self._operator.leased(row.id, row.seq)
        if lease is not None:
            shown["lock"] = {
                "key": f"lock {row.id} {seq}",
                "zone": lease.zone,
                "domain": row.domain,
                "lockOwner": lease.child,
                "created": lease.since,
            }
        if row.attempts or row.due > now:
            shown["deferred"] = {
                "first": row.first_failure,
                "count": row.attempts,
                "last": row.last_failure,
                "next": row.due,
                "response": row.response,
                "category": row.category,
                "log": self._log(row),
            }
        return shown


    def _log(self, row: Delivery) -> list[dict[str, object]]:
        """The dialogue of the last failure."""
        try:
            dialogue = self._store.dialogue(row.id, row.seq)
        except Unreadable:
            dialogue = None
        lines = [] if dialogue is None else dialogue.lines()
        return [_logged(one) for one in lines]


def _logged(one: Spoken) -> dict[str, object]:
    level, end = ("debug", _ENDS[one.who]) if one.who in _ENDS else ("info", "network")
    return {"time": one.time, "level": level, "tnx": end, "message": one.text}


def described(message: Message, recipients: list[str], body_hash: bytes) -> dict[str, object]:
    """The `meta` of a message."""
    origin, block = message.origin, HeaderBlock(message.headers)
    meta: dict[str, object] = {
        "id": message.id,
        "interface": origin.listener,
        "from": message.sender,
        "to": recipients,
        "origin": origin.address,
        "originhost": origin.host or f"[{origin.address}]",
        "transhost": origin.helo or "localhost",
        "transtype": origin.transport,
        "time": message.created,
        "created": message.created,
        "dkim": {"hashAlgo": "sha256", "bodyHash": b64encode(body_hash).decode("ascii")},
        "headers": [{"key": key, "line": line} for key, line in block.fields()],
        "parsedEnvelope": {key: _addresses(block, name) for key, name in _ENVELOPE.items()},
        "messageId": message.message_id,
        "date": block.get("Date") or "",
        "bodySize": message.body_size,
    }
    if origin.user:
        meta["user"] = origin.user
    if origin.tls:
        meta["tls"] = origin.tls
    if message.fbl:
        meta["fbl"] = message.fbl
    return meta


def _addresses(block: HeaderBlock, name: str) -> list[str]:
    try:
        return [address.text for address in parse_list(", ".join(block.all(name)), _ADDRESSES)]
    except ValueError:
        return []
