"""The header block: found in any split, looked up, completed; address lists read from it."""

from __future__ import annotations

import email.parser
import email.policy
import itertools

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.message.addresslist import parse_list, recipients_of, sender_of
from relay.message.headers import MAX_LINES, HeaderBlock, HeaderCollector, HeaderTooLong, field_names

GOOD = (
    b"From: a@example.com\r\nTo: b@example.net,\r\n c@example.net\r\n"
    b"Date: Sun, 22 Nov 2026 03:58:10 +0000\r\nMessage-ID: <x@y>\r\nSubject: hi\r\n"
)


class BlockTests(SynchronousTestCase):
    def test_lookup(self) -> None:
        block = HeaderBlock(
            b"A: 1\r\nxA: no\r\nAB: no\r\nb : two\r\n\twords \r\na:3\r\nno field a: 9\r\n x\r\nA:\r\n"
        )
        self.assertEqual(block.get("a"), "1")
        self.assertEqual(block.all("A"), ["1", "3", ""])
        self.assertEqual(block.get("B"), "two\twords")
        self.assertIsNone(block.get("C"))
        self.assertIsNone(HeaderBlock(b"").get("A"))

    def test_hostile_bytes(self) -> None:
        block = HeaderBlock(b"Subject: \xff\xe9\r\nBcc\r\n: x\r\nto:\r\n")
        self.assertEqual(block.get("subject"), "\ufffd\ufffd")
        self.assertIsNone(block.get("bcc"))
        self.assertEqual(block.all("to"), [""])

    def test_removal_takes_folded_lines_along(self) -> None:
        block = HeaderBlock(
            b"Bcc: a@b,\r\n c@d\r\n\t,e@f\r\nTo: x@y\r\nBCC : z@z\r\nbcc:q@q\r\nBcc-x: stays\r\n"
        )
        self.assertEqual(block.without("Bcc").raw, b"To: x@y\r\nBcc-x: stays\r\n")
        self.assertEqual(block.without("Bcc", "To").raw, b"Bcc-x: stays\r\n")
        self.assertIs(block.without("Cc"), block)

    names = st.sampled_from([b"Bcc", b"bcc ", b"To", b"bcc-x", b"X", b"no colon"])
    values = st.text("ab:c \t", max_size=6).map(str.encode)

    @given(
        st.lists(st.tuples(names, values, st.lists(values.map(lambda v: b" " + v), max_size=2)), max_size=6)
    )
    def test_removal_and_lookup_against_line_by_line(
        self, fields: list[tuple[bytes, bytes, list[bytes]]]
    ) -> None:
        kept, found = b"", []
        raw = b""
        for name, value, folds in fields:
            lines = b"".join(line + b"\r\n" for line in (name + b":" + value, *folds))
            raw += lines
            if name.strip().lower() == b"bcc":
                found.append((value + b"".join(folds)).strip().decode())
            else:
                kept += lines
        block = HeaderBlock(raw)
        self.assertEqual(block.without("Bcc").raw, kept)
        self.assertEqual(block.all("BCC"), found)
        spans = block.find(field_names("bcc", "cc"))
        self.assertEqual([(name, block.value(span)) for name, span in spans], [(b"bcc", one) for one in found])
        self.assertEqual(block.cut(span for _, span in spans), kept)

    def test_S32_half_a_megabyte_of_lines_that_are_nearly_fields(self) -> None:
        """Each is looked at once; the time would show if it were more."""
        block = HeaderBlock(b"Bcc\r\n" * 100_000 + b"bcc: x\r\n")
        self.assertEqual(block.all("Bcc"), ["x"])
        self.assertEqual(len(block.find(field_names("Bcc"))), 1)


def collect(pieces: list[bytes], limit: int) -> tuple[bytes, bytes] | str:
    collector = HeaderCollector(limit)
    try:
        for number, piece in enumerate(pieces, 1):
            found = collector.feed(piece)
            if found is not None:
                return found[0].raw, found[1] + b"".join(pieces[number:])
        block, rest = collector.end()
    except HeaderTooLong:
        return "too long"
    return block.raw, rest


def split(text: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted({cut % (len(text) + 1) for cut in cuts}), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(edges)]


class CollectorTests(SynchronousTestCase):
    def test_shapes(self) -> None:
        for text, expected in (
            (GOOD + b"\r\nbody", (GOOD, b"body")),
            (GOOD + b"\r\n", (GOOD, b"")),
            (GOOD, (GOOD, b"")),
            (GOOD + b"broken\r\nBcc: x\r\n\r\nb", (GOOD + b"broken\r\nBcc: x\r\n", b"b")),
            (b"To: x", (b"To: x\r\n", b"")),
            (b"", (b"", b"")),
            (b"\r\nbody\r\n\r\nmore", (b"", b"body\r\n\r\nmore")),
            (b"\r\n\r\nbody", (b"", b"\r\nbody")),
            (b"just text\r\nTo: x\r\n\r\n", (b"", b"just text\r\nTo: x\r\n\r\n")),
            (b"just text", (b"", b"just text")),
            (b"two words: x\r\n\r\nb", (b"", b"two words: x\r\n\r\nb")),
            (b" To: x\r\n\r\nb", (b"", b" To: x\r\n\r\nb")),
            (b": x\r\n\r\nb", (b"", b": x\r\n\r\nb")),
            (b"T\xe9: x\r\n\r\nb", (b"", b"T\xe9: x\r\n\r\nb")),
        ):
            self.assertEqual(collect([text], 1000), expected, text)

    def test_S32_lines_are_counted(self) -> None:
        most = b"a:\r\n" * MAX_LINES
        for end in (b"", b"\r\nbody"):
            self.assertEqual(collect([most + end], 1 << 20), (most, end[2:]))
            self.assertEqual(collect([most + b"a:\r\n" + end], 1 << 20), "too long")

    def test_limit_is_exact(self) -> None:
        for text in (GOOD + b"\r\nbody", GOOD):
            self.assertEqual(collect([text], len(GOOD)), collect([text], 10000))
            self.assertEqual(collect([text], len(GOOD) - 1), "too long")

    @given(
        st.lists(
            st.sampled_from([b"To: x", b"\r\n", b"\r\n\r\n", b" ", b"a", b":", b"\r", b"\n", b"\xe9"]),
            max_size=12,
        ),
        st.lists(st.integers(0, 60), max_size=5),
        st.integers(0, 40),
    )
    @example([b"To: x", b"\r\n\r\n"], [6], 7)
    def test_any_split_is_the_same(self, parts: list[bytes], cuts: list[int], limit: int) -> None:
        text = b"".join(parts)
        whole = collect([text], limit)
        self.assertEqual(collect(split(text, cuts), limit), whole)
        self.assertEqual(collect([text[i : i + 1] for i in range(len(text))], limit), whole)


class AddressListTests(SynchronousTestCase):
    def addresses(self, text: str, limit: int = 100) -> list[str]:
        return [address.text for address in parse_list(text, limit)]

    def test_lists(self) -> None:
        for text, expected in (
            ("", []),
            (" , ,", []),
            ("a@example.com", ["a@example.com"]),
            ("a@example.com, <b@EXAMPLE.com>", ["a@example.com", "b@example.com"]),
            ("Joe Q. Public <joe@example.com>", ["joe@example.com"]),
            ('"Doe, \\"J\\" <x@y>" <john@example.com>,z@z', ["john@example.com", "z@z"]),
            ("=?utf-8?q?D=C3=B6?= <d@example.com>", ["d@example.com"]),
            ("Dö <d@jõgeva.ee>", ["d@xn--jgeva-dua.ee"]),
            ("a@example.com (a, (nested) \\) <c@d>), b@example.com", ["a@example.com", "b@example.com"]),
            (
                'Friends: a@b.example, "B" <b@b.example>;, c@d.example',
                ["a@b.example", "b@b.example", "c@d.example"],
            ),
            ("undisclosed-recipients:;", []),
            ("a . b @ example . com", ["a.b@example.com"]),
            ("a@(x)example.com", ["a@example.com"]),
            ("<@relay.example,@other.example:a@example.com>", ["a@example.com"]),
            ('"odd local"@example.com', ['"odd local"@example.com']),
            ("u@[192.0.2.1], <u@[IPv6:::1]>", ["u@[192.0.2.1]", "u@[IPv6:::1]"]),
            ("a@example.com, a@example.com", ["a@example.com", "a@example.com"]),
        ):
            self.assertEqual(self.addresses(text), expected, text)

    def test_refused(self) -> None:
        for text in (
            "a", "a b@example.com", "<>", "<a@example.com", "a@example.com>", "<a@example.com> b", "a@b c@d",
            "Doe, John <j@example.com>", "(open a@b", '"open a@b', "a@b; c@d", "<<a@b>>", "a@b <c@d> <e@f>",
            "<a@b,c@d>", "<a:b@c>", "x: y: a@b;", "é@example.com", "a@b\\", "a@@b", "<a@b>@c", "\0@b",
        ):  # fmt: skip
            with self.assertRaises(ValueError, msg=text):
                parse_list(text, 100)

    def test_limit(self) -> None:
        """H07: a hundred thousand recipients are counted, not collected."""
        self.assertEqual(len(self.addresses("a@b,c@d")), 2)
        for text in ("a@b,c@d,e@f", "a@b," * 100_000):
            with self.assertRaises(ValueError):
                parse_list(text, 2)

    def test_S32_parts_are_counted(self) -> None:
        """Two megabytes of nothing are no more work than a long list of addresses."""
        name = "Dr. " * 10
        self.assertEqual(len(self.addresses(",".join([f"{name}<a@b.example> ({name})"] * 100))), 100)
        for nothing in (",", " ,", "()", "(", "x ", "x.", "g:;"):
            with self.assertRaisesRegex(ValueError, "too many parts"):
                parse_list(nothing * 10_000, 100)

    def test_sender_and_recipients(self) -> None:
        block = HeaderBlock(GOOD + b"Cc: x:d@e;\r\nBCC: s@t\r\n")
        self.assertEqual(sender_of(block).text, "a@example.com")
        self.assertEqual([a.local for a in recipients_of(block, 4)], ["b", "c", "d", "s"])
        with self.assertRaises(ValueError):
            recipients_of(block, 3)
        several = b"From: a@b, c@d\r\n"
        self.assertEqual(sender_of(HeaderBlock(several + b"Sender: e@f\r\n")).text, "e@f")
        for raw in (b"", several, b"From:\r\n", b"From: x:;\r\n"):
            with self.assertRaises(ValueError):
                sender_of(HeaderBlock(raw))

    @given(st.text('ab@.,;:<>()"\\[] é', max_size=30))
    def test_never_anything_but_addresses_or_value_error(self, text: str) -> None:
        try:
            found = parse_list(text, 100)
        except ValueError:
            return
        for address in found:
            self.assertEqual(parse_list(f"<{address.text}>", 1), [address])

    @given(
        st.lists(
            st.tuples(st.text("ab,;<>@ .é", max_size=8), st.emails().filter(lambda a: a.isascii())),
            max_size=5,
        )
    )
    def test_agrees_with_the_standard_library(self, people: list[tuple[str, str]]) -> None:
        text = ", ".join(f'"{name}" <{address}>' for name, address in people)
        header = email.policy.default.header_factory("To", text)
        self.assertEqual(
            self.addresses(text),
            [f"{a.username}@{a.domain.lower()}" for a in header.addresses],
        )
