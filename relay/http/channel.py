"""One connection to the API: what is a request, and what is none."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http

from relay.http.answer import Problem, refusal, told

if TYPE_CHECKING:
    from relay.http.site import ApiSite

#: Characters that a Content-Length may have.
_LONGEST_LENGTH = 48
#: The header of an answer to what is no request: status and reason, type and length of its text.
_LAST = b"HTTP/1.1 %d %b\r\nConnection: close\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"


class ApiChannel(http.HTTPChannel):
    """A connection to the API: HTTP/1.1 only, and every header has to come in time."""

    maxHeaders = 100
    site: ApiSite
    transport: Any
    timeOut: Any
    paused: bool
    _waitingForTransport: bool
    _networkProducer: Any
    _deadline: IDelayedCall | None = None
    _peer: Any = None
    _host: Any = None

    def connectionMade(self) -> None:
        super().connectionMade()
        self._arm()

    # Each request asks for these, and they don't change: the kernel is asked once.

    def getPeer(self) -> Any:
        if self._peer is None:
            self._peer = super().getPeer()
        return self._peer

    def getHost(self) -> Any:
        if self._host is None:
            self._host = super().getHost()
        return self._host

    def dataReceived(self, data: bytes) -> None:
        if not self.transport.disconnecting:
            super().dataReceived(data)

    def headerReceived(self, line: bytes) -> bool:
        name, _, value = line.partition(b":")
        framing = name.lower()
        # Twisted would read numbers of any length, and let `identity` stand beside `chunked`.
        if (framing == b"content-length" and len(value) > _LONGEST_LENGTH) or (
            framing == b"transfer-encoding" and value.strip(b" \t").lower() != b"chunked"
        ):
            self._respondToBadRequestAndDisconnect()
            return False
        received: bool = super().headerReceived(line)
        return received

    def allHeadersReceived(self) -> None:
        self._disarm()
        super().allHeadersReceived()

    def requestDone(self, request: Any) -> None:
        # Who doesn't take this answer gets no other yet, however many requests came with the first.
        self.paused = self._waitingForTransport
        if self.paused:
            self._networkProducer.pauseProducing()
        super().requestDone(request)
        if self.persistent and not self._handlingRequest:
            self._arm()

    def resumeProducing(self) -> None:
        super().resumeProducing()
        if self.paused:
            self.paused = False
            self.dataReceived(b"")

    def timeoutConnection(self) -> None:
        self._disarm()
        self.setTimeout(None)
        super().timeoutConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._disarm()
        self.site.closed(self)
        super().connectionLost(reason)

    def _send100Continue(self) -> None:
        if not self.requests[-1].refused:
            super()._send100Continue()

    # -- what is no request: it is told so in the API's own shapes, with the last answer of the connection

    def _respondToBadRequestAndDisconnect(self) -> None:
        self._turn_away(refusal(400, "BadRequest", "This is no request that can be read"))

    def lineLengthExceeded(self, line: bytes) -> None:
        if hasattr(self, "_path"):
            self._turn_away(refusal(431, "RequestHeaderFieldsTooLarge", "A field of the header is too long"))
        else:
            self._turn_away(refusal(414, "RequestURITooLong", "The first line is too long"))

    def _turn_away(self, problem: Problem) -> None:
        # The one whose body goes wrong may have its answer: there is no second one.
        if not (self.requests and self.requests[-1].startedWriting):
            kind, body = told(problem, getattr(self, "_path", b"").partition(b"?")[0])
            reason = HTTPStatus(problem.status).phrase.encode()
            self.transport.write(_LAST % (problem.status, reason, kind, len(body)))
            if getattr(self, "_command", b"") != b"HEAD":
                self.transport.write(body)
        self.loseConnection()

    def _arm(self) -> None:
        """Idle or in the middle of a header: the next one has to be complete by then."""
        self._disarm()
        if self.timeOut:
            self._deadline = self.callLater(self.timeOut, self.timeoutConnection)

    def _disarm(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()
