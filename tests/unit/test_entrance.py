"""Before the session: PROXY headers on a transport in memory, implicit TLS and both over sockets."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, serverFromString
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from relay.config.schema import Listener
from relay.listener.entrance import HEADER_TIMEOUT, Entrance, entrance
from relay.listener.listener import ListenerFactory
from relay.listener.session import ListenerProtocol
from relay.net.proxy_protocol import Client, encode_1, encode_2
from relay.net.tls import ServerTls, certificate_names, description, server_tls
from tests.unit.certificates import Authority, Pair
from tests.unit.fake_intake import FakeIntake

BALANCER = "10.0.0.5"
CLIENT = Client("192.0.2.9", 40123)
ENVELOPE = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nhello\r\n.\r\n"


class Transport(StringTransport):
    """Can be cut, and gives bytes to whatever its protocol is by then."""

    protocol: Any

    def begin(self, protocol: Any) -> None:
        self.protocol = protocol
        protocol.makeConnection(self)

    def deliver(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    aborting = False

    def abortConnection(self) -> None:
        super().abortConnection()
        self.aborting = True
        self.protocol.connectionLost(Failure(ConnectionDone()))


class Headers(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.intake = FakeIntake()
        self.seen: list[str] = []
        self.make(proxy_networks=("10.0.0.0/24", "2001:db8::/64"), allow_networks=("192.0.2.0/24",))

    def make(self, **config: Any) -> None:
        section = Listener(**config)
        self.sessions = ListenerFactory(
            section, "feeder", "relay.example.com", self.intake.door(), self.clock, self.seen.append
        )
        self.entrance = entrance(self.sessions, self.clock)

    def connect(self, host: str = BALANCER) -> Transport:
        address = IPv4Address("TCP", host, 1000)
        transport = Transport(peerAddress=address)
        transport.begin(self.entrance.buildProtocol(address))
        return transport

    def test_no_networks_no_entrance(self) -> None:
        self.make()
        self.assertIs(self.entrance, self.sessions)

    def test_the_client_is_who_the_header_says(self) -> None:
        """Every split of header and command; then its port is the client's too."""
        for header in (encode_1(CLIENT), encode_2(CLIENT)):
            data = header + b"EHLO x\r\n" + ENVELOPE
            for pieces in (1, 5, len(header), len(data)):
                transport = self.connect()
                self.assertEqual(transport.value(), b"")
                for i in range(0, len(data), pieces):
                    transport.deliver(data[i : i + pieces])
                self.assertIn(b"Nice to meet you, [192.0.2.9]", transport.value())
                self.assertIn(b"\r\n250 2.0.0 Message queued", transport.value())
                self.assertEqual(self.intake.taken[-1].origin.address, "192.0.2.9")
                self.assertIsInstance(transport.protocol, ListenerProtocol)
                self.assertEqual(transport.getPeer(), IPv4Address("TCP", *CLIENT))
        self.assertNotIn("no_header", self.seen)

    def test_allow_networks_are_of_the_client(self) -> None:
        stranger = self.connect()
        stranger.deliver(encode_1(Client("203.0.113.1", 1)) + b"EHLO x\r\n" + ENVELOPE)
        self.assertIn(b"550 5.7.1 Relaying denied", stranger.value())
        self.assertEqual(self.intake.taken, [])

    def test_a_balancer_that_speaks_for_itself(self) -> None:
        for header in (encode_1(None), encode_2(None)):
            transport = self.connect()
            transport.deliver(header + b"EHLO x\r\n")
            self.assertIn(f"Nice to meet you, [{BALANCER}]".encode(), transport.value())

    def test_a_balancer_without_a_header(self) -> None:
        """It is not taken for a client, with whose address it would be let in."""
        for data in (b"EHLO x\r\n", b"PROXY TCP4 nonsense\r\n", b"\x16\x03\x01"):
            transport = self.connect()
            with capturedLogs() as events:
                transport.deliver(data)
            (event,) = events
            self.assertEqual((event["listener"], event["proxy"]), ("feeder", BALANCER))
            self.assertTrue(transport.aborting)
            self.assertEqual(transport.value(), b"")
        self.assertEqual(self.seen, ["no_header"] * 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_header_that_does_not_come(self) -> None:
        transport = self.connect()
        transport.deliver(b"PROXY ")
        self.clock.advance(HEADER_TIMEOUT - 0.1)
        transport.deliver(b"TCP4 ")
        self.assertFalse(transport.disconnecting)
        self.clock.advance(0.2)
        self.assertTrue(transport.aborting)
        self.assertEqual(self.seen, ["no_header"])

    def test_one_that_goes_before(self) -> None:
        transport = self.connect()
        transport.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((self.clock.getDelayedCalls(), self.seen), ([], []))

    def test_a_stranger_with_a_header_talks_garbage(self) -> None:
        """What is not from a balancer is never believed (S51)."""
        transport = self.connect("192.0.2.7")
        self.assertTrue(transport.value().startswith(b"220 "))
        transport.clear()
        transport.deliver(encode_1(CLIENT))
        self.assertTrue(transport.value().startswith(b"500 "), transport.value())
        transport.deliver(b"EHLO x\r\n" + ENVELOPE)
        self.assertEqual(self.intake.taken[-1].origin.address, "192.0.2.7")

    def test_balancers_of_both_kinds(self) -> None:
        for host, silent in [
            ("::ffff:10.0.0.5", True),
            ("2001:db8::5", True),
            ("fe80::1%eth0", False),
            ("10.0.1.5", False),
        ]:
            with self.subTest(host=host):
                transport = self.connect(host) if host != "fe80::1%eth0" else None
                if transport is not None:
                    self.assertEqual(transport.value() == b"", silent)
                else:
                    assert isinstance(self.entrance, Entrance)
                    self.assertFalse(self.entrance._is_proxy(host))

    def test_over_a_unix_socket(self) -> None:
        """Whoever comes by one is on this machine, which may be where the balancer is."""
        self.make(proxy_networks=("127.0.0.1",))
        transport = Transport(peerAddress=UNIXAddress(""))
        transport.begin(self.entrance.buildProtocol(UNIXAddress("")))
        transport.deliver(encode_1(CLIENT) + b"EHLO x\r\n")
        self.assertIn(b"Nice to meet you, [192.0.2.9]", transport.value())

    def test_those_that_wait_are_bounded(self) -> None:
        self.make(proxy_networks=("10.0.0.0/24",), max_connections=2, max_connections_per_address=1)
        first, _ = self.connect(), self.connect()
        self.assertIsNone(self.entrance.buildProtocol(IPv4Address("TCP", BALANCER, 1)))
        self.assertEqual(self.seen, ["turned_away"])
        first.deliver(encode_1(CLIENT))
        self.assertTrue(first.value().startswith(b"220 "))
        self.connect()

    def test_not_a_network(self) -> None:
        self.assertRaises(ValueError, self.make, proxy_networks=("haproxy",))


class Talk(Protocol):
    """A client of TLS, or of nothing."""

    def __init__(self, say: bytes = b"") -> None:
        self.say = say
        self.received = b""
        self.closed: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.say)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.closed.callback(self.received)


@implementer(IOpenSSLClientConnectionCreator)
class Trust:
    """What a client of TLS believes, and shows."""

    def __init__(self, newest: int = SSL.TLS1_3_VERSION, shown: Pair | None = None) -> None:
        self.context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self.context.set_cipher_list(b"ALL:@SECLEVEL=0")
        self.context.set_min_proto_version(SSL.TLS1_VERSION)
        self.context.set_max_proto_version(newest)
        if shown is not None:
            self.context.use_certificate(shown.certificate)
            self.context.use_privatekey(shown.key)

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
        return SSL.Connection(self.context, None)


class OneClock(Clock):
    """For what is to run out now, while the reactor's own time stands still."""


class SocketCase(TestCase):
    """A listener on a port of its own, and clients of it."""

    async def start(self, clock: IReactorTime | None = None, **config: Any) -> int:
        from twisted.internet import reactor

        directory = Path(self.mktemp())
        directory.mkdir()
        self.authority = Authority()
        (directory / "ca.pem").write_bytes(self.authority.chain_pem)
        certificate = self.authority.server("localhost").write(directory / "mail.pem")
        section = Listener(
            **{"tls": "implicit", "certificate": certificate, "client_ca": str(directory / "ca.pem"), **config}
        )
        self.intake = FakeIntake()
        self.seen: list[str] = []
        self.began: list[tuple[str, str, tuple[str, ...]]] = []
        tls = self.tls = server_tls(section, reactor.seconds)
        self.door = self.intake.door()
        sessions = self.factory = ListenerFactory(
            section, "smtps", "relay.example.com", self.door, reactor, self.seen.append, tls
        )
        made = ListenerProtocol.connectionMade
        began = self.began

        def connection_made(session: ListenerProtocol) -> None:
            transport = session.transport
            began.append((transport.getPeer().host, description(transport), certificate_names(transport)))
            made(session)

        self.patch(ListenerProtocol, "connectionMade", connection_made)
        way = entrance(sessions, clock or reactor)
        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(way)
        self.addCleanup(sessions.stop)
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    async def connect(self, port: int, client: Talk, trust: Trust | None = None, header: bytes = b"") -> Talk:
        from twisted.internet import reactor

        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        if trust is None:
            await connectProtocol(endpoint, client)
            return client
        factory = TLSMemoryBIOFactory(trust, True, _Factory(client), reactor)
        wrapped = factory.buildProtocol(None)
        if header:
            await connectProtocol(endpoint, _After(header, wrapped))
        else:
            await connectProtocol(endpoint, wrapped)
        return client


class Implicit(SocketCase):
    """TLS from the first byte on."""

    async def test_a_message(self) -> None:
        port = await self.start()
        client = await self.connect(port, Talk(b"EHLO x\r\n" + ENVELOPE + b"QUIT\r\n"), Trust())
        received = await client.closed
        self.assertTrue(received.startswith(b"220 "), received)
        self.assertTrue(received.endswith(b"221 2.0.0 Bye\r\n"), received)
        self.assertEqual(self.intake.taken[0].text, b"hello\r\n")
        self.assertEqual(self.began, [("127.0.0.1", "TLSv1.3 TLS_AES_256_GCM_SHA384", ())])

    async def test_a_certificate_of_the_client(self) -> None:
        port = await self.start()
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            shown = self.authority.client("x", ["user@example.com"])
            client = await self.connect(port, Talk(b"QUIT\r\n"), Trust(version, shown))
            await client.closed
        self.assertEqual([names for _, _, names in self.began], [("user@example.com",)] * 2)

    async def test_a_certificate_that_is_not_ours_gets_no_session(self) -> None:
        port = await self.start()
        client = await self.connect(port, Talk(b"QUIT\r\n"), Trust(shown=Authority().client("x")))
        self.assertEqual(await client.closed, b"")
        self.assertEqual((self.began, self.seen), ([], ["no_tls"]))

    async def test_old_versions(self) -> None:
        port = await self.start()
        for version in (SSL.TLS1_VERSION, SSL.TLS1_1_VERSION):
            client = await self.connect(port, Talk(b"QUIT\r\n"), Trust(version))
            self.assertEqual(await client.closed, b"")
        self.assertEqual(self.began, [])

    async def test_no_tls_at_all_S43(self) -> None:
        """Plain SMTP at a port for TLS is sent away at once; no session began."""
        port = await self.start()
        client = await self.connect(port, Talk(b"EHLO x\r\n" + ENVELOPE))
        received = await client.closed
        self.assertNotIn(b"220", received)
        self.assertEqual((self.began, self.seen), ([], ["no_tls"]))

    async def test_bad_bytes_then_silence_S43(self) -> None:
        """Half a hello holds its place as long as `tls_timeout` says, and not longer."""
        clock = OneClock()
        port = await self.start(clock, tls_timeout=7.0, max_connections_per_address=1)
        client = await self.connect(port, Talk(b"\x16\x03\x01\x02\x00\x01\x00\x01"))
        refused = await self.connect(port, Talk(b"\x16\x03\x01\x02\x00\x01\x00\x01"))
        self.assertEqual(await refused.closed, b"")  # its address has one already
        self.assertEqual(self.seen, ["turned_away"])
        clock.advance(6.9)
        self.assertFalse(client.closed.called)
        clock.advance(0.2)
        await client.closed
        self.assertEqual(self.seen, ["turned_away", "no_tls"])
        self.assertEqual(clock.getDelayedCalls(), [])

    async def test_renegotiation_S44(self) -> None:
        port = await self.start()
        client = await self.connect(port, Talk(), Trust(SSL.TLS1_2_VERSION))
        while not client.received:
            await _turn()
        transport: Any = client.transport
        handle = transport.getHandle()
        handle.renegotiate()
        transport.write(b"EHLO x\r\n")
        transport._aggregator.flush()
        transport._flushSendBIO()  # Twisted's client doesn't expect to have to say hello again.
        await client.closed
        self.assertNotIn(b"Nice to meet you", client.received)

    async def test_nothing_is_left_behind_S52(self) -> None:
        """60 kB of OpenSSL's for each connection, without waiting for the garbage to be collected."""
        handles: list[weakref.ref[SSL.Connection]] = []
        make = ServerTls.serverConnectionForTLS

        def kept(tls: ServerTls, protocol: Any) -> SSL.Connection:
            connection = make(tls, protocol)
            handles.append(weakref.ref(connection))
            return connection

        self.patch(ServerTls, "serverConnectionForTLS", kept)
        port = await self.start()
        gc.disable()
        self.addCleanup(gc.enable)
        polite = await self.connect(port, Talk(b"QUIT\r\n"), Trust())
        await polite.closed
        plain = await self.connect(port, Talk(b"EHLO x\r\n"))
        await plain.closed
        rude = await self.connect(port, Talk(), Trust())
        while not rude.received:
            await _turn()
        transport: Any = rude.transport
        transport.transport.loseConnection()  # without TLS's farewell
        while self.seen.count("disconnected") < 2:
            await _turn()
        await _turn()
        self.assertEqual(len(handles), 3)
        self.assertEqual([handle() for handle in handles], [None] * 3)

    async def test_header_then_tls(self) -> None:
        port = await self.start(proxy_networks=("127.0.0.1",), allow_networks=("192.0.2.0/24",))
        for header in (encode_1(CLIENT), encode_2(CLIENT)):
            say = b"EHLO x\r\n" + ENVELOPE + b"QUIT\r\n"
            client = await self.connect(port, Talk(say), Trust(), header)
            self.assertTrue((await client.closed).endswith(b"221 2.0.0 Bye\r\n"))
        self.assertEqual([host for host, _, _ in self.began], ["192.0.2.9"] * 2)
        self.assertEqual({taken.origin.address for taken in self.intake.taken}, {"192.0.2.9"})


class StartTls(SocketCase):
    """RFC 3207 on the same sockets, as a session does it."""

    async def test_behind_a_balancer(self) -> None:
        """The connection is still one that TLS can be started on."""
        started: list[str] = []

        class Session(Protocol):
            def connectionMade(self) -> None:
                transport: Any = self.transport
                started.append(transport.getPeer().host)
                transport.startTLS(tls.options)

            def dataReceived(self, data: bytes) -> None:
                started.append(f"{data.decode()} {description(self.transport)[:7]}")
                assert self.transport is not None
                self.transport.loseConnection()

        port = await self.start(tls="starttls", proxy_networks=("127.0.0.1",))
        tls = self.tls
        assert tls is not None
        self.patch(ListenerFactory, "buildProtocol", lambda factory, addr: Session())
        client = await self.connect(port, Talk(b"secret"), Trust(), encode_1(CLIENT))
        await client.closed
        self.assertEqual(started, ["192.0.2.9", "secret TLSv1.3"])


class _Factory:
    """Gives TLSMemoryBIOFactory its one protocol."""

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol

    def buildProtocol(self, addr: object) -> Protocol:
        return self.protocol


class _After(Protocol):
    """Sends a header, then lets another protocol have the connection."""

    def __init__(self, header: bytes, following: Any) -> None:
        self.header, self.following = header, following

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(self.header)
        transport.protocol = self.following
        self.following.makeConnection(transport)


async def _turn() -> None:
    from twisted.internet import reactor
    from twisted.internet.task import deferLater

    await deferLater(reactor, 0, lambda: None)
