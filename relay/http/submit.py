"""`POST /send-raw`: a message as it is, streamed through the same door as SMTP's."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from klein import Klein
from twisted.internet.defer import Deferred

from relay.access.admission import user_of
from relay.access.caller import LOCAL, Scope
from relay.config.schema import Api
from relay.http.access import address_of
from relay.http.answer import answer, failure, from_reply, shielded
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
_PATH = b"/send-raw"
TERMS = Terms(routing_headers=True, future_date=True)
_MAX_USER = 1024


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

    def add_routes(self, app: Klein) -> None:
        app.route("/send-raw", methods=["POST"])(self.send_raw)

    def upload(self, request: ApiRequest) -> MessageUpload | None:
        """Begins a message when `request`, of which the header is there, brings one.

        Raises:
            Problem: the request is wrong, or nothing can be taken now.
        """
        if request.method != b"POST" or request.path != _PATH:
            return None
        sender, recipients = self._envelope(request.uri.partition(b"?")[2])
        try:
            submission = self._intake.open(origin_of(request), TERMS, sending(request))
        except Refused as refused:
            raise from_reply(refused.reply) from None
        return MessageUpload(submission, self._options, sender, recipients)

    async def send_raw(self, request: ApiRequest) -> bytes:
        """The body is there: keep the message, then say so."""
        upload = request.upload
        if not isinstance(upload, MessageUpload):
            raise failure(400, "Send it to /send-raw, spelt like that")
        try:
            message = await shielded(upload.finish())
        except Refused as refused:
            raise from_reply(refused.reply) from None
        # Read back in the same turn of the reactor: no delivery can have ended yet.
        recipients = upload.recipients
        return answer(
            request,
            {
                "id": message.id,
                "from": message.sender,
                "to": self._store.recipients(message.id) if recipients is None else recipients,
                "response": f"Message queued as {message.id}",
            },
        )

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
