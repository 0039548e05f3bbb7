"""A listener in a receiver does what one in the master does, and holds no more than it may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from relay.channel import reception as frames
from relay.channel.frames import CHUNK
from relay.config.schema import Listener
from relay.intake.frontdoor import FrontDoor
from relay.listener.door import Client, Refused
from relay.message.envelope import Envelope, Recipient
from relay.message.user import User
from relay.message.values import Message, Origin
from relay.reception import login as logins
from relay.reception.submission import UNFIT, Submission
from relay.smtp.reply import reply
from tests.unit import test_dialogs as dialogs
from tests.unit.fake_intake import FakeIntake
from tests.unit.journey_rig import ORIGIN
from tests.unit.reception_rig import Pair
from tests.unit.test_desk import FakeDoor
from tests.unit.test_submission import BODY, HEADER, Rig, envelope, split

NO = reply(550, "5.7.1 no")


class Through:
    """A receiver's door to the intake's own, whose users are to be had here too."""

    def __init__(self, section: Listener, door: Any) -> None:
        self.__dict__["_door"] = door
        self.__dict__["_asking"] = Pair(section, door, at_once=True).door

    def __getattr__(self, name: str) -> Any:
        return getattr(self._asking, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._door, name, value)


class Played(TestCase):
    """Every dialog, with a receiver between the listener and the intake."""

    def play(self, path: Any, byte_by_byte: bool) -> None:
        section = Listener(
            processes=1,
            max_recipients=10_000,
            max_size=0,
            max_header=1 << 20,
            xclient_networks=("127.0.0.0/8",),
        )
        made = FakeIntake.door
        self.patch(FakeIntake, "door", lambda intake: Through(section, made(intake)))
        dialogs.DialogTests.play(self, dialogs.read(path), byte_by_byte)  # type: ignore[arg-type]


def _test(path: Any, byte_by_byte: bool) -> Callable[[Played], None]:
    def test(self: Played) -> None:
        self.play(path, byte_by_byte)

    test.__doc__ = str(path)
    return test


for _path in sorted(dialogs.DIALOGS.glob("*.txt")):
    _name = _path.stem.replace("-", "_")
    setattr(Played, f"test_{_name}", _test(_path, not dialogs.read(_path).as_written))


class ReceptionRig:
    """A receiver before a master's intake whose store tells late."""

    def __init__(self, at_once: bool = False, **options: Any) -> None:
        self.rig = Rig(late=True)
        self.section = Listener(**{"processes": 4, "max_header": 10_000} | options)
        access: Any = None  # Nobody logs in.
        door = FrontDoor("feeder", self.section, self.rig.intake, access)
        self.pair = Pair(self.section, door, self.rig.intake.hashes, at_once)
        self.store = self.rig.store

    def open(self) -> Submission:
        opened: list[Any] = []
        self.pair.door.open(ORIGIN, None, 3).addBoth(opened.append)
        self.pair.pump()
        assert isinstance(opened[0], Submission), opened
        return opened[0]

    def settle(self) -> None:
        """All that is on its way is heard, and on disk."""
        while self.pair.up or self.pair.down or self.store.untold:
            self.pair.pump()
            self.store.let_go()


class Journey(SynchronousTestCase):
    def through(self, pieces: list[bytes], to: list[str]) -> tuple[Message, ReceptionRig]:
        rig = ReceptionRig(x_originating_ip=False)
        submission = rig.open()
        for piece in pieces:
            submission.write(piece)
            rig.settle()
        done = submission.finish(envelope("s@from.test", to))
        rig.settle()
        return self.successResultOf(done), rig

    @settings(max_examples=40, deadline=None)
    @given(
        st.lists(st.sampled_from([b"a b", b"\t ", b".", b"\xe4\xf6", b"\r\n", b" ", b"-" * 70]), max_size=20),
        st.booleans(),
        st.integers(0, 3),
        st.lists(st.integers(0, 1_000_000), max_size=6),
    )
    def test_the_same_is_stored_as_by_the_master(
        self, body: list[bytes], header: bool, chunks: int, cuts: list[int]
    ) -> None:
        text = (HEADER + b"\r\n" if header else b"") + b"".join(body) + b"\r\n"
        text += b"0123456789abcd\r\n" * (chunks * CHUNK // 16)
        to = ["b@to.test", "c@bulk.test"]
        told, rig = self.through(split(text, cuts), to)
        local = Rig()
        submission = local.open()
        submission.write(text)
        stored = self.successResultOf(submission.finish(envelope("s@from.test", to)))
        found = rig.store.message(told.id)
        assert found is not None
        for name in Message.__struct_fields__:
            if name not in ("id", "message_id", "headers"):
                self.assertEqual(getattr(found, name), getattr(stored, name), name)
        if header:
            self.assertEqual(found.headers, stored.headers)
        self.assertEqual(rig.rig.body(found), local.body(stored))
        self.assertEqual((told.created, told.body_size, told.recipients), (found.created, found.body_size, 2))

    def test_many_recipients(self) -> None:
        to = [f"r{number}@to.test" for number in range(2 * frames.RECIPIENTS + 1)]
        rig = ReceptionRig(x_originating_ip=False)
        opened = rig.pair.door.open(ORIGIN, None, len(to))
        rig.pair.pump()
        submission = self.successResultOf(opened)
        submission.write(HEADER + b"\r\n" + BODY)
        done = submission.finish(envelope("s@from.test", to))
        rig.settle()
        self.assertEqual(rig.store.recipients(self.successResultOf(done).id), to)
        self.assertEqual([type(frame) for frame in rig.pair.said[1:]], [frames.To, frames.To, frames.Finish])

    def test_no_250_before_the_commit(self) -> None:
        rig = ReceptionRig(x_originating_ip=False)
        submission = rig.open()
        submission.write(HEADER + b"\r\n" + BODY)
        done = submission.finish(envelope("s@from.test", ["b@to.test"]))
        rig.pair.pump()
        self.assertNoResult(done)
        rig.store.let_go()
        self.assertNoResult(done)
        rig.pair.pump()
        self.assertEqual(self.successResultOf(done).id, submission.id)

    def test_refused_by_the_master(self) -> None:
        rig = ReceptionRig(x_originating_ip=False)
        submission = rig.open()
        submission.write(HEADER + b"\r\n" + BODY)
        done = submission.finish(envelope("s@from.test", ["b@localhost"]))
        rig.settle()
        self.assertEqual(self.failureResultOf(done, Refused).value.reply.code, 550)

    def test_refused_here(self) -> None:
        for text, to, code in (
            (b"X: " + b"y" * 20_000, "b@to.test", 552),
            (HEADER, "b\n@to.test", 554),
            (HEADER, "b\ud800@to.test", 554),
        ):
            rig = ReceptionRig(x_originating_ip=False)
            submission = rig.open()
            submission.write(text)
            submission.write(b"more\r\n")
            done = submission.finish(envelope("s@from.test", [to]))
            self.assertEqual(self.failureResultOf(done, Refused).value.reply.code, code)
            rig.settle()
            self.assertEqual(type(rig.pair.said[-1]), frames.Abandon)
            self.assertEqual(rig.pair.door._submissions, {})

    def test_what_nobody_should_call_themselves(self) -> None:
        rig = ReceptionRig(x_originating_ip=False)
        done = rig.pair.door.open(Origin("feeder", "192.0.2.1", "a\r\nb"), None, 1)
        self.assertEqual(self.failureResultOf(done, Refused).value.reply, UNFIT)
        self.assertEqual(rig.pair.up, type(rig.pair.up)())

    def test_N07_an_abandoned_one_leaves_nothing(self) -> None:
        for when in range(4):
            rig = ReceptionRig(x_originating_ip=False)
            submission = rig.open()
            submission.write(HEADER + b"\r\n" + b"0123456789abcd\r\n" * (3 * CHUNK // 16))
            if when == 1:
                rig.pair.pump_up()
            elif when > 1:
                rig.pair.pump()
            if when > 2:
                rig.store.let_go(1)
            submission.abandon()
            rig.settle()
            self.assertEqual((rig.store.chunks, rig.store.rows, rig.pair.door._submissions), ({}, {}, {}))
            self.assertEqual(rig.pair.door._window.free, frames.pieces_ahead(4))


class Flow(SynchronousTestCase):
    """What is on its way is bounded, whoever is slow."""

    PIECE = b"0123456789abcd\r\n" * (CHUNK // 16)

    def test_one_message_has_few_pieces_ahead(self) -> None:
        rig = ReceptionRig(x_originating_ip=False)
        submission = rig.open()
        submission.write(HEADER + b"\r\n" + self.PIECE)
        written = 1
        while submission.wait() is None:
            submission.write(self.PIECE)
            written += 1
        self.assertEqual(written, frames.PIECES_AHEAD + 2)
        waits = submission.wait()
        assert waits is not None
        self.assertNoResult(waits)
        rig.settle()
        self.assertIsNone(self.successResultOf(waits))

    def test_all_together_have_no_more_than_the_window(self) -> None:
        rig = ReceptionRig(processes=12)
        size = frames.pieces_ahead(12)
        many = [rig.open() for _ in range(size + 3)]
        for submission in many:
            submission.write(HEADER + b"\r\n" + 2 * self.PIECE + b"x\r\n")
        self.assertEqual(len(rig.pair.up), size)
        self.assertTrue(all(submission.wait() is not None for submission in many[size:]))
        done = [submission.finish(envelope("s@from.test", ["b@to.test"])) for submission in many]
        rig.settle()
        for one in done:
            self.assertEqual(self.successResultOf(one).chunks, 3)
        self.assertEqual(rig.pair.door._window.free, size)
        pieces = [frame.number for frame in rig.pair.said if type(frame) is frames.Piece]
        self.assertEqual(sorted(pieces), sorted(list(range(1, size + 4)) * 2))

    @settings(max_examples=40, deadline=None)
    @given(
        st.lists(st.integers(0, 4), min_size=6, max_size=6),
        st.lists(st.tuples(st.sampled_from("wwudda"), st.integers(0, 5)), max_size=80),
    )
    def test_any_order_of_things(self, sizes: list[int], steps: list[tuple[str, int]]) -> None:
        """Whatever is slow: nothing is lost, and nothing said that the master would not bear. Steps:
        write to one, one frame up, one down, one thing on disk; and the last one may be abandoned."""
        rig = ReceptionRig(processes=12)
        many = [rig.open() for _ in range(6)]
        left = [[HEADER + b"\r\n", *[self.PIECE] * size, b"x\r\n"] for size in sizes]
        done: dict[int, Deferred[Message]] = {}

        def write(number: int) -> None:
            if number in done or many[number].wait() is not None:
                return
            if left[number]:
                many[number].write(left[number].pop(0))
            else:
                done[number] = many[number].finish(envelope("s@from.test", ["b@to.test"]))

        for step, number in steps:
            if step == "w":
                write(number)
            elif step == "u":
                rig.pair.pump_up(1)
            elif step == "d":
                rig.pair.pump_down(1)
                rig.store.let_go(1)
            elif 5 not in done:
                many[5].abandon()
                done[5] = Deferred()
        while len(done) < 6:
            for number in range(6):
                write(number)
            rig.settle()
        rig.settle()
        for number, submission in enumerate(many):
            if done[number].called:
                self.assertEqual(self.successResultOf(done[number]).body_size, sizes[number] * CHUNK + 3)
            else:
                self.assertEqual(number, 5)
                self.assertFalse(any(key[0] == submission.id for key in rig.store.chunks))
        self.assertEqual((rig.pair.door._submissions, rig.pair.door._window.free), ({}, frames.pieces_ahead(12)))


class Asking(SynchronousTestCase):
    """Clients and logins, asked across the channel."""

    def setUp(self) -> None:
        self.master = FakeDoor()
        self.pair = Pair(Listener(processes=1, max_connections=2), self.master)
        self.door = self.pair.door

    def test_clients(self) -> None:
        entered = self.door.enter("192.0.2.1")
        self.assertNoResult(entered)
        self.pair.pump()
        self.assertIsNone(self.successResultOf(entered))
        self.door.leave("192.0.2.1")
        self.pair.pump()
        self.assertEqual(self.master.inside, [])
        self.master.answer = Refused(NO)
        refused = self.door.enter("192.0.2.1")
        self.pair.pump()
        self.assertEqual(self.failureResultOf(refused, Refused).value.reply, NO)

    def test_a_client_that_is_gone_before_the_answer(self) -> None:
        for answer in (None, Refused(NO)):
            self.master.answer = answer
            entered = self.door.enter("192.0.2.1")
            entered.addErrback(lambda failure: None)
            entered.cancel()
            self.pair.pump()
            self.assertEqual(self.master.inside, [])

    def test_no_more_than_the_master_would_hear(self) -> None:
        most = frames.most_at_once(2)
        self.master.answer = Deferred()
        entered = [self.door.enter("192.0.2.1") for _ in range(most + 1)]
        opened = [self.door.open(ORIGIN, None, 1) for _ in range(most + 1)]
        started = [self.door.authenticate("PLAIN", Client("192.0.2.1")) for _ in range(most)]
        for login in started:
            login.step(None)
        self.assertRaises(Refused, self.door.authenticate, "PLAIN", Client("192.0.2.1"))
        self.pair.pump()  # would raise
        self.assertEqual(self.failureResultOf(entered[-1], Refused).value.reply.code, 421)
        self.assertEqual(self.failureResultOf(opened[-1], Refused).value.reply.code, 451)

    def test_a_submission_nobody_waits_for_any_more(self) -> None:
        opened = self.door.open(ORIGIN, None, 1)
        opened.addErrback(lambda failure: None)
        opened.cancel()
        self.pair.pump()
        self.assertEqual(self.master.submissions[0].abandoned, 1)

    def test_a_login(self) -> None:
        login = self.door.authenticate("LOGIN", Client("192.0.2.1", "x", ("a@b.test",) * 200))
        first = login.step(None)
        self.pair.pump()
        self.master.exchanges[0].answer.callback(b"Username:")
        self.pair.pump()
        self.assertEqual(self.successResultOf(first), b"Username:")
        second = login.step(b"me")
        self.pair.pump()
        self.master.exchanges[0].answer.callback(User("me", zone="bulk"))
        self.pair.pump()
        self.assertEqual(self.successResultOf(second).zone, "bulk")
        self.assertEqual(self.master.exchanges[0].steps, [None, b"me"])
        self.assertEqual(len(self.master.clients[0][1].certificate), 100)
        login.cancel()
        self.assertEqual((self.pair.up, self.door._logins), (type(self.pair.up)(), {}))

    def test_a_login_that_is_refused(self) -> None:
        self.master.answer = Refused(NO)
        step = self.door.authenticate("PLAIN", Client("192.0.2.1")).step(b"\0me\0secret")
        self.pair.pump()
        self.assertEqual(self.failureResultOf(step, Refused).value.reply, NO)
        self.assertEqual(self.door._logins, {})

    def test_a_login_that_is_given_up_while_the_master_answers(self) -> None:
        login = self.door.authenticate("PLAIN", Client("192.0.2.1"))
        login.step(b"x").addErrback(lambda failure: None)
        self.pair.pump_up()
        self.master.exchanges[0].answer.callback(User("me"))
        login.cancel()
        self.pair.pump()
        self.assertEqual(self.door._logins, {})

    def test_a_response_that_no_channel_carries(self) -> None:
        step = self.door.authenticate("PLAIN", Client("192.0.2.1")).step(b"x" * 20_000)
        self.assertEqual(self.failureResultOf(step, Refused).value.reply, logins.TOO_LONG)
        self.assertEqual((self.pair.up, self.door._logins), (type(self.pair.up)(), {}))


class Ends(SynchronousTestCase):
    def test_the_envelope_goes_as_it_is(self) -> None:
        rig = ReceptionRig(x_originating_ip=False)
        submission = rig.open()
        submission.write(HEADER)
        given = Envelope("s@from.test", (Recipient("b@to.test", "NEVER", "rfc822;x"),), True, True, "FULL", "id", 7)
        submission.finish(given)
        rig.pair.pump_up()
        self.assertEqual(rig.pair.said[-1].envelope, given)
