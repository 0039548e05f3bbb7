"""What a receiver may say when, and what the master makes of it (docs/channel.md)."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from relay.channel import reception as frames
from relay.channel.codec import BadFrame
from relay.channel.frames import CHUNK, MAX_HEADER, Frame
from relay.config.schema import Listener
from relay.listener.door import Client, Refused
from relay.listener.session import LOCAL_ERROR
from relay.message.envelope import Envelope, Recipient
from relay.message.headers import HeaderBlock
from relay.message.user import User
from relay.message.values import Message, Origin
from relay.smtp.reply import Reply, reply
from tests.unit.reception_rig import Pair

ORIGIN = Origin("feeder", "192.0.2.1", "client.test")
NO = reply(550, "5.7.1 no")
HEADER = b"From: a@b.test\r\nSubject: x\r\n"
ENVELOPE = Envelope("a@b.test", (Recipient("c@d.test"),))
PIECE = b"0123456789abcd\r\n" * (CHUNK // 16)


class FakeExchange:
    def __init__(self) -> None:
        self.steps: list[bytes | None] = []
        self.answer: Deferred[bytes | User] = Deferred()
        self.cancelled = 0

    def step(self, response: bytes | None) -> Deferred[bytes | User]:
        self.steps.append(response)
        self.answer = Deferred()
        return self.answer

    def cancel(self) -> None:
        self.cancelled += 1


class FakeSubmission:
    def __init__(self, number: int) -> None:
        self.id = f"{number:018x}"
        self.given: list[bytes] = []
        self.behind: Deferred[None] | None = None
        self.completed: tuple[Any, ...] | None = None
        self.done: Deferred[Message] = Deferred()
        self.abandoned = 0
        self.rejected: list[tuple[str, Reply]] = []

    def give(self, number: int, chunk: bytes) -> None:
        assert number == len(self.given)
        self.given.append(chunk)

    def wait(self) -> Deferred[None] | None:
        return self.behind

    def complete(self, envelope: Envelope, block: HeaderBlock, text: Any) -> Deferred[Message]:
        self.completed = (envelope, block.raw, text)
        return self.done

    def abandon(self) -> None:
        self.abandoned += 1

    def reject(self, sender: str, refusal: Reply) -> None:
        self.rejected.append((sender, refusal))


class FakeDoor:
    """Answers with what stands in `answer`: None, an exception, or a Deferred."""

    def __init__(self) -> None:
        self.answer: Any = None
        self.inside: list[str] = []
        self.exchanges: list[FakeExchange] = []
        self.clients: list[tuple[str, Client]] = []
        self.submissions: list[FakeSubmission] = []
        self.opened: list[tuple[Origin, User | None, int]] = []
        self.named: list[tuple[str, str]] = []

    def enter(self, address: str) -> Deferred[None] | None:
        if isinstance(self.answer, Exception):
            raise self.answer
        self.inside.append(address)
        return self.answer  # type: ignore[no-any-return]

    def leave(self, address: str) -> None:
        self.inside.remove(address)

    def authenticate(self, mechanism: str, client: Client) -> FakeExchange:
        if isinstance(self.answer, Exception):
            raise self.answer
        self.clients.append((mechanism, client))
        self.exchanges.append(FakeExchange())
        return self.exchanges[-1]

    def admit(self, user: str, recipient: str) -> None:
        if isinstance(self.answer, Exception):
            raise self.answer
        self.named.append((user, recipient))

    def open(self, origin: Origin, user: User | None, recipients: int) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        self.opened.append((origin, user, recipients))
        self.submissions.append(FakeSubmission(len(self.submissions) + 1))
        return self.submissions[-1] if self.answer is None else self.answer


def finish(number: int = 1, **changes: Any) -> frames.Finish:
    values: dict[str, Any] = {
        "number": number,
        "envelope": ENVELOPE,
        "header": HEADER,
        "body_size": 4,
        "chunks": 0,
        "rest": b"hi\r\n",
        "eight_bit": False,
        "body_hash": b"",
    }
    return frames.Finish(**values | changes)


class DeskCase(SynchronousTestCase):
    section = Listener(max_connections=3, max_recipients=5, processes=48, max_size=10 * CHUNK, max_header=1000)

    def setUp(self) -> None:
        self.door = FakeDoor()
        self.pair = Pair(self.section, self.door)
        self.desk = self.pair.desk

    def tell(self, *said: Frame) -> list[Any]:
        """What the master answers."""
        for frame in said:
            self.pair.tell_master(frame)
        return self.pair.answers()

    def bad(self, *said: Frame) -> None:
        for frame in said[:-1]:
            self.pair.tell_master(frame)
        self.assertRaises(BadFrame, self.pair.tell_master, said[-1])


class Clients(DeskCase):
    def test_one_is_let_in_and_leaves(self) -> None:
        self.assertEqual(self.tell(frames.Entered(1, "192.0.2.1")), [frames.Pass(1)])
        self.assertEqual(self.door.inside, ["192.0.2.1"])
        self.tell(frames.Left("192.0.2.1"))
        self.assertEqual(self.door.inside, [])

    def test_one_is_turned_away(self) -> None:
        self.door.answer = Refused(NO)
        self.assertEqual(self.tell(frames.Entered(1, "192.0.2.1")), [frames.Pass(1, NO)])
        self.bad(frames.Left("192.0.2.1"))

    def test_an_answer_that_comes_later(self) -> None:
        self.door.answer = Deferred()
        self.assertEqual(self.tell(frames.Entered(1, "192.0.2.1")), [])
        self.door.answer.callback(None)
        self.assertEqual(self.pair.answers(), [frames.Pass(1)])
        self.door.answer = fail(Refused(NO))
        self.assertEqual(self.tell(frames.Entered(2, "192.0.2.1")), [frames.Pass(2, NO)])

    def test_a_bug_is_no_answer_but_local_error(self) -> None:
        self.door.answer = KeyError("bug")
        self.assertEqual(self.tell(frames.Entered(1, "192.0.2.1")), [frames.Pass(1, LOCAL_ERROR)])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_whoever_never_came_cannot_leave(self) -> None:
        self.bad(frames.Entered(1, "192.0.2.1"), frames.Left("192.0.2.2"))

    def test_N07_the_clients_of_a_receiver_that_died_are_gone(self) -> None:
        self.tell(*(frames.Entered(number, "192.0.2.1") for number in (1, 2)), frames.Entered(3, "192.0.2.2"))
        self.desk.close()
        self.assertEqual(self.door.inside, [])

    def test_N07_one_whom_the_door_lets_in_behind_that_is_gone_too(self) -> None:
        self.door.answer = Deferred()
        self.tell(frames.Entered(1, "192.0.2.1"))
        self.desk.close()
        self.door.answer.callback(None)
        self.assertEqual(self.door.inside, [])

    def test_no_more_at_once_than_it_may_have(self) -> None:
        self.door.answer = Deferred()
        most = frames.most_at_once(self.section.max_connections)
        self.tell(*(frames.Entered(number, "192.0.2.1") for number in range(1, most + 1)))
        self.bad(frames.Entered(most + 1, "192.0.2.1"))


class Counts(DeskCase):
    def test_what_happened_there_is_counted(self) -> None:
        counted: list[tuple[str, int]] = []
        self.desk._counted = lambda happening, count: counted.append((happening, count))
        self.assertEqual(self.tell(frames.Happened({"connected": 3, "tls": 1})), [])
        self.assertEqual(counted, [("connected", 3), ("tls", 1)])

    def test_no_receiver_makes_labels(self) -> None:
        self.bad(frames.Happened({"x": 1}))
        self.bad(frames.Happened({"connected": -1}))


class Logins(DeskCase):
    LOGIN = frames.Login(1, "PLAIN", "192.0.2.1", "client.test", ("a@b.test",), None)

    def test_an_exchange(self) -> None:
        self.assertEqual(self.tell(self.LOGIN), [])
        self.assertEqual(self.door.clients, [("PLAIN", Client("192.0.2.1", "client.test", ("a@b.test",)))])
        exchange = self.door.exchanges[0]
        exchange.answer.callback(b"who?")
        self.assertEqual(self.pair.answers(), [frames.Answer(1, challenge=b"who?")])
        self.tell(frames.Response(1, b"me"))
        exchange.answer.callback(User("me"))
        [answer] = self.pair.answers()
        self.assertEqual((answer.number, answer.user.name, len(answer.user.seal)), (1, "me", 32))
        self.assertEqual((exchange.steps, exchange.cancelled), ([None, b"me"], 0))
        self.assertEqual(self.tell(frames.Cancel(1), frames.Response(1, b"x")), [])  # it crossed the end

    def test_only_who_may_is_believed_who_somebody_is_S49(self) -> None:
        vouched = frames.Login(1, "XCLIENT", "198.51.100.1", "", (), b"me")
        self.bad(vouched)
        self.pair = Pair(msgspec.structs.replace(self.section, xclient_networks=("192.0.2.0/24",)), self.door)
        self.desk = self.pair.desk
        self.bad(vouched)
        self.tell(frames.Entered(1, "198.51.100.1"))
        self.bad(vouched)
        self.tell(frames.Entered(2, "192.0.2.1"), vouched)
        self.assertEqual(self.door.clients, [("XCLIENT", Client("198.51.100.1"))])
        self.tell(frames.Left("192.0.2.1"))
        self.bad(msgspec.structs.replace(vouched, number=2))

    def test_refused(self) -> None:
        self.tell(self.LOGIN)
        self.door.exchanges[0].answer.errback(Refused(NO))
        self.assertEqual(self.pair.answers(), [frames.Answer(1, refusal=NO)])
        self.door.answer = Refused(NO)
        login = frames.Login(2, "NTLM", "192.0.2.1", "", (), b"")
        self.assertEqual(self.tell(login), [frames.Answer(2, refusal=NO)])

    def test_cancelled(self) -> None:
        self.tell(self.LOGIN, frames.Cancel(1))
        exchange = self.door.exchanges[0]
        self.assertEqual(exchange.cancelled, 1)
        exchange.answer.callback(User("me"))
        self.assertEqual(self.pair.answers(), [])

    def test_N07_the_logins_of_a_receiver_that_died_are_cancelled(self) -> None:
        self.tell(self.LOGIN)
        self.desk.close()
        self.assertEqual(self.door.exchanges[0].cancelled, 1)

    def test_out_of_turn(self) -> None:
        self.bad(frames.Response(1, b"x"))
        self.bad(frames.Cancel(1))
        self.bad(self.LOGIN, frames.Response(1, b"x"))  # the master has not answered the first
        self.bad(self.LOGIN)  # a number twice


class Messages(DeskCase):
    OPEN = frames.Open(1, ORIGIN, None, 2)
    ME = User("me", zone="bulk", messages=((5, 60.0),))

    def opened(self) -> FakeSubmission:
        submission_id = self.tell(self.OPEN)[0].id
        submission = self.door.submissions[-1]
        self.assertEqual(submission.id, submission_id)
        return submission

    def login(self) -> User:
        self.tell(Logins.LOGIN)
        self.door.exchanges[-1].answer.callback(self.ME)
        user: User = self.pair.answers()[0].user
        return user

    def test_of_a_user_who_was_let_in(self) -> None:
        user = self.login()
        origin = msgspec.structs.replace(ORIGIN, user="me")
        self.tell(frames.Open(1, origin, user, 2))
        self.assertEqual(self.door.opened, [(origin, self.ME, 2)])

    def test_of_a_user_who_was_not_S49(self) -> None:
        user = self.login()
        mine, yours = (msgspec.structs.replace(ORIGIN, user=name) for name in ("me", "you"))
        self.bad(frames.Open(1, mine, self.ME, 2))
        self.bad(frames.Open(1, yours, msgspec.structs.replace(user, name="you"), 2))
        self.bad(frames.Open(1, mine, msgspec.structs.replace(user, messages=()), 2))
        self.bad(frames.Open(1, yours, user, 2))
        self.bad(frames.Open(1, mine, None, 2))
        self.pair = Pair(self.section, self.door)
        self.desk = self.pair.desk
        self.bad(frames.Open(1, mine, user, 2))  # another receiver's
        self.assertEqual(self.door.opened, [])

    def test_a_small_one(self) -> None:
        submission = self.opened()
        self.assertEqual(self.door.opened, [(ORIGIN, None, 2)])
        self.assertEqual(self.tell(finish(eight_bit=True, body_hash=b"h" * 32)), [])
        assert submission.completed is not None
        envelope, header, text = submission.completed
        self.assertEqual((envelope, header), (ENVELOPE, HEADER))
        self.assertEqual((text.header, text.body_size, text.chunks, text.rest), (HEADER, 4, 0, b"hi\r\n"))
        self.assertEqual((text.eight_bit, text.body_hash), (True, b"h" * 32))
        submission.done.callback(Message("other", "", ORIGIN, 77, HEADER, 4, 1, 1))
        self.assertEqual(self.pair.answers(), [frames.Verdict(1, "other", 77)])

    def test_a_large_one_with_many_recipients(self) -> None:
        submission = self.opened()
        self.assertEqual(self.tell(frames.Piece(1, 0, PIECE)), [frames.Taken(1, 1)])
        submission.behind = Deferred()
        self.assertEqual(self.tell(frames.Piece(1, 1, PIECE)), [])
        submission.behind.callback(None)
        self.assertEqual(self.pair.answers(), [frames.Taken(1, 2)])
        self.tell(
            frames.To(1, (Recipient("first@d.test", "NEVER", "rfc822;x"),)),
            finish(chunks=2, body_size=2 * CHUNK + 4),
        )
        assert submission.completed is not None
        names = [recipient.address for recipient in submission.completed[0].recipients]
        self.assertEqual((names, submission.given), (["first@d.test", "c@d.test"], [PIECE, PIECE]))

    def test_refused_at_its_beginning_and_at_its_end(self) -> None:
        self.door.answer = Refused(NO)
        self.assertEqual(self.tell(self.OPEN), [frames.Opened(1, "", NO)])
        self.door.answer = None
        self.tell(frames.Open(2, ORIGIN, None, 1), finish(2))
        self.door.submissions[0].done.errback(Refused(NO))
        self.assertEqual(self.pair.answers(), [frames.Verdict(2, "", refusal=NO)])

    def test_bugs_below_cost_one_message_and_not_the_receiver(self) -> None:
        self.door.answer = KeyError("bug")
        self.assertEqual(self.tell(self.OPEN), [frames.Opened(1, "", LOCAL_ERROR)])
        self.door.answer = None
        self.tell(frames.Open(2, ORIGIN, None, 1))
        self.door.submissions[0].complete = None  # type: ignore[assignment,method-assign]
        self.assertEqual(self.tell(finish(2)), [frames.Verdict(2, "", refusal=LOCAL_ERROR)])
        self.assertEqual(len(self.flushLoggedErrors(KeyError, TypeError)), 2)

    def test_one_that_is_opened_later(self) -> None:
        submission = FakeSubmission(9)
        self.door.answer = Deferred()
        self.assertEqual(self.tell(self.OPEN), [])
        self.door.answer.callback(submission)
        self.assertEqual(self.pair.answers(), [frames.Opened(1, submission.id)])

    def test_abandoned(self) -> None:
        submission = self.opened()
        self.tell(frames.Abandon(1))
        self.assertEqual(submission.abandoned, 1)
        # What crossed that is passed over.
        self.assertEqual(self.tell(frames.Piece(1, 0, PIECE), finish(), frames.Abandon(1)), [])
        self.assertIsNone(submission.completed)

    def test_refused_by_the_receiver(self) -> None:
        submission = self.opened()
        self.tell(frames.Abandon(1, "a@b.test", NO))
        self.assertEqual((submission.abandoned, submission.rejected), (0, [("a@b.test", NO)]))
        self.tell(frames.Open(2, ORIGIN, None, 1))
        self.bad(frames.Abandon(2, "a\r\n@b.test", NO))
        # For that the receiver is sent away, and its message with it.
        self.desk.close()
        self.assertEqual([one.abandoned for one in self.door.submissions], [0, 1])

    def test_a_piece_on_its_way_is_told_of_behind_that(self) -> None:
        """The receiver counts on it."""
        submission = self.opened()
        submission.behind = Deferred()
        self.tell(frames.Piece(1, 0, PIECE), frames.Abandon(1))
        submission.behind.callback(None)
        self.assertEqual(self.pair.answers(), [frames.Taken(1, 1)])

    def test_N07_those_of_a_receiver_that_died_are_abandoned_unless_they_had_ended(self) -> None:
        first = self.opened()
        self.tell(frames.Open(2, ORIGIN, None, 1), finish(2))
        self.desk.close()
        self.assertEqual([one.abandoned for one in self.door.submissions], [1, 0])
        self.door.submissions[1].done.callback(Message("x", "", ORIGIN, 0, b"", 0, 0, 1))
        self.assertIsNone(first.completed)

    def test_N07_one_that_is_opened_behind_that_is_abandoned(self) -> None:
        submission = FakeSubmission(9)
        self.door.answer = Deferred()
        self.tell(self.OPEN)
        self.desk.close()
        self.door.answer.callback(submission)
        self.assertEqual(submission.abandoned, 1)

    def test_out_of_turn(self) -> None:
        self.bad(frames.Piece(1, 0, PIECE))
        self.bad(frames.To(1, (Recipient("a@b.test"),)))
        self.bad(finish())
        self.bad(frames.Abandon(1))
        self.opened()
        self.bad(self.OPEN)  # a number twice
        self.bad(frames.Piece(1, 1, PIECE))
        self.tell(finish())
        self.bad(frames.Piece(1, 0, PIECE))
        self.bad(finish())
        self.bad(frames.Abandon(1))

    def test_nothing_of_it_before_it_is_open(self) -> None:
        self.door.answer = Deferred()
        self.tell(self.OPEN)
        for frame in (frames.Piece(1, 0, PIECE), frames.To(1, (Recipient("a@b.test"),)), finish()):
            self.bad(frame)

    def test_bounds(self) -> None:
        most = frames.most_at_once(self.section.max_connections)
        self.bad(frames.Open(1, ORIGIN, None, self.section.max_recipients + 1))
        self.tell(*(frames.Open(number, ORIGIN, None, 1) for number in range(1, most + 1)))
        self.bad(frames.Open(most + 1, ORIGIN, None, 1))
        for submission in self.door.submissions:
            submission.behind = Deferred()
        ahead = frames.pieces_ahead(self.section.processes)
        self.tell(*(frames.Piece(number, 0, PIECE) for number in range(1, ahead + 1)))
        self.bad(frames.Piece(1, 1, PIECE))  # over all, too much is on its way

    def test_another_listeners_message(self) -> None:
        self.bad(frames.Open(1, Origin("other", "192.0.2.1"), None, 1))

    def test_what_is_no_sound_text_is_no_text(self) -> None:
        self.opened()
        for changes in (
            {"body_size": 5},
            {"chunks": 1},
            {"chunks": 1, "body_size": CHUNK + 4},
            {"header": b"From: a@b.test"},
            {"header": b"From: a@b.test\n"},
            {"header": b"From: a@b.test\r\nX: \r\r\n"},
            {"header": b"From: a\r\n\r\nb: c\r\n"},
            {"header": b"\r\nFrom: a\r\n"},
            {"header": b"From: \0\r\n"},
            {"header": b"X: " + b"y" * 1000 + b"\r\n"},
            {"rest": b"h\ni\r"},
            {"rest": b"hi\r\r"},
            {"rest": b"hi\n\n"},
            {"rest": b"hi\0\0"},
            {"rest": b"hi\n\r"},
            {"rest": b"h\xe4\r\n"},
            {"header": b"X: \xe4\r\n"},
            {"body_hash": b"x"},
            {"envelope": Envelope(None, (Recipient("c@d.test"),))},
            {"envelope": Envelope("a@b.test", None)},
            {"envelope": Envelope("a@b.test", (Recipient("c@d.test"),) * 3)},
            {"envelope": Envelope("a\r\n@b.test", (Recipient("c@d.test"),))},
            {"envelope": msgspec.structs.replace(ENVELOPE, tenant="another's")},
            {"envelope": msgspec.structs.replace(ENVELOPE, tags=("a",))},
            {"envelope": msgspec.structs.replace(ENVELOPE, metadata={"a": "b"})},
            {"envelope": Envelope("a@b.test", (Recipient("c@d.test", orcpt="x\n"),))},
            {"envelope": Envelope("a@b.test", (Recipient("c@d.test"),), envid="\x7f")},
        ):
            self.setUp()
            self.opened()
            self.bad(finish(**changes))
            self.assertIsNone(self.door.submissions[-1].completed, changes)

    def test_line_ends_may_lie_across_pieces_but_not_be_torn(self) -> None:
        torn = PIECE[:-2] + b"x\r"
        for rest, good in ((b"\nhi\r", True), (b"\nhi", True), (b"hi\r\n", False), (b"\r\nhi", False)):
            self.setUp()
            self.opened()
            rest = rest if not rest.endswith(b"\r") else rest + b"\n"
            end = finish(chunks=1, rest=rest, body_size=CHUNK + len(rest))
            if good:
                self.tell(frames.Piece(1, 0, torn), end)
                self.assertIsNotNone(self.door.submissions[0].completed)
            else:
                self.bad(frames.Piece(1, 0, torn), end)
        self.setUp()
        self.opened()
        self.bad(frames.Piece(1, 0, torn), frames.Piece(1, 1, PIECE))

    def test_longer_than_the_listener_takes(self) -> None:
        self.opened()
        self.tell(*(frames.Piece(1, number, PIECE) for number in range(10)))
        self.bad(frames.Piece(1, 10, PIECE))

    def test_the_longest_frames_fit(self) -> None:
        """Of a receiver in its senses no frame is over the limit."""
        many = tuple([Recipient("x" * 4000 + "@d.test", "SUCCESS,FAILURE,DELAY", "y" * 50)] * frames.RECIPIENTS)
        envelope = Envelope("s" * 4096, many)
        self.section = Listener(processes=1, max_recipients=frames.RECIPIENTS, max_header=MAX_HEADER)
        self.setUp()
        self.tell(frames.Open(1, ORIGIN, None, frames.RECIPIENTS))
        header = b"X: " + b"y" * (MAX_HEADER - 5) + b"\r\n"
        self.tell(finish(envelope=envelope, header=header, rest=PIECE, body_size=CHUNK))
        self.assertIsNotNone(self.door.submissions[0].completed)

    def test_answers_of_a_door_that_is_asked_at_once(self) -> None:
        self.door.answer = succeed(FakeSubmission(5))
        self.assertEqual(self.tell(self.OPEN), [frames.Opened(1, f"{5:018x}")])
