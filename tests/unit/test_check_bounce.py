"""`check-bounce`: what a reply on standard input means, as ZoneMTA prints it."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from relay.cli import check_bounce
from relay.cli.main import main

KEYS = ["data", "action", "message", "category", "code", "status", "line", "fault", "file"]
OWN = '[[rules]]\ncategory = "spam"\nmatch = "who are you"\n'


class _Stdin(io.BytesIO):
    @property
    def buffer(self) -> _Stdin:
        return self


class CheckBounceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.directory)

    def ask(self, reply: bytes, *words: str) -> tuple[int, list[str], str]:
        """The exit code, the lines, and what was complained of."""
        out, err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdin", _Stdin(reply))
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        code = main(["check-bounce", *words], start=lambda config: self.fail("nothing is started"))
        return code, out.getvalue().splitlines(), err.getvalue()

    def test_a_reply(self) -> None:
        code, lines, _ = self.ask(b"552-5.7.0 Virus\r\n552 5.7.0 found\r\n")
        self.assertEqual(code, 0)
        self.assertEqual(lines[:2], ["data     : 552-5.7.0 Virus", "           552 5.7.0 found"])
        self.assertEqual([line[:8].strip() for line in lines[:1] + lines[2:]], KEYS)
        self.assertEqual(lines[2], "action   : reject")
        self.assertEqual(lines[4:7], ["category : virus", "code     : 552", "status   : 5.7.0"])
        self.assertRegex(lines[7], r"\Aline     : \d+\Z")
        self.assertEqual(lines[8:], ["fault    : message", "file     : shipped rules"])

    def test_without_a_status_or_a_code(self) -> None:
        _, lines, _ = self.ask(b"553 sorry")
        self.assertIn("status   : false", lines)
        _, lines, _ = self.ask(b"hello")
        self.assertEqual(lines[1:7], [
            "action   : reject", "message  : Unknown", "category : other", "code     : false", "status   : false",
            "line     : false",
        ])  # fmt: skip

    def test_whatever_comes(self) -> None:
        for reply in (b"", b"\xff\x00\x1b[31m", b"550 " + b"x" * 1_000_000, b"550-a\n" * 10_000):
            code, lines, _ = self.ask(reply)
            self.assertEqual(code, 0)
            self.assertTrue(all(line.isprintable() for line in lines))
            self.assertLess(sum(map(len, lines)), 40_000)

    def test_the_operators_rules(self) -> None:
        Path("own.toml").write_text(OWN)
        Path("relay.toml").write_text('[bounces]\nrules = "own.toml"\n')
        for words in (("--rules", "own.toml"), ("--config", "relay.toml")):
            _, lines, _ = self.ask(b"550 Who are you?", *words)
            self.assertIn("category : spam", lines)
            self.assertEqual(lines[-3:], ["line     : 3", "fault    : message", "file     : own.toml"])

    def test_what_cant_be_read(self) -> None:
        Path("own.toml").write_text(OWN.replace("spam", "ham"))
        for words, reason in (
            (("--rules", "own.toml"), "own.toml:2: category: expected one of "),
            (("--rules", "none.toml"), "none.toml: can't be read: No such file"),
            (("--config", "none.toml"), "none.toml: cannot be read"),
        ):
            code, lines, said = self.ask(b"550 no", *words)
            self.assertEqual((code, lines), (1, []))
            self.assertTrue(said.startswith(reason), said)

    def test_by_its_own_name(self) -> None:
        self.patch(sys, "argv", ["check-bounce"])
        out = io.StringIO()
        self.patch(sys, "stdin", _Stdin(b"450 4.2.0 Greylisted"))
        self.patch(sys, "stdout", out)
        self.assertEqual(check_bounce.console(), 0)
        self.assertIn("action   : defer\n", out.getvalue())
