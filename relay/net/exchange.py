"""One request over HTTP and its answer, on a connection of its own: of what is said, the status counts.

The other side may be anything. Its certificate is judged before it hears a word, little is read of it, and where its
answer goes on for ever it has been answer enough.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IHandshakeListener, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.net.client_tls import Handshake

#: What is read of a header, and of an answer (bytes).
LONGEST_HEAD = 16 * 1024
LONGEST = 64 * 1024
#: How long the end of an answer is waited for once its header is there (seconds).
LINGER = 2.0
#: What is kept of what it says (bytes).
_KEPT = 200
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?\r?\n")
_field = re.compile(rb"^(content-length|retry-after):[ \t]*([^\r\n]*?)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
#: The size of a chunk (RFC 9112 7.1).
_chunk = re.compile(rb"(?:\A|\r\n)[0-9A-Fa-f]{1,8}\r\n")
_EMPTY_LINE = re.compile(rb"\r?\n\r?\n")


class NoAnswer(Exception):
    """There is no answer; the text says why, and can be logged. `final`: nor will there ever be one."""

    def __init__(self, text: str, final: bool = False) -> None:
        super().__init__(text)
        self.final = final


class Answer(NamedTuple):
    """`retry_after`: for how many seconds the host wants to be left alone, 0 where it doesn't say (RFC 9110 10.2.3).
    `text` is how what it says begins, on one line, and can be logged."""

    status: int
    retry_after: float = 0.0
    text: str = ""


@implementer(IHandshakeListener)
class Exchange(Protocol):
    """The connection. `answer` fires once."""

    def __init__(self, clock: IReactorTime, request: bytes, handshake: Handshake | None) -> None:
        """`handshake`: None for a request in the clear."""
        self._clock = clock
        self._request = request
        self._handshake = handshake
        self._heard = b""
        self._size = 0
        self._known: Answer | None = None
        self._said = b""
        #: Bytes of the body that are still to come; None: it doesn't say.
        self._left: int | None = None
        self._timer: IDelayedCall | None = None
        self.answer: Deferred[Answer] = Deferred()

    def connectionMade(self) -> None:
        if self._handshake is None:
            self.transport.write(self._request)  # type: ignore[union-attr]
        else:
            self.transport.startTLS(self._handshake)  # type: ignore[union-attr]

    def handshakeCompleted(self) -> None:
        assert self._handshake is not None
        distrust = self._handshake.distrust()
        if distrust:
            self._fail(distrust)
            return
        self.transport.write(self._request)  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        if self.answer.called:
            return
        self._size += len(data)
        if self._known is None:
            self._heard += data
            if not self._header():
                return
            data = self._heard
        self._body(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        status = _STATUS.match(self._heard)
        if self._known is None and status is not None and int(status[1]) >= 200:
            self._known = Answer(int(status[1]))
        self._end()

    def drop(self) -> None:
        """Hang up, if there is a connection."""
        self._stop_timer()
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]

    # -- inside

    def _header(self) -> bool:
        """Whether the header of the answer is here; what is behind it stays in `_heard`."""
        while match := _STATUS.match(self._heard):
            end = _EMPTY_LINE.search(self._heard, match.end() - 2)
            if end is None:
                break
            head, self._heard = self._heard[match.end() : end.start() + 1], self._heard[end.end() :]
            # What was only announced, such as 100, ends with an empty line like any answer.
            if int(match[1]) >= 200:
                self._understand(int(match[1]), head)
                return True
        if len(self._heard) > LONGEST_HEAD or self._size > LONGEST or not b"HTTP/1.".startswith(self._heard[:7]):
            self._fail("it answers as no web server does")
        return False

    def _understand(self, status: int, head: bytes) -> None:
        fields = {match[1].lower(): match[2] for match in _field.finditer(head)}
        length = fields.get(b"content-length", b"")
        if status in (204, 304):
            self._left = 0
        elif length.isdigit() and len(length) < 10:
            self._left = int(length)
        self._known = Answer(status, _seconds(fields.get(b"retry-after", b"")))
        self._timer = self._clock.callLater(LINGER, self._end)

    def _body(self, data: bytes) -> None:
        """A host that is cut off in the middle of its answer may take it that nobody has heard it."""
        self._said += data[: _KEPT - len(self._said)]
        if self._left is not None:
            self._left -= len(data)
            over = self._left <= 0
        else:
            over = data.endswith(b"0\r\n\r\n")
        if over or self._size > LONGEST:
            self._end()

    def _end(self) -> None:
        self._stop_timer()
        if self.answer.called:
            return
        if self._known is None:
            self._fail("the connection was closed before an answer")
        else:
            said = self._said if self._left is not None else _chunk.sub(b"", self._said)
            self.answer.callback(self._known._replace(text=_plain(said)))

    def _fail(self, text: str) -> None:
        if not self.answer.called:
            self.answer.errback(NoAnswer(text))

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()


def _plain(said: bytes) -> str:
    """On one line, without what could steer a terminal."""
    text = said.decode("utf-8", "replace")
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _seconds(value: bytes) -> float:
    """What Retry-After says, in seconds or as a date; 0: nothing, or nothing that can be understood."""
    text = value.decode("ascii", "replace")
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        until = parsedate_to_datetime(text[:60])
        return max(0.0, (until - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return 0.0
