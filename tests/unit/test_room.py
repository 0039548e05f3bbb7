"""Memory over all sessions: the order in which load is shed, and the way back."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from relay.listener.room import Room


class Session:
    """Holds something until it is told to go; `unsaid` is what it hasn't told yet."""

    def __init__(self, case: RoomTests) -> None:
        self.room = case.room
        self.held = 0
        self.unsaid = 0
        self.gone = self.reads = False
        case.sessions.append(self)

    def hold(self, size: int) -> None:
        self.room.change(size - self.held)
        self.held = size

    def weigh(self) -> None:
        self.hold(self.held + self.unsaid)
        self.unsaid = 0

    def read_on(self) -> None:
        self.reads = True

    def make_room(self) -> None:
        self.gone = True
        self.hold(0)


class RoomTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.sessions: list[Session] = []
        self.room = Room(800, "feeder", self.sessions, self.clock)

    def state(self) -> tuple[bool, bool, bool]:
        return self.room.crowded, self.room.tight, self.room.full

    def test_one_step_after_the_other(self) -> None:
        one = Session(self)
        for size, state in (
            (399, (False, False, False)),
            (400, (True, False, False)),
            (599, (True, False, False)),
            (600, (True, True, False)),
            (699, (True, True, False)),
            (700, (True, True, True)),
            (0, (False, False, False)),
        ):
            one.hold(size)
            self.assertEqual(self.state(), state, size)

    def test_no_bound(self) -> None:
        room = Room(0, "feeder", [], self.clock)
        room.change(1 << 50)
        self.assertFalse(room.crowded)

    def test_the_largest_go_when_a_second_has_not_helped(self) -> None:
        small, large, middle = Session(self), Session(self), Session(self)
        for session, size in ((small, 100), (large, 350), (middle, 260)):
            session.hold(size)
        self.room.look()
        self.assertFalse(large.gone)
        self.room.look()
        self.assertEqual((small.gone, large.gone, middle.gone), (False, True, False))
        self.room.look()
        self.room.look()
        self.assertFalse(middle.gone)

    def test_a_second_that_helped(self) -> None:
        one = Session(self)
        one.hold(750)
        self.room.look()
        one.hold(650)
        self.room.look()
        one.hold(750)
        self.room.look()
        self.assertFalse(one.gone)

    def test_what_has_not_been_told_is_asked_for_first(self) -> None:
        one = Session(self)
        one.hold(750)
        one.unsaid = -600
        self.room.look()
        self.room.look()
        self.assertFalse(one.gone)

    def test_all_of_it_is_used(self) -> None:
        """At once, but not from within the call that said so."""
        one, other = Session(self), Session(self)
        one.hold(500)
        other.hold(400)
        self.assertFalse(one.gone)
        self.clock.advance(0)
        self.assertEqual((one.gone, other.gone), (True, False))

    def test_held_back_until_there_is_room(self) -> None:
        one, other, lost = Session(self), Session(self), Session(self)
        one.hold(710)
        for session in (other, lost):
            self.room.hold_back(session)
        self.room.forget(lost)
        one.hold(600)
        self.clock.advance(0)
        self.assertFalse(other.reads)
        one.hold(599)
        self.assertFalse(other.reads)
        self.clock.advance(0)
        self.assertEqual((other.reads, lost.reads), (True, False))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nor_for_ever_when_all_are_held_back(self) -> None:
        """Whoever isn't read can't leave, so that no room would ever come of it."""
        one = Session(self)
        one.hold(710)
        self.room.hold_back(one)
        one.hold(650)
        self.room.look()
        self.assertFalse(one.reads)
        self.room.look()
        self.assertTrue(one.reads)
        one.reads = False
        one.hold(720)
        self.room.hold_back(one)
        self.room.look()
        self.assertFalse(one.reads)

    def test_each_step_is_logged_once(self) -> None:
        one = Session(self)
        with capturedLogs() as logs:
            for size in (650, 300, 650, 660, 450, 750, 100, 650):
                one.hold(size)
                self.room.look()
        told = [(event["log_level"].name, event.get("what", "well")) for event in logs]
        self.assertEqual(
            told,
            [
                ("warn", "new messages are put off"),
                ("warn", "clients are held back"),
                ("info", "well"),
                ("warn", "new messages are put off"),
            ],
        )
