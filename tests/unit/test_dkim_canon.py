"""The body hash against dkimpy, in any split; the index of keys."""

from __future__ import annotations

import hashlib
import itertools
import os
import re

from dkim.canonicalization import Relaxed
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.dkim.canon import RelaxedBody
from relay.dkim.keys import KeyIndex


def body_hash(*pieces: bytes) -> bytes:
    body = RelaxedBody()
    for piece in pieces:
        body.update(piece)
    return body.digest()


def expected(body: bytes) -> bytes:
    return hashlib.sha256(Relaxed.canonicalize_body(body)).digest()


def by_lines(body: bytes) -> bytes:
    """The rule in its plainest form: dkimpy takes minutes for long runs of blanks."""
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    return hashlib.sha256(b"".join(line + b"\r\n" for line in lines)).digest()


bodies = st.lists(
    st.sampled_from([b"a", b" ", b"\t", b"  \t ", b"\r\n", b"\r\n\r\n", b".", b"\xff\0", b"word word"]),
    max_size=20,
).map(lambda parts: b"".join(parts) + b"\r\n")


class RelaxedBodyTests(SynchronousTestCase):
    def test_empty(self) -> None:
        for body in (b"", b"\r\n", b"\r\n\r\n", b" \t\r\n \r\n"):
            self.assertEqual(body_hash(body), hashlib.sha256().digest())

    def test_rfc_example(self) -> None:
        """RFC 6376 3.4.5."""
        self.assertEqual(body_hash(b" C \r\nD \t E\r\n\r\n\r\n"), hashlib.sha256(b" C\r\nD E\r\n").digest())

    def test_end_of_line_is_added(self) -> None:
        self.assertEqual(body_hash(b"text"), body_hash(b"text\r\n"))
        self.assertEqual(body_hash(b"text "), body_hash(b"text\r\n"))

    @given(bodies, st.lists(st.integers(0, 100), max_size=6))
    def test_any_split_is_what_dkimpy_says(self, body: bytes, cuts: list[int]) -> None:
        edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
        pieces = [body[a:b] for a, b in itertools.pairwise(edges)]
        self.assertEqual(body_hash(*pieces), expected(body))
        self.assertEqual(by_lines(body), expected(body))
        self.assertEqual(body_hash(*(body[i : i + 1] for i in range(len(body)))), expected(body))

    def test_long_blank_runs(self) -> None:
        """Q17: blanks without end are counted, not kept; the hash is the same."""
        for run in (b"\r\n", b" \r\n", b" ", b"\t ", b" \t\r\n  "):
            blanks = run * 200_000
            for end in (b"x\r\n", b"\r\nx\r\n", b"\r\n"):
                body = b"text" + blanks + end
                pieces = [body[i : i + 9973] for i in range(0, len(body), 9973)]
                self.assertEqual(body_hash(*pieces), by_lines(body), (run, end))

    def test_blank_runs_take_no_memory(self) -> None:
        body = RelaxedBody()
        for _ in range(500):
            body.update(b" \r\n" * 4096)
        self.assertLess(len(body._held), 128 * 1024)


class KeyIndexTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = self.mktemp()
        self.clock = Clock()
        self.index = KeyIndex(self.directory, self.clock)

    def add(self, name: str, mtime: int) -> None:
        with open(os.path.join(self.directory, name), "w"):
            pass
        os.utime(self.directory, (mtime, mtime))

    def test_names(self) -> None:
        os.mkdir(self.directory)
        for name in (
            "Example.COM.s1.pem",
            "other.example.2026.pem",
            "x.pem",
            "a.b.key",
            ".pem",
            "z.example..pem",
        ):
            self.add(name, 1)
        for domain, there in (
            ("example.com", True), ("other.example", True), ("x", False), ("a", False), ("", False),
            ("com", False), ("example.com.s1", False), ("z.example", False),
        ):  # fmt: skip
            self.assertEqual(self.index.may_sign(domain), there, domain)

    def test_K03_changes_are_seen_at_once(self) -> None:
        self.assertFalse(self.index.may_sign("example.com"))
        os.mkdir(self.directory)
        self.add("example.com.s1.pem", 1)
        self.assertTrue(self.index.may_sign("example.com"))
        os.remove(os.path.join(self.directory, "example.com.s1.pem"))
        os.utime(self.directory, (2, 2))
        self.assertFalse(self.index.may_sign("example.com"))

    def test_a_key_added_in_the_same_tick_is_seen(self) -> None:
        """The time of the directory stays the same: it is read again until that can't be."""
        now = [0.0]
        self.index = KeyIndex(self.directory, self.clock, lambda: now[0])
        os.mkdir(self.directory)
        for number, time in enumerate((999_000.0, 1_000_001.9, 1_000_002.1)):
            now[0] = time
            self.add(f"d{number}.test.s1.pem", 1_000_000)
            self.clock.advance(1)
            self.assertTrue(self.index.may_sign(f"d{number}.test"), time)
        self.patch(os, "listdir", lambda directory: self.fail("read once more"))
        self.clock.advance(1)
        self.assertTrue(self.index.may_sign("d2.test"))

    def test_it_is_not_read_for_each_use(self) -> None:
        """Just after a change, either: thousands of names take some milliseconds."""
        self.index = KeyIndex(self.directory, self.clock, lambda: 1_000_001.0)
        os.mkdir(self.directory)
        self.add("d.test.s1.pem", 1_000_000)
        read = [self.index.any()]
        self.patch(os, "listdir", lambda directory: read.append(True) or [])
        for _ in range(100):
            self.index.any()
        self.assertEqual(read, [True])
        self.clock.advance(1)
        self.index.any()
        self.assertEqual(read, [True, True])

    def test_any(self) -> None:
        self.assertFalse(self.index.any())
        os.mkdir(self.directory)
        self.add("nothing.txt", 1)
        self.assertFalse(self.index.any())
        self.add("example.com.s1.pem", 2)
        self.assertTrue(self.index.any())

    def test_unreadable_is_told_once_and_forgets_nothing(self) -> None:
        os.mkdir(self.directory)
        self.add("example.com.s1.pem", 1)
        self.assertTrue(self.index.may_sign("example.com"))
        self.index._directory = os.path.join(self.directory, "example.com.s1.pem", "below a file")
        for _ in range(3):
            self.clock.advance(1)
            self.assertTrue(self.index.may_sign("example.com"))

    def test_K03_which_keys_there_are(self) -> None:
        """Each domain's in the order of their selectors; what was given out stays as it was."""
        os.mkdir(self.directory)
        for number, name in enumerate(("A.test.s2.pem", "a.test.s1.pem", "a.test.S1.pem", "b.test.x.pem")):
            self.add(name, number + 1)
        before = self.index.keys()
        self.assertEqual({domain: [key.file for key in keys] for domain, keys in before.items()}, {
            "a.test": ["a.test.S1.pem", "A.test.s2.pem"], "b.test": ["b.test.x.pem"],
        })  # fmt: skip
        os.remove(os.path.join(self.directory, "b.test.x.pem"))
        self.add("a.test.s3.pem", 9)
        self.assertEqual([key.selector for key in self.index.keys()["a.test"]], ["s1", "s2", "s3"])
        self.assertEqual((list(self.index.keys()), list(before)), (["a.test"], ["a.test", "b.test"]))
