"""The listener on a transport: flow, time, limits, and how sessions end."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, serverFromString
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from relay.config.schema import Listener
from relay.listener.connection import LINGER, RATE_OVER
from relay.listener.destination import is_local
from relay.listener.door import Refused
from relay.listener.listener import SWEEP, ListenerFactory
from relay.listener.room import SESSION
from relay.listener.session import ListenerProtocol
from relay.message.values import Origin
from relay.smtp.reply import reply
from relay.smtp.server import MAX_INPUT
from tests.unit.fake_intake import FakeIntake

ENVELOPE = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"


def lines(size: int) -> bytes:
    """Text of exactly so many bytes that no line of it is too long in."""
    return (b"x" * 98 + b"\r\n") * (size // 100) + b"x" * (size % 100)


class Transport(StringTransport):
    """Counts writes and can be cut."""

    writes = 0
    aborted = False

    def write(self, data: bytes) -> None:
        self.writes += 1
        super().write(data)

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()


class ListenerCase(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.intake = FakeIntake()
        self.seen: list[str] = []
        self.factory = self.make()

    def make(self, **config: object) -> ListenerFactory:
        self.factory = ListenerFactory(
            Listener(**config),  # type: ignore[arg-type]
            "feeder",
            "relay.example.com",
            self.intake.door(),
            self.clock,
            self.seen.append,
        )
        return self.factory

    def connect(self, host: str = "127.0.0.1") -> tuple[ListenerProtocol, Transport]:
        kind = IPv6Address if ":" in host else IPv4Address
        protocol = self.factory.buildProtocol(None)
        transport = Transport(peerAddress=kind("TCP", host, 40000))
        protocol.makeConnection(transport)
        return protocol, transport  # type: ignore[return-value]

    def ready(self, host: str = "127.0.0.1") -> tuple[ListenerProtocol, Transport]:
        protocol, transport = self.connect(host)
        protocol.dataReceived(b"EHLO x\r\n")
        transport.clear()
        return protocol, transport

    def in_text(self) -> tuple[ListenerProtocol, Transport]:
        protocol, transport = self.ready()
        protocol.dataReceived(ENVELOPE)
        transport.clear()
        return protocol, transport

    def lose(self, protocol: ListenerProtocol) -> None:
        protocol.connectionLost(Failure(ConnectionDone()))


class MessageTests(ListenerCase):
    def test_a_message_reaches_the_intake(self) -> None:
        protocol, transport = self.in_text()
        protocol.dataReceived(b"hello\r\n.\r\n")
        (message,) = self.intake.taken
        self.assertEqual((message.sender, message.recipients), ("a@b.example", ["c@d.example"]))
        self.assertEqual(message.text, b"hello\r\n")
        self.assertEqual(message.origin, Origin("feeder", "127.0.0.1", "x", "ESMTP"))
        self.assertEqual(transport.value(), b"250 2.0.0 Message queued as 000000000000000001\r\n")
        self.assertEqual(self.seen, ["connected", "accepted"])

    def test_origin_says_SMTP_after_HELO(self) -> None:
        protocol, _ = self.connect("::ffff:127.0.0.1")
        protocol.dataReceived(b"HELO y\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n.\r\n")
        (message,) = self.intake.taken
        self.assertEqual(message.origin, Origin("feeder", "127.0.0.1", "y", "SMTP"))
        self.assertEqual(message.sender, "")

    def test_the_250_waits_for_the_disk(self) -> None:
        self.intake.at_once = False
        protocol, transport = self.in_text()
        protocol.dataReceived(b"hello\r\n.\r\nNOOP\r\n")
        self.assertEqual(transport.value(), b"")
        self.intake.submissions[0].commit()
        self.assertEqual(
            transport.value(), b"250 2.0.0 Message queued as 000000000000000001\r\n250 2.0.0 OK\r\n"
        )

    def test_one_write_for_a_pipelined_group(self) -> None:
        protocol, transport = self.ready()
        transport.writes = 0
        protocol.dataReceived(ENVELOPE)
        self.assertEqual(transport.writes, 1)
        self.assertEqual(transport.value().count(b"\r\n"), 3)

    def test_refusals_of_the_intake(self) -> None:
        self.intake.at_once = False
        for error, expected in [
            (Refused(reply(554, "5.6.0 bad header")), b"554 5.6.0 bad header\r\n"),
            (RuntimeError("oh"), b"451 4.3.0 Local error in processing\r\n"),
        ]:
            protocol, transport = self.in_text()
            protocol.dataReceived(b".\r\n")
            finished = self.intake.taken[-1].finished
            assert finished is not None
            finished.errback(Failure(error))
            self.assertEqual(transport.value(), expected)
            self.assertFalse(transport.disconnecting)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_no_submission_can_be_opened(self) -> None:
        for refusal, expected in [
            (reply(452, "4.3.1 Insufficient system storage"), b"452 4.3.1 Insufficient system storage\r\n"),
            (RuntimeError("oh"), b"451 4.3.0 Local error in processing\r\n"),
        ]:
            self.intake.refusal = refusal
            protocol, transport = self.ready()
            protocol.dataReceived(ENVELOPE)
            self.assertTrue(transport.value().endswith(expected))
            self.assertFalse(transport.disconnecting)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_too_big_is_read_to_its_end_S15(self) -> None:
        self.make(max_size=100)
        protocol, transport = self.in_text()
        for _ in range(10):
            protocol.dataReceived(b"x" * 58 + b"\r\n")
        self.assertEqual(transport.value(), b"")
        protocol.dataReceived(b".\r\n")
        self.assertEqual(
            transport.value(),
            b"552 5.3.4 Error: message exceeds fixed maximum message size 100 B (600 B)\r\n",
        )
        (message,) = self.intake.submissions
        self.assertTrue(message.abandoned)
        self.assertLessEqual(len(message.text), 100)

    def test_cut_in_text_S36(self) -> None:
        """Lost, reset or half-closed before the end of the text: nothing is taken, nothing said."""
        for cut in ("lost", "reset", "half"):
            protocol, transport = self.in_text()
            protocol.dataReceived(b"half a mail\r\n.\r")
            if cut == "half":
                protocol.readConnectionLost()
                self.assertTrue(transport.disconnecting)
            protocol.connectionLost(Failure(ConnectionLost() if cut == "reset" else ConnectionDone()))
            self.assertTrue(self.intake.submissions[-1].abandoned, cut)
            self.assertEqual(transport.value(), b"")
        self.assertEqual(self.intake.taken, [])

    def test_gone_before_the_verdict_S37(self) -> None:
        self.intake.at_once = False
        protocol, transport = self.in_text()
        protocol.dataReceived(b"hello\r\n.\r\n")
        self.lose(protocol)
        self.intake.submissions[0].commit()
        self.assertEqual(transport.value(), b"")
        self.assertEqual(self.seen, ["connected", "disconnected", "accepted"])

    def test_half_closed_client_hears_its_verdict(self) -> None:
        self.intake.at_once = False
        protocol, transport = self.in_text()
        protocol.dataReceived(b"hello\r\n.\r\nQUIT\r\n")
        protocol.readConnectionLost()
        self.assertFalse(transport.disconnecting)
        self.intake.submissions[0].commit()
        self.assertTrue(transport.value().endswith(b"\r\n221 2.0.0 Bye\r\n"))
        self.assertTrue(transport.disconnecting)


class FlowTests(ListenerCase):
    def test_the_spool_is_behind(self) -> None:
        protocol, transport = self.in_text()
        self.intake.behind = behind = Deferred()
        protocol.dataReceived(b"one\r\n")
        self.assertEqual(transport.producerState, "paused")
        self.intake.behind = None
        behind.callback(None)
        self.assertEqual(transport.producerState, "producing")
        protocol.dataReceived(b".\r\n")
        self.assertEqual(self.intake.taken[0].text, b"one\r\n")

    def test_replies_that_nobody_reads_S41(self) -> None:
        self.make(max_commands=100_000)
        protocol, transport = self.ready()
        protocol.pauseProducing()
        protocol.dataReceived(b"EHLO x\r\n" * 8000)
        self.assertEqual(transport.producerState, "paused")
        self.assertEqual(transport.value(), b"")
        protocol.resumeProducing()
        self.assertEqual(transport.producerState, "producing")
        self.assertEqual(transport.value().count(b"250-PIPELINING"), 8000)

    def test_input_while_a_verdict_is_awaited_is_bounded(self) -> None:
        self.make(max_commands=100_000)
        self.intake.at_once = False
        protocol, transport = self.in_text()
        protocol.dataReceived(b".\r\n")
        protocol.dataReceived(b"NOOP\r\n" * 11000)
        self.assertEqual(transport.producerState, "paused")
        self.intake.submissions[0].commit()
        self.assertEqual(transport.producerState, "producing")
        self.assertEqual(transport.value().count(b"250 2.0.0 OK"), 11000)


    def test_nothing_is_kept_of_what_comes_after_the_end_S41(self) -> None:
        """Over TLS a client may talk on for as long as it doesn't say farewell."""
        protocol, transport = self.ready()
        protocol.dataReceived(b"QUIT\r\n")
        self.assertTrue(transport.disconnecting)
        for _ in range(3):
            protocol.dataReceived(lines(MAX_INPUT))
        self.assertEqual((protocol.server.held, protocol.held), (0, 0))


class TimeTests(ListenerCase):
    def advance(self, seconds: float) -> None:
        self.clock.pump([SWEEP] * int(seconds / SWEEP))

    def test_idle(self) -> None:
        self.make(timeout=60.0)
        _, transport = self.ready()
        self.advance(59)
        self.assertEqual(transport.value(), b"")
        self.advance(3)
        self.assertEqual(transport.value(), b"421 4.4.2 Timeout - closing connection\r\n")
        self.assertTrue(transport.disconnecting)

    def test_a_first_client_after_a_long_silence_is_not_late(self) -> None:
        self.make(timeout=60.0)
        self.lose(self.ready()[0])
        self.advance(1000)
        _, transport = self.ready()
        self.advance(50)
        self.assertEqual(transport.value(), b"")

    def test_a_byte_now_and_then_is_no_command_S39(self) -> None:
        self.make(timeout=60.0)
        protocol, transport = self.ready()
        for _ in range(30):
            self.advance(3)
            if not transport.disconnecting:
                protocol.dataReceived(b"N")
        self.assertTrue(transport.value().startswith(b"421 4.4.2"))

    def test_a_text_may_come_slowly_but_not_for_ever_S40(self) -> None:
        self.make(timeout=60.0, data_timeout=300.0, min_rate=0)
        protocol, transport = self.in_text()
        for _ in range(9):
            self.advance(30)
            protocol.dataReceived(b"slow\r\n")
        self.assertEqual(transport.value(), b"")
        self.advance(35)
        self.assertTrue(transport.value().startswith(b"421 4.4.2"))
        self.assertTrue(self.intake.submissions[0].abandoned)

    def text_at(self, rate: int, seconds: int, protocol: ListenerProtocol) -> None:
        """Text at so many bytes a second, as long as it is taken."""
        for _ in range(seconds):
            if not protocol.transport.disconnecting:
                protocol.dataReceived(b"x" * (rate - 2) + b"\r\n")
            self.advance(1)

    def test_a_text_that_comes_too_slowly_S40(self) -> None:
        """`min_rate` over half a minute: just enough is enough, a little less isn't."""
        self.make(min_rate=100, timeout=60.0)
        slow, said = self.in_text()
        self.text_at(95, int(RATE_OVER) - 2, slow)
        self.assertEqual(said.value(), b"")
        self.text_at(95, 17, slow)
        self.assertEqual(said.value(), b"421 4.4.2 Error: the message comes too slowly\r\n")
        self.assertTrue(self.intake.submissions[0].abandoned)
        self.assertIn("timeout", self.seen)
        self.make(min_rate=100, timeout=60.0)
        quick, said = self.in_text()
        self.text_at(105, 200, quick)
        self.assertEqual(said.value(), b"")

    def test_a_rate_is_of_each_half_minute_S40(self) -> None:
        """A good beginning doesn't pay for the rest."""
        self.make(min_rate=100, timeout=600.0)
        protocol, said = self.in_text()
        self.text_at(50_000, 20, protocol)
        self.text_at(10, 80, protocol)
        self.assertIn(b"too slowly", said.value())

    def test_time_in_which_we_hold_back_does_not_count(self) -> None:
        self.make(min_rate=100, timeout=60.0)
        protocol, transport = self.in_text()
        self.advance(20)
        self.intake.behind = behind = Deferred()
        protocol.dataReceived(b"one\r\n")
        self.advance(300)
        self.intake.behind = None
        behind.callback(None)
        self.advance(int(RATE_OVER) - 2)
        self.assertEqual(transport.value(), b"")
        self.advance(17)
        self.assertIn(b"too slowly", transport.value())

    def test_silence_within_a_text(self) -> None:
        self.make(timeout=60.0)
        protocol, transport = self.in_text()
        protocol.dataReceived(b"begun")
        self.advance(63)
        self.assertTrue(transport.value().startswith(b"421 4.4.2"))
        self.assertTrue(self.intake.submissions[0].abandoned)

    def test_our_own_slowness_is_not_the_clients(self) -> None:
        self.make(timeout=60.0, data_timeout=60.0)
        self.intake.at_once = False
        protocol, transport = self.in_text()
        protocol.dataReceived(b".\r\n")
        self.advance(300)
        self.assertEqual(transport.value(), b"")
        self.intake.submissions[0].commit()
        self.advance(50)
        self.assertTrue(transport.value().startswith(b"250 "))
        self.assertFalse(transport.disconnecting)

    def test_who_does_not_read_the_last_reply_is_cut(self) -> None:
        protocol, transport = self.ready()
        protocol.dataReceived(b"QUIT\r\n")
        self.advance(LINGER)
        self.assertFalse(transport.aborted)
        self.advance(3)
        self.assertTrue(transport.aborted)

    def test_the_sweep_rests_when_nobody_is_there(self) -> None:
        protocol, _ = self.ready()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.lose(protocol)
        self.advance(2)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LimitTests(ListenerCase):
    def test_too_many_connections(self) -> None:
        self.make(max_connections=1)
        first, _ = self.connect()
        _, transport = self.connect()
        self.assertEqual(transport.value(), b"421 4.7.0 Too many connections, try again later\r\n")
        self.assertTrue(transport.disconnecting)
        self.lose(first)
        self.assertTrue(self.connect()[1].value().startswith(b"220 "))

    def test_who_is_turned_away_and_stays_is_cut_S38(self) -> None:
        """Over TLS a client that doesn't say farewell stays connected, and is no session."""
        self.make(max_connections=1)
        self.connect()
        (_, stays), (goes, gone) = self.connect(), self.connect()
        self.lose(goes)
        self.clock.advance(LINGER - 1)
        self.assertFalse(stays.aborted)
        self.clock.advance(2)
        self.assertTrue(stays.aborted)
        self.assertFalse(gone.aborted)

    def test_too_much_memory(self) -> None:
        """What is refused first, then second, and what is left to those who are there."""
        self.make(max_memory=100_000, min_rate=0)
        first, told = self.in_text()
        second, also = self.ready()
        first.dataReceived(lines(50_000 - 2 * SESSION))
        _, late = self.connect()
        self.assertEqual(late.value(), b"421 4.3.2 Too busy, try again later\r\n")
        self.assertTrue(late.disconnecting)
        second.dataReceived(b"MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\n")
        also.clear()
        first.dataReceived(lines(25_050))
        second.dataReceived(b"DATA\r\n")
        self.assertEqual(also.value(), b"452 4.3.1 Not enough memory now, try again later\r\n")
        also.clear()
        second.dataReceived(b"RSET\r\nMAIL FROM:<>\r\nNOOP\r\n")
        codes = [line[:9] for line in also.value().splitlines()]
        self.assertEqual(codes, [b"250 2.0.0", b"452 4.3.1", b"250 2.0.0"])
        first.dataReceived(b"\r\n.\r\n")
        self.assertEqual(told.value()[:4], b"250 ")
        self.assertTrue(self.connect()[1].value().startswith(b"220 "))
        also.clear()
        second.dataReceived(b"MAIL FROM:<>\r\n")
        self.assertEqual(also.value()[:4], b"250 ")

    def test_who_holds_something_is_read_no_more(self) -> None:
        self.make(max_memory=100_000, min_rate=0, timeout=20.0)
        first, _ = self.in_text()
        second, also = self.in_text()
        idle, replies = self.ready()
        first.dataReceived(lines(80_000) + b"x")
        second.dataReceived(b"y" * 100)
        idle.dataReceived(b"NOOP\r\n")
        self.assertEqual(replies.value(), b"250 2.0.0 OK\r\n")
        self.assertEqual((also.producerState, replies.producerState), ("paused", "producing"))
        self.lose(first)
        self.clock.advance(0)
        self.assertEqual(also.producerState, "producing")
        second.dataReceived(b"\r\n.\r\n")
        self.assertEqual(also.value()[:4], b"250 ")

    def test_the_largest_is_cut_off(self) -> None:
        """Not one whose message is on its way to the disk: that takes no longer than the disk does."""
        self.make(max_memory=100_000, min_rate=0)
        self.intake.at_once = False
        done, waits = self.in_text()
        done.dataReceived(b"z" * 30_000)
        done.dataReceived(b"\r\n.\r\n")
        first, told = self.in_text()
        _, also = self.in_text()
        first.dataReceived(b"x" * 50_000)
        self.clock.pump([SWEEP] * 3)
        self.assertEqual(told.value(), b"421 4.3.2 Too busy, try again later\r\n")
        self.assertTrue(told.disconnecting)
        self.assertIn("shed", self.seen)
        self.assertFalse(waits.disconnecting or also.disconnecting)
        self.intake.submissions[0].commit()
        self.assertEqual(waits.value()[:4], b"250 ")

    def test_everything_that_is_held_is_given_back(self) -> None:
        self.intake.at_once = False
        protocols = [self.in_text()[0] for _ in range(4)]
        for protocol in protocols:
            protocol.dataReceived(b"x" * 10_000)
        self.assertGreater(self.factory.room.held, 40_000)
        for protocol in protocols[:3]:
            protocol.dataReceived(b"\r\n.\r\nNOOP")
        for protocol in protocols[1:]:
            self.lose(protocol)
        self.assertGreater(self.factory.room.held, 20_000)
        for submission in self.intake.submissions[:3]:
            submission.commit()
        self.assertEqual(self.factory.room.held, SESSION + len(b"NOOP"))
        protocols[0].dataReceived(b"\r\nQUIT\r\n")
        self.lose(protocols[0])
        self.assertEqual(self.factory.room.held, 0)

    def test_recipients_are_weighed_S26(self) -> None:
        self.make(max_recipients=1000)
        protocol, _ = self.ready()
        protocol.dataReceived(b"MAIL FROM:<>\r\n" + b"".join(b"RCPT TO:<r%d@d.example>\r\n" % n for n in range(1100)))
        self.assertGreater(protocol.held, 500_000)
        protocol.dataReceived(b"RSET\r\n")
        self.assertEqual(protocol.held, 0)

    def test_networks(self) -> None:
        self.make(allow_networks=("192.0.2.0/24", "2001:db8::/32"))
        for host, allowed in [
            ("192.0.2.9", True),
            ("::ffff:192.0.2.9", True),
            ("2001:db8::1", True),
            ("192.0.3.1", False),
            ("127.0.0.1", False),
            ("::1", False),
        ]:
            protocol, transport = self.ready(host)
            protocol.dataReceived(ENVELOPE)
            self.assertEqual(b"550 5.7.1 Relaying denied\r\n" not in transport.value(), allowed, host)
        self.assertRaises(ValueError, self.make, allow_networks=("everyone",))

    def test_local_destinations_S23(self) -> None:
        for domain in [
            "localhost",
            "a.localhost",
            "localhost.localdomain",
            "[127.1.2.3]",
            "127.1",
            "2130706433",
            "a.0",
            "[192.168.0.1]",
            "[IPv6:::1]",
            "[IPv6:::ffff:10.0.0.1]",
            "[IPv6:fd00::1]",
            "[224.0.0.1]",
            "10.1.1.1",
        ]:
            self.assertTrue(is_local(domain), domain)
        for domain in ["example.com", "[8.8.8.8]", "[IPv6:2a00:1450:4001::1]", "mylocalhost", "a.b9"]:
            self.assertFalse(is_local(domain), domain)


class Client(Protocol):
    """Sends all it has at once; reads only when told."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.received = b""
        self.closed: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.pauseProducing()  # type: ignore[attr-defined]
        self.transport.write(self.data)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.closed.callback(self.received)


class SocketTests(TestCase):
    """On real sockets of the loopback interface: what StringTransport can't show."""

    async def start(self, data: bytes) -> tuple[Client, FakeIntake]:
        from twisted.internet import reactor

        self.intake = FakeIntake()
        config = Listener(max_commands=1_000_000, without=("LIMITS", "FUTURERELEASE"))
        self.factory = ListenerFactory(config, "feeder", "relay.example.com", self.intake.door(), reactor)
        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(self.factory)
        self.addCleanup(self.factory.stop)
        self.addCleanup(port.stopListening)
        client = await connectProtocol(
            TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), Client(data)
        )
        return client, self.intake

    async def test_a_message(self) -> None:
        client, intake = await self.start(b"EHLO x\r\n" + ENVELOPE + b"hello\r\n.\r\nQUIT\r\n")
        client.transport.resumeProducing()
        received = await client.closed
        self.assertTrue(received.endswith(b"\r\n221 2.0.0 Bye\r\n"))
        self.assertEqual(intake.taken[0].text, b"hello\r\n")

    async def test_replies_read_late_S41(self) -> None:
        """More replies than all buffers hold: none is lost or out of order, and no memory is."""
        from twisted.internet import reactor

        count = 100_000
        client, _ = await self.start(b"".join(b"NOOP\r\nEHLO x\r\n" for _ in range(count)) + b"QUIT\r\n")
        (session,) = self.factory._sessions
        while not session._deaf:
            await deferLater(reactor, 0, lambda: None)
        self.assertLess(len(session.server._input), 2 * MAX_INPUT)
        client.transport.resumeProducing()
        received = await client.closed
        block = received[received.index(b"\r\n") + 2 : received.index(b"250 DSN\r\n") + 9]
        self.assertTrue(received.endswith(block * 3 + b"221 2.0.0 Bye\r\n"))
        self.assertEqual(received.count(block), count)


    async def test_back_pressure_reaches_the_client(self) -> None:
        """The spool is behind: of 25 MB the client gets rid of what the system buffers, and no more."""
        from twisted.internet import reactor

        text = lines(25_000_000)
        client, intake = await self.start(b"")
        client.transport.resumeProducing()
        intake.behind = behind = Deferred()
        client.transport.write(b"EHLO x\r\n" + ENVELOPE)
        while b"354 " not in client.received:
            await deferLater(reactor, 0, lambda: None)
        client.transport.write(text + b".\r\nQUIT\r\n")
        (session,) = self.factory._sessions
        stood = 0
        came = -1
        while stood < 50:  # turns in which nothing more has come
            stood = stood + 1 if len(intake.submissions[0].text) == came else 0
            came = len(intake.submissions[0].text)
            await deferLater(reactor, 0.001, lambda: None)
        self.assertTrue(session._deaf)
        self.assertLess(came, 1 << 17)
        self.assertGreater(len(client.transport.dataBuffer) - client.transport.offset, 1 << 20)
        intake.behind = None
        behind.callback(None)
        received = await client.closed
        self.assertIn(b"\r\n250 2.0.0 Message queued", received)
        self.assertEqual(len(intake.taken[0].text), len(text))


class ShutdownTests(ListenerCase):
    def test_idle_sessions_are_told(self) -> None:
        protocol, transport = self.ready()
        stopped = self.factory.stop()
        self.assertEqual(transport.value(), b"421 4.3.2 Server shutdown in progress\r\n")
        self.assertTrue(transport.disconnecting)
        self.assertNoResult(stopped)
        self.lose(protocol)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nobody_there(self) -> None:
        self.successResultOf(self.factory.stop())
        self.assertEqual(self.connect()[1].value(), b"421 4.3.2 Server shutdown in progress\r\n")

    def test_a_dot_is_answered_first(self) -> None:
        self.intake.at_once = False
        protocol, transport = self.in_text()
        protocol.dataReceived(b"hello\r\n.\r\nMAIL FROM:<>\r\n")
        self.factory.stop()
        self.assertEqual(transport.value(), b"")
        self.intake.submissions[0].commit()
        self.assertEqual(
            transport.value(),
            b"250 2.0.0 Message queued as 000000000000000001\r\n421 4.3.2 Server shutdown in progress\r\n",
        )
        self.assertTrue(transport.disconnecting)

    def test_a_text_may_come_to_its_end(self) -> None:
        protocol, transport = self.in_text()
        self.factory.stop()
        protocol.dataReceived(b"hello\r\n.\r\n")
        self.assertEqual(transport.value()[:4], b"250 ")
        self.assertIn(b"\r\n421 4.3.2 ", transport.value())

    def test_cancelled_cuts_off_the_rest(self) -> None:
        protocol, transport = self.in_text()
        stopped = self.factory.stop()
        stopped.cancel()
        self.assertTrue(transport.aborted)
        self.failureResultOf(stopped, CancelledError)
        self.lose(protocol)
        self.assertTrue(self.intake.submissions[0].abandoned)
