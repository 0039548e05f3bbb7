"""The door of a listener in the master: what its section means, and what the mail log tells of it."""

from __future__ import annotations

import io
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from relay.access.access import REVOKED
from relay.config.schema import Listener
from relay.intake.frontdoor import FrontDoor
from relay.listener.door import Client, Refused
from relay.logs.maillog import MailLog
from relay.message.envelope import Envelope, Recipient
from relay.message.user import User
from relay.message.values import Message
from relay.smtp.reply import reply
from tests.unit.journey_rig import ORIGIN
from tests.unit.test_submission import Rig

WRONG = reply(535, "5.7.8 Error: Invalid username or password")
ENOUGH = reply(452, "4.7.1 Error: too many messages")
HEADER = b"From: a@b.test\r\nX-Sending-Zone: bulk\r\n"


class FakeExchange:
    name = ""

    def __init__(self) -> None:
        self.answer: Deferred[bytes | User] = Deferred()
        self.cancelled = False

    def step(self, response: bytes | None) -> Deferred[bytes | User]:
        self.answer = Deferred()
        return self.answer

    def cancel(self) -> None:
        self.cancelled = True
        self.answer.cancel()


class FakeCharge:
    given_back = 0

    def give_back(self) -> None:
        self.given_back += 1


class FakeAccess:
    def __init__(self) -> None:
        self.exchange = FakeExchange()
        self.charged: Any = FakeCharge()

    def authenticate(self, mechanism: str, client: Client) -> FakeExchange:
        return self.exchange

    def check_stands(self, user: User) -> None:
        if user.key == "revoked":
            raise Refused(REVOKED)

    def charge(self, user: User, recipients: int) -> Any:
        if isinstance(self.charged, Refused):
            raise self.charged
        return self.charged


class DoorCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.rig = Rig()
        self.file = io.BytesIO()
        self.rig.intake.log = MailLog(self.rig.clock, self.rig.now, self.file)
        self.access: Any = FakeAccess()

    def door(self, **section: Any) -> FrontDoor:
        return FrontDoor("feeder", Listener(**section), self.rig.intake, self.access)

    def lines(self) -> list[str]:
        self.rig.intake.log.flush()
        return [line.partition(" ")[2] for line in self.file.getvalue().decode().splitlines()]


class Section(DoorCase):
    """Each key of the section that is about headers does what the file says."""

    def sent(self, header: bytes, sender: str = "a@b.test", **section: Any) -> tuple[Message, Any]:
        submission = self.door(**section).open(ORIGIN, None, 1)
        submission.write(header + b"\r\nhi\r\n")
        done = submission.finish(Envelope(sender, (Recipient("c@d.test"),)))
        message = self.successResultOf(done)
        return message, self.rig.store.rows[message.id, 1]

    def refused(self, header: bytes, **section: Any) -> str:
        submission = self.door(**section).open(ORIGIN, None, 1)
        submission.write(header + b"\r\nhi\r\n")
        done = submission.finish(Envelope("a@b.test", (Recipient("c@d.test"),)))
        return str(self.failureResultOf(done, Refused).value.reply.text)

    def test_allow_routing_headers(self) -> None:
        for allowed, zone in ((False, "default"), (True, "bulk")):
            message, row = self.sent(HEADER, allow_routing_headers=allowed)
            self.assertEqual(row.zone, zone)
            self.assertNotIn(b"X-Sending-Zone", message.headers)

    def test_add_missing(self) -> None:
        for add, names in (
            (("message-id", "date"), [b"Message-ID", b"Date"]),
            ((), []),
            (("from", "to", "mime-version"), [b"From", b"To", b"MIME-Version"]),
        ):
            message, _ = self.sent(b"Content-Type: text/plain\r\n", add_missing=add, x_originating_ip=False)
            found = [line.partition(b":")[0] for line in message.headers.splitlines()]
            self.assertEqual(sorted(found), sorted([*names, b"Content-Type"]))

    def test_x_originating_ip(self) -> None:
        for on in (True, False):
            message, _ = self.sent(HEADER, x_originating_ip=on)
            self.assertEqual(b"X-Originating-IP: [192.0.2.1]\r\n" in message.headers, on)

    def test_future_date_and_how_far(self) -> None:
        date = b"Date: Wed, 15 Nov 2023 22:13:20 +0000\r\n"  # a day ahead
        for on, most, ahead in ((False, 9e9, 0), (True, 9e9, 86_400_000), (True, 3600.0, 3_600_000)):
            _, row = self.sent(HEADER + date, future_date=on, max_future=most)
            self.assertEqual(row.due - self.rig.now(), ahead)

    def test_max_hops_and_max_header(self) -> None:
        trace = b"Received: from x by y; Tue, 14 Nov 2023 22:13:20 +0000\r\n"
        self.sent(trace * 2 + HEADER, max_hops=2)
        self.assertIn("5.4.6", self.refused(trace * 3 + HEADER, max_hops=2))
        self.assertIn("5.3.4", self.refused(HEADER * 10, max_header=100))

    def test_how_many_may_be_inside(self) -> None:
        door = self.door(max_connections=3, max_connections_per_address=2)
        for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
            self.assertIsNone(door.enter(address))
            if door.inside == 2:
                self.assertRaises(Refused, door.enter, "192.0.2.1")
        self.assertRaises(Refused, door.enter, "192.0.2.3")
        door.leave("192.0.2.1")
        self.assertEqual(door.inside, 2)


class Logins(DoorCase):
    def begin(self) -> Any:
        exchange = self.door().authenticate("LOGIN", Client("192.0.2.1", "client.test"))
        exchange.step(None).addErrback(lambda failure: failure.trap(Refused, CancelledError))
        return exchange

    def test_a_line_for_each_that_ends(self) -> None:
        exchange = self.begin()
        self.access.exchange.answer.callback(b"Username:")
        self.assertEqual(self.lines(), [])
        exchange.step(b"alice")
        self.access.exchange.answer.callback(User("alice"))
        self.begin()
        self.access.exchange.name = "bob\r\nforged"
        self.access.exchange.answer.errback(Refused(WRONG))
        client = "id=- listener=feeder client=192.0.2.1 helo=client.test mechanism=LOGIN"
        self.assertEqual(
            self.lines(),
            [
                f"authsuccess {client} user=alice",
                f'authfail {client} user="bob\\r\\nforged" reply="535 {WRONG.text}"',
            ],
        )

    def test_none_for_one_that_was_given_up(self) -> None:
        self.begin().cancel()
        self.assertTrue(self.access.exchange.cancelled)
        self.assertEqual(self.lines(), [])


class Refusals(DoorCase):
    def test_a_user_over_a_limit(self) -> None:
        self.access.charged = Refused(ENOUGH)
        self.assertRaises(Refused, self.door().open, ORIGIN, User("alice"), 1)
        self.assertEqual(
            self.lines(), [f'refused id=- listener=feeder client=192.0.2.1 reply="452 {ENOUGH.text}"']
        )

    def test_a_user_whose_key_was_revoked(self) -> None:
        self.assertRaises(Refused, self.door().open, ORIGIN, User("shop", key="revoked"), 1)
        self.assertEqual(self.lines(), [f'refused id=- listener=feeder client=192.0.2.1 reply="535 {REVOKED.text}"'])
        self.door().open(ORIGIN, User("shop", key="good"), 1)

    def test_a_queue_that_takes_nothing(self) -> None:
        """What was charged is given back."""
        self.patch(self.rig.store, "accepting", lambda: False)
        self.assertRaises(Refused, self.door().open, ORIGIN, User("alice"), 1)
        self.assertEqual(self.access.charged.given_back, 1)
        self.assertIn("452 4.3.1", self.lines()[0])

    def test_a_message_refused_at_its_end(self) -> None:
        door = self.door(max_header=10)
        submission = door.open(ORIGIN, None, 1)
        submission.write(HEADER)
        self.failureResultOf(submission.finish(Envelope("a@b.test", (Recipient("c@d.test"),))), Refused)
        other = door.open(ORIGIN, None, 1)
        other.reject("", WRONG)
        begin = "listener=feeder client=192.0.2.1"
        first, second = self.lines()
        self.assertTrue(first.startswith(f'refused id={submission.id} {begin} sender=<a@b.test> reply="552 5.3.4'))
        self.assertTrue(second.startswith(f'refused id={other.id} {begin} sender=<> reply="535 '))
        self.assertEqual(self.rig.tally.pushes, [False, False])

    def test_a_client_that_is_gone_was_not_refused(self) -> None:
        self.door().open(ORIGIN, None, 1).abandon()
        self.assertEqual((self.lines(), self.rig.tally.pushes), ([], []))
