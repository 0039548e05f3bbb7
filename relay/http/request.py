"""One HTTP request: judged as soon as its header is there, its body streamed or bounded.

Twisted's own request keeps any body, whatever its size, and tells of it at the end. This
one refuses early, hands a message to the intake as it comes, holds the client back while
the disk is behind, and gives up on clients that trickle.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.http import datetimeToString

from relay.access.caller import NOBODY, Caller
from relay.http.answer import Problem, answer_problem, refusal
from relay.http.operation import MAX_BODY

if TYPE_CHECKING:
    from relay.http.site import ApiSite

_log = Logger()

#: A body has to come at this rate, on average over a time-out (bytes per second).
_MIN_RATE = 1024
#: Characters that a Content-Length may have.
_LONGEST_LENGTH = 48
#: Seconds to read on after an early refusal, so that the client sees it before a reset.
_LINGER = 5.0


class Upload(Protocol):
    """A body that is taken as it comes."""

    limit: int

    def write(self, data: bytes) -> None:
        """Takes the next piece."""

    def wait(self) -> Deferred[None] | None:
        """None: give more. Else hold the client back until it fires."""

    def abandon(self) -> None:
        """The body won't be completed. Means nothing once it was."""


class ApiRequest(server.Request):
    """A request to the API. `caller` asks it; `upload` is set when its body was streamed."""

    defaultContentType = None
    channel: Any
    content: Any
    transport: Any
    upload: Upload | None = None
    refused = False
    #: It is answered as long as the client is there.
    endless = False
    caller: Caller = NOBODY
    #: Whether what it has shown is still good: for answers that are long.
    stands: Callable[[], bool] = staticmethod(lambda: True)
    #: Bytes that its body may have.
    limit = MAX_BODY
    _received = 0
    _seen = 0
    _patience = 0.0
    _held_back = False
    _timer: IDelayedCall | None = None
    _answering: Deferred[bytes | None] | None = None

    # -- called by the channel

    def gotLength(self, length: int | None) -> None:
        """The header is complete: refuse now, or make ready for the body."""
        channel = self.channel
        site: ApiSite = channel.site
        self.content = BytesIO()
        self.method, self.uri, self.clientproto = channel._command, channel._path, channel._version
        self.path = self.uri.partition(b"?")[0]
        try:
            site.admit(self)
            if length != 0:
                self._check_coding()
            if length is not None and length > self.limit:
                raise self._too_large()
        except Problem as problem:
            self._refuse(problem)
            return
        if length != 0:
            self._patience = channel.timeOut
            self._timer = channel.callLater(self._patience, self._check_rate)

    def handleContentChunk(self, data: bytes) -> None:
        """The next piece of the body."""
        if self.refused:
            return
        self._received += len(data)
        if self._received > self.limit:
            self._refuse(self._too_large())
        elif self.upload is None:
            self.content.write(data)
        else:
            self.upload.write(data)
            if not self._held_back:
                self._hold_back(self.upload.wait())

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The body is complete."""
        self._stop_timer()
        if self.refused:
            self.finish()
            return
        super().requestReceived(command, path, version)

    def process(self) -> None:
        problem = self._unparsable()
        if problem is not None:
            self.write(answer_problem(self, problem))
            self.finish()
            return
        site: ApiSite = self.channel.site
        frame = site.frame_of(self)
        if frame is None:
            super().process()
        else:
            self._answer(Deferred.fromCoroutine(site.answer(self, frame)))

    def _answer(self, answer: Deferred[bytes | None]) -> None:
        """Write what comes, unless the client has gone: then whoever makes it is told."""
        self._answering = answer
        answer.addCallbacks(self._answered, self._unanswered)

    def _answered(self, body: bytes | None) -> None:
        if self._answering is None:
            return  # It has gone, and whoever made this didn't care.
        self._answering = None
        self.setHeader(b"Date", datetimeToString())
        if body:
            self.write(body)
        self.finish()

    def _unanswered(self, failure: Failure) -> None:
        gone, self._answering = self._answering is None, None
        if not gone or not failure.check(CancelledError):
            _log.failure("request without an answer: {path}", failure, path=self.path)
            self.channel.loseConnection()

    def finish(self) -> None:
        if self.upload is not None:
            self.upload.abandon()  # Whoever should have ended it may not have been asked.
        super().finish()

    def connectionLost(self, reason: Failure) -> None:
        self._stop_timer()
        if self.upload is not None:
            self.upload.abandon()
        answering, self._answering = self._answering, None
        super().connectionLost(reason)
        if answering is not None:
            answering.cancel()

    # -- inside

    def _check_coding(self) -> None:
        """Nothing is unpacked, so that a body is no larger than what comes (RFC 9110 8.4, 12.5.3). Raises Problem."""
        codings = self.requestHeaders.getRawHeaders(b"content-encoding", [])
        if any(coding.lower() not in (b"", b"identity") for coding in codings):
            text = "A body is taken as it is, without Content-Encoding"
            raise refusal(415, "UnsupportedMediaType", text, {b"Accept-Encoding": b"identity"})

    def _too_large(self) -> Problem:
        return refusal(413, "RequestEntityTooLarge", f"The body may have {self.limit} bytes")

    def _hold_back(self, waiting: Deferred[None] | None) -> None:
        if waiting is None:
            return
        self._held_back = True
        self.transport.pauseProducing()
        waiting.addBoth(self._read_on)

    def _read_on(self, _: object) -> None:
        self._held_back = False
        if self.channel is not None and not self.refused:
            self.transport.resumeProducing()

    def _refuse(self, problem: Problem) -> None:
        """Answer before the body is there, drop what still comes, and close."""
        self.refused = True
        self._stop_timer()
        if self.upload is not None:
            self.upload.abandon()
        channel = self.channel
        channel.persistent = False
        self.setHeader(b"Connection", b"close")
        self.write(answer_problem(self, problem))
        self._timer = channel.callLater(_LINGER, channel.loseConnection)

    def _check_rate(self) -> None:
        """H16: a body that trickles is cut off; one that we hold back isn't to blame."""
        self._timer = None
        if not self._held_back and self._received - self._seen < _MIN_RATE * self._patience:
            self._refuse(refusal(408, "RequestTimeout", "The body comes too slowly"))
            return
        self._seen = self._received
        self._timer = self.channel.callLater(self._patience, self._check_rate)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _unparsable(self) -> Problem | None:
        """Whatever calls itself JSON has to be JSON, wherever it is sent."""
        kind = (self.getHeader(b"content-type") or b"").partition(b";")[0].strip().lower()
        if self.upload is not None or not self._received or kind != b"application/json":
            return None
        try:
            msgspec.json.decode(self.content.getvalue())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return refusal(400, "InvalidContent", f"Invalid JSON: {error}")
        return None


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

    def _arm(self) -> None:
        """Idle or in the middle of a header: the next one has to be complete by then."""
        self._disarm()
        if self.timeOut:
            self._deadline = self.callLater(self.timeOut, self.timeoutConnection)

    def _disarm(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()
