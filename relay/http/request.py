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
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import datetimeToString

from relay.access.caller import NOBODY, Caller
from relay.http.answer import Problem, answer_problem, refusal
from relay.http.operation import MAX_BODY

if TYPE_CHECKING:
    from relay.http.site import ApiSite

_log = Logger()

#: A body has to come at this rate, on average over a time-out (bytes per second).
_MIN_RATE = 1024
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
