"""What leaves has no line over 998 bytes, and nothing is lost on the way (S02, S31, S32)."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.message.longlines import LIMIT, LineBreaker, LineTooLong, folded

#: Lengths of lines around all the limits.
LENGTHS = st.one_of(st.integers(0, 80), st.integers(LIMIT - 6, LIMIT + 6), st.integers(0, 4 * LIMIT))
LETTERS = st.sampled_from(["x", "é", "€", "😀", " "])
#: Blanks at the end of a line that may have no room there: behind a long word, or too many for a line.
CROWDED = re.compile(rb"[^ \t\r\n]{%d,}[ \t]+\r\n|[ \t]{%d,}\r\n" % (LIMIT - 20, LIMIT - 20))
CUTS = st.lists(st.integers(0, 10_000), max_size=8)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    points = [0, *sorted({point % (len(data) + 1) for point in at}), len(data)]
    return [data[a:b] for a, b in pairwise(points)]


def broken(pieces: list[bytes]) -> bytes:
    breaker = LineBreaker()
    return b"".join(map(breaker.feed, pieces)) + breaker.end()


def longest(text: bytes) -> int:
    return max(map(len, text.split(b"\r\n")))


class LineBreakerTests(SynchronousTestCase):
    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.tuples(LENGTHS, LETTERS), max_size=5), st.booleans(), CUTS)
    @example([(LIMIT + 1, "x")], False, [LIMIT])
    @example([(LIMIT, "x")], True, [LIMIT, LIMIT + 1])
    def test_S02_every_line_fits_and_nothing_is_lost(
        self, lines: list[tuple[int, str]], whole: bool, at: list[int]
    ) -> None:
        letters = [letter * -(-length // len(letter.encode())) for length, letter in lines]
        text = "\r\n".join(letters).encode() + (b"\r\n" if whole else b"")
        found = broken([text])
        self.assertLessEqual(longest(found), LIMIT)
        # A character is whole, and what was put in can be taken out again.
        found.decode("utf-8")
        self.assertEqual(found.replace(b"\r\n ", b""), text.replace(b"\r\n ", b""))
        self.assertEqual(broken(cut(text, at)), found)
        if longest(text) <= LIMIT:
            self.assertEqual(found, text)

    def test_byte_by_byte(self) -> None:
        text = b"x" * 5000 + b"\r\n" + "€".encode() * 1000 + b"\r\n\r\n" + b"y" * LIMIT + b"\r\nz"
        found = broken([text])
        self.assertEqual(broken([text[i : i + 1] for i in range(len(text))]), found)
        self.assertEqual(found.count(b"\r\n "), 5 + 3)

    def test_where_a_line_breaks(self) -> None:
        text = b"x" * (LIMIT + 2) + b"\r\n"
        self.assertEqual(broken([text]), b"x" * LIMIT + b"\r\n xx\r\n")
        euro = "€".encode()
        text = b"x" * (LIMIT - 1) + euro + b"\r\n"
        self.assertEqual(broken([text]), b"x" * (LIMIT - 1) + b"\r\n " + euro + b"\r\n")

    def test_what_is_no_utf8_is_broken_all_the_same(self) -> None:
        found = broken([b"\x80" * 3000 + b"\r\n"])
        self.assertLessEqual(longest(found), LIMIT)
        self.assertEqual(found.count(b"\x80"), 3000)

    def test_what_fits_is_the_same_object(self) -> None:
        data = b"short\r\n" * 1000
        self.assertIs(LineBreaker().feed(data), data)

    def test_S31_little_is_held_back(self) -> None:
        breaker = LineBreaker()
        self.assertGreaterEqual(len(breaker.feed(b"x" * (2 << 20))), 2 << 20)
        self.assertLessEqual(len(breaker.end()), 8)


def unfolded(header: bytes) -> bytes:
    return header.replace(b"\r\n ", b" ").replace(b"\r\n\t", b"\t")


class FoldedTests(SynchronousTestCase):
    def test_what_fits_is_the_same_object(self) -> None:
        header = b"To: x\r\n" * 400
        self.assertIs(folded(header), header)
        line = b"X: " + b"x" * (LIMIT - 3) + b"\r\n"
        self.assertIs(folded(line), line)

    def test_S32_a_long_field_is_folded_at_blanks(self) -> None:
        line = b"Subject: " + b"word " * 1000 + b"end"
        found = folded(b"From: a@b\r\n" + line + b"\r\nTo: c@d\r\n")
        self.assertLessEqual(longest(found), LIMIT)
        self.assertEqual(found.replace(b"\r\n ", b" "), b"From: a@b\r\n" + line + b"\r\nTo: c@d\r\n")

    def test_blanks_at_the_end_are_left_out_where_they_have_no_room(self) -> None:
        self.assertEqual(folded(b"X: a" + b" " * 2000 + b"\r\n"), b"X: a\r\n")
        word = b" " + b"w" * (LIMIT - 1)
        self.assertEqual(folded(b"X: a\r\n" + word + b" \r\n"), b"X: a\r\n" + word + b"\r\n")
        word = word[:-1]
        self.assertEqual(folded(b"X:" + word + b" \t\r\n"), b"X:\r\n" + word + b"\r\n")
        self.assertEqual(folded(b"X:" + word + b" \r\n"), b"X:\r\n" + word + b" \r\n")

    def test_S32_a_line_of_blanks_is_not_the_end_of_the_header(self) -> None:
        self.assertEqual(folded(b"X: a\r\n" + b" \t" * LIMIT + b"\r\nY: b\r\n"), b"X: a\r\nY: b\r\n")

    def test_S32_what_has_no_blank_is_refused(self) -> None:
        for line in (
            b"X: " + b"x" * LIMIT,
            b"X" * 2000 + b": y",
            b"X: a\r\n " + b"x" * LIMIT,
            b"X: a" + b" " * 2000 + b"b",
        ):
            with self.assertRaises(LineTooLong, msg=line[:20]):
                folded(line + b"\r\n")

    @given(st.lists(st.tuples(st.integers(0, 1200), st.sampled_from([b" ", b"\t", b"\r\n ", b"\r\nY: "])), max_size=6))
    @example([(500, b" "), (500, b" \r\n "), (0, b"\r\n ")])
    @example([(500, b" "), (500, b" "), (0, b"\r\n ")])
    @example([(1, b"\r\n "), (LIMIT - 1, b" "), (0, b"\r\n ")])
    @example([(1, b"\r\n ")] + [(0, b" ")] * LIMIT + [(0, b"\r\nY: ")])
    def test_no_field_more_and_no_empty_line(self, words: list[tuple[int, bytes]]) -> None:
        header = b"X: " + b"".join(b"w" * length + blank for length, blank in words) + b"w\r\n"
        try:
            found = folded(header)
        except LineTooLong:
            self.assertGreater(longest(header), LIMIT)
            return
        lines = found.split(b"\r\n")
        self.assertLessEqual(max(map(len, lines)), LIMIT)
        if not CROWDED.search(header):
            self.assertEqual(unfolded(found), unfolded(header))
        self.assertEqual(found.split(), header.split())
        for line in set(lines[:-1]) - set(header.split(b"\r\n")):
            self.assertTrue(line.strip())
