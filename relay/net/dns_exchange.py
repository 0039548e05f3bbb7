"""One question to one name server over UDP or TCP (RFC 1035 4.2, RFC 5452).

Every question has a socket of its own, so that the system gives it a source port of its own.
Whatever doesn't fit the question is ignored as if it had never come: it may be forged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, DatagramProtocol, Protocol
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IConnector, IReactorTCP, IReactorTime, IReactorUDP

    class Reactor(IReactorTCP, IReactorUDP, IReactorTime):
        """What is needed of the reactor here."""


_MAX_PACKET = 65535


class Server(NamedTuple):
    """A name server."""

    address: str
    port: int = 53


class Unanswered(Exception):
    """No answer came: silence, or the server can't be reached."""


def ask(
    reactor: Reactor, server: Server, query: bytes, fits: Callable[[bytes], bool], seconds: float, tcp: bool
) -> Deferred[bytes]:
    """The first answer that `fits`; fails with Unanswered after `seconds` at the latest."""
    return (_ask_tcp if tcp else _ask_udp)(reactor, server, query, fits, seconds)


def _ask_udp(
    reactor: Reactor, server: Server, query: bytes, fits: Callable[[bytes], bool], seconds: float
) -> Deferred[bytes]:
    datagram = _Datagram(server, query, fits)
    interface = "::" if ":" in server.address else ""
    try:
        port = reactor.listenUDP(0, datagram, interface, _MAX_PACKET)
    except Exception as error:
        datagram.end(Unanswered(f"no socket for a question: {error}"))
        return datagram.answer
    timer = reactor.callLater(seconds, datagram.end, Unanswered(f"no answer from {server.address}"))

    def close(result: bytes | Failure) -> bytes | Failure:
        if timer.active():
            timer.cancel()
        port.stopListening()
        return result

    datagram.answer.addBoth(close)
    return datagram.answer


class _Datagram(DatagramProtocol):
    """A question on its own socket."""

    def __init__(self, server: Server, query: bytes, fits: Callable[[bytes], bool]) -> None:
        self._server = server
        self._query = query
        self._fits = fits
        self.answer: Deferred[bytes] = Deferred()

    def startProtocol(self) -> None:
        assert self.transport is not None
        # Connected, so that the system drops what comes from elsewhere and tells of refusals.
        try:
            self.transport.connect(*self._server)
            self.transport.write(self._query, None)
        except OSError as error:
            self.end(Unanswered(f"can't reach {self._server.address}: {error.strerror}"))

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        if tuple(addr[:2]) == tuple(self._server) and self._fits(datagram):
            self.end(datagram)

    def connectionRefused(self) -> None:
        self.end(Unanswered(f"{self._server.address} does not listen"))

    def end(self, result: bytes | Unanswered) -> None:
        if not self.answer.called:
            if isinstance(result, bytes):
                self.answer.callback(result)
            else:
                self.answer.errback(result)


def _ask_tcp(
    reactor: Reactor, server: Server, query: bytes, fits: Callable[[bytes], bool], seconds: float
) -> Deferred[bytes]:
    stream = _Stream(query, fits)
    connector = reactor.connectTCP(server.address, server.port, _Dialling(stream), seconds)
    timer = reactor.callLater(seconds, stream.end, Unanswered(f"no answer from {server.address} over TCP"))

    def close(result: bytes | Failure) -> bytes | Failure:
        if timer.active():
            timer.cancel()
        connector.disconnect()
        return result

    stream.answer.addBoth(close)
    return stream.answer


class _Stream(Protocol):
    """A question over TCP: two bytes of length before each message."""

    def __init__(self, query: bytes, fits: Callable[[bytes], bool]) -> None:
        self._query = query
        self._fits = fits
        self._buffer = b""
        self.answer: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(len(self._query).to_bytes(2, "big") + self._query)

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        length = int.from_bytes(self._buffer[:2], "big")
        if len(self._buffer) < 2 or len(self._buffer) < 2 + length:
            return
        message, self._buffer = self._buffer[2 : 2 + length], b""
        self.end(message if self._fits(message) else Unanswered("an answer that does not fit, over TCP"))

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.end(Unanswered("name server closed the connection"))

    def end(self, result: bytes | Unanswered) -> None:
        if not self.answer.called:
            if isinstance(result, bytes):
                self.answer.callback(result)
            else:
                self.answer.errback(result)


class _Dialling(ClientFactory):
    noisy = False

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def buildProtocol(self, addr: IAddress | None) -> _Stream:
        return self._stream

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self._stream.end(Unanswered("name server does not take TCP"))
