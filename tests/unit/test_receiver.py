"""The receiver child: when it listens, and how it leaves."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from relay.channel import frames
from relay.channel import reception as words
from relay.channel.briefing import ReceiverBriefing, decode
from relay.channel.frames import Frame
from relay.config.schema import Dkim, Listener
from relay.listener.listener import ListenerFactory
from relay.reception import receiver as module
from relay.reception.receiver import Receiver
from tests.unit.test_sender import StoppingClock

BRIEFING = ReceiverBriefing(
    host="127.0.0.1",
    port=8081,
    secret="s3cret",
    child="00000005-r1",
    place="feeder",
    hostname="relay.test",
    master=4711,
    section=Listener(endpoint="unix:/run/smtp", processes=2, max_size=1000),
    dkim=Dkim(keys="/keys"),
)
WELCOME = frames.Welcome(5, 2.0, 8.0)


class FakeLink:
    def __init__(self, owner: Receiver) -> None:
        self.owner = owner
        self.sent: list[Frame] = []
        self.finished = False

    def send(self, frame: Frame) -> None:
        self.sent.append(frame)

    def finish(self) -> None:
        self.finished = True

    def said(self) -> list[Any]:
        sent, self.sent = self.sent, []
        return sent


class FakePort:
    def __init__(self, factory: Any) -> None:
        self.factory = factory
        self.stopped = 0

    def stopListening(self) -> None:
        self.stopped += 1


class ReceiverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = StoppingClock()
        self.ports: list[FakePort] = []
        self.receiver = Receiver(BRIEFING, self.clock, self.adopt)
        self.link: Any = FakeLink(self.receiver)
        self.receiver.link_made(self.link)

    def adopt(self, factory: Any) -> FakePort:
        self.ports.append(FakePort(factory))
        return self.ports[-1]

    def hear(self, *said: Frame) -> None:
        for frame in said:
            self.receiver.frame(self.link, frame)

    def client(self) -> tuple[Any, StringTransport]:
        factory: ListenerFactory = self.ports[0].factory
        protocol = factory.buildProtocol(None)
        transport = StringTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 4))
        protocol.makeConnection(transport)
        return protocol, transport

    def in_text(self) -> tuple[Any, StringTransport]:
        """A client whose message has been opened, as the first of this receiver."""
        self.hear(WELCOME)
        protocol, transport = self.client()
        if any(type(frame) is words.Entered for frame in self.link.sent):
            self.hear(words.Pass(1))
        protocol.dataReceived(b"EHLO x\r\n")
        protocol.dataReceived(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n")
        self.hear(words.Opened(1, "0" * 18))
        transport.clear()
        self.link.said()
        return protocol, transport

    def test_the_briefing_comes_through(self) -> None:
        self.assertEqual(decode(BRIEFING.encode(), ReceiverBriefing), BRIEFING)

    def test_it_says_hello_and_listens_only_when_it_is_welcome(self) -> None:
        (hello,) = self.link.said()
        self.assertEqual((hello.version, hello.secret), (frames.VERSION, "s3cret"))
        self.assertEqual((hello.child, hello.place), ("00000005-r1", "feeder"))
        self.assertEqual(self.ports, [])
        self.hear(WELCOME)
        self.assertEqual(self.ports[0].factory.name, "feeder")

    def test_it_answers_pings(self) -> None:
        self.link.said()
        self.hear(frames.Ping(7))
        self.assertEqual(self.link.said(), [frames.Pong(7)])

    def test_it_tells_what_happened_with_each_ping_and_at_its_end(self) -> None:
        protocol, _ = self.in_text()
        self.hear(frames.Ping(7))
        self.assertEqual(self.link.said(), [frames.Pong(7), words.Happened({"connected": 1})])
        self.hear(frames.Ping(8))
        self.assertEqual(self.link.said(), [frames.Pong(8)])
        protocol.dataReceived(b"x\r\n.\r\n")
        self.hear(words.Verdict(1, "1" * 18, 5), frames.Quit())
        protocol.connectionLost(None)
        self.assertEqual(self.link.said()[-1], words.Happened({"accepted": 1, "disconnected": 1}))
        self.assertTrue(self.link.finished)

    def test_a_text_that_is_refused_here_is_told_of(self) -> None:
        for text, code in ((b"a\nb\r\n.\r\n", 554), (b"x" * 2000 + b"\r\n.\r\n", 552)):
            self.setUp()
            protocol, transport = self.in_text()
            protocol.dataReceived(text)
            (abandon,) = self.link.said()
            self.assertEqual((abandon.number, abandon.sender, abandon.refusal.code), (1, "a@b.test", code))
            self.assertEqual(transport.value(), abandon.refusal.encode())

    def test_a_message_is_answered_with_what_the_master_says(self) -> None:
        protocol, transport = self.in_text()
        protocol.dataReceived(b"From: a@b.test\r\n\r\nhi\r\n.\r\n")
        self.assertEqual(transport.value(), b"")
        (finish,) = self.link.said()
        self.assertEqual((finish.header, finish.rest), (b"From: a@b.test\r\n", b"hi\r\n"))
        self.hear(words.Verdict(1, "1" * 18, 5))
        self.assertEqual(transport.value(), b"250 2.0.0 Message queued as " + b"1" * 18 + b"\r\n")

    def test_N11_without_the_master_it_leaves_at_once_and_nobody_gets_a_250(self) -> None:
        protocol, transport = self.in_text()
        protocol.dataReceived(b"hi\r\n.\r\n")
        self.receiver.link_lost(self.link, "closed")
        self.assertEqual((self.clock.stopped, self.receiver.exit_code), (1, 0))
        self.assertEqual(transport.value(), b"")

    def test_one_that_gets_no_connection(self) -> None:
        self.receiver.leave(1, "refused")
        self.receiver.leave(0, "again")
        self.assertEqual((self.clock.stopped, self.receiver.exit_code), (1, 1))

    def test_N17_asked_to_leave_it_ends_what_is_under_way(self) -> None:
        protocol, transport = self.in_text()
        self.hear(frames.Quit(), frames.Quit())
        self.assertEqual(self.ports[0].stopped, 1)
        protocol.dataReceived(b"hi\r\n.\r\n")
        self.assertFalse(self.link.finished)
        self.hear(words.Verdict(1, "1" * 18, 5))
        self.assertTrue(transport.value().startswith(b"250 2.0.0 Message queued"))
        self.assertIn(b"421 4.3.2", transport.value())
        self.assertFalse(self.link.finished)
        protocol.connectionLost(None)
        self.assertTrue(self.link.finished)
        self.assertEqual(self.clock.stopped, 0)
        self.receiver.link_lost(self.link, "closed")
        self.assertEqual((self.clock.stopped, self.receiver.exit_code), (1, 0))
        self.clock.advance(module._LAST_FRAMES)
        self.assertEqual(self.clock.stopped, 1)

    def test_N17_with_nobody_there_it_leaves_at_once(self) -> None:
        self.hear(WELCOME, frames.Quit())
        self.assertTrue(self.link.finished)
        self.clock.advance(module._LAST_FRAMES)
        self.assertEqual((self.clock.stopped, self.receiver.exit_code), (1, 0))

    def test_N17_asked_to_leave_before_it_listened(self) -> None:
        self.hear(frames.Quit())
        self.assertTrue(self.link.finished)
