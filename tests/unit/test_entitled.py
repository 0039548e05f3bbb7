"""Who is told what became of a message, and how often."""

from __future__ import annotations

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from relay.bounce.entitled import REASONS, Case, wants, why_none, why_unreported
from relay.bounce.ration import REMEMBERED, Ration
from tests.unit.test_notice import DELIVERY, HEADER, MESSAGE


class WhoIsTold(SynchronousTestCase):
    case = Case("failure", MESSAGE, DELIVERY)

    def why(self, header: bytes) -> str:
        return why_none(self.case._replace(message=replace(MESSAGE, headers=HEADER + header)))

    def test_most(self) -> None:
        self.assertEqual(why_none(self.case), "")
        for header in (
            b"Auto-Submitted: no\r\n",
            b"X-Auto-Response-Suppress: OOF, AutoReply\r\n",
            b"Content-Type: multipart/mixed\r\n",
            b"Received: x\r\n" * 25,
            b"Subject: mailer-daemon@src.test\r\n",
        ):
            self.assertEqual(self.why(header), "")
        self.assertEqual(why_none(self.case._replace(silent_listeners=("api",))), "")

    def test_S19_automatic_mail_is_not_answered(self) -> None:
        for sender, reason in (
            ("", "null sender"),
            ("MAILER-DAEMON@src.test", "mailer-daemon"),
            ("mailer-daemon.list@src.test", ""),
        ):
            self.assertEqual(why_none(self.case._replace(message=replace(MESSAGE, sender=sender))), reason)
        for header, reason in (
            (b"From: Mail <Mailer-Daemon@src.test>\r\n", "from mailer-daemon"),
            (b"From: mailer-daemon@src.test\r\n", "from mailer-daemon"),
            (b"From: x@a.test, mailer-daemon@src.test\r\n", "from mailer-daemon"),
            (b"X-Auto-Response-Suppress: DR,  ALL\r\n", "X-Auto-Response-Suppress"),
            (b"Auto-Submitted: Auto-Generated; owner-email=x\r\n", "Auto-Submitted"),
            (b"auto-submitted:\r\n auto-replied\r\n", "Auto-Submitted"),
            (b"Content-Type: Multipart/Report; report-type=x\r\n", "a report itself"),
            (b"Received: x\r\n" * 26, "too many hops"),
        ):
            self.assertEqual(self.why(header), reason)

    def test_what_the_relay_is_told_to_leave(self) -> None:
        self.assertEqual(why_none(self.case._replace(by_http=True)), "by HTTP")
        self.assertEqual(why_none(self.case._replace(silent=True)), "zone")
        self.assertEqual(why_none(self.case._replace(silent_listeners=("feeder",))), "listener")

    def test_what_the_client_asks_for(self) -> None:
        for notify, kinds in (
            ("", ("failure", "delay")),
            ("NEVER", ()),
            ("FAILURE", ("failure",)),
            ("SUCCESS,DELAY", ("delay", "success")),
            ("DELAY,FAILURE,SUCCESS", ("failure", "delay", "success")),
        ):
            wanted = [kind for kind in ("failure", "delay", "success") if wants(kind, notify)]
            self.assertEqual(wanted, list(kinds))
        never = replace(DELIVERY, notify="NEVER")
        self.assertEqual(why_none(self.case._replace(delivery=never)), "not asked for")

    def test_whose_bounces_are_not_reported_to_a_server(self) -> None:
        """ZoneMTA's list; what only mail to the sender isn't sent for is reported."""
        case = self.case
        for told, reason in (
            (case, ""),
            (case._replace(message=replace(MESSAGE, sender="")), "null sender"),
            (case._replace(message=replace(MESSAGE, sender="mailer-daemon@src.test")), "mailer-daemon"),
            (case._replace(by_http=True), "by HTTP"),
            (case._replace(delivery=replace(DELIVERY, notify="NEVER")), ""),
            (case._replace(silent=True), ""),
            (case._replace(silent_listeners=("feeder",)), ""),
        ):
            self.assertEqual(why_unreported(told), reason)
        for header, reason in (
            (b"From: mailer-daemon@src.test\r\n", "from mailer-daemon"),
            (b"X-Auto-Response-Suppress: All\r\n", "X-Auto-Response-Suppress"),
            (b"Auto-Submitted: auto-replied\r\n", "Auto-Submitted"),
            (b"Content-Type: multipart/report\r\n", "a report itself"),
            (b"Received: x\r\n" * 26, ""),
        ):
            self.assertEqual(why_unreported(case._replace(message=replace(MESSAGE, headers=HEADER + header))), reason)

    def test_reasons_are_told_apart(self) -> None:
        self.assertEqual(len(set(REASONS)), len(REASONS))


class Rations(SynchronousTestCase):
    def test_so_many_at_once_and_in_time(self) -> None:
        ration = Ration(3, 60)
        self.assertEqual([ration.take("a@b.test", 0.0) for _ in range(4)], [True, True, True, False])
        self.assertFalse(ration.take("A@B.TEST", 19.0), "nobody is another by case")
        self.assertTrue(ration.take("a@b.test", 21.0))
        self.assertFalse(ration.take("a@b.test", 21.0))
        self.assertTrue(ration.take("c@b.test", 21.0))
        self.assertEqual([ration.take("a@b.test", 1000.0) for _ in range(4)], [True, True, True, False])

    def test_nobody_is_kept_for_ever(self) -> None:
        ration = Ration(1, 60)
        self.assertTrue(ration.take("first@b.test", 0.0))
        for number in range(REMEMBERED - 1):
            ration.take(f"{number}@b.test", 0.0)
        self.assertFalse(ration.take("first@b.test", 0.0), "who is served moves to the end")
        for number in range(REMEMBERED):
            ration.take(f"{number}@c.test", 0.0)
        self.assertTrue(ration.take("first@b.test", 0.0))
