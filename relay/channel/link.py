"""One end of the data channel on a Twisted transport: frames in, frames out, no policy."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.channel.codec import BadFrame, FrameReader, Tongue, pack
from relay.channel.frames import Frame

_log = Logger()


class Owner(Protocol):
    """Whoever listens to a link."""

    def link_made(self, link: Link) -> None: ...
    def frame(self, link: Link, frame: Any) -> None: ...
    def link_lost(self, link: Link, reason: str) -> None: ...


class Link(TwistedProtocol):
    """Speaks frames. A frame that can't be read, or that its owner refuses by raising
    BadFrame, ends the connection; the owner is told once."""

    transport: ITCPTransport

    def __init__(self, owner: Owner, reader: FrameReader) -> None:
        self.owner = owner
        self._reader = reader
        self._feed = reader.feed
        self._open = False
        #: Grows with everything heard; whoever watches for silence compares.
        self.heard = 0

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self._open = True
        self.owner.link_made(self)

    def dataReceived(self, data: bytes) -> None:
        if not self._open:
            return
        self.heard += 1
        try:
            for frame in self._feed(data):
                self.owner.frame(self, frame)
                if not self._open:
                    return
        except BadFrame as error:
            _log.warn("channel refused a frame: {reason}", reason=str(error)[:200])
            self.drop()

    def hear(self, tongue: Tongue) -> None:
        """From the next frame on the other end speaks this."""
        self._reader.learn(tongue)

    def send(self, frame: Frame) -> None:
        """Write one frame; silently nothing when the connection is gone."""
        if self._open:
            self.transport.write(pack(frame))

    def drop(self) -> None:
        """End the connection at once."""
        self._open = False
        self.transport.abortConnection()

    def finish(self) -> None:
        """Close once everything written has left."""
        self._open = False
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._open = False
        self.owner.link_lost(self, reason.getErrorMessage() if reason else "closed")
