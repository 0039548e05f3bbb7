"""`POST /send-raw`: a message as it is, streamed through the same door as SMTP's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType, field
from twisted.internet.defer import Deferred

from relay.access.admission import user_of
from relay.access.caller import LOCAL, Scope
from relay.config.schema import Api
from relay.http.access import address_of
from relay.http.answer import encoded, failure, from_reply, shielded, written
from relay.http.frame import Call
from relay.http.kept import Kept, kept_of
from relay.http.onetime import NAME, once
from relay.http.operation import operation
from relay.http.words import OF_MAIL
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
_TERMS = Terms(routing_headers=True, future_date=True)
#: Of organisations that don't say themselves which way their mail goes.
_TENANTS = Terms(future_date=True)
_MAX_USER = 1024


class EnvelopeQuery(msgspec.Struct, frozen=True):
    """Who it is from and who gets it, whatever the header says."""

    from_: Annotated[list[str], Meta(description="The sender; empty: the null sender")] = field(
        default_factory=list, name="from"
    )
    to: Annotated[list[str], Meta(description="Recipients, several with commas")] | UnsetType = UNSET


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
        terms = terms_for(user, options.allow_routing_headers)
        self._submission: Submission | None = consignment.open(origin, terms, user)
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


class SubmitApi:
    """The resources that take mail."""

    def __init__(self, options: Api, intake: Intake, once: OneTime, now: Callable[[], int]) -> None:
        """`now` gives ms since the epoch."""
        self._options = options
        self._intake = intake
        self._once = once
        self._now = now

    def begin(self, call: Call) -> MessageUpload:
        """Begins a message that a request brings. Raises Problem: the request is wrong, or nothing can be taken now."""
        request = call.request
        sender, recipients = self._envelope(call.query)
        origin, keyed = origin_of(request), request.requestHeaders.hasHeader(NAME)
        try:
            return MessageUpload(
                self._intake.consignment(), origin, sending(request), self._options, sender, recipients, keyed
            )
        except Refused as refused:
            raise from_reply(refused.reply) from None

    @operation(
        "POST",
        "/send-raw",
        scope=Scope.SUBMIT,
        tag="mail",
        fields=OF_MAIL,
        query=EnvelopeQuery,
        takes={"message/rfc822": None, "text/plain": None},
        upload="begin",
        by_tenant=True,
        answer=Kept,
        errors=(409, 507),
    )
    async def send_raw(self, call: Call) -> bytes:
        """Takes a message as it is, header and body.

        Who it is from and who gets it says the query, or else the header: From or Sender; To, Cc and Bcc. The message
        is on disk then. `X-Authenticated-User` and `X-Originating-IP` say who has sent it, and where from.
        """
        request, upload = call.request, call.request.upload
        assert isinstance(upload, MessageUpload)
        origin, query = origin_of(request), request.uri.partition(b"?")[2]
        try:
            said = (query, upload.said)
            return written(request, await once(self._once, request, origin, said, partial(self._kept, upload)))
        finally:
            upload.abandon()

    async def _kept(self, upload: MessageUpload, key: Key | None) -> bytes:
        try:
            settled = upload.settle()
            body = encoded(kept_of(settled, upload.recipients))
            mark = None if key is None else key.mark(settled.message.id, self._now(), body)
            [kept] = await shielded(upload.consignment.keep(mark))
            if isinstance(kept, Refused):
                raise kept
        except Refused as refused:
            raise from_reply(refused.reply) from None
        return encoded(kept_of(settled._replace(message=kept), upload.recipients))

    def _envelope(self, query: EnvelopeQuery) -> tuple[str | None, list[str] | None]:
        """What a query says; an empty `from` is the null sender. Raises Problem."""
        try:
            if len(query.from_) > 1:
                raise ValueError("several senders")
            sender = query.from_[0] and parse(query.from_[0]).text if query.from_ else None
            if isinstance(query.to, UnsetType):
                return sender, None
            found = parse_list(", ".join(query.to), self._options.max_recipients)
        except ValueError as error:
            raise failure(400, f"Bad envelope: {error}") from None
        # Given twice, in whatever case: one delivery, and the later spelling counts.
        recipients = list({address.text.lower(): address.text for address in found}.values())
        if not recipients:
            raise failure(400, "Empty recipients list")
        return sender, recipients


def origin_of(request: ApiRequest) -> Origin:
    """Where the message came from; those who may speak for others are believed in whom they speak for."""
    caller = request.caller
    trusted = caller.may(Scope.IMPERSONATE)
    user = _stated_user(request) or ("" if caller is LOCAL else caller.name)
    stated = request.getHeader(b"x-originating-ip") if trusted else None
    if stated is None:
        return Origin(LISTENER, address_of(request.client), transport="HTTP", user=user)
    try:
        address = str(ip_address(stated.decode("ascii").strip("[] ")))
    except ValueError:
        raise failure(400, "X-Originating-IP is no IP address") from None
    return Origin(LISTENER, address, transport="HTTP", user=user)


def sending(request: ApiRequest) -> User | None:
    """Who hands the message over, and what is allowed to them; None: a program of this machine, which may anything."""
    return None if request.caller is LOCAL else user_of(request.caller, _stated_user(request))


def terms_for(user: User | None, tenants_choose: bool) -> Terms:
    """What holds for the mail of who hands it over, see `sending`; `tenants_choose`: organisations are believed which
    way it is to go, too."""
    return _TERMS if user is None or not user.tenant or tenants_choose else _TENANTS


def _stated_user(request: ApiRequest) -> str:
    """For whom the caller says to speak, "" where it doesn't, or may not. Raises Problem."""
    if not request.caller.may(Scope.IMPERSONATE):
        return ""
    user = (request.getHeader(b"x-authenticated-user") or b"").decode("utf-8", "replace")
    if len(user) > _MAX_USER:
        raise failure(400, "X-Authenticated-User is too long")
    return user
