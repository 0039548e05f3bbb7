"""Line ends become CRLF, in any split."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.message.lines import CrlfLines


def through(pieces: list[bytes]) -> bytes:
    lines = CrlfLines()
    return b"".join(map(lines.feed, pieces)) + lines.end()


class CrlfLinesTests(SynchronousTestCase):
    @given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"bc", b""]), max_size=20))
    def test_any_split_is_the_same(self, pieces: list[bytes]) -> None:
        text = b"".join(pieces)
        empty = re.search(rb"(?:\A|\n)\r?\n", text)
        end = empty.end() if empty else len(text)
        header = re.sub(rb"\r(?!\n|\Z)", b" ", text[:end])
        expected = re.sub(rb"\r\n|\r|\n", b"\r\n", header + text[end:])
        self.assertEqual(through(pieces), expected)
        self.assertEqual(through([text]), expected)
        self.assertEqual(through([expected]), expected)

    def test_S33_a_bare_cr_in_the_header_makes_no_field(self) -> None:
        text = b"Subject: x\rBcc: victim@example.com\r\r\nTo: b\n\na\rb\n"
        expected = b"Subject: x Bcc: victim@example.com \r\nTo: b\r\n\r\na\r\nb\r\n"
        self.assertEqual(through([text]), expected)
        self.assertEqual(through([text[i : i + 1] for i in range(len(text))]), expected)
