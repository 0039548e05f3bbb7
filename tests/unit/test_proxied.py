"""Connections by way of a proxy, as who wants them sees them."""

from __future__ import annotations

from typing import Any

from twisted.internet import error
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from relay.config.egress import Egress, Login
from relay.delivery.wire import Wire
from relay.net.proxied import OWN_TIME, Proxied
from relay.net.proxy_protocol import ProxyHeader
from tests.unit.test_session import Network
from tests.unit.test_socks5 import ADMISSION, CONNECT4, DONE4

SOCKS = Egress("socks5", "10.0.0.5", 1080)
LOGIN = Login(b"relay", b"p\xc3\xa4ss")


class Line(StringTransport):
    """The connection to the proxy."""

    protocol: Any = None

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def abortConnection(self) -> None:
        self.disconnecting = True
        self.protocol.connectionLost(Failure(error.ConnectionAborted()))

    def read(self) -> bytes:
        data = self.value()
        self.clear()
        return bytes(data)


class Owner:
    """Who uses the wire."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def connected(self) -> None:
        self.told.append("connected")

    def unconnected(self, reason: str, ours: bool) -> None:
        self.told.append((reason, ours))

    def received(self, data: bytes) -> None:
        self.told.append(data)

    def secured(self) -> None:
        self.told.append("secured")

    def unsecured(self, reason: str) -> None:
        self.told.append("unsecured")

    def lost(self, reason: str) -> None:
        self.told.append(f"lost: {reason}")

    def gone(self) -> None:
        self.told.append("gone")


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Network()

    def dial(self, proxy: Egress = SOCKS, login: Login | None = None, source: str = "192.0.2.9") -> None:
        self.owner = Owner()
        self.wire = Wire(self.owner)
        outward: Any = Proxied(self.reactor, proxy, login)
        self.wire.dial(outward, "192.0.2.7", 25, source, 120.0)
        self.host, self.port, self.factory, _, self.bind = self.reactor.tcpClients[-1]
        self.connector = self.reactor.connectors[-1]

    def connect(self) -> Line:
        """The proxy takes the connection."""
        self.line = Line()
        self.line.protocol = self.factory.buildProtocol(None)
        self.line.protocol.makeConnection(self.line)
        return self.line

    def say(self, data: bytes) -> bytes:
        self.line.protocol.dataReceived(data)
        return self.line.read()

    def through(self) -> None:
        self.connect()
        self.line.read()
        self.assertEqual(self.say(b"\x05\x00"), CONNECT4)
        self.say(DONE4)


class Socks(Case):
    def test_to_the_far_host(self) -> None:
        self.dial(login=LOGIN)
        self.assertEqual((self.host, self.port, self.bind), ("10.0.0.5", 1080, None))
        self.assertEqual(self.connect().read(), b"\x05\x02\x00\x02")
        self.assertEqual(self.say(b"\x05\x02"), ADMISSION)
        self.assertEqual(self.say(b"\x01\x00"), CONNECT4)
        self.assertEqual(self.owner.told, [])
        self.say(DONE4 + b"220 hi\r\n")
        self.assertEqual(self.owner.told, ["connected", b"220 hi\r\n"])
        self.assertEqual(self.wire.local_address, "198.51.100.9")
        self.assertIs(self.line.protocol, self.wire)
        self.wire.write(b"EHLO a\r\n")
        self.assertEqual(self.line.read(), b"EHLO a\r\n")
        self.line.protocol.connectionLost(Failure(error.ConnectionDone()))
        self.assertEqual(self.owner.told[-1], "lost: Connection closed by the host")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_what_is_the_far_hosts_fault(self) -> None:
        route, refused, silent = "No route to host", "Connection refused", "Connecting timed out"
        for code, words in ((3, route), (4, route), (5, refused), (6, silent)):
            self.dial()
            self.connect()
            self.say(b"\x05\x00")
            self.say(bytes((5, code)))
            self.assertEqual(self.owner.told, [(words, False)])
            self.assertTrue(self.line.disconnecting)

    def test_what_is_the_proxys(self) -> None:
        self.dial()
        self.factory.clientConnectionFailed(self.connector, Failure(error.ConnectionRefusedError()))
        self.assertEqual(self.owner.told, [("Proxy socks5://10.0.0.5:1080: Connection refused", True)])
        for said, words in (
            ((b"\x05\x00", b"\x05\x02"), "its rules forbid this connection"),
            ((b"\x05\x00", b"\x05\x01"), "it has failed"),
            ((b"\x05\xff",), "it wants a login that it takes"),
            ((b"220 mx.test ESMTP\r\n",), "it does not speak SOCKS5"),
        ):
            self.dial()
            self.connect()
            for part in said:
                self.say(part)
            self.assertEqual(self.owner.told, [(f"Proxy socks5://10.0.0.5:1080: {words}", True)])
        for said in ((), (b"\x05\x00",)):
            self.dial()
            self.connect()
            for part in said:
                self.say(part)
            self.line.protocol.connectionLost(Failure(error.ConnectionDone()))
            self.assertEqual(self.owner.told, [("Proxy socks5://10.0.0.5:1080: it has closed the connection", True)])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_login_is_in_no_text(self) -> None:
        self.assertNotIn("ss", repr(LOGIN))
        self.dial(login=LOGIN)
        self.connect()
        self.say(b"\x05\x02")
        self.say(b"\x01\x01")
        self.assertEqual(self.owner.told, [("Proxy socks5://10.0.0.5:1080: it refuses the login", True)])

    def test_a_proxy_that_is_silent(self) -> None:
        """It has its own time, which ends before that of who waits; the far host has all of that."""
        for connected in (False, True):
            self.dial()
            if connected:
                self.connect()
            self.reactor.advance(OWN_TIME - 0.1)
            self.assertEqual(self.owner.told, [])
            self.reactor.advance(0.1)
            self.assertEqual(self.owner.told, [("Proxy socks5://10.0.0.5:1080: no answer in time", True)])
        self.dial()
        self.connect()
        self.say(b"\x05\x00")
        self.reactor.advance(200.0)
        self.assertEqual(self.owner.told, [])

    def test_short_time_outs(self) -> None:
        owner = Owner()
        outward: Any = Proxied(self.reactor, SOCKS)
        Wire(owner).dial(outward, "192.0.2.7", 25, "0.0.0.0", 4.0)
        self.reactor.advance(1.0)
        self.assertEqual(len(owner.told), 1)

    def test_who_has_enough_of_it(self) -> None:
        """Dropped at any stage: gone, once, and nothing is left behind."""
        for stage in range(4):
            self.dial()
            if stage:
                self.connect()
            if stage > 1:
                self.say(b"\x05\x00")
            if stage > 2:
                self.say(DONE4)
            self.owner.told.clear()
            self.wire.drop()
            self.assertEqual(self.owner.told, ["gone"], stage)
            self.assertEqual(self.reactor.getDelayedCalls(), [])


class HaProxy(Case):
    def test_the_header_comes_first(self) -> None:
        for kind in ("haproxy", "haproxy1"):
            self.dial(Egress(kind, "10.0.0.6", 2525))  # type: ignore[arg-type]
            self.assertEqual((self.host, self.port, self.bind), ("10.0.0.6", 2525, None))
            header = ProxyHeader()
            self.assertTrue(header.feed(self.connect().read()))
            self.assertEqual((header.client, header.rest), (("192.0.2.9", 0), b""))
            self.assertEqual(self.owner.told, ["connected"])
            self.assertEqual(self.wire.local_address, "192.0.2.9")
            self.say(b"220 hi\r\n")
            self.assertEqual(self.owner.told[-1], b"220 hi\r\n")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_as_it_is_written(self) -> None:
        self.dial(Egress("haproxy1", "10.0.0.6", 2525))
        self.assertEqual(self.connect().read(), b"PROXY TCP4 192.0.2.9 192.0.2.7 0 25\r\n")

    def test_no_proxy_there(self) -> None:
        self.dial(Egress("haproxy", "10.0.0.6", 2525))
        self.factory.clientConnectionFailed(self.connector, Failure(error.ConnectionRefusedError()))
        self.assertEqual(self.owner.told, [("Proxy haproxy://10.0.0.6:2525: Connection refused", True)])
