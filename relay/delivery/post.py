"""One connection to a web server, and the messages that are posted on it (RFC 9110, 9112).

The host has a message when the last byte of its request is on the way; what comes before is for the lease to allow, and
what comes behind is its answer. Of that the status decides; the rest is awaited for a moment, to be quoted and
to have the connection again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec.structs
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web._newclient import Request
from twisted.web.http_headers import Headers

from relay.channel.frames import Addressee, Offer
from relay.config.schema import Timeouts
from relay.config.urls import Url
from relay.delivery.asking import Asking
from relay.delivery.call import NEVER, QUIET_AFTER
from relay.delivery.contact import Caller
from relay.delivery.exchangers import Host
from relay.delivery.form import Form
from relay.delivery.security import Approach
from relay.delivery.text import Text
from relay.delivery.upload import Upload
from relay.delivery.verdict import verdict
from relay.delivery.wire import Wire
from relay.message.values import Result
from relay.net.client_tls import ClientTls, Handshake, TlsUnusable
from relay.smtp.ending import Ending

if TYPE_CHECKING:
    from relay.delivery.wire import Reactor

#: Most of an answer that is read, header and all (bytes).
MOST = 64 * 1024
#: How long the rest of an answer is awaited whose status is known (seconds).
REST = 5.0

_status = re.compile(rb"HTTP/1\.[01] ([2-9][0-9][0-9])(?: ([^\r\n]*))?\r?\n").match
#: What says that an answer will come (RFC 9110 15.2).
_interim = re.compile(rb"HTTP/1\.[01] 1[0-9][0-9][^\n]*\n(?:[^\r\n][^\n]*\n)*\r?\n").match


class Post:
    """See the module; a Contact (`contact.py`)."""

    __slots__ = (
        "_answer", "_asking", "_caller", "_client_tls", "_early", "_handshake", "_in_dot", "_now", "_posting",
        "_product", "_reactor", "_read", "_response", "_stage", "_text", "_timeouts", "_upload", "_url", "_wire",
        "approach", "bound", "deadline", "host", "local_address", "name", "quiet_at", "tls", "transactions",
    )  # fmt: skip

    def __init__(
        self,
        url: Url,
        product: str,
        caller: Caller,
        host: Host,
        name: str,
        local_address: str,
        reactor: Reactor,
        timeouts: Timeouts,
        now: Callable[[], float],
        approach: Approach,
        client_tls: ClientTls,
    ) -> None:
        """`product` is what User-Agent calls us."""
        self.host = host
        self.name = name
        self.local_address = local_address
        self.approach = approach
        self.bound = self.tls = ""
        self.deadline = self.quiet_at = NEVER
        self.transactions = 0
        self._url = url
        self._product = product
        self._caller = caller
        self._reactor = reactor
        self._timeouts = timeouts
        self._now = now
        self._client_tls = client_tls
        self._handshake: Handshake | None = None
        self._wire = Wire(self)
        self._asking = Asking()
        self._stage = ""
        self._text: Text | None = None
        self._upload: Upload | None = None
        self._posting = self._in_dot = False
        self._response: Any = None
        self._early = self._answer = b""
        self._read = 0

    # -- asking

    @property
    def in_dot(self) -> bool:
        return self._in_dot

    @property
    def most_recipients(self) -> int:
        return 1

    def spent(self, most: int) -> bool:
        return self.transactions >= most

    def satisfies(self, need: Approach) -> bool:
        return need.policy is self.approach.policy

    # -- orders

    def dial(self, port: int) -> None:
        self._wait("connect")
        backstop = 2 * self._timeouts.connect
        self._wire.dial(self._reactor, self.host.address, port, self.local_address, backstop)

    def begin(self, offer: Offer, to: Sequence[Addressee], head: bytes) -> None:
        # A form has one recipient, and no zone with a URL has more of them at a time.
        if offer.require_tls and not self._url.secure:
            text = "5.7.30 The message requires TLS all the way, and it would go to an http:// URL"
            self._caller.ended(Ending(Result.BOUNCED, "mail", text, category="message", reusable=True))
            return
        self.transactions += 1
        self._posting = True
        self._response = None
        self._early = self._answer = b""
        self._read = 0
        form = Form(offer, head)
        self._text = Text(offer, head, self)
        self._upload = Upload(form, self._text)
        self._wait("body")
        request = Request(b"POST", self._url.target, self._headers(form), self._upload, persistent=True)
        self._asking.request(request).addCallbacks(self._answered, self._garbled)

    def resume(self) -> None:
        if self._text is not None:
            self._text.resume()

    def rest(self, seconds: float) -> None:
        self.deadline = self._now() + seconds
        self.quiet_at = NEVER

    def hurry(self, seconds: float) -> None:
        self.deadline = min(self.deadline, self._now() + seconds)

    def leave(self) -> None:
        self.drop()  # HTTP has no farewell.

    def drop(self) -> None:
        self._posting = False
        text, self._text = self._text, None
        if text is not None:
            text.stop()
        self._wire.drop()

    def expired(self) -> None:
        stage = self._stage
        if self._response is not None:
            self._decided()
        elif stage in ("connect", "tls"):
            what = "connection" if stage == "connect" else "TLS handshake"
            self._failed(stage, f"No {what} within {getattr(self._timeouts, stage):g} s", "network")
        elif stage == "dot":
            self._failed(stage, f"No answer within {self._timeouts.dot:g} s", "network")
        elif self._text is not None and self._text.lacking:
            self._failed(stage, f"The text was not to be had for {self._timeouts.body:g} s", "ours")
        else:
            self._failed(stage, f"The host took nothing for {self._timeouts.body:g} s", "network")

    # -- what happens on the wire

    def connected(self) -> None:
        self.bound = self._wire.local_address
        if not self.approach.implicit:
            self._ready()
            return
        self._wait("tls")
        try:
            self._handshake = self._client_tls.to(self.host.name)
        except TlsUnusable as error:
            self._failed("tls", str(error), "ours")
        else:
            self._wire.start_tls(self._handshake)

    def secured(self) -> None:
        handshake, self._handshake = self._handshake, None
        assert handshake is not None
        if distrust := handshake.distrust():
            self._failed("tls", f"4.7.5 TLS with {self.host.name}: {distrust}", "tls")
            return
        self.tls = f"{handshake.description()} verified"
        self._ready()

    def unsecured(self, reason: str) -> None:
        self._failed("tls", f"TLS handshake failed: {reason}", "tls")

    def unconnected(self, reason: str, ours: bool) -> None:
        self._failed("connect", reason, "ours" if ours else "network")

    def received(self, data: bytes) -> None:
        if not self._posting:
            self._failed("mail", "The host talks before it is asked", "protocol")
            return
        self._read += len(data)
        if not self._in_dot:
            self._answers_early(data)
        else:
            self._asking.dataReceived(data)
        if self._posting and self._read > MOST:
            if self._response is not None:
                self._decided()
            else:
                self._failed(self._stage, f"No end of an answer in {MOST} bytes", "protocol")

    def lost(self, reason: str) -> None:
        if self._response is not None:
            self._decided()
        elif self._posting and not self._in_dot and self.transactions > 1 and not self._early:
            self._caller.ended(Ending(Result.DEFERRED, "body", reason, category="network", stale=True))
        else:
            self._failed(self._stage, reason, "network")

    def gone(self) -> None:
        self._caller.gone()

    # -- the message

    def fetch(self, number: int) -> Deferred[bytes]:
        self._caller.heard()
        self._wait("body")
        self.quiet_at = NEVER
        return self._caller.chunk(number)

    def carry(self, data: bytes) -> None:
        assert self._upload is not None
        self._wait("body")
        self._upload.write(data)

    def may_end(self) -> bool:
        may = self._caller.may_end()
        if not may:
            self._wait("body")
            self.quiet_at = NEVER
        return may

    def end(self, data: bytes) -> None:
        assert self._upload is not None
        self._text = None
        self._in_dot = True
        self._caller.heard()
        self._wait("dot")
        self._upload.end(data)
        if self._early:
            self._asking.dataReceived(self._early)

    def cut(self, reason: str) -> None:
        # A request that ends before its length is none.
        self._failed("body", reason, "ours")

    # -- the answer

    def _answers_early(self, data: bytes) -> None:
        """The host doesn't wait for all of the message: what it says of it is heard now, and the rest is spared."""
        self._early += data
        while interim := _interim(self._early):
            self._early = self._early[interim.end() :]
        if status := _status(self._early):
            self._ended(verdict(int(status[1]), _text(status[2] or b""), b"", "body"))
        elif b"\n" in self._early and not self._early.startswith(b"HTTP/1."):
            self._failed("body", "What the host says is no HTTP", "protocol")

    def _answered(self, response: Any) -> None:
        """The header of an answer is here."""
        if not self._posting:
            return
        if response.version[:2] != (b"HTTP", 1):
            self._garbled()
            return
        self._response = response
        self._caller.heard()
        self.rest(REST)
        response.deliverBody(_Reader(self))

    def read(self, data: bytes) -> None:
        """A piece of what the answer says."""
        self._answer += data

    def read_all(self) -> None:
        """That is all of it, or all that comes."""
        if self._posting:
            self._decided()

    def _garbled(self, failure: Failure | None = None) -> None:
        if self._posting:
            self._failed(self._stage, "What the host says is no HTTP", "protocol")

    def _decided(self) -> None:
        """All of the message is on its way. What is no answer to it, or none that makes sense, leaves it open
        whether the host has it."""
        response = self._response
        later = response.headers.getRawHeaders(b"retry-after", [b""])[0]
        # An answer that began before the end is none to the message; one to say that there will be one may have.
        early = bool(self._early) and self._early[9:10] != b"1"
        again = self._asking.again and response.version == (b"HTTP", 1, 1) and not early
        stage = "body" if early else "dot"
        ending = verdict(response.code, _text(response.phrase), self._answer, stage, _text(later), again)
        self._ended(ending if ending.code else msgspec.structs.replace(ending, doubtful=True))

    # -- the end

    def _ended(self, ending: Ending) -> None:
        self._posting = self._in_dot = False
        self._response = None
        self._caller.ended(ending)

    def _failed(self, stage: str, reason: str, category: str) -> None:
        doubtful = self._in_dot
        self._ended(Ending(Result.DEFERRED, stage, reason, category=category, doubtful=doubtful))

    def _ready(self) -> None:
        self._asking.makeConnection(self._wire.transport)
        self._stage = "mail"
        self.deadline = self.quiet_at = NEVER
        self._caller.ready()

    def _wait(self, stage: str) -> None:
        now = self._now()
        self._stage = stage
        self.deadline = now + getattr(self._timeouts, stage)
        self.quiet_at = now + QUIET_AFTER

    def _headers(self, form: Form) -> Headers:
        headers = Headers({
            b"Host": [self._url.authority.encode("ascii")],
            b"User-Agent": [self._product.encode("ascii", "replace")],
            b"Content-Type": [form.kind],
            b"Accept": [b"*/*"],
        })
        if self._url.login:
            headers.addRawHeader(b"Authorization", self._url.login)
        return headers


class _Reader(Protocol):
    """Twisted's way to hand over what an answer says."""

    def __init__(self, post: Post) -> None:
        self._post = post

    def dataReceived(self, data: bytes) -> None:
        self._post.read(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._post.read_all()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
