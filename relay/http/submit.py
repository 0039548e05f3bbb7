"""`POST /send-raw`: a message as it is, streamed through the same door as SMTP's."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType, field
from twisted.internet.defer import Deferred

from relay.access.admission import user_of
from relay.access.caller import LOCAL, Scope
from relay.config.schema import Api
from relay.http.access import address_of
from relay.http.answer import failure, from_reply, shielded
from relay.http.frame import Call
from relay.http.kept import Kept
from relay.http.operation import operation
from relay.listener.door import Intake, Refused, Submission, Terms
from relay.message.address import parse
from relay.message.addresslist import parse_list
from relay.message.envelope import Envelope, Recipient
from relay.message.lines import CrlfLines
from relay.message.user import User
from relay.message.values import Message, Origin
from relay.queue.store import Store

if TYPE_CHECKING:
    from relay.http.request import ApiRequest

LISTENER = "api"
TERMS = Terms(routing_headers=True, future_date=True)
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
        self, submission: Submission, options: Api, sender: str | None, recipients: Sequence[str] | None
    ) -> None:
        self.limit = options.max_size
        self.recipients = recipients
        self._most = options.max_recipients
        self._submission: Submission | None = submission
        self._sender = sender
        self._lines = CrlfLines()
        self._nul = False

    def write(self, data: bytes) -> None:
        """Takes the next piece, with any line ends."""
        if self._submission is not None:
            self._nul = self._nul or b"\0" in data
            self._submission.write(self._lines.feed(data))

    def wait(self) -> Deferred[None] | None:
        return self._submission.wait() if self._submission is not None else None

    def finish(self) -> Deferred[Message]:
        """The end of the text: fires when the message is on disk, fails with Refused.

        Raises:
            Problem: the text is none that mail can carry.
        """
        submission = self._submission
        assert submission is not None, "a refused upload has no end"
        if self._nul:
            self.abandon()
            raise failure(400, "The message contains NUL bytes")
        self._submission = None
        rest = self._lines.end()
        if rest:
            submission.write(rest)
        named = None if self.recipients is None else tuple(map(Recipient, self.recipients))
        return submission.finish(Envelope(self._sender, named, most=self._most))

    def abandon(self) -> None:
        """Forget it, unless it was finished."""
        submission, self._submission = self._submission, None
        if submission is not None:
            submission.abandon()


class SubmitApi:
    """The resources that take mail."""

    def __init__(self, options: Api, intake: Intake, store: Store) -> None:
        self._options = options
        self._intake = intake
        self._store = store

    def begin(self, call: Call) -> MessageUpload:
        """Begins a message that a request brings. Raises Problem: the request is wrong, or nothing can be taken now."""
        sender, recipients = self._envelope(call.query)
        try:
            submission = self._intake.open(origin_of(call.request), TERMS, sending(call.request))
        except Refused as refused:
            raise from_reply(refused.reply) from None
        return MessageUpload(submission, self._options, sender, recipients)

    @operation(
        "POST",
        "/send-raw",
        scope=Scope.SUBMIT,
        tag="mail",
        query=EnvelopeQuery,
        takes={"message/rfc822": None, "text/plain": None},
        upload="begin",
        by_tenant=True,
        answer=Kept,
        errors=(507,),
    )
    async def send_raw(self, call: Call) -> Kept:
        """Takes a message as it is, header and body.

        Who it is from and who gets it says the query, or else the header: From or Sender; To, Cc and Bcc. The message
        is on disk then. `X-Authenticated-User` and `X-Originating-IP` say who has sent it, and where from.
        """
        upload = call.request.upload
        assert isinstance(upload, MessageUpload)
        try:
            message = await shielded(upload.finish())
        except Refused as refused:
            raise from_reply(refused.reply) from None
        # Read back in the same turn of the reactor: no delivery can have ended yet.
        recipients = self._store.recipients(message.id) if upload.recipients is None else list(upload.recipients)
        return Kept(message.id, message.sender, recipients, f"Message queued as {message.id}")

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


def _stated_user(request: ApiRequest) -> str:
    """For whom the caller says to speak, "" where it doesn't, or may not. Raises Problem."""
    if not request.caller.may(Scope.IMPERSONATE):
        return ""
    user = (request.getHeader(b"x-authenticated-user") or b"").decode("utf-8", "replace")
    if len(user) > _MAX_USER:
        raise failure(400, "X-Authenticated-User is too long")
    return user
