"""What a web server answers to one message that is posted to it, and when it does (RFC 9110 15, 9112).

Of an answer the status decides; the rest is kept to be quoted. One that comes before the host has all of the message is
heard at once, for then the rest is spared; the others are read by `asking`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec.structs
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from relay.delivery.verdict import verdict
from relay.message.values import Result
from relay.smtp.ending import Ending

_status = re.compile(rb"HTTP/1\.[01] ([2-9][0-9][0-9])(?: ([^\r\n]*))?\r?\n").match
#: What says that an answer will come (RFC 9110 15.2).
_interim = re.compile(rb"HTTP/1\.[01] 1[0-9][0-9][^\n]*\n(?:[^\r\n][^\n]*\n)*\r?\n").match

NO_HTTP = "What the host says is no HTTP"


class Answer(Protocol):
    """See the module. Twisted hands over to it what stands behind the header.

    Attributes:
        size: bytes of it that have come, header and all.
        early: what has come of it before the host had all of the message.
    """

    def __init__(self, whole: Callable[[], None]) -> None:
        """`whole` is called when all of it is here that comes."""
        self.size = 0
        self.early = b""
        self._whole = whole
        self._response: Any = None
        self._body = b""

    @property
    def known(self) -> bool:
        """Its status is."""
        return self._response is not None

    def hear(self, data: bytes) -> Ending | None:
        """A piece that comes early; how the delivery ends for that, if it does."""
        self.early += data
        while interim := _interim(self.early):
            self.early = self.early[interim.end() :]
        if status := _status(self.early):
            return verdict(int(status[1]), _text(status[2] or b""), b"", "body")
        if b"\n" in self.early and not self.early.startswith(b"HTTP/1."):
            return Ending(Result.DEFERRED, "body", NO_HTTP, category="protocol")
        return None

    def headed(self, response: Any) -> bool:
        """Its header is here, as Twisted's response. False: it isn't one of HTTP."""
        if response.version[:2] != (b"HTTP", 1):
            return False
        self._response = response
        return True

    def read(self) -> None:
        """Take the rest, as far as it comes."""
        self._response.deliverBody(self)

    def ending(self, again: bool) -> Ending:
        """What it means, once its status is known. What is no answer to the message, or none that makes sense, leaves
        it open whether the host has it. `again`: it is whole, and the connection goes on."""
        response = self._response
        later = response.headers.getRawHeaders(b"retry-after", [b""])[0]
        # An answer that began before the end is none to the message; one to say that there will be one may have.
        early = bool(self.early) and self.early[9:10] != b"1"
        reusable = again and response.version == (b"HTTP", 1, 1) and not early
        stage = "body" if early else "dot"
        ending = verdict(response.code, _text(response.phrase), self._body, stage, _text(later), reusable)
        return ending if ending.code else msgspec.structs.replace(ending, doubtful=True)

    # -- called by Twisted

    def dataReceived(self, data: bytes) -> None:
        self._body += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._whole()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
