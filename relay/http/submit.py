"""`POST /send-raw`: a message as it is, streamed through the same door as SMTP's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import msgspec
from twisted.internet.defer import Deferred

from relay.access.caller import Caller, Scope
from relay.config.schema import Api
from relay.http.access import address_of
from relay.http.answer import encoded, failure, from_reply, shielded, written
from relay.http.frame import Call
from relay.http.onetime import NAME, once
from relay.http.operation import operation
from relay.intake.onetime import Key, OneTime
from relay.listener.door import Consignment, Intake, Refused, Settled, Submission, Terms
from relay.message.address import parse
from relay.message.addresslist import parse_list
from relay.message.envelope import Envelope, Recipient
from relay.message.lines import CrlfLines
from relay.message.user import User
from relay.message.values import Origin

if TYPE_CHECKING:
    from relay.http.request import ApiRequest

LISTENER = "api"
_PATH = b"/send-raw"
TERMS = Terms(routing_headers=True, future_date=True)
_MAX_USER = 1024


class MessageUpload:
    """One message on its way from a request body to the intake."""

    def __init__(
        self,
        consignment: Consignment,
        origin: Origin,
        user: User | None,
        options: Api,
        sender: str | None,
        recipients: Sequence[str] | None,
        hashed: bool,
    ) -> None:
        """`hashed`: what it says will be asked for. Raises Refused: nothing can be taken now."""
        self.limit = options.max_size
        self.recipients = recipients
        self.consignment = consignment
        self._submission: Submission | None = consignment.open(origin, TERMS, user)
        self._most = options.max_recipients
        self._sender = sender
        self._lines = CrlfLines()
        self._hash = hashlib.sha256() if hashed else None
        self._nul = False

    def write(self, data: bytes) -> None:
        """Takes the next piece, with any line ends."""
        if self._submission is not None:
            self._nul = self._nul or b"\0" in data
            if self._hash is not None:
                self._hash.update(data)
            self._submission.write(self._lines.feed(data))

    def wait(self) -> Deferred[None] | None:
        return self._submission.wait() if self._submission is not None else None

    @property
    def said(self) -> bytes:
        """What stands for the text."""
        return b"" if self._hash is None else self._hash.digest()

    def settle(self) -> Settled:
        """The end of the text: `consignment` keeps it then. Raises Refused.

        Raises:
            Problem: the text is none that mail can carry.
        """
        submission, self._submission = self._submission, None
        assert submission is not None, "a refused upload has no end"
        if self._nul:
            raise failure(400, "The message contains NUL bytes")
        rest = self._lines.end()
        if rest:
            submission.write(rest)
        named = None if self.recipients is None else tuple(map(Recipient, self.recipients))
        return self.consignment.settle(Envelope(self._sender, named, most=self._most))

    def abandon(self) -> None:
        """Forget it, unless it is given to be written."""
        self._submission = None
        self.consignment.abandon()


class Sent(msgspec.Struct, frozen=True):
    """A message that is on disk."""

    id: str
    from_: str = msgspec.field(name="from")
    to: Sequence[str]
    response: str


class RawQuery(msgspec.Struct, frozen=True):
    """The envelope; `from` empty is the null sender."""

    from_: str | None = msgspec.field(default=None, name="from")
    to: list[str] = []


class SubmitApi:
    """The resources that take mail."""

    def __init__(self, options: Api, intake: Intake, once: OneTime, now: Callable[[], int]) -> None:
        """`now` gives ms since the epoch."""
        self._options = options
        self._intake = intake
        self._once = once
        self._now = now

    def upload(self, request: ApiRequest) -> MessageUpload | None:
        """Begins a message when `request`, of which the header is there, brings one.

        Raises:
            Problem: the request is wrong, or nothing can be taken now.
        """
        if request.method != b"POST" or request.path != _PATH:
            return None
        sender, recipients = self._envelope(request.uri.partition(b"?")[2])
        origin, keyed = origin_of(request), request.requestHeaders.hasHeader(NAME)
        user = user_of(request.caller, origin)
        try:
            return MessageUpload(self._intake.consignment(), origin, user, self._options, sender, recipients, keyed)
        except Refused as refused:
            raise from_reply(refused.reply) from None

    @operation(
        "POST",
        "/send-raw",
        scope=Scope.SUBMIT,
        tag="messages",
        query=RawQuery,
        takes="message/rfc822",
        answer=Sent,
        errors=(409, 507),
        by_tenant=True,
    )
    async def send_raw(self, call: Call) -> bytes:
        """Takes a message as it is.

        Without `from` and `to` its header says whom it is from and for.
        """
        request = call.request
        upload = request.upload
        if not isinstance(upload, MessageUpload):
            raise failure(400, "Send it to /send-raw, spelt like that")
        origin, query = origin_of(request), request.uri.partition(b"?")[2]
        try:
            body = await once(
                self._once, request, origin, (query, upload.said), lambda key: self._kept(upload, key)
            )
        finally:
            upload.abandon()
        return written(request, body)

    async def _kept(self, upload: MessageUpload, key: Key | None) -> bytes:
        try:
            settled = upload.settle()
            body = encoded(said_of(settled, upload.recipients))
            mark = None if key is None else key.mark(settled.message.id, self._now(), body)
            [kept] = await shielded(upload.consignment.keep(mark))
            if isinstance(kept, Refused):
                raise kept
        except Refused as refused:
            raise from_reply(refused.reply) from None
        return encoded(said_of(settled._replace(message=kept), upload.recipients))

    def _envelope(self, query: bytes) -> tuple[str | None, list[str] | None]:
        """`from` and `to` of the query; an empty `from` is the null sender."""
        try:
            fields = parse_qs(query.decode("ascii"), True, errors="strict", max_num_fields=10_000)
            senders, lists = fields.get("from"), fields.get("to")
            if senders is not None and len(senders) > 1:
                raise ValueError("several senders")
            sender = None if senders is None else senders[0] and parse(senders[0]).text
            if lists is None:
                return sender, None
            found = parse_list(", ".join(lists), self._options.max_recipients)
        except ValueError as error:
            raise failure(400, f"Bad envelope: {error}") from None
        # Given twice, in whatever case: one delivery, and the later spelling counts.
        recipients = list({address.text.lower(): address.text for address in found}.values())
        if not recipients:
            raise failure(400, "Empty recipients list")
        return sender, recipients


def said_of(one: Settled, named: Sequence[str] | None) -> Sent:
    """What the client is told of a message; `named` None: it went by its header."""
    message = one.message
    to = one.recipients if named is None else named
    return Sent(message.id, message.sender, to, f"Message queued as {message.id}")


def user_of(caller: Caller, origin: Origin) -> User | None:
    """Whose a caller's mail is, and whom it may come from; None where that is anybody's choice."""
    if not caller.tenant and not caller.domains:
        return None
    senders = tuple(f"@{domain}" for domain in caller.domains)
    return User(origin.user, senders=senders, from_domains=caller.domains, tenant=caller.tenant)


def origin_of(request: ApiRequest) -> Origin:
    """Where the message came from; programs of this machine are believed in who they speak for."""
    user = (request.getHeader(b"x-authenticated-user") or b"").decode("utf-8", "replace")
    if len(user) > _MAX_USER:
        raise failure(400, "X-Authenticated-User is too long")
    stated = request.getHeader(b"x-originating-ip")
    if stated is None:
        return Origin(LISTENER, address_of(request.client), transport="HTTP", user=user)
    try:
        address = str(ip_address(stated.decode("ascii").strip("[] ")))
    except ValueError:
        raise failure(400, "X-Originating-IP is no IP address") from None
    return Origin(LISTENER, address, transport="HTTP", user=user)
