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
        expected = re.sub(rb"\r\n|\r|\n", b"\r\n", text)
        self.assertEqual(through(pieces), expected)
        self.assertEqual(through([text]), expected)
        self.assertEqual(through([expected]), expected)
