"""What a notice says, and that it is a valid message whatever it is about; read by `email` and by flufl.bounce."""

from __future__ import annotations

from email import message_from_bytes
from email.message import Message as Parsed
from email.policy import SMTP

from flufl.bounce import scan_message
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from relay.bounce import fate, quoting
from relay.bounce.notice import Author, notice
from relay.message.values import Delivery, Message, Origin, Outcome, Result

AUTHOR = Author("relay.test", "Mail Delivery Subsystem <mailer-daemon@relay.test>")
HEADER = b"From: <s@src.test>\r\nTo: <u@d.test>\r\nSubject: hello\r\nMessage-ID: <a@src.test>\r\n"
MESSAGE = Message(
    "1a20169d1ea0007acc", "s@src.test", Origin("feeder", "192.0.2.1"), 1_790_000_000_000, HEADER, 6, 1, 1,
    message_id="<a@src.test>",
)  # fmt: skip
DELIVERY = Delivery(MESSAGE.id, 2, "default", "d.test", "u@d.test", 0)
REFUSED = Outcome(Result.BOUNCED, "550 5.1.1 No such user", 550, "reply", "rcpt", "mx.d.test")
NOW = MESSAGE.created + 5000
FAILED = fate.failed(REFUSED, False)


def the(what: fate.Fate = FAILED, message: Message = MESSAGE, delivery: Delivery = DELIVERY, body: bytes | None = None,
        ) -> bytes:  # fmt: skip
    return notice(what, message, delivery, AUTHOR, NOW, body)


def parts(text: bytes) -> tuple[Parsed, list[Parsed]]:
    parsed = message_from_bytes(text)
    found = parsed.get_payload()
    assert isinstance(found, list)
    return parsed, found


def report(text: bytes) -> tuple[Parsed, Parsed]:
    """The fields of the message, and those of the recipient."""
    of_message, of_recipient = parts(text)[1][1].get_payload()
    return of_message, of_recipient


class WhatItSays(SynchronousTestCase):
    def test_a_failure(self) -> None:
        parsed, (words, status, header) = parts(the())
        self.assertEqual(parsed["From"], "Mail Delivery Subsystem <mailer-daemon@relay.test>")
        self.assertEqual(parsed["To"], "<s@src.test>")
        self.assertEqual(parsed["Subject"], "Delivery Status Notification (Failure: u@d.test)")
        self.assertEqual((parsed["Auto-Submitted"], parsed["X-Failed-Recipients"]), ("auto-replied", "u@d.test"))
        self.assertEqual((parsed["In-Reply-To"], parsed["References"]), ("<a@src.test>", "<a@src.test>"))
        self.assertEqual(parsed.get_content_type(), "multipart/report")
        self.assertEqual(parsed.get_param("report-type"), "delivery-status")
        types = [part.get_content_type() for part in (words, status, header)]
        self.assertEqual(types, ["text/plain", "message/delivery-status", "text/rfc822-headers"])
        self.assertIn("    550 5.1.1 No such user\n", words.get_payload().replace("\r\n", "\n"))
        of_message, of_recipient = report(the())
        self.assertEqual(of_message.items(), [
            ("Reporting-MTA", "dns; relay.test"),
            ("X-ZoneMTA-Queue-ID", MESSAGE.id),
            ("X-ZoneMTA-Sender", "rfc822; s@src.test"),
            ("Arrival-Date", "Mon, 21 Sep 2026 14:13:20 +0000"),
        ])
        self.assertEqual(of_recipient.items(), [
            ("Final-Recipient", "rfc822; u@d.test"),
            ("Action", "failed"),
            ("Status", "5.1.1"),
            ("Remote-MTA", "dns; mx.d.test"),
            ("Diagnostic-Code", "smtp; 550 5.1.1 No such user"),
            ("Last-Attempt-Date", "Mon, 21 Sep 2026 14:13:25 +0000"),
            ("Final-Log-ID", f"{MESSAGE.id}.002"),
        ])
        self.assertEqual(header.get_payload(decode=True), HEADER)
        self.assertEqual(scan_message(message_from_bytes(the())), {b"u@d.test"})

    def test_what_the_client_gave_comes_back_decoded(self) -> None:
        message, delivery = replace(MESSAGE, envid="QQ+2B+207"), replace(DELIVERY, orcpt="rfc822;a+2Bb@d.test")
        of_message, of_recipient = report(the(message=message, delivery=delivery))
        self.assertEqual(of_message["Original-Envelope-Id"], "QQ+ 7")
        self.assertEqual(of_recipient["Original-Recipient"], "rfc822; a+b@d.test")

    def test_S24_what_would_end_a_line_is_left_out(self) -> None:
        message = replace(MESSAGE, envid="a+0D+0AX-Evil:+20yes", message_id="<a@b>\r\nX-Evil: yes")
        text = the(message=message, delivery=replace(DELIVERY, orcpt="rfc822;a+0D+0AX-Evil:+20yes@d.test"))
        self.assertNotIn(b"Evil", text)
        self.assertNotIn(b"In-Reply-To", text)

    def test_own_words_are_no_smtp(self) -> None:
        outcome = Outcome(Result.BOUNCED, "5.1.2 No such domain: d.test", category="dns")
        _, of_recipient = report(the(fate.failed(outcome, False)))
        self.assertEqual((of_recipient["Status"], of_recipient["Remote-MTA"]), ("5.1.2", None))
        self.assertEqual(of_recipient["Diagnostic-Code"], "x-zonerelay; 5.1.2 No such domain: d.test")

    def test_D39_expired(self) -> None:
        outcome = Outcome(Result.BOUNCED, "451 4.7.1 Later", 451, "reply", "rcpt", "192.0.2.9")
        text = the(fate.failed(outcome, True))
        _, of_recipient = report(text)
        self.assertEqual((of_recipient["Action"], of_recipient["Status"]), ("failed", "4.4.7"))
        self.assertEqual(of_recipient["Remote-MTA"], "dns; [192.0.2.9]")
        self.assertIn(b"It was tried since Mon, 21 Sep 2026 14:13:20 +0000, which is as long as it is kept.", text)
        self.assertEqual(scan_message(message_from_bytes(text)), {b"u@d.test"})

    def test_a_delay(self) -> None:
        outcome = Outcome(Result.DEFERRED, "Connection refused", category="network", host="mx.d.test")
        text = the(fate.delayed(outcome, NOW + 3_600_000))
        parsed, _ = parts(text)
        self.assertEqual(parsed["Subject"], "Delivery Status Notification (Delay: u@d.test)")
        self.assertIsNone(parsed["X-Failed-Recipients"])
        _, of_recipient = report(text)
        self.assertEqual((of_recipient["Action"], of_recipient["Status"]), ("delayed", "4.0.0"))
        self.assertEqual(of_recipient["Will-Retry-Until"], "Mon, 21 Sep 2026 15:13:25 +0000")

    def test_success(self) -> None:
        outcome = Outcome(Result.DELIVERED, "250 2.1.5 ok", 250, stage="dot", host="mx.d.test")
        for to_mailbox, action, subject in ((False, "relayed", "Relayed"), (True, "delivered", "Delivered")):
            text = the(fate.passed_on(outcome, to_mailbox))
            self.assertIn(f"({subject}: u@d.test)", parts(text)[0]["Subject"])
            _, of_recipient = report(text)
            self.assertEqual((of_recipient["Action"], of_recipient["Status"]), (action, "2.1.5"))
            self.assertEqual(scan_message(message_from_bytes(text)), set())

    def test_a_status_of_another_class_says_why_all_the_same(self) -> None:
        self.assertEqual(fate.failed(replace(REFUSED, response="452 4.2.2 full"), False).status, "5.2.2")
        self.assertEqual(fate.delayed(replace(REFUSED, response="554 5.7.1 listed"), 0).status, "4.7.1")

    def test_beyond_ascii(self) -> None:
        """Only whose address has such reads such in all of it (RFC 6533 3)."""
        delivery = replace(DELIVERY, recipient="ü+x@d.test")
        outcome = replace(REFUSED, response="550 5.1.1 niemand heißt so")
        message = replace(MESSAGE, headers="Subject: grün\r\n".encode())
        text = the(fate.failed(outcome, False), message, delivery)
        self.assertTrue(text.isascii())
        parsed = message_from_bytes(text, policy=SMTP)
        self.assertEqual(parsed["Subject"], "Delivery Status Notification (Failure: ü+x@d.test)")
        _, of_recipient = report(text)
        self.assertEqual(of_recipient["Final-Recipient"], r"utf-8; \x{FC}\x{2B}x@d.test")
        self.assertEqual(of_recipient["Diagnostic-Code"], "smtp; 550 5.1.1 niemand hei?t so")
        self.assertEqual(parts(text)[1][2].get_payload(decode=True).decode(), "Subject: grün\r\n")

        text = the(fate.failed(outcome, False), replace(message, sender="ö@src.test"), delivery)
        self.assertIn("To: <ö@src.test>\r\nSubject: Delivery Status Notification (Failure: ü+x@d.test)".encode(), text)
        self.assertIn("\r\nFinal-Recipient: utf-8; ü\\x{2B}x@d.test\r\n".encode(), text)
        self.assertIn("\r\nDiagnostic-Code: smtp; 550 5.1.1 niemand heißt so\r\n".encode(), text)
        types = [part.get_content_type() for part in parts(text)[1]]
        self.assertEqual(types, ["text/plain", "message/global-delivery-status", "message/global-headers"])


class WhatItReturns(SynchronousTestCase):
    def third(self, message: Message, body: bytes | None = None) -> Parsed:
        return parts(the(message=message, body=body))[1][2]

    def test_in_full(self) -> None:
        for header, kind in ((HEADER, "message/rfc822"), ("Subject: grün\r\n".encode() + HEADER, "message/global")):
            third = self.third(replace(MESSAGE, headers=header), "süß\r\n".encode())
            self.assertEqual((third.get_content_type(), third["Content-Transfer-Encoding"]), (kind, "8bit"))
            [original] = third.get_payload()
            self.assertEqual(original["Message-ID"], "<a@src.test>")
            self.assertEqual(original.get_payload(decode=True).decode().rstrip(), "süß")

    def test_what_can_stand_in_no_mail_is_not(self) -> None:
        for body in (b"a\0b\r\n", b"a\rb\r\n", b"a\nb\r\n", b"x" * 999 + b"\r\n"):
            self.assertEqual(self.third(MESSAGE, body).get_content_type(), "text/rfc822-headers")

    def test_who_gets_it(self) -> None:
        full = replace(MESSAGE, ret="FULL")
        self.assertTrue(quoting.may_be_whole(full, full.size))
        self.assertFalse(quoting.may_be_whole(full, full.size - 1))
        self.assertFalse(quoting.may_be_whole(replace(full, ret="HDRS"), full.size))
        self.assertFalse(quoting.may_be_whole(MESSAGE, full.size))
        self.assertFalse(quoting.may_be_whole(replace(full, require_tls=True), full.size))

    def test_of_what_must_travel_by_tls_next_to_nothing(self) -> None:
        quoted = quoting.header_of(replace(MESSAGE, require_tls=True))
        self.assertEqual(quoted, b"Message-ID: <a@src.test>\r\n")

    def test_D41_a_hostile_header_is_cut(self) -> None:
        subject = b"Subject: " + b" \r\n ".join([b"\xff" * 900] * 1200) + b"\r\n"
        fields = b"".join(b"X-%d: \0\x1b[2J\r\n" % number for number in range(20_000))
        message = replace(MESSAGE, headers=subject + HEADER + fields)
        text = the(message=message)
        self.assertLess(len(text), 120_000)
        quoted = self.third(message).get_payload(decode=True)
        assert isinstance(quoted, bytes)
        self.assertIn(b"\xff [cut]\r\nFrom: <s@src.test>\r\n", quoted)
        self.assertIn(b"\r\nX-7: ??[2J\r\n", quoted)
        self.assertLessEqual(len(quoted), quoting.MOST)

    def test_a_character_is_not_cut(self) -> None:
        for more in range(4):
            message = replace(MESSAGE, headers=b"S: " + b"x" * more + "€".encode() * 1000 + b"\r\n")
            quoting.header_of(message).decode()


class AnyMail(SynchronousTestCase):
    """Whatever it is about: a valid message of bounded size that says who it was for."""

    @settings(max_examples=300, deadline=None)
    @given(
        header=st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode()),
        long=st.sampled_from((0, 500, 998, 999, 3000, 70_000)),
        body=st.none() | st.binary(max_size=300),
        reply=st.text(max_size=1000),
        strange=st.text(max_size=1200),
        utf8=st.booleans(),
        kind=st.sampled_from(("failed", "delayed", "relayed")),
    )
    def test_D41(
        self, header: bytes, long: int, body: bytes | None, reply: str, strange: str, utf8: bool, kind: str
    ) -> None:
        message = replace(
            MESSAGE,
            sender="ö@src.test" if utf8 else "s@src.test",
            headers=header + b"X-Long: " + b"\xe4" * long + b"\r\n" + header,
            message_id=strange,
            envid=strange,
        )
        delivery = replace(DELIVERY, orcpt=f"rfc822;{strange}")
        outcome = Outcome(Result.BOUNCED, reply, 550, "reply", "rcpt", strange)
        what = {
            "failed": fate.failed(outcome, utf8),
            "delayed": fate.delayed(outcome, NOW),
            "relayed": fate.passed_on(outcome, False),
        }[kind]
        text = the(what, message, delivery, body)
        self.assertLess(len(text), 150_000)
        self.assertNotRegex(text, rb"\r(?!\n)|(?<!\r)\n|\0")
        self.assertLessEqual(max(map(len, text.split(b"\r\n"))), 998)
        parsed = message_from_bytes(text)
        self.assertEqual(len(parts(text)[1]), 3)
        self.assertTrue(utf8 or body is not None or text.isascii())
        if not utf8:
            self.assertEqual([defect for part in parts(text)[1] for defect in part.defects], [])
            of_message, of_recipient = report(text)
            self.assertEqual(of_message["Reporting-MTA"], "dns; relay.test")
            self.assertEqual((of_recipient["Final-Recipient"], of_recipient["Action"]), ("rfc822; u@d.test", kind))
            self.assertEqual(bool(scan_message(parsed)), kind == "failed")
