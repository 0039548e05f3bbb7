"""The listener for what comes back: who may bring what, what it comes to, and when the client hears 250."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.bounce.diagnosis import Diagnosis
from relay.bounce.rulebook import Rulebook
from relay.bounce.rulefile import shipped
from relay.bounce.said import said
from relay.config.schema import Listener, Returns
from relay.listener.door import Door, Refused
from relay.listener.listener import ListenerFactory
from relay.logs.maillog import MailLog
from relay.message.event import Event
from relay.metrics.definitions import Metrics
from relay.queue.store import StoreError
from relay.returns.desk import Desk
from relay.returns.door import ReturnsDoor
from relay.returns.making import desk_of
from relay.returns.meaning import MOST
from relay.returns.past import Known
from relay.smtp.reply import reply
from tests.unit.fake_intake import FakeIntake
from tests.unit.test_listener import Transport

SAMPLES = Path(__file__).parents[1] / "fixtures" / "returned"
NOW = 1795319890_123
ID = "18f0a1b2c3d4e5f607"
SECRET = b"a secret of some length"
FRONT: Any = FakeIntake().door()
KNOWN = Known(ID, 1, "default", "ann@example.org", "rob@there.example", "ann", "<m1@example.org>", "spring")
_BOOK = Rulebook(shipped())


def judge(text: str, code: int) -> Diagnosis:
    return _BOOK.diagnosis(said(text, code))


class FakePast:
    """`known` by name; `told` once it is on disk, which waits where `later`."""

    def __init__(self) -> None:
        self.known = {(ID, 1): KNOWN}
        self.told: list[Event] = []
        self.waiting: list[Deferred[None]] = []
        self.later = self.broken = False

    def delivery(self, id: str, seq: int) -> Known | None:
        if self.broken:
            raise StoreError("gone")
        return self.known.get((id, seq))

    def sent(self, message_id: str, recipient: str) -> Known | None:
        for known in self.known.values():
            if known.message_id == message_id and known.recipient.lower() == recipient.lower():
                return known
        return None

    def tell(self, *events: Event) -> Deferred[None]:
        self.told += events
        if self.later:
            self.waiting.append(Deferred())
            return self.waiting[-1]
        return succeed(None)


class ReturnsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.past = FakePast()
        self.intake = FakeIntake()
        self.metrics = Metrics()
        self.clock = Clock()
        self.written = io.BytesIO()
        self.log = MailLog(self.clock, lambda: NOW, self.written)
        self.desk = self.make()

    def make(self, **section: Any) -> Desk:
        self.desk = desk_of(
            Returns(domain="back.example", **section),
            [SECRET],
            self.past,
            self.intake,
            judge=judge,
            zone="ndr",
            log=self.log,
            counts=self.metrics,
            now=lambda: NOW,
            in_thread=maybeDeferred,
        )
        self.bounces = self.desk.paths.address("bounces", ID, 1)
        self.unsubscribe = self.desk.paths.address("unsubscribe", ID, 1)
        return self.desk

    def door(self, front: Door = FRONT) -> Door:
        numbers = iter(range(1, 1000))
        return ReturnsDoor(front, self.desk, lambda: f"{next(numbers):018x}")

    def lines(self) -> list[str]:
        self.log.flush()
        return self.written.getvalue().decode().splitlines()

    def say(self, *commands: str) -> list[str]:
        """What a client hears to each of these."""
        config = Listener(returns=True, allow_networks=("0.0.0.0/0",))
        factory = ListenerFactory(config, "back", "relay.test", self.door(), self.clock, now=lambda: NOW)
        protocol, transport = factory.buildProtocol(None), Transport()
        protocol.makeConnection(transport)
        heard = []
        for command in commands:
            transport.clear()
            protocol.dataReceived(command.encode() + b"\r\n")
            heard.append(transport.value().decode().strip())
        self.protocol, self.transport = protocol, transport
        return heard

    def send(self, sample: str | bytes, *to: str, sender: str = "") -> str:
        """What is said to the end of a mail."""
        text = (SAMPLES / f"{sample}.eml").read_bytes() if isinstance(sample, str) else sample
        text = text.replace(b"\r\n", b"\n").decode("latin-1").replace("\n", "\r\n")
        rcpts = [f"RCPT TO:<{one}>" for one in to]
        heard = self.say("EHLO x", f"MAIL FROM:<{sender}>", *rcpts, "DATA")
        self.assertTrue(heard[-1].startswith("354"), heard)
        self.transport.clear()
        self.protocol.dataReceived(text.encode("latin-1") + b"\r\n.\r\n")
        return self.transport.value().decode().strip()

    def event(self, sample: str | bytes, *to: str, sender: str = "") -> Event:
        self.assertIn("250 2.0.0", self.send(sample, *to, sender=sender))
        (event,) = self.past.told
        return event


class WhoMayComeIn(ReturnsCase):
    def test_nothing_but_what_is_ours(self) -> None:
        sent_on = self.desk.paths.rewritten("srs", "ann@example.org", ID, 1, NOW)
        forged = self.bounces.replace(self.bounces[10], "a" if self.bounces[10] != "a" else "b", 1)
        taken = (self.bounces, self.bounces.upper(), self.unsubscribe, "fbl@back.example", sent_on)
        refused = (
            "ann@example.org", "postmaster@back.example", "bounces@back.example", forged, "root@localhost",
            sent_on.replace("ann", "bob"), self.bounces.replace("back", "other"),
        )  # fmt: skip
        heard = self.say("EHLO x", "MAIL FROM:<>", *(f"RCPT TO:<{one}>" for one in (*taken, *refused)))
        self.assertEqual([one[:3] for one in heard[2 : 2 + len(taken)]], ["250"] * len(taken))
        self.assertEqual(heard[2 + len(taken) :], ["550 5.1.1 Nobody has this address here"] * len(refused))

    def test_no_login(self) -> None:
        with self.assertRaises(Refused):
            self.door().authenticate("PLAIN", None)  # type: ignore[arg-type]

    def test_who_is_inside_is_counted_by_the_front_door(self) -> None:
        front = self.intake.door()
        door = self.door(front)
        door.enter("192.0.2.1")
        self.assertEqual(front.inside, ["192.0.2.1"])
        door.leave("192.0.2.1")
        self.assertEqual(front.inside, [])


class WhatItComesTo(ReturnsCase):
    def test_a_bounce(self) -> None:
        event = self.event("postfix-failed", self.bounces)
        self.assertEqual(
            event,
            Event(
                "bounce-returned",
                NOW,
                ID,
                1,
                "default",
                "ann@example.org",
                "rob@there.example",
                host="10.0.0.7",
                host_address="192.168.1.1",
                code=550,
                status="5.1.1",
                reply="550 5.1.1 <rob@inner.example>: Recipient address rejected: "
                "User unknown in local recipient table",
                category="recipient",
                action="reject",
                fault="recipient",
                user="ann",
                message_id="<m1@example.org>",
                fbl="spring",
                reason="a delivery status notification, by the address it came to",
            ),
        )
        (line,) = self.lines()
        self.assertIn(f"bounce-returned id={ID}.001 zone=default to=<rob@there.example> client=192.168.1.1", line)
        self.assertIn('zonerelay_returns_total{kind="bounce-returned"} 1.0', self.metrics.exposition().decode())

    def test_each_form(self) -> None:
        for sample, kind, category, action in (
            ("postfix-delayed", "delay-returned", "network", "defer"),
            ("postfix-success", "receipt-returned", "", ""),
            ("exim-plain", "bounce-returned", "recipient", "reject"),
            ("exim-warning", "delay-returned", "network", "defer"),
            ("qmail", "bounce-returned", "recipient", "reject"),
            ("exchange", "bounce-returned", "recipient", "reject"),
            ("gmail", "bounce-returned", "capacity", "reject"),
            ("sendmail", "bounce-returned", "recipient", "reject"),
            ("opensmtpd", "bounce-returned", "recipient", "reject"),
            ("domino", "bounce-returned", "recipient", "reject"),
            ("utf8", "bounce-returned", "recipient", "reject"),
            ("yahoo-plain", "bounce-returned", "recipient", "reject"),
        ):
            self.past.told.clear()
            event = self.event(sample, self.bounces)
            self.assertEqual((event.kind, event.category, event.action), (kind, category, action), sample)

    def test_what_is_forgotten(self) -> None:
        """The token names the delivery; whom it was for, no stranger can say."""
        self.past.known.clear()
        event = self.event("postfix-failed", self.bounces)
        self.assertEqual((event.name, event.recipient, event.zone), (f"{ID}.001", "", ""))

    def test_answers_and_people(self) -> None:
        for sample, what in (("out-of-office", "answer"), ("vacation", "answer"), ("person", "unknown")):
            self.assertIn("250 2.0.0", self.send(sample, self.bounces, sender="rob@there.example"))
            self.assertIn(f"what={what}", self.lines()[-1])
        self.assertEqual(self.past.told, [])

    def test_complaints(self) -> None:
        """By a signed address in the original, by the id in Received, by Message-ID and recipient."""
        signed = (SAMPLES / "arf-yahoo.eml").read_bytes().replace(b"bounces@back.example", self.bounces.encode())
        text = (SAMPLES / "arf-yahoo.eml").read_bytes()
        for sample, by in (
            (signed, "by an address in the original"),
            (text, "by the id in Received of the original"),
            ((SAMPLES / "arf-redacted.eml").read_bytes(), "by the id in Received of the original"),
            (text.replace(ID.encode(), b"0" * 18), "by Message-ID and recipient of the original"),
        ):
            self.past.told.clear()
            event = self.event(sample, "fbl@back.example", sender="feedback@isp.example")
            self.assertEqual((event.kind, event.name, event.fbl), ("complaint", f"{ID}.001", "spring"))
            self.assertEqual(event.reason, f"abuse, {by}")

    def test_a_guessed_id_is_no_complaint(self) -> None:
        """Ids of other mail follow from that of any: without its Message-ID nobody has seen it."""
        text = (SAMPLES / "arf-redacted.eml").read_bytes()
        for guess in (b"", b"Message-ID: <m2@example.org>\n"):
            self.send(text.replace(b"Message-ID: <m1@example.org>\n", guess), "fbl@back.example", sender="a@b.example")
            self.assertIn("what=unmatched", self.lines()[-1])
        self.assertEqual(self.past.told, [])

    def test_complaints_about_nothing_known(self) -> None:
        self.past.known.clear()
        self.send("arf-yahoo", "fbl@back.example", sender="feedback@isp.example")
        self.assertEqual(self.past.told, [])
        self.assertIn("what=unmatched", self.lines()[-1])

    def test_only_complaints_need_no_signed_address(self) -> None:
        self.send("postfix-failed", "fbl@back.example")
        self.assertEqual(self.past.told, [])

    def test_wishes(self) -> None:
        event = self.event(b"From: rob@there.example\n\nno more", self.unsubscribe, sender="rob@there.example")
        self.assertEqual((event.kind, event.recipient), ("unsubscribed", "rob@there.example"))
        self.past.told.clear()
        self.assertEqual(self.event("arf-opt-out", "fbl@back.example").kind, "unsubscribed")
        self.past.told.clear()
        self.send("postfix-failed", self.unsubscribe)
        self.assertEqual(self.past.told, [])

    def test_one_mail_for_two_deliveries(self) -> None:
        self.send("postfix-failed", self.bounces, self.desk.paths.address("bounces", ID, 2), self.bounces.upper())
        self.assertEqual([event.name for event in self.past.told], [f"{ID}.001", f"{ID}.002"])

    def test_ids_by_the_thousand_are_not_all_looked_for(self) -> None:
        """Nor once for each time that the place is named."""
        asked: list[str] = []
        self.past.delivery = lambda id, seq: asked.append(id)  # type: ignore[assignment, method-assign]
        report = b"Content-Type: message/feedback-report\n\nFeedback-Type: abuse\n\n--b\n"
        seen = b"Content-Type: message/rfc822\n\n" + b"".join(
            b"Received: by x id %018x.001; now\n" % number for number in range(100)
        )
        mail = b"Content-Type: multipart/report; boundary=b\n\n--b\n" + report + (seen + b"\n\nx\n--b\n") * 20
        self.send(mail, *["fbl@back.example"] * 20, sender="feedback@isp.example")
        self.assertEqual(len(asked), 20)

    def test_no_more_than_so_often(self) -> None:
        """Whoever has a token can't fill the store of events."""
        self.past.known[ID, 1] = KNOWN._replace(returned=MOST - 1)
        self.assertEqual(self.event("qmail", self.bounces).kind, "bounce-returned")
        self.past.known[ID, 1] = KNOWN._replace(returned=MOST)
        self.assertIn("250 2.0.0", self.send("qmail", self.bounces))
        self.assertIn("what=repeated", self.lines()[-1])
        token = self.desk.paths.tokens.make("unsubscribe", ID, 1)
        self.assertTrue(self.successResultOf(Deferred.fromCoroutine(self.desk.wish(token, "192.0.2.7"))))
        self.assertEqual(len(self.past.told), 1)


class Written(ReturnsCase):
    def test_on_disk_before_it_is_said(self) -> None:
        self.past.later = True
        self.assertEqual(self.send("postfix-failed", self.bounces), "")
        self.assertEqual(self.lines(), [])
        self.past.waiting[0].callback(None)
        self.assertIn("250 2.0.0", self.transport.value().decode())

    def test_a_disk_that_takes_nothing(self) -> None:
        self.past.later = True
        self.send("postfix-failed", self.bounces)
        self.past.waiting[0].errback(StoreError("full"))
        self.assertIn("452 4.3.1", self.transport.value().decode())
        self.past.broken = True
        self.assertIn("452 4.3.1", self.send("postfix-failed", self.bounces))
        self.assertEqual(len(self.lines()), 2)

    def test_no_more_is_kept_than_is_read(self) -> None:
        self.make(max_size=65536)
        mail = self.door().open(None, None, 1)  # type: ignore[arg-type]
        for _ in range(100):
            mail.write(b"x" * 1000)  # type: ignore[union-attr]
        self.assertEqual(mail.held, 65536)  # type: ignore[union-attr]

    def test_the_rest_may_be_anything(self) -> None:
        self.make(max_size=65536)
        event = self.event((SAMPLES / "postfix-failed.eml").read_bytes() + b"x\n" * 100_000, self.bounces)
        self.assertEqual(event.status, "5.1.1")


class SentOn(ReturnsCase):
    def setUp(self) -> None:
        super().setUp()
        self.srs = self.desk.paths.rewritten("srs", "ann@example.org", ID, 1, NOW)

    def test_a_bounce(self) -> None:
        self.assertIn("250 2.0.0", self.send("qmail", self.srs))
        (mail,) = self.intake.taken
        self.assertEqual((mail.sender, mail.recipients), ("", ["ann@example.org"]))
        self.assertTrue(mail.origin.returned)
        self.assertEqual(mail.text, (SAMPLES / "qmail.eml").read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
        assert mail.user is not None
        self.assertEqual(mail.user.zone, "ndr")
        self.assertEqual(self.past.told, [])
        self.assertIn("sent-on", self.lines()[-1])

    def test_queued_before_it_is_said(self) -> None:
        self.intake.at_once = False
        self.assertEqual(self.send("qmail", self.srs), "")
        self.intake.submissions[0].commit()
        self.assertIn("250 2.0.0", self.transport.value().decode())

    def test_mail_of_somebody(self) -> None:
        said = self.send("person", self.srs, sender="rob@there.example")
        self.assertEqual(said, "550 5.7.1 Only what has the null sender is sent on to this recipient")
        self.assertEqual(self.intake.submissions, [])

    def test_too_long(self) -> None:
        self.make(max_size=65536)
        said = self.send(b"Subject: x\n\n" + b"x\n" * 100_000, self.srs)
        self.assertEqual(said, "552 5.3.4 Error: the message is too long to be sent on")

    def test_a_queue_that_takes_nothing(self) -> None:
        self.intake.refusal = reply(452, "4.3.1 The queue can't take mail now, try again later")
        self.assertIn("452 4.3.1 The queue", self.send("qmail", self.srs))


class ByOneClick(ReturnsCase):
    def wish(self, token: str) -> bool:
        return self.successResultOf(Deferred.fromCoroutine(self.desk.wish(token, "192.0.2.7")))

    def test_a_wish(self) -> None:
        token = self.desk.paths.tokens.make("unsubscribe", ID, 1)
        self.assertTrue(self.wish(token))
        (event,) = self.past.told
        self.assertEqual(
            (event.kind, event.recipient, event.host_address, event.reason),
            ("unsubscribed", "rob@there.example", "192.0.2.7", "by one click"),
        )

    def test_forged(self) -> None:
        for token in ("", "x", self.desk.paths.tokens.make("bounces", ID, 1)):
            self.assertFalse(self.wish(token))
        self.assertEqual(self.past.told, [])
