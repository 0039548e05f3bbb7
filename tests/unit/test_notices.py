"""What follows for the sender from the end of a delivery: in the batch of that end, or nothing, with a reason."""

from __future__ import annotations

from email import message_from_bytes
from typing import Any

from msgspec.structs import replace

from relay.config.schema import Bounces, Dkim, Zone
from relay.dispatch import notices as module
from relay.dispatch.expiry import Expiry
from relay.dispatch.gates import Shut
from relay.dispatch.notices import Notices
from relay.dispatch.results import Results
from relay.dkim.keys import KeyIndex
from relay.events.steps import Steps
from relay.intake.heed import Heed
from relay.intake.own import OwnMail
from relay.intake.submission import Intake
from relay.message.values import Delivery, Message, Outcome, Result
from relay.queue.schedule import Work
from relay.queue.store import LaneKey, StoreError
from relay.zone.decision import Scope
from relay.zone.routing import Router
from tests.unit.dispatch_rig import BOUNCED, DEFERRED, DELIVERED, DispatchRig
from tests.unit.journey_rig import a_retry

OTHERS = {
    "web": Zone(url="https://hook.test/in"),
    "quiet": Zone(bounce_mail=False),
    "own": Zone(bounce_zone="back", mailer_daemon="daemon@own.test"),
    "back": Zone(),
    "bounces": Zone(),
    "mailbox": Zone(host="lmtp.test", lmtp=True),
}


class NoticesCase(DispatchRig):
    zones = {"default": Zone(connections=2), **OTHERS}
    options = Bounces(per_sender="5/m")
    steps = (60.0, 120.0)

    def setUp(self) -> None:
        super().setUp()
        retry = a_retry(*self.steps)
        steps = Steps(True, self.now)
        self.intake = Intake(
            store=self.store,
            schedule=self.schedule,
            router=Router(self.zones_),
            keys=KeyIndex(self.mktemp(), self.clock),
            dkim=Dkim(),
            hostname="relay.test",
            log=self.log,
            counts=self.tally,
            now=self.now,
            heed=Heed("drop", self.suppressions),
            steps=steps,
        )
        self.notices = Notices(
            self.options, "relay.test", self.zones_, self.store, OwnMail(self.intake), self.log, self.tally, self.now,
            self.clock.seconds, steps,
        )  # fmt: skip
        self.results = Results(
            self.store, self.schedule, retry, self.log, self.tally, self.now, steps, self.notices
        )

    def work(self, zone: str = "default", notify: str = "", orcpt: str = "", **more: Any) -> Work:
        self.message: Message = self.accept("d.test", zone=zone, **more)
        return self.claimed(notify, orcpt)

    def claimed(self, notify: str = "", orcpt: str = "") -> Work:
        row = self.store.delivery(self.message.id, 1)
        assert row is not None
        work = self.schedule.claim(self.message, row)
        assert work is not None
        work.delivery = replace(work.delivery, notify=notify or row.notify, orcpt=orcpt or row.orcpt)
        return work

    def ended(self, outcome: Outcome = BOUNCED, **more: Any) -> list[Delivery]:
        """What is in the queue when it has ended so."""
        self.results.record(self.work(**more), outcome)
        self.tell()
        return list(self.store.rows.values())

    def text(self, row: Delivery) -> bytes:
        message = self.store.message(row.id)
        assert message is not None
        return message.headers + b"\r\n" + self.store.chunk(row.id, 0)

    def said(self, step: str) -> list[str]:
        return [line for line in self.lines() if f" {step} id=" in line]

    def deferred(self, work: Work) -> Delivery:
        """Its row when it has failed for now."""
        self.results.record(work, DEFERRED)
        self.tell()
        row = self.store.delivery(self.message.id, 1)
        assert row is not None
        return row


class Ends(NoticesCase):
    def test_D11_a_bounce_goes_into_the_batch_of_the_end(self) -> None:
        work = self.work()
        self.results.record(work, BOUNCED)
        [row] = self.store.rows.values()
        self.assertEqual((row.recipient, row.zone, row.domain), ("from@sender.test", "bounces", "sender.test"))
        self.assertEqual((self.said("notified"), self.said("queued"), self.schedule.work(row.id, 1)), ([], [], None))
        self.tell()
        [line] = self.said("notified")
        self.assertIn(f" id={work.delivery.name} kind=failure sender=<from@sender.test> bounce={row.id}", line)
        [line] = self.said("queued")
        self.assertIn(f" id={row.id} listener=bounce client=127.0.0.1 ", line)
        self.assertIsNotNone(self.schedule.work(row.id, 1), "it is due")
        message = self.store.message(row.id)
        assert message is not None
        self.assertEqual((message.sender, message.origin.transport), ("", "LOCAL"))
        self.assertIn(b"\r\nFinal-Recipient: rfc822; to1@d.test\r\nAction: failed\r\n", self.text(row))
        self.assertEqual(self.tally.notices, ["failure"])
        kinds = [numbered.event.kind for numbered in self.store.events(0, 100)]
        self.assertEqual(kinds, ["queued", "bounced", "notified"])
        event = self.store.events(0, 100)[-1].event
        self.assertEqual((event.name, event.what, event.about), (work.delivery.name, "failure", row.id))

    def test_whether_it_is_reported_to_a_server_stands_in_the_event(self) -> None:
        """Also where nobody is told by mail; what has not ended in vain says nothing of it."""
        for outcome, sender, zone, told in (
            (BOUNCED, "from@sender.test", "default", ""),
            (BOUNCED, "", "default", "null sender"),
            (BOUNCED, "from@sender.test", "web", "by HTTP"),
            (BOUNCED, "from@sender.test", "quiet", ""),
            (DELIVERED, "", "default", ""),
        ):
            self.results.record(self.work(zone=zone, sender=sender), outcome)
            ends = [one.event for one in self.store.events(0, 1000) if one.event.kind in ("bounced", "delivered")]
            self.assertEqual(ends[-1].unreported, told)

    def test_D40_no_bounce_of_a_bounce(self) -> None:
        [row] = self.ended()
        bounce = self.schedule.work(row.id, 1)
        assert bounce is not None
        self.schedule.take(bounce.lane, bounce)
        self.results.record(bounce, BOUNCED)
        self.tell()
        self.assertEqual(self.store.rows, {})
        self.assertIn(f' id={row.name} kind=failure sender=<> reason="null sender"', self.said("skipbounce")[0])
        self.assertEqual(self.tally.no_notices, ["null sender"])

    def test_whoever_gets_none_is_told_why(self) -> None:
        for reason, more in (
            ("null sender", {"sender": ""}),
            ("not asked for", {"notify": "NEVER"}),
            ("by HTTP", {"zone": "web"}),
            ("zone", {"zone": "quiet"}),
            ("Auto-Submitted", {"headers": b"Auto-Submitted: auto-replied\r\n"}),
            ("no way back", {"sender": "me@localhost"}),
        ):
            self.assertEqual(self.ended(**more), [], reason)
            self.assertEqual(self.tally.no_notices.pop(), reason)
        self.assertEqual(self.tally.notices, [])

    def test_what_must_travel_by_tls_is_told_of_so(self) -> None:
        """Where that can be had (RFC 8689 5)."""
        for required in (True, False):
            self.setUp()
            [row] = self.ended(require_tls=required)
            message = self.store.message(row.id)
            assert message is not None
            self.assertEqual(message.require_tls, required)

    def test_what_is_dropped_or_delivered_is_not_told(self) -> None:
        self.assertEqual(self.ended(Outcome(Result.DROPPED, "suppressed")), [])
        self.assertEqual(self.ended(DELIVERED), [])
        self.assertEqual(self.ended(DELIVERED, notify="FAILURE,DELAY"), [])
        self.assertEqual((self.tally.notices, self.tally.no_notices), ([], []))

    def test_not_too_many(self) -> None:
        for _ in range(8):
            self.results.record(self.work(), BOUNCED)
            self.tell()
        self.assertEqual(len(self.store.rows), 5)
        self.assertEqual(self.tally.no_notices, ["too many"] * 3)
        self.ended(sender="other@sender.test")
        self.clock.advance(60)
        self.ended()
        self.assertEqual(len(self.tally.notices), 7)

    def test_what_cannot_be_made_keeps_no_delivery_in_the_queue(self) -> None:
        def fails(*_: object) -> bytes:
            raise ZeroDivisionError

        self.patch(module, "notice", fails)
        self.assertEqual(self.ended(), [])
        self.assertEqual(self.tally.no_notices, ["fault"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_zone_of_its_own_and_another_author(self) -> None:
        [row] = self.ended(zone="own")
        self.assertEqual((row.zone, message_from_bytes(self.text(row))["From"]), ("back", "daemon@own.test"))


class Returned(NoticesCase):
    def third(self, **more: Any) -> Any:
        [row] = self.ended(ret="FULL", **more)
        return message_from_bytes(self.text(row)).get_payload()[2]

    def test_in_full_from_memory(self) -> None:
        third = self.third()
        self.assertEqual(third.get_content_type(), "message/rfc822")
        self.assertEqual(third.get_payload()[0].get_payload().strip(), "hello")

    def test_in_full_from_the_store(self) -> None:
        work = self.work(ret="FULL", body=b"from the disk\r\n")
        work.held.body = None
        self.results.record(work, BOUNCED)
        self.tell()
        [row] = self.store.rows.values()
        self.assertIn(b"\r\nfrom the disk\r\n", self.text(row))

    def test_a_body_that_cannot_be_read_is_not_returned(self) -> None:
        def unreadable(queue_id: str, number: int) -> bytes:
            raise StoreError("damaged")

        work = self.work(ret="FULL")
        work.held.body = None
        chunk = self.store.chunk
        self.store.chunk = unreadable
        self.results.record(work, BOUNCED)
        self.store.chunk = chunk
        self.tell()
        [row] = self.store.rows.values()
        self.assertIn(b"\r\nContent-Type: text/rfc822-headers\r\n", self.text(row))

    def test_what_is_large_is_not_returned(self) -> None:
        third = self.third(body=b"x" * 76 + b"\r\n" * 40_000)
        self.assertEqual(third.get_content_type(), "text/rfc822-headers")


class Expired(NoticesCase):
    def test_D39_used_up(self) -> None:
        self.deferred(self.work())
        self.clock.advance(60)
        self.deferred(self.claimed())
        self.clock.advance(120)
        self.results.record(self.claimed(), DEFERRED)
        self.tell()
        [row] = self.store.rows.values()
        self.assertIn(b"\r\nAction: failed\r\nStatus: 4.4.7\r\n", self.text(row))
        self.assertEqual(self.tally.notices, ["failure"])
        self.assertEqual([one.event.kind for one in self.store.events(0, 100)][-2:], ["expired", "notified"])

    def test_D39_given_up_without_an_attempt(self) -> None:
        outcome = Outcome(Result.BOUNCED, "no host answers; given up", category="network", stage="connect")
        self.results.give_up(self.work(), outcome)
        self.tell()
        [row] = self.store.rows.values()
        self.assertIn(b"\r\nDiagnostic-Code: x-zonerelay; no host answers; given up\r\n", self.text(row))


class Passed(NoticesCase):
    def test_success_that_nobody_else_tells_of(self) -> None:
        [row] = self.ended(DELIVERED, notify="SUCCESS")
        self.assertIn(b"\r\nAction: relayed\r\nStatus: 2.0.0\r\n", self.text(row))
        self.assertEqual(self.tally.notices, ["success"])

    def test_success_that_the_host_tells_of(self) -> None:
        self.assertEqual(self.ended(replace(DELIVERED, dsn=True), notify="SUCCESS"), [])
        self.assertEqual(self.tally.no_notices, [])

    def test_into_a_mailbox(self) -> None:
        [row] = self.ended(DELIVERED, notify="SUCCESS,FAILURE", zone="mailbox")
        self.assertIn(b"\r\nAction: delivered\r\n", self.text(row))


class Late(NoticesCase):
    options = Bounces(delay_after=100.0)
    steps = (60.0, 60.0, 60.0, 60.0)

    def test_told_once(self) -> None:
        self.deferred(self.work())
        self.clock.advance(60)
        row = self.deferred(self.claimed())
        self.assertEqual((row.warned, self.tally.notices), (0, []))
        self.clock.advance(60)
        row = self.deferred(self.claimed())
        self.assertEqual((row.warned, self.tally.notices), (self.now(), ["delay"]))
        [notice] = [row for row in self.store.rows.values() if row.id != self.message.id]
        text = self.text(notice)
        self.assertIn(b"\r\nAction: delayed\r\nStatus: 4.0.0\r\n", text)
        self.assertIn(b"\r\nWill-Retry-Until: Tue, 14 Nov 2023 22:17:20 +0000\r\n", text)
        self.clock.advance(60)
        row = self.deferred(self.claimed())
        self.assertEqual(self.tally.notices, ["delay"])

    def test_who_gets_none_is_not_asked_about_again(self) -> None:
        self.deferred(self.work(notify="FAILURE"))
        for _ in range(3):
            self.clock.advance(60)
            self.deferred(self.claimed("FAILURE"))
        self.assertEqual((self.tally.notices, self.tally.no_notices), ([], ["not asked for"]))


class LateWithoutATry(NoticesCase):
    """The site doesn't answer, and another delivery is tried for all of its mail (D39)."""

    options = Bounces(delay_after=100.0, per_sender="1000/m")

    def setUp(self) -> None:
        super().setUp()
        self.since = self.now()
        for _ in range(70):
            self.accept("dead.test")
        self.expiry = Expiry(self.schedule, self.results, lambda gate: None)
        self.gate = Shut("unreachable", Scope(site="dead.test"), "no host answers", lambda user: 1.0)
        self.lane = self.schedule.lane(LaneKey("default", "dead.test"))

    def look(self) -> bool:
        self.schedule.has_ready(self.lane)
        found = self.expiry.give_up(self.lane, self.gate, self.since)
        self.tell()
        return found

    def test_each_is_told_of_once_and_given_up_in_its_time(self) -> None:
        self.clock.advance(99)
        self.assertFalse(self.look())
        self.clock.advance(1)
        self.assertEqual([self.look() for _ in range(3)], [True, True, False])
        self.assertEqual((self.tally.notices, self.tally.no_notices), (["delay"] * 70, []))
        waiting = [row for row in self.store.rows.values() if row.domain == "dead.test"]
        states = {(row.attempts, row.first_failure, row.warned, row.response) for row in waiting}
        self.assertEqual(states, {(0, self.since, self.now(), "no host answers")})
        texts = [self.text(row) for row in self.store.rows.values() if row.domain == "sender.test"]
        self.assertIn(b"\r\nDiagnostic-Code: x-zonerelay; no host answers\r\n", texts[0])
        self.assertIn(b"\r\nWill-Retry-Until: Tue, 14 Nov 2023 22:16:20 +0000\r\n", texts[0])
        self.clock.advance(81)
        self.assertEqual([self.look() for _ in range(4)], [True, True, True, False])
        self.assertEqual(self.tally.notices.count("failure"), 70)
        self.assertEqual([row for row in self.store.rows.values() if row.domain == "dead.test"], [])


class Never(NoticesCase):
    options = Bounces(mail=False, delay_after=1.0)

    def test_nobody_is_told_anything(self) -> None:
        self.assertEqual(self.ended(), [])
        self.assertEqual(self.ended(DELIVERED, notify="SUCCESS"), [])
        self.deferred(self.work())
        self.clock.advance(60)
        self.assertEqual(self.deferred(self.claimed()).warned, 0)
        self.assertEqual((self.tally.notices, self.tally.no_notices), ([], []))
