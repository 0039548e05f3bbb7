"""Who may come in by the data channel (N01 – N06), and what a link does with what it hears."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from relay.channel import frames, gate
from relay.channel.codec import FROM_SENDER, BadFrame, pack
from relay.channel.frames import VERSION, Hello
from relay.channel.gate import Gate
from relay.channel.link import Link

SECRET = "s3cret"


class Wire(StringTransport):
    """A transport whose end comes, as a real one's does, in a later turn."""

    aborted = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def abortConnection(self) -> None:
        self.aborted = True


class Owner:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.made: list[Link] = []
        self.frames: list[Any] = []
        self.lost: list[str] = []
        self.refuses: type | None = None

    def link_made(self, link: Link) -> None:
        self.made.append(link)
        link.hear(FROM_SENDER)

    def frame(self, link: Link, frame: Any) -> None:
        if type(frame) is self.refuses:
            raise BadFrame("not now")
        self.frames.append(frame)

    def link_lost(self, link: Link, reason: str) -> None:
        self.lost.append(reason)


class GateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.expected: dict[str, Owner] = {"a-1": Owner()}
        self.asked = 0
        self.gate = Gate(SECRET, self.admit, self.clock)

    def admit(self, hello: Hello, link: Link) -> Owner | None:
        self.asked += 1
        return self.expected.pop(hello.child, None)

    def connect(self) -> tuple[Link, Wire]:
        link, wire = self.gate.buildProtocol(None), Wire()
        link.makeConnection(wire)
        return link, wire

    def lose(self, link: Link) -> None:
        link.connectionLost(Failure(ConnectionError("gone")))

    def hello(self, **changes: Any) -> bytes:
        values = {"version": VERSION, "secret": SECRET, "child": "a-1", "place": "default", "pid": 1}
        return pack(Hello(**values | changes))

    def test_a_child_comes_in(self) -> None:
        owner = self.expected["a-1"]
        link, wire = self.connect()
        link.dataReceived(self.hello() + pack(frames.Pong(1)))
        self.assertEqual((owner.made, owner.frames), ([link], [frames.Pong(1)]))
        self.assertFalse(wire.aborted)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.lose(link)
        self.assertEqual(len(owner.lost), 1)

    def turned_away(self, data: bytes) -> None:
        link, wire = self.connect()
        link.dataReceived(data)
        self.assertTrue(wire.aborted, data[:40])
        self.assertEqual(wire.value(), b"")
        link.dataReceived(self.hello())  # what comes behind it is not heard
        self.lose(link)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIn("a-1", self.expected)

    def test_N01_whoever_does_not_begin_with_hello_is_cut_off_without_a_word(self) -> None:
        for frame in (frames.More(1, 0), frames.Pong(1), frames.Closed(1), frames.Answered(1, "x", "y")):
            self.turned_away(pack(frame))
        for line in (b"HELLO\r\n", b"GET / HTTP/1.1\r\n\r\n", b"EHLO x\r\n", b"{}\n" * 20, b"5:hello,"):
            self.turned_away(line)
        self.assertEqual(self.asked, 0)

    def test_N01_wrong_secret(self) -> None:
        for secret in ("", "S3cret", SECRET + "x", "\u017fecret", "x" * 60_000):
            self.turned_away(self.hello(secret=secret))
        self.assertEqual(self.asked, 0)

    def test_another_version(self) -> None:
        self.turned_away(self.hello(version=VERSION + 1))

    def test_an_unknown_id(self) -> None:
        self.turned_away(self.hello(child="b-1"))
        self.assertEqual(self.asked, 1)

    def test_N03_an_id_in_use_is_refused_and_the_first_stays(self) -> None:
        owner = self.expected["a-1"]
        first, wire = self.connect()
        first.dataReceived(self.hello())
        second, other = self.connect()
        second.dataReceived(self.hello())
        self.lose(second)
        self.assertTrue(other.aborted)
        self.assertFalse(wire.aborted)
        first.dataReceived(pack(frames.Pong(7)))
        self.assertEqual((owner.frames, owner.lost), ([frames.Pong(7)], []))

    def test_N04_a_long_frame_is_cut_at_its_length(self) -> None:
        self.turned_away(b"\xff\xff\xff\xff")
        self.turned_away((64 << 20).to_bytes(4, "big") + b"drip")

    def test_N05_silence_and_half_a_frame_meet_the_deadline(self) -> None:
        for data in (b"", b"\0\0", self.hello()[:-1]):
            link, wire = self.connect()
            link.dataReceived(data)
            self.clock.advance(gate._DEADLINE - 0.1)
            self.assertFalse(wire.aborted)
            self.clock.advance(0.2)
            self.assertTrue(wire.aborted)
            self.lose(link)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_N05_a_flood_keeps_no_child_out_and_takes_few_places(self) -> None:
        flood = [self.connect() for _ in range(500)]
        open_ones = [wire for _, wire in flood if not wire.aborted]
        self.assertEqual(len(open_ones), gate._STRANGERS)
        self.assertEqual(len(self.clock.getDelayedCalls()), gate._STRANGERS)
        link, wire = self.connect()
        link.dataReceived(self.hello())
        self.assertFalse(wire.aborted)
        for stranger, _ in flood:
            self.lose(stranger)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_cuts_off_strangers_only(self) -> None:
        child, wire = self.connect()
        child.dataReceived(self.hello())
        _, stranger = self.connect()
        self.gate.stop()
        self.assertEqual((wire.aborted, stranger.aborted), (False, True))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LinkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.owner = Owner()
        self.link = Gate(SECRET, lambda hello, link: None, Clock()).buildProtocol(None)
        self.link.owner = self.owner
        self.link.hear(FROM_SENDER)
        self.wire = Wire()
        self.link.makeConnection(self.wire)

    def test_no_delay(self) -> None:
        self.assertTrue(self.wire.no_delay)

    def test_garbage_ends_it_behind_the_last_good_frame(self) -> None:
        self.link.dataReceived(pack(frames.Pong(1)) + b"\0\0\0\1\xc1" + pack(frames.Pong(2)))
        self.assertEqual(self.owner.frames, [frames.Pong(1)])
        self.assertTrue(self.wire.aborted)

    def test_an_owner_that_refuses_ends_it(self) -> None:
        self.owner.refuses = frames.Closed
        self.link.dataReceived(pack(frames.Pong(1)) + pack(frames.Closed(1)) + pack(frames.Pong(2)))
        self.assertEqual(self.owner.frames, [frames.Pong(1)])
        self.assertTrue(self.wire.aborted)

    def test_it_counts_what_it_hears(self) -> None:
        before = self.link.heard
        self.link.dataReceived(b"\0")
        self.assertNotEqual(self.link.heard, before)

    def test_nothing_is_said_when_it_is_over(self) -> None:
        self.link.send(frames.Ping(1))
        self.link.finish()
        self.link.send(frames.Ping(2))
        self.assertEqual(self.wire.value(), pack(frames.Ping(1)))
        self.assertTrue(self.wire.disconnecting)
        self.link.connectionLost(Failure(ConnectionError("done")))
        self.assertEqual(self.owner.lost, ["done"])
