"""Parts of something: what is asked for, and what there is (RFC 9110 14)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.http.range import NoPart, part_of


class PartTests(SynchronousTestCase):
    def test_what_is_asked_for(self) -> None:
        for header, part in (
            (None, None),
            ("bytes=0-0", (0, 1)),
            ("bytes=2-5", (2, 6)),
            ("Bytes = 2-99 ", (2, 10)),
            ("bytes=3-", (3, 10)),
            ("bytes=-3", (7, 10)),
            ("bytes=-99", (0, 10)),
            ("bytes=5-2", None),
            ("bytes=-", None),
            ("bytes=0-1,4-5", None),
            ("lines=0-1", None),
            ("bytes=a-b", None),
            ("bytes=0-1x", None),
            ("bytes=" + "9" * 19 + "-", None),
        ):
            self.assertEqual(part_of(header, 10), part, header)

    def test_what_there_is_not(self) -> None:
        for header, size in (("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-1", 0)):
            self.assertRaises(NoPart, part_of, header, size)

    @given(st.one_of(st.text(), st.from_regex(r"bytes=\d*-\d*", fullmatch=True)), st.integers(0, 100))
    def test_any_header_gives_a_part_of_it_or_none(self, header: str, size: int) -> None:
        try:
            part = part_of(header, size)
        except NoPart:
            return
        if part is not None:
            self.assertTrue(0 <= part[0] < part[1] <= size)
