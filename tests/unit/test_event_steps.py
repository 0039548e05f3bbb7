"""Events of steps: what they tell, and that nothing is made where none are kept."""

from __future__ import annotations

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from relay.bounce.diagnosis import Diagnosis
from relay.events.steps import NAMED, TOLD, Steps
from relay.message.event import KINDS
from relay.message.values import Origin, Outcome, Result
from relay.zone.decision import Decision, Scope
from tests.unit.store_rig import delivery, message, queue_id

NOW = 1_700_000_000_000


class StepsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.steps = Steps(True, lambda: NOW + 5)

    def test_a_message_that_was_taken(self) -> None:
        mail = replace(message(1), message_id="<a@b>", fbl="campaign", tenant="acme", tags=("news",))
        (event,) = self.steps.queued(mail, [delivery(1)])
        self.assertEqual((event.kind, event.time, event.name), ("queued", NOW, queue_id(1)))
        self.assertEqual((event.recipient, event.to, event.due), ("r1@example.org", ("r1@example.org",), 0))
        self.assertEqual((event.message_id, event.fbl), ("<a@b>", "campaign"))
        self.assertEqual((event.tenant, event.tags), ("acme", ("news",)))
        for later in (
            self.steps.attempted("deferred", mail, delivery(1), Outcome(Result.DEFERRED, "450 no"), None),
            self.steps.happened("held", mail, delivery(1)),
            self.steps.left_out(mail, [("x@example.org", "why", "")]),
        ):
            self.assertEqual((later[0].tenant, later[0].tags), ("acme", ("news",)))

    def test_who_has_brought_it_and_what_it_says_to_people(self) -> None:
        header = b"From: =?utf-8?q?J=C3=B6rg?= <j@a.test>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe=0Aan?=\r\n\talle\r\n"
        origin = Origin("feeder", "192.0.2.7", "pc", "ESMTPSA", "pc.a.test", "ann")
        mail = replace(message(1), origin=origin, headers=header, body_size=77)
        (event,) = self.steps.queued(mail, [delivery(1)])
        self.assertEqual((event.listener, event.client, event.client_host), ("feeder", "192.0.2.7", "pc.a.test"))
        self.assertEqual((event.helo, event.transport, event.user), ("pc", "ESMTPSA", "ann"))
        self.assertEqual((event.subject, event.header_from), ("Grüße an alle", "Jörg <j@a.test>"))
        self.assertEqual((event.body_size, event.size), (77, mail.size))
        (left_out,) = self.steps.left_out(mail, [("x@b.test", "domain on the list", "b.test")])
        self.assertEqual((left_out.client, left_out.recipient, left_out.about), ("192.0.2.7", "x@b.test", "b.test"))

    def test_a_header_that_means_harm(self) -> None:
        for subject in (b"x" * 100_000, b"=?utf-7?q?" + b"+" * 90_000 + b"?=", b"\xff\x00\x1b[2J\r\n\tb", b"=?x?b?!?="):
            mail = replace(message(1), headers=b"Subject: " + subject + b"\r\n")
            (event,) = self.steps.queued(mail, [delivery(1)])
            self.assertTrue(0 < len(event.subject) <= TOLD)
            self.assertTrue(event.subject.isprintable())

    def test_a_mail_that_goes_on_to_its_sender(self) -> None:
        mail = replace(message(1), sender="", origin=Origin("back", "192.0.2.7", "mx", returned=True))
        queued, on = self.steps.queued(mail, [delivery(1)])
        self.assertEqual((queued.kind, on.kind, on.name), ("queued", "sent-on", mail.id))
        self.assertEqual((on.recipient, on.listener, on.client), ("r1@example.org", "back", "192.0.2.7"))

    def test_how_an_attempt_left(self) -> None:
        steps = Steps(True, lambda: NOW, {"default": "lmtp"}.__getitem__)
        for said, told in (("b+1@back.test", "b+1@back.test"), (message(1).sender, ""), ("", "")):
            outcome = Outcome(Result.DELIVERED, "250 ok", return_path=said)
            (event,) = steps.attempted("delivered", message(1), delivery(1), outcome, None)
            self.assertEqual((event.protocol, event.return_path), ("lmtp", told))

    def test_of_many_recipients_some_are_named(self) -> None:
        rows = [delivery(1, seq, due=NOW + 9) for seq in range(1, 301)]
        (event,) = self.steps.queued(message(1, recipients=300), rows)
        self.assertEqual((event.recipient, event.recipients, len(event.to)), ("", 300, NAMED))
        self.assertEqual(event.due, NOW + 9)

    def test_an_attempt_has_both_ends_the_reply_and_what_it_means(self) -> None:
        outcome = Outcome(
            Result.DEFERRED, "452 4.2.2 full", 452, "reply", "rcpt", "mx.test", "192.0.2.1", "192.0.2.9", 1.5,
            tls="TLSv1.3",
        )  # fmt: skip
        diagnosis = Diagnosis("defer", "capacity", "recipient", "The mailbox is full", 452, "4.2.2")
        (event,) = self.steps.attempted("deferred", message(1), delivery(1), outcome, diagnosis, NOW + 300_000)
        self.assertEqual((event.kind, event.time, event.name), ("deferred", NOW + 5, delivery(1).name))
        self.assertEqual((event.category, event.action, event.fault), ("capacity", "defer", "recipient"))
        self.assertEqual((event.host, event.host_address, event.local_address), ("mx.test", "192.0.2.1", "192.0.2.9"))
        self.assertEqual((event.code, event.status, event.reply, event.stage), (452, "4.2.2", "452 4.2.2 full", "rcpt"))
        self.assertEqual((event.reason, event.unreported), ("The mailbox is full", ""))
        self.assertEqual((event.attempts, event.seconds, event.tls, event.due), (1, 1.5, "TLSv1.3", NOW + 300_000))

    def test_a_sender_who_is_told(self) -> None:
        (event,) = self.steps.notified(message(1), delivery(1), "delay", queue_id(2))
        self.assertEqual((event.kind, event.name), ("notified", delivery(1).name))
        self.assertEqual((event.what, event.about), ("delay", queue_id(2)))
        self.assertEqual(Steps(False, lambda: NOW).notified(message(1), delivery(1), "delay", queue_id(2)), ())

    def test_without_a_reply_the_category_is_where_it_failed(self) -> None:
        (event,) = self.steps.attempted(
            "bounced", message(1), delivery(1), Outcome(Result.BOUNCED, "no such domain", category="dns"), None
        )
        self.assertEqual((event.category, event.action, event.reply), ("dns", "", "no such domain"))

    def test_what_an_operator_does(self) -> None:
        (event,) = self.steps.happened("held", message(1), delivery(1), "by hand")
        self.assertEqual((event.kind, event.name, event.reason), ("held", delivery(1).name, "by hand"))

    def test_a_decision(self) -> None:
        decision = Decision("suspended", Scope(zone="a", site="gmail", address="192.0.2.1"), "421 slow", NOW, NOW + 9)
        (event,) = self.steps.decided(decision)
        self.assertEqual((event.kind, event.what, event.reason), ("decision", "suspended", "421 slow"))
        self.assertEqual(event.due, NOW + 9)
        self.assertEqual((event.zone, event.site, event.local_address), ("a", "gmail", "192.0.2.1"))
        self.assertEqual((event.about, event.name), ("zone a, site gmail, address 192.0.2.1", ""))

    def test_nothing_is_made_where_nothing_is_kept(self) -> None:
        none = Steps(False, lambda: NOW)
        self.assertEqual(none.queued(message(1), [delivery(1)]), ())
        self.assertEqual(none.happened("deleted", message(1), delivery(1)), ())
        self.assertEqual(none.attempted("bounced", message(1), delivery(1), Outcome(Result.BOUNCED, ""), None), ())
        self.assertEqual(none.decided(Decision("climbing", Scope(), "", NOW)), ())

    def test_all_kinds_are_known(self) -> None:
        for kind in (*Result, "expired", "held", "released", "deleted", "queued", "decision"):
            self.assertIn(str(kind), KINDS)
