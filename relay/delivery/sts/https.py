"""One small text over HTTPS, from addresses that were found before: nobody else is asked anything.

No name is looked up here, no redirect followed, nothing kept, and no more taken than may be. Whoever
doesn't prove to be the host isn't even asked; what the host says may be anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectingCancelledError, TimeoutError
from twisted.internet.interfaces import IHandshakeListener, IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from relay.net.client_tls import Handshake
from relay.net.dns import printable

PORT = 443
#: How long each address is tried (seconds).
CONNECT = 10.0


class Failed(Exception):
    """There was no answer, or not a whole one; the text says why, and can be logged."""


class Untrusted(Failed):
    """Nobody has proven to be the host."""


class Answer(NamedTuple):
    """`kind` is the media type, in lower case and without parameters; `body` is empty unless `status` is 200."""

    status: int
    kind: str
    body: bytes


async def get(
    reactor: Any, host: str, path: str, addresses: Sequence[str], handshake: Handshake, most: int
) -> Answer:
    """GET a path of a host that has these addresses, tried in turn; `most` bounds all that is taken of its answer
    (bytes). `reactor` may be one that leads through a proxy (relay.net.proxied). It may take for ever, but can be
    cancelled. Raises Failed."""
    line = _Line(reactor, addresses, handshake, most)
    agent = Agent.usingEndpointFactory(reactor, line)
    headers = Headers({b"User-Agent": [b"Zonerelay"], b"Accept": [b"text/plain"]})
    try:
        response = await agent.request(b"GET", f"https://{host}{path}".encode("ascii"), headers)
        kind = (response.headers.getRawHeaders(b"content-type") or [b""])[0].partition(b";")[0]
        body = b""
        if response.code == 200:
            text = _Text()
            response.deliverBody(text)
            body = await text.whole
        return Answer(response.code, kind.strip().lower().decode("ascii", "replace"), body)
    except Exception as error:
        cause = _cause(error)
        if isinstance(cause, CancelledError | ConnectingCancelledError):
            raise CancelledError from None
        raise line.problem or Failed(_words(cause)) from None
    finally:
        line.hang_up()


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
class _Line:
    """The one connection. `problem`: why it was cut, if it was we who did it."""

    def __init__(self, reactor: Any, addresses: Sequence[str], handshake: Handshake, most: int) -> None:
        self._reactor = reactor
        self._addresses = addresses
        self._wire: Any = None
        self._most = self._left = most
        self.handshake = handshake
        self.problem: Failed | None = None

    def endpointForURI(self, uri: URI) -> _Line:
        return self

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        problem: Exception = ConnectError()
        watched: Any = WrappingFactory(factory)
        watched.protocol = _Watched
        watched.line = self
        for address in self._addresses:
            kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
            # A proxy has answered long before its far host does; so the time is ours to keep, the endpoint's backs it.
            endpoint = wrapClientTLS(self.handshake, kind(self._reactor, address, PORT, 2 * CONNECT))
            try:
                wire: Any = await endpoint.connect(watched).addTimeout(CONNECT, self._reactor, _late)
            except ConnectError as error:
                problem = error
            else:
                self._wire = wire
                return wire.wrappedProtocol  # type: ignore[no-any-return]
        raise problem

    def may(self, size: int) -> bool:
        """Whether so many more bytes may come."""
        self._left -= size
        if self._left < 0:
            self.problem = Failed(f"it says more than {self._most} bytes")
        return self._left >= 0

    def hang_up(self) -> None:
        """Whatever is still to come."""
        if self._wire is not None:
            self._wire.abort()


@implementer(IHandshakeListener)
class _Watched(ProtocolWrapper):
    """Between TLS and HTTP: hears and says nothing before the host has proven who it is, and hangs up on one who talks
    for too long, for headers have no other bound."""

    _proven = False

    def handshakeCompleted(self) -> None:
        """Nothing was said yet."""
        line: _Line = self.factory.line
        distrust = line.handshake.distrust()
        if distrust:
            line.problem = Untrusted(distrust)
            self.abort()
        else:
            self._proven = True

    def dataReceived(self, data: bytes) -> None:
        line: _Line = self.factory.line
        if self._proven and line.may(len(data)):
            super().dataReceived(data)
        else:
            self.abort()

    def abort(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


class _Text(Protocol):
    """A body. `whole` fails when it isn't known to be whole: somebody could have cut it short."""

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred()
        self._pieces: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self._pieces.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        if reason.check(ResponseDone):
            self.whole.callback(b"".join(self._pieces))
        else:
            self.whole.errback(reason)


def _late(result: Any, seconds: float) -> Any:
    """There was no connection in time, whatever giving up has come to."""
    if isinstance(result, Failure):
        raise TimeoutError
    return result


def _cause(error: BaseException) -> BaseException:
    """What has happened; the client of Twisted wraps it in what it was about."""
    while reasons := getattr(error, "reasons", None):
        error = reasons[0].value
    return error


def _words(error: BaseException) -> str:
    if isinstance(error, PotentialDataLoss):
        return "it doesn't tell where its answer ends"
    return printable(str(error)).rstrip(".") or type(error).__name__
