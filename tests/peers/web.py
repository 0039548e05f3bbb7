"""A web server that mail is posted to, by twisted.web: keeps what comes, and answers as the recipient says."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from werkzeug.formparser import MultiPartParser

#: Answers by the first word of the recipient: raw bytes, after which the connection is left as it is.
_RAW = {
    "garbage": b"220 mx.test ESMTP\r\n",
    "close": b"",
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
}


class Posted(NamedTuple):
    """One request: its form, and the port of who has sent it."""

    path: str
    fields: dict[str, str]
    message: bytes
    peer: int
    header: dict[str, str]


class Collecting(Resource):
    """`posted` grows in order of arrival. A recipient `404@...` is answered by that status, `hang@...` not at all,
    `hang-once@...` not at all at first, `endless@...`, `drip@...`, `garbage@...`, `close@...` so; others by 200."""

    isLeaf = True

    def __init__(self, reactor: Any) -> None:
        super().__init__()
        self._reactor = reactor
        self.posted: list[Posted] = []
        self._times: Counter[str] = Counter()
        self._calls: list[Any] = []

    def site(self) -> Site:
        site = Site(self, reactor=self._reactor)
        site.requestFactory.log = lambda *_: None  # type: ignore[attr-defined]
        return site

    def stop(self) -> None:
        """Nothing drips any more."""
        for call in self._calls:
            try:
                call.cancel()
            except (AlreadyCalled, AlreadyCancelled):
                pass

    def render_POST(self, request: Any) -> Any:
        kind = request.getHeader(b"content-type").decode()
        request.content.seek(0, 2)
        length = request.content.tell()
        request.content.seek(0)
        assert length == int(request.getHeader(b"content-length"))
        form, files = MultiPartParser().parse(request.content, kind.partition("boundary=")[2].encode(), length)
        message = files["message"].read()
        header = {name.decode(): values[0].decode() for name, values in request.requestHeaders.getAllRawHeaders()}
        peer = request.getClientAddress().port
        self.posted.append(
            Posted(request.uri.decode(), form.to_dict(), message, peer, header)
        )
        recipient = form["to"]
        self._times[recipient] += 1
        word = recipient.partition("@")[0].partition("+")[0]
        if word == "hang" or (word == "hang-once" and self._times[recipient] == 1):
            return NOT_DONE_YET
        if word in ("endless", "drip"):
            self._go_on(request, 16 * 1024 if word == "endless" else 1)
            return NOT_DONE_YET
        if word in _RAW:
            request.channel.transport.write(_RAW[word])
            request.channel.transport.loseConnection()
            return NOT_DONE_YET
        if word.isdigit():
            request.setResponseCode(int(word))
            request.setHeader(b"Retry-After", b"30")
        return b"said the server\n"

    def _go_on(self, request: Any, size: int) -> None:
        if request.channel is not None:
            request.write(b"x" * size)
            self._calls.append(self._reactor.callLater(0.05, self._go_on, request, size))
