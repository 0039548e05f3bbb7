"""The header as it is stored: what is added, what is taken out, what is believed (docs/headers.md)."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.message.envelope import Recipient
from relay.message.fitting import PRIVATE, Fitted, fitted
from relay.message.headers import HeaderBlock
from relay.message.longlines import LineTooLong

NOW = 1795319890_123
DATE = "Sun, 22 Nov 2026 03:58:10 +0000"
GOOD = (
    b"From: a@example.com\r\nTo: b@example.net,\r\n c@example.net\r\n"
    b"Date: Sun, 22 Nov 2026 03:58:10 +0000\r\nMessage-ID: <x@y>\r\nSubject: hi\r\n"
)


def fit(raw: bytes, **changes: Any) -> Fitted:
    options: dict[str, Any] = {
        "sender": "s@example.com",
        "recipients": (Recipient("b@example.net"),),
        "hostname": "relay.test",
        "client": "",
        "add": ("message-id", "date"),
        "now": NOW,
    }
    return fitted(HeaderBlock(raw), **options | changes)


class FittedTests(SynchronousTestCase):
    def test_nothing_to_do_is_the_same_bytes(self) -> None:
        found = fit(GOOD)
        self.assertIs(found.header, GOOD)
        self.assertEqual(found, (GOOD, "<x@y>", NOW // 1000 * 1000, "", (), (), (), ()))

    def test_missing(self) -> None:
        found = fit(b"Subject: hi\r\n")
        self.assertRegex(found.message_id, r"^<[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f-]{18}[0-9a-f]+@example\.com>$")
        self.assertEqual(
            found.header,
            f"Date: {DATE}\r\nMessage-ID: {found.message_id}\r\nSubject: hi\r\n".encode(),
        )
        self.assertEqual(found.date, 0)

    def test_empty_or_invalid_are_replaced(self) -> None:
        for date in (b"", b" nonsense", b" Thu, 1 Jan 1970 00:00:00 +0000", b" Thu, 1 Jan 1942 00:00:00 +0000"):
            found = fit(b"Date:" + date + b"\r\nmessage-id : \r\n \r\nTo: x@y\r\n")
            block = HeaderBlock(found.header)
            self.assertEqual(block.all("date"), [DATE])
            self.assertEqual(block.all("message-id"), [found.message_id])
            self.assertTrue(block.raw.endswith(found.message_id.encode() + b"\r\nTo: x@y\r\n"))

    def test_only_what_is_asked_for_is_added(self) -> None:
        self.assertEqual(fit(b"Subject: hi\r\n", add=()), (b"Subject: hi\r\n", "", 0, "", (), (), (), ()))
        self.assertEqual(fit(b"Date: x\r\n", add=("message-id",)).header[:11], b"Message-ID:")
        self.assertTrue(fit(b"Date: x\r\n", add=("message-id",)).header.endswith(b"Date: x\r\n"))

    def test_the_null_sender(self) -> None:
        self.assertIn("@relay.test>", fit(b"", sender="").message_id)

    def test_from(self) -> None:
        self.assertEqual(fit(b"Subject: x\r\n", add=("from",)).header, b"From: s@example.com\r\nSubject: x\r\n")
        self.assertEqual(fit(b"From:\r\n", add=("from",), sender="").header, b"From: unknown@relay.test\r\n")
        self.assertEqual(fit(b"From: x\r\n", add=("from",)).header, b"From: x\r\n")

    def test_to(self) -> None:
        self.assertEqual(fit(b"X: y\r\n", add=("to",)).header, b"To: b@example.net\r\nX: y\r\n")
        several = fit(b"Bcc: c@d\r\n", add=("to",), recipients=(Recipient("a@b"), Recipient("c@d")))
        self.assertEqual(several.header, b"To: undisclosed-recipients:;\r\n")
        self.assertEqual(fit(b"to: x\r\n", add=("to",)).header, b"to: x\r\n")

    def test_mime_version(self) -> None:
        for raw, below in (
            (b"Content-Type: text/plain\r\n", b"MIME-Version: 1.0\r\n"),
            (b"CONTENT-transfer-encoding : 8bit\r\n", b"MIME-Version: 1.0\r\n"),
            (b"Subject: x\r\n", b""),
            (b"Content-Type: text/plain\r\nMime-Version: 1.0\r\n", b""),
        ):
            self.assertEqual(fit(raw, add=("mime-version",)).header, raw + below)
            self.assertEqual(fit(raw, add=()).header, raw)

    def test_where_it_came_from(self) -> None:
        stated = b"X-Originating-IP: [203.0.113.9]\r\nx-originating-ip: a,\r\n b\r\n"
        for client in ("192.0.2.1", "2001:db8::1"):
            found = HeaderBlock(fit(GOOD + stated, client=client).header)
            self.assertEqual(found.all("X-Originating-IP"), [f"[{client}]"])
            self.assertTrue(found.raw.endswith(GOOD))
        self.assertEqual(fit(GOOD + stated).header, GOOD + stated)

    def test_what_is_asked_of_tls(self) -> None:
        """X-Sending-TLS is for us; TLS-Required is for all relays, and stays (RFC 8689 4.2.2)."""
        found = fit(b"X-Sending-TLS: dane\r\n" + GOOD + b"TLS-Required: No\r\nx-sending-tls:\r\n sts\r\n")
        self.assertEqual(found.header, GOOD + b"TLS-Required: No\r\n")
        self.assertEqual((found.tls, found.tls_required), (("dane", "sts"), ("No",)))

    def test_S51_what_steers_the_relay_never_leaves(self) -> None:
        lines = b"".join(
            f"{name}: a,\r\n\tb\r\n{name.upper()} : c\r\n{name.lower()}:d\r\n".encode() for name in PRIVATE
        )
        self.assertEqual(fit(lines + GOOD + lines).header, GOOD)
        near = b"Bccc: x\r\nXBcc: x\r\nX-Sending-Zones: x\r\nSubject: a\r\n Bcc: x\r\n"
        self.assertEqual(fit(near + GOOD).header, near + GOOD)

    def test_S51_received_fields_of_the_client_stay(self) -> None:
        self.assertEqual(fit(b"Received: from a by b; x\r\n" + GOOD).header[:9], b"Received:")

    def test_the_key_is_handed_on(self) -> None:
        self.assertEqual(fit(GOOD + b"X-Idempotency-Key:  a b \r\n").keys, ("a b",))
        self.assertEqual(fit(b"X-Idempotency-Key:\r\n" * 3 + GOOD).keys, ("", "", ""))

    def test_the_tags_are_handed_on(self) -> None:
        found = fit(GOOD + b"X-Sending-Tags: a, b\r\nx-sending-tags:c\r\n")
        self.assertEqual((found.tags, found.header), (("a, b", "c"), GOOD))

    def test_the_feedback_field_stays_and_is_remembered(self) -> None:
        found = fit(GOOD + b"X-FBL: campaign\r\n 7\r\n")
        self.assertEqual(found.fbl, "campaign 7")
        self.assertTrue(found.header.endswith(b"X-FBL: campaign\r\n 7\r\n"))

    def test_what_is_remembered_is_bounded(self) -> None:
        long = b"<" + b"x " * 5000 + b"@y>"
        found = fit(GOOD.replace(b"<x@y>", long) + b"X-FBL: " + b"y " * 5000 + b"\r\n")
        self.assertEqual((len(found.message_id), len(found.fbl)), (998, 998))

    def test_S32_long_lines_are_folded_or_refused(self) -> None:
        found = fit(GOOD + b"References: " + b"<a@b> " * 1000 + b"\r\n").header
        self.assertLessEqual(max(map(len, found.split(b"\r\n"))), 998)
        with self.assertRaises(LineTooLong):
            fit(GOOD + b"X: " + b"x" * 1000 + b"\r\n")

    @given(
        st.lists(
            st.tuples(
                st.sampled_from([*PRIVATE, "bcc ", "To", "From", "Date", "X-FBL", "Content-Type", "Received"]),
                st.text("ab@ ;é", max_size=8),
            ),
            max_size=8,
        ),
        st.sets(st.sampled_from(["message-id", "date", "from", "to", "mime-version"])),
    )
    def test_what_was_fitted_fits(self, fields: list[tuple[str, str]], add: set[str]) -> None:
        raw = "".join(f"{name}: {value}\r\n" for name, value in fields).encode()
        once = fit(raw, add=tuple(add))
        block = HeaderBlock(once.header)
        for name in PRIVATE:
            self.assertIsNone(block.get(name))
        for name in add - {"mime-version"}:
            self.assertTrue(block.get(name))
        again = fit(once.header, add=tuple(add))
        self.assertEqual(again.header, once.header)
