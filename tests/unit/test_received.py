"""The Received line: its layout, and that no word in it can break out."""

from __future__ import annotations

import datetime
import sys
from email import message_from_bytes, policy
from email.utils import parsedate_to_datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.message.date import date_of, parse_date
from relay.message.received import received_line
from relay.message.values import Origin

NAME = "1a20169d1ea0007acc.001"
WHEN = 1795319890_123


def line(origin: Origin, recipient: str = "rcpt@example.net") -> bytes:
    return received_line(origin, "relay.example.com", "Zonerelay", NAME, recipient, WHEN)


class ReceivedTests(SynchronousTestCase):
    def test_smtp(self) -> None:
        self.assertEqual(
            line(Origin("feeder", "192.0.2.7", "client.example")),
            b"Received: from client.example [192.0.2.7]\r\n"
            b" by relay.example.com (Zonerelay) with ESMTP id 1a20169d1ea0007acc.001\r\n"
            b" for <rcpt@example.net>;\r\n"
            b" Sun, 22 Nov 2026 03:58:10 +0000\r\n",
        )

    def test_everything_known(self) -> None:
        self.assertEqual(
            line(
                Origin(
                    "feeder", "2001:db8::7", "me", "ESMTPSA", "client.example", "user 1", "TLSv1.3 TLS_AES_256"
                )
            ),
            b"Received: from me ([IPv6:2001:db8::7] client.example) (Authenticated sender: user 1)\r\n"
            b" by relay.example.com (Zonerelay) with ESMTPSA id 1a20169d1ea0007acc.001\r\n"
            b" for <rcpt@example.net>\r\n"
            b" (version=TLSv1.3 cipher=TLS_AES_256);\r\n"
            b" Sun, 22 Nov 2026 03:58:10 +0000\r\n",
        )

    def test_http(self) -> None:
        text = line(Origin("api", "127.0.0.1", transport="HTTP"))
        self.assertTrue(text.startswith(b"Received: from localhost [127.0.0.1]\r\n"), text)
        self.assertIn(b" with HTTP id ", text)

    def test_several_recipients_are_not_named(self) -> None:
        """RFC 5321 7.2."""
        text = received_line(Origin("feeder", "192.0.2.1", "c.test", tls="TLSv1.3 X"), "me", "Z", NAME, "", WHEN)
        self.assertNotIn(b" for ", text)
        self.assertEqual(text.split(b"\r\n")[2:4], [b" (version=TLSv1.3 cipher=X);", text.split(b"\r\n")[3]])
        self.assertIn(b"id " + NAME.encode() + b"\r\n (version", text)

    @given(st.lists(st.text(max_size=300) | st.text("a)(\r\n;<>\"\\\0 é", max_size=20), min_size=8, max_size=8))
    def test_no_word_breaks_out(self, words: list[str]) -> None:
        """S: hostile HELO, user, PTR or recipient add no line, no field, no date."""
        helo, address, transport, host, user, tls, recipient, product = words
        text = received_line(
            Origin("feeder", address, helo, transport, host, user, tls), "me", product, NAME, recipient, WHEN
        )
        lines = text.split(b"\r\n")
        self.assertEqual(lines.pop(), b"")
        self.assertEqual(len(lines), 3 + bool(tls) + bool(recipient))
        self.assertTrue(all(one.startswith(b" ") and one.strip() for one in lines[1:]))
        self.assertTrue(all(len(one) < 998 for one in lines))
        self.assertFalse(set(b"".join(lines)) - set(range(0x20, 0x7F)))
        self.assertEqual(lines[-1], b" Sun, 22 Nov 2026 03:58:10 +0000")
        self.assertEqual(message_from_bytes(text + b"\r\n", policy=policy.HTTP).keys(), ["Received"])


class DateTests(SynchronousTestCase):
    @given(st.integers(0, 253402300799999))
    def test_round_trip(self, when: int) -> None:
        text = date_of(when)
        self.assertEqual(parse_date(text), when // 1000 * 1000)
        expected = datetime.datetime.fromtimestamp(when // 1000, datetime.UTC)
        self.assertEqual(parsedate_to_datetime(text), expected)

    def test_what_is_no_date(self) -> None:
        for text in ("", "yesterday", "0", "Mon, 99 Foo 2026 00:00:00 +0000", "1" * 5000, "31 Feb 99999 1:1:1 +0"):
            self.assertIsNone(parse_date(text), text)

    def test_nothing_long_is_remembered(self) -> None:
        """A header may have a megabyte of it."""
        text = "1" * 5001
        references = sys.getrefcount(text)
        parse_date(text)
        self.assertEqual(sys.getrefcount(text), references)

    @given(st.text(max_size=150) | st.text("0123456789 :+-JanFeb,\0é", max_size=40))
    def test_never_raises(self, text: str) -> None:
        parse_date(text)
