"""One child as the master sees it: gone only when its process is, and read to the end."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from relay.channel import frames
from relay.channel.briefing import SenderBriefing, decode
from relay.channel.codec import FROM_SENDER, STRANGER, TO_SENDER, FrameReader, pack
from relay.channel.frames import Welcome
from relay.channel.link import Link
from relay.children import child as module
from relay.children.child import Child
from relay.config.schema import Dns, Timeouts, Zone
from tests.unit.test_gate import Wire

WELCOME = Welcome(5, 2.0, 8.0)


def a_briefing(zone: str = "default", name: str = "00000005-1", journal: Path = Path("j")) -> SenderBriefing:
    return SenderBriefing(
        host="127.0.0.1",
        port=8081,
        secret="s3cret",
        child=name,
        journal=str(journal),
        place=zone,
        options=Zone(),
        own=("192.0.2.25",),
        timeouts=Timeouts(),
        dns=Dns(),
        hostname="relay.test",
        product="Zonerelay",
    )


class FakeProcess:
    """A process transport; `reactor` calls what a real one would."""

    def __init__(self, protocol: Any, pid: int = 4711) -> None:
        self.protocol = protocol
        self.pid = pid
        self.written = b""
        self.stdin_closed = False
        self.signals: list[int] = []
        self.over = False

    def write(self, data: bytes) -> None:
        self.written += data

    def closeStdin(self) -> None:
        self.stdin_closed = True

    def signalProcess(self, number: int) -> None:
        if self.over:
            raise ProcessExitedAlready()
        self.signals.append(number)

    def end(self, status: int = 0, by_signal: int | None = None) -> None:
        """The process ends; a killed one has a status too."""
        self.over = True
        if status or by_signal:
            reason: Any = ProcessTerminated(None if by_signal else status, by_signal, by_signal or status << 8)
        else:
            reason = ProcessDone(0)
        self.protocol.processEnded(Failure(reason))


def linked(child: Child) -> tuple[Link, Wire]:
    """A link that the gate let in for this child."""
    link, wire = Link(child, FrameReader(STRANGER)), Wire()
    link.makeConnection(wire)
    return link, wire


def said(wire: Wire) -> list[Any]:
    found = list(FrameReader(TO_SENDER).feed(wire.value()))
    wire.clear()
    return found


class ChildTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[Any] = []
        self.child = Child(
            a_briefing(),
            FROM_SENDER,
            WELCOME,
            self.clock,
            joined=lambda child: self.told.append("joined"),
            said=lambda child, frame: self.told.append(frame),
            ended=lambda child, crashed: self.told.append(("ended", crashed)),
        )
        self.process = FakeProcess(self.child)
        self.child.makeConnection(self.process)

    def lose(self, link: Link) -> None:
        link.connectionLost(Failure(ConnectionError("closed")))

    def test_it_is_briefed_on_its_standard_input(self) -> None:
        self.assertEqual(decode(self.process.written, SenderBriefing), a_briefing())
        self.assertTrue(self.process.stdin_closed)
        self.assertEqual(self.child.pid, 4711)

    def test_N19_one_that_never_says_hello_is_killed(self) -> None:
        self.clock.advance(module.HELLO_WITHIN + 1)
        self.assertEqual(self.process.signals, [signal.SIGKILL])
        self.process.end(by_signal=9)
        self.assertEqual((self.told, self.clock.getDelayedCalls()), ([("ended", True)], []))

    def test_welcome_comes_first(self) -> None:
        _, wire = linked(self.child)
        self.assertEqual(said(wire), [WELCOME])
        self.assertEqual((self.told, self.child.linked), (["joined"], True))
        self.clock.advance(module.HELLO_WITHIN + 1)
        self.assertEqual(self.process.signals, [])

    def test_N03_it_is_expected_once(self) -> None:
        self.assertTrue(self.child.expects_link())
        link, _ = linked(self.child)
        self.assertFalse(self.child.expects_link())
        self.lose(link)
        self.assertFalse(self.child.expects_link())

    def test_a_lost_link_is_not_the_end_but_the_beginning_of_a_grace(self) -> None:
        link, _ = linked(self.child)
        self.lose(link)
        self.clock.advance(module.GRACE - 0.1)
        self.assertEqual((self.process.signals, self.told), ([], ["joined"]))
        self.clock.advance(0.2)
        self.assertEqual(self.process.signals, [signal.SIGKILL])
        self.assertEqual(self.told, ["joined"])
        self.process.end(by_signal=9)
        self.assertEqual(self.told, ["joined", ("ended", True)])

    def test_a_child_that_leaves_in_its_grace(self) -> None:
        link, _ = linked(self.child)
        self.lose(link)
        self.process.end(0)
        self.assertEqual(self.told, ["joined", ("ended", False)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_N07_the_last_words_of_a_dead_process_are_read(self) -> None:
        link, wire = linked(self.child)
        self.process.end(by_signal=9)
        self.assertEqual(self.told, ["joined"])
        link.dataReceived(pack(frames.Closed(3)))
        self.lose(link)
        self.assertEqual(self.told, ["joined", frames.Closed(3), ("ended", True)])
        self.assertFalse(wire.aborted)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_link_that_outlives_its_process_is_cut(self) -> None:
        link, wire = linked(self.child)
        self.process.end(by_signal=9)
        self.clock.advance(module.LAST_WORDS)
        self.assertTrue(wire.aborted)
        self.lose(link)
        self.assertEqual(self.told[-1], ("ended", True))

    def test_killing_what_is_dead_is_no_error(self) -> None:
        self.process.over = True
        self.child.kill()
        self.assertEqual(self.process.signals, [])

    def test_an_end_that_was_asked_for_is_no_crash(self) -> None:
        link, wire = linked(self.child)
        said(wire)
        self.child.quit()
        self.assertEqual(said(wire), [frames.Quit()])
        self.lose(link)
        self.process.end(by_signal=9)
        self.assertEqual(self.told[-1], ("ended", False))

    def test_one_that_joins_while_it_is_to_go_is_told_so(self) -> None:
        self.child.quit()
        _, wire = linked(self.child)
        self.assertEqual(said(wire), [WELCOME, frames.Quit()])

    def test_settled_counts_are_gathered(self) -> None:
        _, wire = linked(self.child)
        said(wire)
        for _ in range(3):
            self.child.settle()
        self.assertEqual(said(wire), [])
        self.clock.advance(module._SETTLE_EVERY)
        self.assertEqual(said(wire), [frames.Settled(3)])
        self.child.settle()
        self.clock.advance(module._SETTLE_EVERY)
        self.assertEqual(said(wire), [frames.Settled(4)])

    def test_saying_something_without_a_link(self) -> None:
        self.child.send(frames.Ping(1))
        self.child.settle()
        self.clock.advance(1)

    def test_what_it_writes_is_bounded(self) -> None:
        for _ in range(100):
            self.child.errReceived(b"x" * 10_000)
        self.assertLessEqual(len(self.child._torn), module._LONGEST_LINE)
        self.child.outReceived(b"\xff\x1b[31m end\n")
        self.assertEqual(self.child._torn, b"")
