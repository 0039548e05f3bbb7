"""What a host offers, and how little of it has to make sense."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.smtp.client import Conversation, Event
from relay.smtp.ending import Ending
from relay.smtp.offered import read


class Limits(SynchronousTestCase):
    """RFC 9422."""

    def test_numbers(self) -> None:
        offered = read(["LIMITS MAILMAX=20 RCPTMAX=100 RCPTDOMAINMAX=1"])
        self.assertEqual((offered.max_transactions, offered.max_recipients, offered.max_domains), (20, 100, 1))
        offered = read(["limits rcptmax=999999 foo bar=7"])
        self.assertEqual((offered.max_transactions, offered.max_recipients), (0, 999_999))
        self.assertEqual(read(["LIMITS MAILMAX=5 MAILMAX=3 MAILMAX=9"]).max_transactions, 3)

    def test_what_makes_no_sense_is_no_limit(self) -> None:
        for value in ("0", "-1", "01", "1000000", "9" * 50, "x", "", "1x", "\u0663", "1=2", "+1", "1.0"):
            self.assertEqual(read([f"LIMITS MAILMAX={value} RCPTMAX=2"])[-3:], (0, 2, 0), value)
        for line in ("LIMITS", "LIMITS MAILMAX", "LIMITS =3", "LIMITS=MAILMAX=3", "XLIMITS MAILMAX=3"):
            self.assertEqual(read([line])[-3:], (0, 0, 0), line)

    @given(st.lists(st.text(max_size=60)))
    def test_anything(self, lines: list[str]) -> None:
        offered = read(lines)
        for limit in offered[-3:]:
            self.assertTrue(0 <= limit < 1_000_000)
        self.assertGreaterEqual(offered.max_size, 0)

    def test_a_connection_is_spent(self) -> None:
        talk = Conversation("relay.test")
        talk.receive(b"220 hi\r\n")
        self.assertIs(talk.receive(b"250-mx.test\r\n250-PIPELINING\r\n250 LIMITS MAILMAX=2\r\n"), Event.READY)
        for reset, spent in ((b"", False), (b"250 reset\r\n", True)):
            self.assertFalse(talk.spent)
            talk.begin("a@x", "b@x", 1, False)
            ending = talk.receive(reset + b"250 ok\r\n550 no\r\n503 no\r\n")
            assert isinstance(ending, Ending)
            self.assertEqual((ending.reusable, talk.spent), (True, spent))
