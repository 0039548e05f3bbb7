"""What clients attach to MAIL and RCPT: xtext, DSN parameters, release times."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.smtp import future, xtext


def encode(text: str) -> str:
    """RFC 3461 4, as careful as it may be."""
    return "".join(c if c.isalnum() else f"+{ord(c):02X}" for c in text)


class XtextTests(SynchronousTestCase):
    @given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
    def test_what_was_encoded_is_decoded(self, text: str) -> None:
        self.assertEqual(xtext.decode(encode(text)), text)

    @given(st.text(max_size=40) | st.text("+0123456789ABCDEFabc= \r\n\0é", max_size=40))
    def test_nothing_that_ends_a_line_comes_out_S24(self, text: str) -> None:
        try:
            decoded = xtext.decode(text)
        except ValueError:
            return
        self.assertTrue(decoded.isascii() and decoded.isprintable())
        self.assertTrue(text.isascii() and text.isprintable() and " " not in text and "=" not in text)

    @given(st.text(max_size=600) | st.from_regex(r"[A-Z,;+0-9a-z@.]{0,40}", fullmatch=True))
    def test_values_are_kept_or_refused_S24(self, text: str) -> None:
        for read, most in ((xtext.envid, 100), (xtext.orcpt, 500), (xtext.notify, 21)):
            try:
                value = read(text)
            except ValueError:
                continue
            self.assertLessEqual(len(value), most)
            self.assertEqual(read(value), value)

    def test_notify(self) -> None:
        self.assertEqual(xtext.notify("failure,Success"), "FAILURE,SUCCESS")
        for bad in ("", ",", "NEVER,NEVER", "FAILURE,NEVER", "FAILURE FAILURE"):
            self.assertRaises(ValueError, xtext.notify, bad)


class FutureTests(SynchronousTestCase):
    @given(st.integers(0, 253402300799))
    def test_a_time_that_was_written_is_read(self, seconds: int) -> None:
        self.assertEqual(future.hold_until(future.date_time(seconds)), seconds)

    @given(st.datetimes(datetime(1970, 1, 2), datetime(9999, 1, 1)), st.integers(-14 * 60, 14 * 60))
    def test_any_zone(self, when: datetime, minutes: int) -> None:
        sign, ahead = "-" if minutes < 0 else "+", abs(minutes)
        text = f"{when:%Y}".zfill(4) + f"{when:-%m-%dT%H:%M:%S.%f}{sign}{ahead // 60:02}:{ahead % 60:02}"
        seconds = int(when.replace(tzinfo=UTC, microsecond=0).timestamp())
        self.assertEqual(future.hold_until(text), seconds - minutes * 60)

    @given(st.text(max_size=30) | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", fullmatch=True))
    def test_whatever_comes_is_a_number_or_a_value_error(self, text: str) -> None:
        for read in (future.hold_for, future.hold_until):
            try:
                self.assertIsInstance(read(text), int)
            except ValueError:
                pass

    def test_beyond_the_calendar(self) -> None:
        self.assertEqual(future.date_time(1e12), "9999-12-31T23:59:59Z")
