"""Before the greeting, around TLS, and while somebody logs in: what a session does at its edges."""

from __future__ import annotations

import smtplib
import ssl
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from relay.config.schema import Listener
from relay.listener.door import Refused
from relay.listener.listener import SWEEP, ListenerFactory
from relay.listener.room import SESSION, TLS
from relay.listener.session import ListenerProtocol
from relay.message.user import User
from relay.net import tls
from relay.smtp.reply import reply
from tests.unit.fake_intake import FakeIntake
from tests.unit.test_entrance import SocketCase, Talk, _turn

GREETING = b"220 relay.example.com ESMTP Welcome to Zonerelay\r\n"
FULL = reply(421, "4.7.0 Too many connections from your address")


class Transport(StringTransport):
    """Can begin TLS, and be cut."""

    options: object = None
    aborted = False

    def startTLS(self, options: object) -> None:
        self.options = options

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()


class Tls:
    options = object()


class SessionCase(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.intake = FakeIntake()
        self.door = self.intake.door()
        self.door.users = {"a": ("secret", User("a"))}
        self.seen: list[str] = []
        self.make()

    def make(self, with_tls: bool = False, **config: Any) -> None:
        self.factory = ListenerFactory(
            Listener(**config),
            "feeder",
            "relay.example.com",
            self.door,
            self.clock,
            self.seen.append,
            tls=Tls() if with_tls else None,  # type: ignore[arg-type]
        )

    def connect(self) -> tuple[ListenerProtocol, Transport]:
        protocol: Any = self.factory.buildProtocol(None)
        transport = Transport(peerAddress=IPv4Address("TCP", "127.0.0.1", 40000))
        protocol.makeConnection(transport)
        return protocol, transport

    def lose(self, protocol: ListenerProtocol) -> None:
        protocol.connectionLost(Failure(ConnectionDone()))

    def advance(self, seconds: float) -> None:
        self.clock.pump([SWEEP / 4] * int(seconds / SWEEP * 4))


class DoorTests(SessionCase):
    def test_told_of_the_end_once(self) -> None:
        protocol, _ = self.connect()
        self.assertEqual(self.door.inside, ["127.0.0.1"])
        protocol.dataReceived(b"QUIT\r\n")
        self.assertEqual(self.door.inside, ["127.0.0.1"])
        self.lose(protocol)
        self.assertEqual(self.door.inside, [])

    def test_turned_away(self) -> None:
        for later in (False, True):
            self.door.entering = Deferred() if later else Refused(FULL)
            protocol, transport = self.connect()
            if isinstance(self.door.entering, Deferred):
                self.door.inside.clear()
                self.assertEqual(transport.value(), b"")
                self.door.entering.errback(Refused(FULL))
            self.assertEqual(transport.value(), FULL.encode())
            self.assertTrue(transport.disconnecting)
            self.lose(protocol)  # `leave` would raise.
        self.assertEqual(self.seen, ["connected", "turned_away", "disconnected"] * 2)

    def test_what_is_counted_of_commands(self) -> None:
        self.make(allow_networks=(), greeting_delay=3.0)
        protocol, transport = self.connect()
        protocol.dataReceived(b"HELO x\r\n")
        self.lose(protocol)
        self.assertEqual(self.seen, ["connected", "too_early", "disconnected"])
        self.seen.clear()
        self.make(allow_networks=())
        protocol, transport = self.connect()
        protocol.dataReceived(b"HELO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nRSET\r\n")
        self.factory.room.change(self.factory.config.max_memory * 4 // 5)
        protocol.dataReceived(b"MAIL FROM:<a@b.example>\r\n")
        self.assertIn(b"\r\n250 2.0.0 Flushed\r\n452 4.3.1 Not enough memory now", transport.value())
        self.assertEqual(self.seen, ["connected", "denied", "put_off"])

    def test_a_door_that_is_broken(self) -> None:
        self.door.entering = RuntimeError("oh")
        _, transport = self.connect()
        self.assertTrue(transport.value().startswith(b"421 4.3.0 "))
        self.assertTrue(transport.disconnecting)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_greeted_when_the_door_has_answered(self) -> None:
        """What the client says meanwhile waits, and is bounded."""
        self.door.entering = entering = Deferred()
        protocol, transport = self.connect()
        protocol.dataReceived(b"HELO x\r\n")
        self.advance(700)
        self.assertEqual((transport.value(), transport.disconnecting), (b"", False))
        protocol.dataReceived(b"N" * 70000)
        self.assertEqual(transport.producerState, "paused")
        entering.callback(None)
        self.assertTrue(transport.value().startswith(GREETING + b"250 relay.example.com"))
        self.assertEqual(transport.producerState, "producing")

    def test_gone_before_the_door_has_answered(self) -> None:
        self.door.entering = entering = Deferred()
        protocol, transport = self.connect()
        self.lose(protocol)
        self.assertEqual(self.door.inside, ["127.0.0.1"])
        entering.callback(None)
        self.assertEqual(self.door.inside, [])
        self.assertEqual(transport.value(), b"")

    def test_shut_down_before_the_greeting(self) -> None:
        self.make(greeting_delay=3.0)
        protocol, transport = self.connect()
        self.factory.stop()
        self.assertTrue(transport.value().startswith(b"421 4.3.2 "))
        self.lose(protocol)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_gone_before_the_greeting(self) -> None:
        self.make(greeting_delay=3.0)
        protocol, transport = self.connect()
        self.lose(protocol)
        self.advance(5)
        self.assertEqual((transport.value(), self.door.inside), (b"", []))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LoginTests(SessionCase):
    def begin(self) -> tuple[ListenerProtocol, Transport]:
        self.make(auth=True, insecure_auth=True)
        self.door.later = True
        protocol, transport = self.connect()
        protocol.dataReceived(b"EHLO x\r\n")
        transport.clear()
        protocol.dataReceived(b"AUTH PLAIN AGEAc2VjcmV0\r\nNOOP\r\n")
        self.assertEqual(transport.value(), b"")
        return protocol, transport

    def test_nothing_is_obeyed_meanwhile(self) -> None:
        _, transport = self.begin()
        self.advance(900)
        self.assertFalse(transport.disconnecting)
        (exchange,) = self.door.exchanges
        assert exchange.waiting is not None
        self.assertEqual((exchange.client.address, exchange.client.helo), ("127.0.0.1", "x"))
        exchange.waiting.callback(User("a"))
        self.assertEqual(self.seen, ["connected", "login"])
        self.assertEqual(transport.value(), b"235 2.7.0 Authentication successful\r\n250 2.0.0 OK\r\n")

    def test_who_leaves_cancels(self) -> None:
        protocol, transport = self.begin()
        self.lose(protocol)
        (exchange,) = self.door.exchanges
        self.assertTrue(exchange.cancelled)
        assert exchange.waiting is not None
        exchange.waiting.cancel()
        self.assertEqual(transport.value(), b"")

    def test_who_gives_up_cancels_S47(self) -> None:
        self.make(auth=True, insecure_auth=True)
        protocol, transport = self.connect()
        protocol.dataReceived(b"EHLO x\r\nAUTH LOGIN\r\n*\r\n")
        self.assertTrue(transport.value().endswith(b"334 VXNlcm5hbWU6\r\n501 5.7.0 Authentication aborted\r\n"))
        self.assertTrue(self.door.exchanges[0].cancelled)

    def test_how_a_login_can_fail(self) -> None:
        for error, expected in (
            (Refused(reply(454, "4.7.0 later")), b"454 4.7.0 later\r\n250 2.0.0 OK\r\n"),
            (RuntimeError("oh"), b"454 4.7.0 Temporary authentication failure\r\n250 2.0.0 OK\r\n"),
            (Refused(reply(421, "4.7.0 locked out")), b"421 4.7.0 locked out\r\n"),
        ):
            self.door.exchanges.clear()
            _, transport = self.begin()
            (exchange,) = self.door.exchanges
            assert exchange.waiting is not None
            exchange.waiting.errback(error)
            self.assertEqual(transport.value(), expected)
            self.assertEqual(transport.disconnecting, expected.startswith(b"421"))
        self.assertEqual(self.seen.count("login_failed"), 3)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_no_secret_is_kept_in_the_session(self) -> None:
        for result in (User("a"), b"", Refused(reply(535, "5.7.8 no"))):
            self.door.exchanges.clear()
            protocol, _ = self.begin()
            (exchange,) = self.door.exchanges
            assert exchange.waiting is not None
            self.assertIn("secret", _known(protocol.server))
            if isinstance(result, Refused):
                exchange.waiting.errback(result)
            else:
                exchange.waiting.callback(result)
            self.assertNotIn("secret", _known(protocol.server))
            self.assertNotIn("AGEAc2VjcmV0", _known(protocol.server))


def _known(server: Any) -> str:
    """All that a conversation holds, one step deep."""
    slots = [name for kind in type(server).__mro__ for name in getattr(kind, "__slots__", ())]
    return repr([getattr(server, name) for name in slots]) + repr(server._input._buffer)


class TlsTests(SessionCase):
    def begin(self) -> tuple[ListenerProtocol, Transport]:
        self.make(True, tls="starttls", tls_timeout=20.0)
        protocol, transport = self.connect()
        protocol.dataReceived(b"EHLO x\r\nSTARTTLS\r\n")
        self.assertTrue(transport.value().endswith(b"\r\n220 2.0.0 Ready to start TLS\r\n"))
        self.assertIs(transport.options, Tls.options)
        transport.clear()
        return protocol, transport

    def test_silence_after_220_S43(self) -> None:
        protocol, transport = self.begin()
        self.advance(19)
        self.assertFalse(transport.aborted)
        self.advance(18)
        self.assertTrue(transport.aborted)
        self.assertEqual(transport.value(), b"")
        self.assertEqual(self.seen, ["connected", "timeout"])
        self.lose(protocol)
        self.assertEqual(self.seen[2:], ["no_tls", "disconnected"])

    def test_shut_down_within_the_handshake(self) -> None:
        _, transport = self.begin()
        self.factory.stop()
        self.assertTrue(transport.aborted)
        self.assertEqual(transport.value(), b"")

    def test_after_the_handshake_the_usual_time_counts(self) -> None:
        self.patch(tls, "description", lambda transport: "TLSv1.3 X")
        protocol, transport = self.begin()
        protocol.handshakeCompleted()
        self.assertEqual(self.seen, ["connected", "tls"])
        self.advance(60)
        self.assertFalse(transport.disconnecting)
        protocol.dataReceived(b"EHLO x\r\n")
        self.assertNotIn(b"STARTTLS", transport.value())


class SocketTests(SocketCase):
    """With real TLS on real sockets."""

    async def test_a_client_of_the_standard_library(self) -> None:
        """Login before and after STARTTLS, two messages, one by BDAT."""
        port = await self.start(tls="starttls", auth=True, client_ca="", mechanisms=("PLAIN", "LOGIN"))
        self.door.users = {"a": ("secret", User("a"))}

        def send() -> list[Any]:
            said: list[Any] = []
            with smtplib.SMTP("127.0.0.1", port, "client.example.com", 10) as client:
                client.ehlo()
                said.append(client.has_extn("auth"))
                said.append(client.docmd("AUTH", "PLAIN AGEAc2VjcmV0")[0])
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                said.append(client.starttls(context=context)[0])
                client.ehlo()
                said.append(client.has_extn("starttls"))
                said.append(client.login("a", "secret")[0])
                client.sendmail("a@b.example", ["c@d.example"], "Subject: x\r\n\r\n.one\r\n")
                client.mail("a@b.example", ["REQUIRETLS"])
                client.rcpt("c@d.example")
                client.send(b"BDAT 7 LAST\r\n.two\r\n.")
                said.append(client.getreply()[0])
                said.append(self.factory.room.held >= SESSION + TLS)
            return said

        said = await deferToThread(send)
        self.assertEqual(said, [False, 538, 220, False, 235, 250, True])
        while self.factory.room.held:
            await _turn()
        one, two = self.intake.taken
        self.assertEqual((one.text, two.text), (b"Subject: x\r\n\r\n.one\r\n", b".two\r\n."))
        self.assertEqual((one.origin.transport, one.origin.user), ("ESMTPSA", "a"))
        self.assertRegex(one.origin.tls, "^TLSv1.3 TLS_")
        assert two.envelope is not None
        self.assertTrue(two.envelope.require_tls)

    async def test_no_tls_behind_220_S43(self) -> None:
        port = await self.start(tls="starttls")
        talk = Talk(b"EHLO x\r\nSTARTTLS\r\n")
        client = await self.connect(port, talk)
        while b"Ready" not in client.received:
            await _turn()
        assert client.transport is not None
        client.transport.write(b"MAIL FROM:<evil@example.com>\r\n" * 4)
        received = await client.closed
        self.assertNotIn(b"250 2.1.0", received)
        self.assertEqual(self.intake.taken, [])
