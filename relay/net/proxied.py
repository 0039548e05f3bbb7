"""Connections that leave by a proxy, made as the reactor makes those that don't.

Whoever connects gives its factory and its protocol as ever, and is given the connection when there is one to the far
host. What the far host is to blame for fails with the errors of Twisted; what the proxy is, with ProxyFailed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.protocol import ClientFactory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure

from relay.config.egress import Egress, Login
from relay.net.connecting import ProxyFailed, words
from relay.net.proxy_protocol import Client, encode_1, encode_2
from relay.net.socks5 import NotReached, Socks5, SocksError, Unreached

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IConnector, IDelayedCall, IReactorTCP, IReactorTime

    class Reactor(IReactorTCP, IReactorTime):
        """What is needed of the reactor here."""


#: How long the proxy itself may take, until it is asked for the far host (seconds).
OWN_TIME = 10.0

_UNREACHED: dict[Unreached, type[Exception]] = {
    Unreached.NETWORK: error.NoRouteError,
    Unreached.HOST: error.NoRouteError,
    Unreached.REFUSED: error.ConnectionRefusedError,
    Unreached.TIMED_OUT: error.TimeoutError,
}


class Passage(Protocol):
    """The talk with a proxy, as `Socks5` has it."""

    asked: bool
    done: bool
    source: str
    rest: bytes

    def begin(self) -> bytes: ...
    def feed(self, data: bytes) -> bytes: ...


class Header:
    """A PROXY header: nothing is answered to it. Attributes as those of `Socks5`."""

    def __init__(self, kind: str, source: str, address: str, port: int) -> None:
        """The proxy is asked to connect from `source`, by any port."""
        self.source = source
        self.asked = self.done = True
        self.rest = b""
        encode = encode_1 if kind == "haproxy1" else encode_2
        self._header = encode(Client(source, 0), Client(address, port))

    def begin(self) -> bytes:
        return self._header

    def feed(self, data: bytes) -> bytes:
        raise AssertionError("it is done")


class Proxied:
    """In the place of a reactor: `connectTCP` goes through the proxy, the clock is the reactor's. `states_source`: the
    proxy is told which address to connect from."""

    def __init__(self, reactor: Reactor, egress: Egress, login: Login | None = None) -> None:
        self._reactor = reactor
        self._egress = egress
        self._login = login
        self.seconds = reactor.seconds
        self.callLater = reactor.callLater
        self.states_source = egress.states_source

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory,
        timeout: float = 30.0,
        bindAddress: tuple[str, int] | None = None,
    ) -> IConnector:
        """Connect to an address, within `timeout` seconds and half of that at the proxy. It is told of `bindAddress`
        if it can be; here nothing is bound to that."""
        if self._egress.states_source:
            source = bindAddress[0] if bindAddress else "::" if ":" in host else "0.0.0.0"
            passage: Passage = Header(self._egress.kind, source, host, port)
        else:
            passage = Socks5(host, port, self._login)
        destination = IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)
        crossing = _Crossing(self._reactor, self._egress, passage, factory, destination)
        crossing.begin(timeout)
        return crossing  # type: ignore[return-value]


class _Crossing(ClientFactory):
    """One connection on its way through the proxy: a connector to who wants it, a factory to the reactor."""

    noisy = False

    def __init__(
        self, reactor: Reactor, egress: Egress, passage: Passage, factory: ClientFactory, destination: IAddress
    ) -> None:
        self._destination = destination
        self._reactor = reactor
        self._egress = egress
        self.passage = passage
        self._factory = factory
        self._problem: Exception | None = None
        self._protocol: _AtProxy | None = None

    def begin(self, timeout: float) -> None:
        # Twice the time-out of whoever waits is what comes here (relay.delivery.call): his is not to end before ours.
        self._timer: IDelayedCall | None = self._reactor.callLater(min(OWN_TIME, timeout / 4), self._late)
        self._connector = self._reactor.connectTCP(self._egress.host, self._egress.port, self, timeout)
        self._factory.startedConnecting(self)  # type: ignore[arg-type]

    def getDestination(self) -> IAddress:
        """The far host."""
        return self._destination

    def stopConnecting(self) -> None:
        """Have done with it."""
        if self._protocol is not None:
            self._protocol.transport.abortConnection()
        else:
            self._connector.stopConnecting()

    def blame(self, text: str) -> None:
        """The proxy is at fault; the first to say so is right."""
        self._problem = self._problem or ProxyFailed(f"Proxy {self._egress}: {text}")

    def unreached(self, why: Unreached) -> None:
        """The far host can't be reached from the proxy."""
        self._problem = _UNREACHED[why]()

    def on_its_way(self) -> None:
        """The proxy has done its part so far."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def arrived(self) -> Any:
        """There is a connection to the far host: the protocol that is to have it, None if nobody wants it."""
        self.on_its_way()
        return self._factory.buildProtocol(None)

    def failed(self, reason: Failure) -> None:
        """There is none, and none to the proxy any more."""
        self.on_its_way()
        problem = Failure(self._problem) if self._problem else reason
        self._factory.clientConnectionFailed(self, problem)  # type: ignore[arg-type]

    def _late(self) -> None:
        self._timer = None
        self.blame("no answer in time")
        self.stopConnecting()

    # -- called by Twisted

    def buildProtocol(self, addr: IAddress | None) -> TwistedProtocol:
        self._protocol = _AtProxy(self)
        return self._protocol

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        if not isinstance(reason.value, error.UserError):
            self.blame(words(reason.value))
        self.failed(reason)


class _AtProxy(TwistedProtocol):
    """The connection to the proxy, until it is one to the far host."""

    transport: Any

    def __init__(self, crossing: _Crossing) -> None:
        self._crossing = crossing

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self._said(self._crossing.passage.begin)

    def dataReceived(self, data: bytes) -> None:
        self._said(lambda: self._crossing.passage.feed(data))

    def _said(self, step: Callable[[], bytes]) -> None:
        crossing, passage = self._crossing, self._crossing.passage
        try:
            answer = step()
        except SocksError as problem:
            crossing.blame(str(problem))
            self.transport.abortConnection()
        except NotReached as problem:
            crossing.unreached(problem.why)
            self.transport.abortConnection()
        else:
            if answer:
                self.transport.write(answer)
            if passage.asked:
                crossing.on_its_way()
            if passage.done:
                self._hand_over(passage)

    def _hand_over(self, passage: Passage) -> None:
        protocol = self._crossing.arrived()
        protocol.source = passage.source
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)
        if passage.rest:
            protocol.dataReceived(passage.rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._crossing.blame("it has closed the connection")
        self._crossing.failed(reason)
