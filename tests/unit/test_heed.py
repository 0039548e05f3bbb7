"""Recipients who get no mail, at submission: the same by every way in, as the policy says."""

from __future__ import annotations

import io
from base64 import b64encode
from typing import Any, Literal

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from relay.channel import reception as frames
from relay.config.schema import Listener
from relay.events.steps import Steps
from relay.intake.frontdoor import FrontDoor
from relay.intake.heed import Heed
from relay.intake.own import OwnMail
from relay.listener.door import Refused, Terms
from relay.logs.maillog import MailLog
from relay.message.envelope import Recipient
from relay.message.user import User
from relay.message.values import Message
from relay.queue.store import Unreadable
from relay.smtp.reply import reply
from relay.suppression.entry import Entry
from tests.unit.fake_intake import FakeDoor
from tests.unit.reception_rig import Pair
from tests.unit.suppression_rig import FakeShelf, a_list
from tests.unit.test_desk import DeskCase
from tests.unit.test_listener import ListenerCase
from tests.unit.test_submission import HEADER, ORIGIN, Rig, envelope

Policy = Literal["accept", "refuse", "drop"]


class Policies(SynchronousTestCase):
    def setUp(self) -> None:
        self.shelf = FakeShelf()
        self.list = a_list(self.shelf)
        for whom, tenant in (("x@to.test", ""), ("mine@to.test", "ann"), ("gone.test", "")):
            self.list.add(Entry(whom, tenant))

    def refused(self, work: Any, *arguments: Any) -> str:
        return str(self.assertRaises(Refused, work, *arguments).reply)

    def test_at_rcpt(self) -> None:
        for policy in ("accept", "drop"):
            Heed(policy, self.list).admit("", "x@to.test")  # type: ignore[arg-type]
        heed = Heed("refuse", self.list)
        heed.admit("bob", "mine@to.test")
        said = "550 5.1.1 Error: on the suppression list: <X@to.test>"
        self.assertEqual(self.refused(heed.admit, "", "X@to.test"), said)
        self.assertIn("<mine@to.test>", self.refused(heed.admit, "Ann", "mine@to.test"))
        self.assertIn("<a@gone.test>", self.refused(heed.admit, "", "a@gone.test"))

    def test_at_the_end(self) -> None:
        to = tuple(map(Recipient, ("a@to.test", "x@to.test", "b@gone.test", "c@to.test")))
        self.assertEqual(Heed("accept", self.list).sort_out("", to), (to, ()))
        kept, unwanted = Heed("drop", self.list).sort_out("", to)
        self.assertEqual([one.address for one in kept], ["a@to.test", "c@to.test"])
        self.assertEqual(
            [(one.recipient, one.entry.whom) for one in unwanted],
            [("x@to.test", "x@to.test"), ("b@gone.test", "gone.test")],
        )
        said = self.refused(Heed("refuse", self.list).sort_out, "", to)
        self.assertEqual(said, "550 5.1.1 Error: on the suppression list: <x@to.test>, <b@gone.test>")

    def test_many_names_are_no_long_reply(self) -> None:
        to = tuple(Recipient(f"user-number-{n}@gone.test") for n in range(1000))
        said = self.refused(Heed("refuse", self.list).sort_out, "", to)
        self.assertLess(len(said), 500)
        self.assertRegex(said, r"<user-number-13@gone\.test> and 986 more$")

    def test_where_the_list_cannot_be_read(self) -> None:
        self.shelf.unreadable = Unreadable("damaged")
        heed = Heed("refuse", self.list)
        self.assertIn("451 4.3.0 ", self.refused(heed.admit, "", "other@to.test"))
        self.assertIn("451 4.3.0 ", self.refused(heed.sort_out, "", (Recipient("other@to.test"),)))
        Heed("accept", self.list).sort_out("", (Recipient("other@to.test"),))

    def test_where_the_entry_cannot_be_read(self) -> None:
        """Whoever is dropped is told of with the reason: without it nobody is."""
        heed = Heed("drop", self.list)
        self.list.find("", "x@to.test")  # It is known from now on.
        self.shelf.unreadable = Unreadable("damaged")
        self.assertIn("451 4.3.0 ", self.refused(heed.sort_out, "", (Recipient("x@to.test"),)))
        self.assertIn("550 5.1.1 ", self.refused(Heed("refuse", self.list).sort_out, "", (Recipient("x@to.test"),)))


class AtTheEnd(SynchronousTestCase):
    """What every way in comes to."""

    def submit(self, policy: Policy, *to: str, body: bytes = b"hello\r\n") -> Deferred[Message]:
        rig = self.rig = Rig(at_submission=policy)
        self.file = io.BytesIO()
        rig.intake.steps = Steps(True, rig.now)
        rig.intake.log = rig.log = MailLog(rig.clock, rig.now, self.file)
        rig.suppressions.add(Entry("x@to.test", reason="he asked"))
        submission = rig.open()
        submission.write(HEADER + b"\r\n" + body)
        return submission.finish(envelope("s@from.test", list(to)))

    def lines(self) -> list[str]:
        self.rig.log.flush()
        return [line.partition(" ")[2] for line in self.file.getvalue().decode().splitlines()]

    def test_accepted(self) -> None:
        message = self.successResultOf(self.submit("accept", "a@to.test", "x@to.test"))
        self.assertEqual(self.rig.store.recipients(message.id), ["a@to.test", "x@to.test"])

    def test_refused(self) -> None:
        refused = self.failureResultOf(self.submit("refuse", "a@to.test", "x@to.test"), Refused).value
        self.assertEqual(str(refused.reply), "550 5.1.1 Error: on the suppression list: <x@to.test>")
        self.assertEqual((self.rig.store.rows, self.rig.tally.pushes), ({}, [False]))
        self.assertIn("refused id=", self.lines()[0])

    def test_dropped(self) -> None:
        message = self.successResultOf(self.submit("drop", "a@to.test", "X@to.test", "b@to.test"))
        self.assertEqual(self.rig.store.recipients(message.id), ["a@to.test", "b@to.test"])
        self.assertEqual((message.recipients, [seq for _, seq in self.rig.store.rows]), (2, [1, 2]))
        queued, dropped = self.lines()
        self.assertIn(f"queued id={message.id} ", queued)
        self.assertIn(f"suppressed id={message.id} listener=feeder sender=<s@from.test> to=<X@to.test> ", dropped)
        self.assertIn(' source=manual reason="he asked"', dropped)
        self.assertEqual(self.rig.tally.suppressions, {"attempt": 0, "submission": 1})
        self.assertEqual(self.events(), [("queued", message.id, ""), ("suppressed", message.id, "X@to.test")])

    def events(self) -> list[tuple[str, str, str]]:
        found = [one.event for one in self.rig.store.events(0, 100)]
        return [(one.kind, one.name, one.recipient) for one in found]

    def test_all_dropped(self) -> None:
        """It is taken, and nothing of it is kept, not even the pieces that were written."""
        done = self.submit("drop", "x@to.test", body=b"0123456789abcd\r\n" * 20_000)
        message = self.successResultOf(done)
        store = self.rig.store
        self.assertEqual((store.rows, store.chunks, store.message(message.id)), ({}, {}, None))
        self.assertEqual((self.rig.tally.pushes, self.rig.tally.suppressions["submission"]), ([True], 1))
        self.assertEqual((self.rig.tally.drops, len(self.rig.tally.accepts)), (1, 1))
        self.assertEqual(self.events(), [("suppressed", message.id, "x@to.test")])
        self.assertIn("suppressed id=", self.lines()[0])

    def test_an_organisations_whoever_of_it_sends(self) -> None:
        rig = Rig(at_submission="refuse")
        rig.suppressions.add(Entry("x@to.test", "acme"))
        for user, refused in ((User("shop", tenant="acme"), True), (User("acme", tenant="emca"), False)):
            submission = rig.intake.open(ORIGIN, Terms(), user)
            submission.write(HEADER + b"\r\nhello\r\n")
            done = submission.finish(envelope("s@from.test", ["x@to.test"]))
            if refused:
                self.assertIn("550 5.1.1", str(self.failureResultOf(done, Refused).value.reply))
            else:
                self.successResultOf(done)

    def test_mail_of_the_relays_own_is_struck_off_later(self) -> None:
        """A bounce has no one who could be told, and is written with what it tells of."""
        rig = Rig(at_submission="drop")
        rig.suppressions.add(Entry("x@to.test"))
        text = b"From: a@x.test\r\nTo: x@to.test\r\n\r\nhello\r\n"
        parcel = OwnMail(rig.intake).parcel(text, envelope("", ["x@to.test"]), "")
        self.assertEqual([one.recipient for one in parcel.deliveries], ["x@to.test"])

    def test_a_key_stands_for_all_recipients_that_were_given(self) -> None:
        """When one of them comes on the list between two tries, the second is the same message still."""
        rig = Rig(at_submission="drop")

        def submit() -> Message:
            submission = rig.open(routing=True)
            submission.write(HEADER + b"X-Idempotency-Key: k\r\n\r\nhello\r\n")
            return self.successResultOf(submission.finish(envelope("s@from.test", ["a@to.test", "x@to.test"])))

        first = submit()
        rig.suppressions.add(Entry("x@to.test"))
        self.assertEqual(submit().id, first.id)


class AtRcpt(ListenerCase):
    """A listener in the master, or in a receiver, where the answer takes a moment."""

    def door(self) -> FakeDoor:
        door = self.factory.door
        assert isinstance(door, FakeDoor)
        return door

    def test_one_is_refused_and_the_others_are_not(self) -> None:
        def admit(user: str, recipient: str) -> None:
            if recipient == "no@d.example":
                raise Refused(reply(550, "5.1.1 Error: on the suppression list: <no@d.example>"))

        self.door().admitting = admit
        protocol, transport = self.ready()
        protocol.dataReceived(
            b"MAIL FROM:<a@b.example>\r\nRCPT TO:<no@d.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"
        )
        replies = transport.value().split(b"\r\n")
        self.assertEqual(replies[1], b"550 5.1.1 Error: on the suppression list: <no@d.example>")
        self.assertEqual([line[:3] for line in replies], [b"250", b"550", b"250", b"354", b""])
        protocol.dataReceived(b"hi\r\n.\r\n")
        self.assertEqual(self.intake.submissions[0].recipients, ["c@d.example"])
        self.assertIn("denied", self.seen)

    def test_of_whom_it_is_asked(self) -> None:
        """Of the organisation whose mail it is, of the user who has none, of nobody."""
        for user, owner in ((User("shop", tenant="acme"), "acme"), (User("ann"), "ann"), (None, "")):
            asked: list[str] = []
            self.make(auth=user is not None, insecure_auth=True)
            self.door().admitting = lambda owner, recipient, asked=asked: asked.append(owner)  # type: ignore[misc]
            if user is not None:
                self.door().users[user.name] = "pw", user
            protocol, _ = self.ready()
            if user is not None:
                protocol.dataReceived(b"AUTH PLAIN " + b64encode(f"\0{user.name}\0pw".encode()) + b"\r\n")
            protocol.dataReceived(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n")
            self.assertEqual(asked, [owner])

    def test_answers_that_come_later_keep_their_order(self) -> None:
        waiting: list[Deferred[None]] = []

        def admit(user: str, recipient: str) -> Deferred[None]:
            waiting.append(Deferred())
            return waiting[-1]

        self.door().admitting = admit
        protocol, transport = self.ready()
        protocol.dataReceived(
            b"MAIL FROM:<a@b.example>\r\nRCPT TO:<no@d.example>\r\nRCPT TO:<c@d.example>\r\nNOOP\r\n"
        )
        self.assertEqual((transport.value().count(b"\r\n"), len(waiting)), (1, 1))
        waiting[0].errback(Refused(reply(550, "5.1.1 Error: no")))
        self.assertEqual(len(waiting), 2)
        waiting[1].callback(None)
        self.assertEqual([line[:3] for line in transport.value().split(b"\r\n")], [b"250", b"550", b"250", b"250", b""])

    def test_one_who_is_gone_before_the_answer(self) -> None:
        for answer in (None, Refused(reply(550, "5.1.1 no"))):
            waiting: Deferred[None] = Deferred()
            self.door().admitting = lambda user, recipient, waiting=waiting: waiting  # type: ignore[misc]
            protocol, transport = self.ready()
            protocol.dataReceived(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n")
            self.lose(protocol)
            transport.clear()
            if answer is None:
                waiting.callback(None)
            else:
                waiting.errback(answer)
            self.assertEqual(transport.value(), b"")

    def test_a_fault_of_ours_is_no_refusal_of_the_recipient(self) -> None:
        self.door().admitting = lambda user, recipient: fail(RuntimeError("odd"))
        protocol, transport = self.ready()
        protocol.dataReceived(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n")
        self.assertIn(b"451 4.3.0 ", transport.value())
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class InReceivers(SynchronousTestCase):
    def setUp(self) -> None:
        self.rig = Rig(at_submission="refuse")
        self.section = Listener(processes=1, max_connections=2)
        access: Any = None
        self.pair = Pair(self.section, FrontDoor("feeder", self.section, self.rig.intake, access))
        self.rig.heed.watch(lambda named: self.pair._to_receiver(frames.Heed(named)))
        self.pair.pump()

    def test_nothing_is_asked_while_nobody_is_on_the_list(self) -> None:
        self.assertIsNone(self.pair.door.admit("", "x@to.test"))
        self.assertEqual(self.pair.said, [])

    def test_asked_and_answered(self) -> None:
        entry = self.successResultOf(self.rig.suppressions.add(Entry("x@to.test", "ann"))).entry
        self.pair.pump()
        refused = self.pair.door.admit("Ann", "X@to.test")
        taken = self.pair.door.admit("bob", "x@to.test")
        assert refused is not None and taken is not None
        self.assertNoResult(refused)
        self.pair.pump()
        self.assertIn("550 5.1.1", str(self.failureResultOf(refused, Refused).value.reply))
        self.assertIsNone(self.successResultOf(taken))
        self.successResultOf(self.rig.suppressions.remove(entry.id))
        self.pair.pump()
        self.assertIsNone(self.pair.door.admit("Ann", "x@to.test"))

    def test_no_more_than_the_master_would_hear(self) -> None:
        self.rig.suppressions.add(Entry("x@to.test"))
        self.pair.pump()
        for _ in range(frames.most_at_once(self.section.max_connections)):
            self.pair.door.admit("", "c@to.test")
        self.assertIn("451", str(self.assertRaises(Refused, self.pair.door.admit, "", "c@to.test").reply))
        self.pair.pump()
        self.assertIsNotNone(self.pair.door.admit("", "c@to.test"))

    def test_words_that_no_channel_carries(self) -> None:
        self.rig.suppressions.add(Entry("x@to.test"))
        self.pair.pump()
        self.assertRaises(Refused, self.pair.door.admit, "", "a\x00b@to.test")


class AtTheDesk(DeskCase):
    def test_named(self) -> None:
        self.assertEqual(self.tell(frames.Named(7, "ann", "x@to.test")), [frames.Admitted(7)])
        self.assertEqual(self.door.named, [("ann", "x@to.test")])
        refusal = reply(550, "5.1.1 no")
        self.door.answer = Refused(refusal)
        self.assertEqual(self.tell(frames.Named(8, "", "x@to.test")), [frames.Admitted(8, refusal)])

    def test_words_that_nobody_may_say(self) -> None:
        self.bad(frames.Named(7, "", "x@to.test\r\n"))
