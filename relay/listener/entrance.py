"""What a connection passes before it is a session: the header of a balancer, and the handshake of implicit TLS.

A session begins behind both. So it sees its client's own address from the start, and knows who it
is that it shares a secret with; and nothing of it is spent on those who never get so far. They are
given a short time, and as many places as sessions have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

from OpenSSL import SSL
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IHandshakeListener, IProtocolFactory, IReactorTime
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.listener.listener import ListenerFactory
from relay.net.proxy_protocol import Client, ProxyError, ProxyHeader

#: How long a balancer may take to say for whom it connects (seconds): it knows when it connects.
HEADER_TIMEOUT = 5.0

_log = Logger()


def entrance(factory: ListenerFactory, clock: IReactorTime) -> IProtocolFactory:
    """What a listener's port is to be given: the factory of its sessions, or that with something before it.

    Raises:
        ValueError: `proxy_networks` has something that is no network.
    """
    config = factory.config
    if config.tls == "implicit" or config.proxy_networks:
        return Entrance(factory, clock)
    return factory


class Entrance(ServerFactory):
    """The way to the sessions of one listener.

    Attributes:
        sessions: the factory of these.
    """

    noisy = False

    def __init__(self, sessions: ListenerFactory, clock: IReactorTime) -> None:
        self.sessions = sessions
        self._clock = clock
        self._here: Counter[str] = Counter()
        self._proxies = [ip_network(text, strict=False) for text in sessions.config.proxy_networks]
        self._tls: TLSMemoryBIOFactory | None = None
        if sessions.config.tls == "implicit":
            assert sessions.tls is not None, "a listener that speaks nothing but TLS has a certificate"
            self._tls = TLSMemoryBIOFactory(sessions.tls.options, False, _Inside(self), clock)

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """None: there are too many here already, and the connection is closed without a word."""
        host = getattr(addr, "host", "127.0.0.1")
        if self._is_proxy(host):
            return None if self._full("") else _Headed(self, host)
        return self.behind(addr)

    def behind(self, addr: IAddress | None) -> Protocol | None:
        """What follows where no header is expected, or after it."""
        if self._tls is None:
            return self.sessions.buildProtocol(addr)
        return None if self._full(getattr(addr, "host", "")) else self._tls.buildProtocol(addr)

    def came(self, host: str, seconds: float, late: Callable[[], None]) -> Callable[[], None]:
        """Somebody is here, and `late` is called when that takes too long. To be called when it is over."""
        self._here[host] += 1
        timer = self._clock.callLater(seconds, late)

        def went() -> None:
            if timer.active():
                timer.cancel()
            self._here[host] -= 1
            if not self._here[host]:
                del self._here[host]

        return went

    def _full(self, host: str) -> bool:
        """Whether there is no place; a balancer ("") may have them all."""
        config = self.sessions.config
        if self._here.total() < config.max_connections and (
            not host or self._here[host] < config.max_connections_per_address
        ):
            return False
        self.sessions.observe("turned_away")
        return True

    def _is_proxy(self, host: str) -> bool:
        if not self._proxies:
            return False
        address = ip_address(host.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._proxies)


class _Inside(ServerFactory):
    """Inside of TLS."""

    noisy = False

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return _Shaking(self._entrance, addr)


class _Headed(Protocol):
    """A balancer's connection, until its header has come."""

    transport: Any

    def __init__(self, entrance: Entrance, proxy: str) -> None:
        self._entrance = entrance
        self._proxy = proxy
        self._header = ProxyHeader()
        self._went: Callable[[], None] = lambda: None

    def connectionMade(self) -> None:
        self._went = self._entrance.came(self._proxy, HEADER_TIMEOUT, self._late)

    def dataReceived(self, data: bytes) -> None:
        header = self._header
        try:
            if not header.feed(data):
                return
        except ProxyError as error:
            self._refuse(str(error))
            return
        self._leave()
        transport, client = self.transport, header.client
        if client is not None:
            address = _address(client)
            # Whoever asks the connection where it comes from is to hear this.
            transport.getPeer = lambda: address
        following = self._entrance.behind(transport.getPeer())
        if following is None:
            transport.abortConnection()
            return
        transport.protocol = following
        following.makeConnection(transport)
        if header.rest:
            transport.protocol.dataReceived(header.rest)

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._leave()

    def _late(self) -> None:
        self._refuse(f"none came within {HEADER_TIMEOUT:g} s")

    def _refuse(self, reason: str) -> None:
        name = self._entrance.sessions.name
        _log.warn("{listener}: no PROXY header from {proxy}: {reason}", listener=name, proxy=self._proxy, reason=reason)
        self._entrance.sessions.observe("no_header")
        self._leave()
        self.transport.abortConnection()

    def _leave(self) -> None:
        went, self._went = self._went, lambda: None
        went()


@implementer(IHandshakeListener)
class _Shaking(Protocol):
    """A client of implicit TLS, until the handshake is done."""

    transport: Any

    def __init__(self, entrance: Entrance, addr: IAddress | None) -> None:
        self._entrance = entrance
        self._addr = addr
        self._host = getattr(addr, "host", "")
        self._went: Callable[[], None] = lambda: None

    def connectionMade(self) -> None:
        seconds = self._entrance.sessions.config.tls_timeout
        self._went = self._entrance.came(self._host, seconds, self._late)

    def handshakeCompleted(self) -> None:
        self._leave()
        session = self._entrance.sessions.buildProtocol(self._addr)
        self.transport.wrappedProtocol = session
        session.makeConnection(self.transport)

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._leave()
        if reason is not None and isinstance(reason.value, SSL.Error):
            # Else its frames would hold on to the connection until the garbage is collected.
            reason.cleanFailure()
            self._failed(f"{reason.value!r}"[:200])

    def _late(self) -> None:
        self._failed("the handshake took too long")
        self.transport.abortConnection()

    def _failed(self, reason: str) -> None:
        name = self._entrance.sessions.name
        _log.debug("{listener}: no TLS with {client}: {reason}", listener=name, client=self._host, reason=reason)
        self._entrance.sessions.observe("no_tls")

    def _leave(self) -> None:
        went, self._went = self._went, lambda: None
        went()


def _address(client: Client) -> IPv4Address | IPv6Address:
    return (IPv6Address if ":" in client.host else IPv4Address)("TCP", client.host, client.port)
