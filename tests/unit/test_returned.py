"""What is read in mail that came back: the well-known forms, and anything."""

from __future__ import annotations

import time
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.bounce.mailtext import LINES, PARTS, READ, bounded, parsed
from relay.bounce.reading import read
from relay.bounce.returned import Kind, Notice, Original, Returned

SAMPLES = Path(__file__).parents[1] / "fixtures" / "returned"
OUR_ID = "18f0a1b2c3d4e5f607.001"


def sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.eml").read_bytes().replace(b"\n", b"\r\n")


def notice(name: str) -> Notice:
    returned = read(sample(name))
    assert returned.kind is Kind.REPORT and len(returned.notices) == 1, returned
    return returned.notices[0]


class Reports(SynchronousTestCase):
    def test_postfix(self) -> None:
        found = notice("postfix-failed")
        self.assertEqual(
            found,
            Notice(
                "failed",
                ("rob@there.example", "rob@inner.example"),
                "5.1.1",
                "550 5.1.1 <rob@inner.example>: Recipient address rejected: User unknown in local recipient table",
                "10.0.0.7",
            ),
        )
        original = read(sample("postfix-failed")).original
        self.assertEqual(original.message_id, "<m1@example.org>")
        self.assertEqual(original.senders, ("<bounces@back.example>",))
        self.assertEqual(original.received, (OUR_ID,))

    def test_what_became_of_it_left_out(self) -> None:
        """The class of the status says it; an action of another's making isn't guessed at."""
        text = sample("postfix-failed")
        for status, action in ((b"5.1.1", "failed"), (b"4.4.1", "delayed"), (b"2.1.5", "delivered")):
            found = read(text.replace(b"Action: failed\r\n", b"").replace(b"Status: 5.1.1", b"Status: " + status))
            self.assertEqual([(one.action, one.status) for one in found.notices], [(action, status.decode())])
        made_up = read(text.replace(b"Action: failed", b"Action: pondered"))
        self.assertNotEqual(made_up.about, "a delivery status notification")

    def test_postfix_delayed_and_delivered(self) -> None:
        found = notice("postfix-delayed")
        self.assertEqual(
            (found.action, found.status, found.host), ("delayed", "4.4.1", "mx.there.example")
        )
        self.assertIn("Connection timed out", found.reply)
        found = notice("postfix-success")
        self.assertEqual((found.action, found.status), ("delivered", "2.6.0"))

    def test_each(self) -> None:
        for name, action, recipient, status, words in (
            ("exim-plain", "failed", "rob@there.example", "5.2.1", "550 5.2.1 The mailbox is disabled"),
            ("exim-warning", "delayed", "rob@there.example", "", ""),
            ("qmail", "failed", "rob@there.example", "5.1.1", "550 sorry, no mailbox here by that name"),
            ("exchange", "failed", "rob@corp.example", "5.1.10", "RecipientNotFound"),
            ("gmail", "failed", "rob@gmail.example", "5.2.2", "out of storage space"),
            ("sendmail", "failed", "robert@box.example", "5.1.1", "User unknown"),
            ("opensmtpd", "failed", "rob@bsd.example", "5.0.0", "550 Invalid recipient"),
            ("domino", "failed", "rob@notes.example", "5.1.1", "not listed in Domino Directory"),
            ("yahoo-plain", "failed", "rob@yahoo.example", "", ""),
        ):
            found = notice(name)
            self.assertEqual((found.action, found.recipients[0], found.status), (action, recipient, status), name)
            self.assertIn(words, found.reply, name)

    def test_utf8(self) -> None:
        """RFC 6533: the types have other names, and the address is readable for who has it in octets."""
        found = notice("utf8")
        self.assertEqual((found.action, found.status), ("failed", "5.1.1"))
        self.assertEqual(found.reply, "550 5.1.1 Benutzer unbekannt")
        self.assertEqual(read(sample("utf8")).original.message_id, "<m1@example.org>")

    def test_many_recipients(self) -> None:
        text = sample("postfix-failed")
        begin = text.index(b"Final-Recipient")
        end = text.index(b"\r\n\r\n--", begin)
        block = text[begin:end]
        blocks = [block.replace(b"rob@there", b"rob%d@there" % number) for number in range(500)]
        returned = read(text[:begin] + b"\r\n\r\n".join(blocks) + text[end:])
        self.assertIs(returned.kind, Kind.REPORT)
        self.assertEqual(len(returned.notices), 100)


class Complaints(SynchronousTestCase):
    def test_arf(self) -> None:
        returned = read(sample("arf-yahoo"))
        self.assertEqual((returned.kind, returned.about), (Kind.COMPLAINT, "abuse"))
        self.assertEqual(
            returned.original,
            Original(
                "<m1@example.org>",
                ("<bounces@back.example>", "<bounces@back.example>", "<mailto:no@example.org>"),
                "rob@there.example",
                (OUR_ID,),
            ),
        )

    def test_recipient_left_out(self) -> None:
        returned = read(sample("arf-redacted"))
        self.assertIs(returned.kind, Kind.COMPLAINT)
        self.assertEqual((returned.original.recipient, returned.original.received), ("", (OUR_ID,)))

    def test_other_types(self) -> None:
        self.assertIs(read(sample("arf-opt-out")).kind, Kind.WISH)
        returned = read(sample("arf-not-spam"))
        self.assertEqual((returned.kind, returned.about), (Kind.UNKNOWN, "not-spam"))

    def test_without_a_form(self) -> None:
        returned = read(sample("jmrp"), False)
        self.assertIs(returned.kind, Kind.COMPLAINT)
        self.assertEqual(returned.original.recipient, "rob@hotmail.example")
        self.assertEqual(returned.original.received, (OUR_ID,))


class Others(SynchronousTestCase):
    def test_answers(self) -> None:
        self.assertIs(read(sample("out-of-office"), False).kind, Kind.ANSWER)
        self.assertIs(read(sample("vacation")).kind, Kind.ANSWER)

    def test_people(self) -> None:
        """What they write isn't searched for bounces, whatever they write about."""
        for name in ("person", "challenge"):
            returned = read(sample(name), False)
            self.assertEqual((returned.kind, returned.notices), (Kind.UNKNOWN, ()))
            self.assertEqual(returned.sender, "rob@there.example")

    def test_nothing(self) -> None:
        self.assertEqual(read(b"").kind, Kind.UNKNOWN)


def _texts(returned: Returned) -> list[str]:
    original = returned.original
    said = [returned.about, returned.sender, original.message_id, original.recipient]
    said += [*original.senders, *original.received]
    for one in returned.notices:
        said += [*one.recipients, one.status, one.reply, one.host]
    return said


class Hostile(SynchronousTestCase):
    """Whatever comes: no error, soon, and nothing that ends a line."""

    def check(self, text: bytes, null_sender: bool = True) -> Returned:
        returned = read(text, null_sender)
        for said in _texts(returned):
            self.assertTrue(said.isprintable(), said)
            self.assertLessEqual(len(said), 2000)
        return returned

    @given(st.binary(max_size=2000), st.booleans())
    @settings(max_examples=200, deadline=None)
    def test_anything(self, text: bytes, null_sender: bool) -> None:
        self.check(text, null_sender)

    @given(st.sampled_from(sorted(path.stem for path in SAMPLES.glob("*.eml"))), st.data())
    @settings(max_examples=300, deadline=None)
    def test_samples_that_were_damaged(self, name: str, data: st.DataObject) -> None:
        text = sample(name)
        begin = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(begin, min(len(text), begin + 200)))
        self.check(text[:begin] + data.draw(st.binary(max_size=50)) + text[end:])

    def test_nested_and_endless(self) -> None:
        daemon = b"From: MAILER-DAEMON@x.test\n"
        nested = b"".join(
            b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(2000)
        )
        said = b"This Message was undeliverable due to the following reason:\n"
        parts = b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\n%s--b\n\nx\n--b--\n"
        started = time.process_time()
        for text in (
            nested,
            b"X: y\r" + nested.replace(b"\n", b"\r") + b"x\r" * READ,
            b"Content-Type: multipart/mixed; x=\"" + b";" * READ,
            b"Content-Type: multipart/mixed; x=\"" + (b";" * 900 + b"\r\n ") * 300,
            b"Content-Type: message/rfc822\n\n" * 9000,
            b"Content-Type:message/rfc822\n\n" * (PARTS - 1) + b"\n" * READ,
            daemon + b"\n" + b"<" * READ,
            daemon + parts % (said + (b"<" * 199 + b"\n") * 2000),
            daemon + b"\nDelivery to the following recipient failed\n" + (b"a@" * 99 + b"\n") * 2000,
            daemon + b"\n" + b"550 " * READ,
            b"From: " + b"(" * READ,
            b"Subject: " + b"=?utf-8?q?=0a?= " * 20000,
            b"Content-Type: text/plain; charset=none\n" + daemon + b"\n\xff\xfe\x00",
        ):
            self.check(text)
        # The point is that none takes minutes; on any machine they are a second or two together.
        self.assertLess(time.process_time() - started, 60)

    def test_no_more_is_read_than_is_bearable(self) -> None:
        self.assertLessEqual(len(bounded(b"x" * READ * 2)), READ)
        self.assertEqual(bounded(b"\n" * READ).count(b"\n"), LINES - 1)
        self.assertEqual(bounded(b"Content-Type: text/plain\n" * 100).count(b"Content-Type"), PARTS)

    def test_all_that_ends_a_line_for_python_is_counted(self) -> None:
        self.assertEqual(bounded(b"x\r" * READ).count(b"x"), LINES)
        self.assertEqual(bounded(b"Content-Type: text/plain\r" * 100).count(b"Content-Type"), PARTS)
        self.assertEqual(bounded(b"a: b\r\n\r\nc\rd"), b"a: b\n\nc\nd")

    def test_no_field_is_longer_than_can_be_parsed_in_time(self) -> None:
        for fold in (b"", b"\n ", b"\r\n\t", b"\r "):
            text = b"Content-Type: multipart/mixed; x=\"" + (b";" * 900 + fold) * 200 + b"\nSubject: x\n\ny"
            mail = parsed(text)
            self.assertLessEqual(len(mail["Content-Type"]), 2000)
            self.assertEqual(mail["Subject"], "x")

    def test_no_line_is_ended(self) -> None:
        text = sample("postfix-failed").replace(b"User unknown in", b"User\x85unknown\x1b\x00\xe2\x80\xa8in")
        self.assertIs(self.check(text).kind, Kind.REPORT)
