"""The text after DATA: one end, whatever the split (RFC 5321 4.1.1.4, 4.5.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from relay.smtp.body import BARE_NEWLINE, HAS_NUL, LONG_LINE, MAX_LINE, Body
from relay.smtp.reply import Reply

#: Pieces that hostile and honest texts are made of.
PIECES = st.sampled_from(
    [b"\r\n", b"\r\n.", b"\r\n..", b".", b"\r", b"\n", b"\0", b"a", b"x" * 50, b"\r\n.\r\n"]
)
TEXTS = st.lists(PIECES, max_size=30).map(b"".join)
CUTS = st.lists(st.integers(0, 400), max_size=8)


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    """`data` in pieces; empty ones don't come from a socket."""
    points = [0, *sorted(point for point in set(at) if point < len(data)), len(data)]
    return [data[a:b] for a, b in pairwise(points) if a < b]


def decode(body: Body, pieces: Iterable[bytes]) -> tuple[bytes, bytes]:
    """The text and what is behind its end."""
    text, rest = b"", b""
    for piece in pieces:
        if body.over:
            rest += piece
        else:
            text += body.feed(piece)
    return text, body.rest + rest


def slow(data: bytes, normalize: bool) -> tuple[bytes, bytes] | None:
    """What a decoder that looks at one byte after the other says; None: no end."""
    text = bytearray()
    at, fresh = 0, True
    while at < len(data):
        if fresh and data.startswith(b".\r\n", at):
            return bytes(text), data[at + 3 :]
        if fresh and data[at] == 0x2E:
            at += 1
            fresh = False
            continue
        fresh = data.startswith(b"\r\n", at)
        if fresh:
            text += b"\r\n"
            at += 2
        elif normalize and data[at] in b"\r\n":
            text += b"\r\n"
            at += 1
        else:
            text.append(data[at])
            at += 1
    return None


def stray_in_header(data: bytes) -> bool:
    """Whether a CR or LF stands alone before the first empty line."""
    text = (b"\r\n" + data).partition(b"\r\n.\r\n")[0] + b"\r\n"
    header = text.partition(b"\r\n\r\n")[0]
    return re.search(rb"\r(?!\n)|(?<!\r)\n", header) is not None


class BodyTests(TestCase):
    @settings(max_examples=400)
    @given(TEXTS, CUTS, st.booleans())
    @example(b"\r\n.\r", [1, 2, 3], False)
    @example(b".", [], True)
    def test_any_split_gives_what_the_slow_decoder_gives(
        self, data: bytes, at: list[int], normal: bool
    ) -> None:
        data += b"\r\n.\r\nRSET\r\n"
        body = Body(0, "normalize" if normal else "reject")
        text, rest = decode(body, cut(data, at))
        expected = slow(data, normal)
        assert expected is not None
        self.assertTrue(body.over)
        self.assertEqual(rest, expected[1])
        if body.problem is None:
            self.assertEqual(text, expected[0])
            self.assertEqual(body.size, len(text))
            self.assertEqual(text.count(b"\r"), text.count(b"\r\n"))
            self.assertEqual(text.count(b"\n"), text.count(b"\r\n"))
        else:
            self.assertTrue(b"\0" in data or not normal or stray_in_header(data))

    @given(TEXTS, CUTS, st.integers(1, 300), st.booleans())
    def test_any_split_gives_the_same_verdict(
        self, data: bytes, at: list[int], limit: int, normal: bool
    ) -> None:
        data += b"\r\n.\r\n"
        verdicts: set[Reply | None] = set()
        for pieces in (cut(data, at), [data], [data[i : i + 1] for i in range(len(data))]):
            body = Body(limit, "normalize" if normal else "reject")
            decode(body, pieces)
            verdicts.add(body.problem)
        self.assertEqual(len(verdicts), 1)

    def test_false_ends_end_nothing_S01(self) -> None:
        for false in [
            b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\n.\r", b"\r\r\n.\r\r\n",
            b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\n. \r\n", b"\r\n..\r\n", b"\r\n.\x0b\r\n", b"\r\n.\x0c\r\n",
            b"\r\n.\x1c\r\n", b"\r\n.\x85\r\n", b"\r\n.\xe2\x80\xa8\r\n",
        ]:  # fmt: skip
            for policy in ("reject", "normalize"):
                body = Body(0, policy)
                hidden = b"MAIL FROM:<evil@example.com>"
                text = body.feed(b"a" + false + hidden)
                self.assertFalse(body.over, (false, policy))
                text += body.feed(b"\r\n.\r\n")
                self.assertTrue(body.over, (false, policy))
                self.assertTrue(body.problem is not None or text.endswith(hidden + b"\r\n"), (false, policy))
                self.assertEqual(body.rest, b"")

    def test_empty_message_S04(self) -> None:
        body = Body()
        self.assertEqual(body.feed(b".\r\nQUIT\r\n"), b"")
        self.assertTrue(body.over)
        self.assertIsNone(body.problem)
        self.assertEqual(body.rest, b"QUIT\r\n")

    def test_end_in_five_packets_S03(self) -> None:
        body = Body()
        text = b"".join(body.feed(bytes([byte])) for byte in b"a\r\n.\r\n")
        self.assertEqual(text, b"a\r\n")
        self.assertTrue(body.over)

    def test_dots_are_unstuffed(self) -> None:
        self.assertEqual(Body().feed(b"..a\r\n...\r\n.b\r\na.\r\n.\r\n"), b".a\r\n..\r\nb\r\na.\r\n")

    def test_bare_ends_of_line_S31(self) -> None:
        for raw, text in [
            (b"a\nb", b"a\r\nb"),
            (b"a\rb", b"a\r\nb"),
            (b"a\n\rb", b"a\r\n\r\nb"),
            (b"a\n.b", b"a\r\n.b"),
        ]:
            strict, tolerant = Body(), Body(0, "normalize")
            strict.feed(raw + b"\r\n.\r\n")
            self.assertEqual(strict.problem, BARE_NEWLINE, raw)
            self.assertEqual(tolerant.feed(b"\r\n" + raw + b"\r\n.\r\n"), b"\r\n" + text + b"\r\n")
            self.assertIsNone(tolerant.problem)

    def test_bare_ends_of_line_in_the_header_are_never_forgiven_S33(self) -> None:
        """What follows them would be a field: one that nobody wrote."""
        for text, refused in [
            (b"Subject: x\rBcc: victim@example.com\r\n\r\ntext\r\n", True),
            (b"Subject: x\nBcc: victim@example.com\r\n\r\ntext\r\n", True),
            (b"Subject: x\n\nall with LF\n\r\n", True),
            (b"no header\rno field\r\n", True),
            (b"Subject: x\r\n\r\na\rb\nc\r\n", False),
            (b"\r\na\rb\nc\r\n", False),
        ]:
            for pieces in ([text + b".\r\n"], [bytes([byte]) for byte in text + b".\r\n"]):
                body = Body(0, "normalize")
                decode(body, pieces)
                self.assertEqual(body.problem, BARE_NEWLINE if refused else None, (text, len(pieces)))

    def test_a_bare_newline_before_a_cut_S01(self) -> None:
        """As many CR as LF in the piece, and its last CR is followed by what comes later."""
        for data, at in ((b"a\n\r\r\nb\r\n.\r\n", 4), (b"a\n\r\r\n.\r\n", 7), (b"\n\r\r\n\r\n.\r\n", 3)):
            body = Body()
            decode(body, [data[:at], data[at:]])
            self.assertIs(body.problem, BARE_NEWLINE, (data, at))
            body = Body(0, "normalize")
            text, _ = decode(body, [b"\r\n" + data[:at], data[at:]])
            self.assertIsNone(body.problem)
            self.assertEqual(text.replace(b"\r\n", b"").count(b"\r") + text.replace(b"\r\n", b"").count(b"\n"), 0)

    def test_nul_S31(self) -> None:
        for policy in ("reject", "normalize"):
            body = Body(0, policy)
            self.assertEqual(body.feed(b"a\0b\r\n.\r\n"), b"")
            self.assertEqual(body.problem, HAS_NUL)

    def test_size_S15(self) -> None:
        body = Body(10)
        self.assertEqual(body.feed(b"..23456\r\n"), b".23456")
        body.feed(b".\r\n")
        self.assertIsNone(body.problem)
        body = Body(10)
        body.feed(b"12345\r\n")
        self.assertEqual(body.feed(b"89012\r\n"), b"")
        self.assertEqual(body.feed(b"more\r\n.\r\nNOOP"), b"")
        self.assertEqual(
            str(body.problem), "552 5.3.4 Error: message exceeds fixed maximum message size 10 B (20 B)"
        )
        self.assertEqual(body.rest, b"NOOP")

    @settings(max_examples=100)
    @given(
        st.lists(st.sampled_from([0, 1, 10, MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, 3 * MAX_LINE]), max_size=4),
        st.lists(st.integers(0, 4 * MAX_LINE), max_size=4),
        st.booleans(),
    )
    @example([MAX_LINE], [MAX_LINE + 1], False)
    @example([MAX_LINE + 1], [MAX_LINE + 1], False)
    def test_long_lines_S31(self, lengths: list[int], at: list[int], dots: bool) -> None:
        """S31 line-2MiB: exactly the lines over the limit are refused; a stuffed dot doesn't count."""
        stuffed = b"." if dots else b""
        data = b"".join(stuffed + b"x" * length + b"\r\n" for length in lengths) + b".\r\n"
        if dots and 0 in lengths:
            return
        body = Body()
        decode(body, cut(data, at))
        self.assertTrue(body.over)
        self.assertEqual(body.problem, LONG_LINE if any(n > MAX_LINE for n in lengths) else None)

    def test_nothing_is_kept(self) -> None:
        body = Body()
        out = sum(len(body.feed(b"x" * 70 + b"\r\n")) for _ in range(1000))
        self.assertGreaterEqual(out, 72 * 1000 - 4)
