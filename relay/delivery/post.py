"""One connection to a web server, and the messages that are posted on it (RFC 9110, 9112).

The host has a message when the last byte of its request is on the way; what comes before is for the lease to allow, and
what comes behind is its answer. When the status of that is known, the rest is awaited for a moment, to be quoted and
to have the connection again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.python.failure import Failure
from twisted.web._newclient import Request
from twisted.web.http_headers import Headers

from relay.channel.frames import Addressee, Offer
from relay.config.schema import Timeouts
from relay.config.urls import Url
from relay.delivery.answer import NO_HTTP, Answer
from relay.delivery.asking import Asking
from relay.delivery.contact import Caller
from relay.delivery.exchangers import Host
from relay.delivery.form import Form
from relay.delivery.line import Line
from relay.delivery.security import NEEDED, Approach
from relay.delivery.text import Text
from relay.delivery.upload import Upload
from relay.message.tls_asked import DEMANDS
from relay.message.values import Result
from relay.net.client_tls import ClientTls
from relay.smtp.ending import Ending

if TYPE_CHECKING:
    from relay.delivery.wire import Reactor

#: Most of an answer that is read, header and all (bytes).
MOST = 64 * 1024
#: How long the rest of an answer is awaited whose status is known (seconds).
REST = 5.0


class Post(Line):
    """See the module; a Contact (`contact.py`)."""

    __slots__ = ("_answer", "_asking", "_in_dot", "_posting", "_product", "_upload", "_url", "transactions")

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
        super().__init__(caller, host, name, local_address, reactor, timeouts, now, approach, client_tls)
        self.transactions = 0
        self._url = url
        self._product = product
        self._asking = Asking()
        self._answer = Answer(self._read_all)
        self._upload: Upload | None = None
        self._posting = self._in_dot = False

    # -- asking

    @property
    def in_dot(self) -> bool:
        return self._in_dot

    @property
    def most_recipients(self) -> int:
        return 1

    @property
    def dsn(self) -> bool:
        return False

    @property
    def most_domains(self) -> int:
        return 1

    def spent(self, most: int) -> bool:
        return self.transactions >= most

    def dialogue(self, ending: Ending) -> str:
        return ""  # The answer says it all.

    # -- orders

    def begin(self, offer: Offer, to: Sequence[Addressee], head: bytes) -> None:
        # A form has one recipient, and no zone with a URL has more of them at a time.
        required = offer.require_tls and offer.sender  # A bounce had rather arrive (RFC 8689 5).
        if (required or offer.tls in DEMANDS) and not self._url.secure:
            text = f"{NEEDED} The message requires TLS, and it would go to an http:// URL"
            self._caller.ended(Ending(Result.BOUNCED, "mail", text, category="message", reusable=True))
            return
        self.transactions += 1
        self._posting = True
        form = Form(offer, head)
        self._text = Text(offer, head, self)
        self._upload = Upload(form, self._text)
        self._wait("body")
        request = Request(b"POST", self._url.target, self._headers(form), self._upload, persistent=True)
        self._asking.request(request).addCallbacks(self._answered, self._garbled)

    def leave(self) -> None:
        self.drop()  # HTTP has no farewell.

    def drop(self) -> None:
        self._posting = False
        super().drop()

    def expired(self) -> None:
        if self._answer.known:
            self._decided()
        else:
            super().expired()

    @property
    def _awaits_reply(self) -> bool:
        return self._in_dot

    def _unanswered(self) -> None:
        self._failed("dot", f"No answer within {self._timeouts.dot:g} s", "network")

    # -- what happens on the wire

    def _open(self) -> None:
        self._asking.makeConnection(self._wire.transport)
        self._stage = "mail"
        self._ready()

    def received(self, data: bytes) -> None:
        if not self._posting:
            self._failed("mail", "The host talks before it is asked", "protocol")
            return
        answer = self._answer
        answer.size += len(data)
        if self._in_dot:
            self._asking.dataReceived(data)
        elif ending := answer.hear(data):
            self._end(ending)
        if self._posting and answer.size > MOST:
            if answer.known:
                self._decided()
            else:
                self._failed(self._stage, f"No end of an answer in {MOST} bytes", "protocol")

    def lost(self, reason: str) -> None:
        if self._answer.known:
            self._decided()
        elif self._posting and not self._in_dot and self.transactions > 1 and not self._answer.early:
            self._caller.ended(Ending(Result.DEFERRED, "body", reason, category="network", stale=True))
        else:
            self._failed(self._stage, reason, "network")

    # -- the message

    def carry(self, data: bytes) -> None:
        assert self._upload is not None
        self._wait("body")
        self._upload.write(data)

    def end(self, data: bytes) -> None:
        assert self._upload is not None
        self._text = None
        self._in_dot = True
        self._caller.heard()
        self._wait("dot")
        self._upload.end(data)
        if self._answer.early:
            self._asking.dataReceived(self._answer.early)

    # -- the answer

    def _answered(self, response: Any) -> None:
        """The header of an answer is here."""
        if not self._posting:
            return
        if not self._answer.headed(response):
            self._garbled()
            return
        self._caller.heard()
        self.rest(REST)
        self._answer.read()

    def _read_all(self) -> None:
        """That is all of it, or all that comes."""
        if self._posting:
            self._decided()

    def _garbled(self, failure: Failure | None = None) -> None:
        if self._posting:
            self._failed(self._stage, NO_HTTP, "protocol")

    def _decided(self) -> None:
        """All of the message is on its way, and the answer says what became of it."""
        self._end(self._answer.ending(self._asking.again))

    def _end(self, ending: Ending) -> None:
        self._posting = self._in_dot = False
        self._answer = Answer(self._read_all)
        super()._end(ending)

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
