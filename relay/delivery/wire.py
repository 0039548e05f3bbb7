"""One TCP connection to a host, from dialling to hanging up; a session uses several in turn.

A session that is through with a connection leaves it, and hears only one thing more of it: that
it is gone. The polite end (QUIT, wait for the reply, bounded) happens here, on its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import ClientFactory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.net.connecting import ProxyFailed, words
from relay.net.outlet import Outlet

if TYPE_CHECKING:
    from twisted.internet.interfaces import (
        IAddress,
        IConnector,
        IConsumer,
        IDelayedCall,
        IReactorTCP,
        IReactorTime,
        IReactorUNIX,
        ITCPTransport,
    )

    from relay.net.client_tls import Handshake

    class Reactor(IReactorTCP, IReactorTime, IReactorUNIX):
        """What is needed of the reactor here."""

    class Transport(ITCPTransport, IConsumer):
        """What TCP connections are in Twisted."""

        def startTLS(contextFactory: Handshake) -> None:
            """Begin TLS as a client."""


_WILDCARDS = frozenset(("", "0.0.0.0", "::"))


class Owner(Protocol):
    """Who uses a wire, and is told what happens on it."""

    def connected(self) -> None:
        """The connection stands; nothing was said yet."""

    def unconnected(self, reason: str, ours: bool) -> None:
        """It could not be made; `ours`: because our own address, or our proxy, can't be used."""

    def received(self, data: bytes) -> None: ...

    def secured(self) -> None:
        """The handshake that `start_tls` began is done."""

    def unsecured(self, reason: str) -> None:
        """It failed, and the connection is gone."""

    def lost(self, reason: str) -> None: ...

    def gone(self) -> None:
        """After `leave` or `drop`, maybe within them: there is no connection any more."""


@implementer(IHandshakeListener)
class Wire(TwistedProtocol):
    """The connection. `transport` is there from `connected` on.

    Attributes:
        source: the address that the host sees, as far as a proxy says; "" when it is ours.
    """

    transport: Transport
    source = ""
    _outlet: Outlet
    _bind: tuple[str, int] | None = None

    def __init__(self, owner: Owner) -> None:
        self._owner: Owner | None = owner
        self._connector: IConnector | None = None
        self._leaving: IDelayedCall | None = None
        self._left = False
        self._gone = False
        self._securing = False
        self._local = False

    def dial(self, reactor: Reactor, address: str, port: int, local_address: str, timeout: float) -> None:
        """Connect; what comes of it is told to the owner, never within this call's own frame.

        An `address` that is a path is a socket on this machine. `timeout` in seconds is the reactor's; a wildcard
        `local_address` leaves the choice to the system.
        """
        self._local = address[:1] == "/"
        if self._local:
            self._connector = reactor.connectUNIX(address, _Dialling(self), timeout)
            return
        self._bind = bind = None if local_address in _WILDCARDS else (local_address, 0)
        self._connector = reactor.connectTCP(address, port, _Dialling(self), timeout, bind)

    @property
    def local_address(self) -> str:
        """The address that the host sees, as far as it is known here; "" where there is none."""
        return self.source or str(getattr(self.transport.getHost(), "host", ""))

    def write(self, data: bytes) -> None:
        """Send; what the socket does not take now is kept."""
        self._outlet.write(data)

    def start_tls(self, handshake: Handshake) -> None:
        """Begin TLS, now; it comes to `secured` or `unsecured`."""
        self._securing = True
        self.transport.startTLS(handshake)

    def leave(self, reactor: IReactorTime, seconds: float) -> None:
        """Say QUIT and close within `seconds` at the latest; the owner hears `gone`, and no more."""
        if self._gone or not self.connected:
            self.drop()
            return
        if self._securing:
            self.drop()
            return
        self._left = True
        self._leaving = reactor.callLater(seconds, self.transport.abortConnection)
        self.transport.write(b"QUIT\r\n")

    def drop(self) -> None:
        """Close at once, whatever is still to be sent; the owner hears `gone`, and no more."""
        self._left = True
        if self._gone or self._connector is None:
            self._tell_gone()
        elif self.connected:
            self.transport.abortConnection()
        else:
            self._connector.stopConnecting()

    def _tell_gone(self) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.gone()

    # -- called by Twisted

    def connectionMade(self) -> None:
        if self._left or self._owner is None:
            self.transport.abortConnection()
            return
        if not self._local:
            self.transport.setTcpNoDelay(True)
        self._outlet = Outlet(self.transport)
        self._owner.connected()

    def dataReceived(self, data: bytes) -> None:
        if self._leaving is not None:
            self.transport.loseConnection()
        elif self._owner is not None and not self._left:
            self._owner.received(data)

    def handshakeCompleted(self) -> None:
        if self._securing:
            self._securing = False
            self._outlet = Outlet(self.transport)
            if self._owner is not None and not self._left:
                self._owner.secured()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._gone = True
        if self._leaving is not None and self._leaving.active():
            self._leaving.cancel()
        if self._left:
            self._tell_gone()
        elif self._owner is not None:
            clean = isinstance(reason.value, error.ConnectionDone)
            words = "Connection closed by the host" if clean else "Connection lost"
            if self._securing:
                self._owner.unsecured(_why_no_tls(reason.value) or words)
            else:
                self._owner.lost(words)

    def failed(self, reason: Failure) -> None:
        """The connection could not be made."""
        self._gone = True
        if self._left:
            self._tell_gone()
        elif self._owner is not None:
            text = words(reason.value)
            if isinstance(reason.value, error.ConnectBindError) and self._bind is not None:
                text += f" {self._bind[0]}"
            self._owner.unconnected(text, isinstance(reason.value, (error.ConnectBindError, ProxyFailed)))


class _Dialling(ClientFactory):
    """Twisted's way to hand a connection over."""

    noisy = False

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def buildProtocol(self, addr: IAddress | None) -> Wire:
        return self._wire

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self._wire.failed(reason)


def _why_no_tls(problem: BaseException | None) -> str:
    """The words of OpenSSL's queue of errors, "" when it has none."""
    if not isinstance(problem, SSL.Error):
        return ""
    queue = problem.args[0] if problem.args and isinstance(problem.args[0], list) else []
    return ", ".join(str(entry[-1]) for entry in queue)
