"""The console script, command by command."""

from __future__ import annotations

import io
import os
import re
import shlex
import sys
from pathlib import Path

from twisted.application.service import IService
from twisted.trial.unittest import TestCase

from relay import __version__
from relay.cli.main import COMMANDS, main, make_parser
from relay.config.load import load
from relay.config.secret import passwords
from tests.unit.certificates import Authority
from tests.unit.dkim_rig import ED25519, put


def never(config: str) -> IService:
    raise AssertionError("nothing was to be started")


class CommandLine(TestCase):
    def setUp(self) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)

    def test_version(self) -> None:
        self.assertEqual(0, self.assertRaises(SystemExit, main, ["--version"], never).code)
        self.assertEqual(f"zonerelay {__version__}\n", self.out.getvalue())

    def test_no_command(self) -> None:
        for words in ([], ["fly"], ["run", "--fast"]):
            self.assertEqual(2, self.assertRaises(SystemExit, main, words, never).code)

    def test_each_command_explains_itself(self) -> None:
        for command in COMMANDS:
            self.assertEqual(0, self.assertRaises(SystemExit, main, [command.name, "--help"], never).code)
            self.assertIn(command.help, self.out.getvalue())

    def test_what_the_pages_tell_people_to_type(self) -> None:
        typed = [
            line
            for page in sorted((Path(__file__).parents[2] / "docs").glob("*.md"))
            for line in page.read_text().replace("\\\n", "").splitlines()
            if line.lstrip().startswith("$ ") and "zonerelay " in line
        ]
        self.assertGreater(len(typed), 40)
        for line in typed:
            words = shlex.split(re.split(r" [#<>|] ?|\)", line.partition("zonerelay ")[2])[0])
            try:
                make_parser().parse_args(words)
            except SystemExit:
                self.fail(f"{line}: {self.err.getvalue()}")

    def check(self, text: str) -> int:
        self.path = self.mktemp()
        Path(self.path).write_text(text)
        return main(["check-config", "--config", self.path], never)

    def test_good_config(self) -> None:
        self.assertEqual(0, self.check("hostname = 'a.example'\n"))
        self.assertEqual((f"{self.path}: ok\n", ""), (self.out.getvalue(), self.err.getvalue()))

    def test_doubtful_config(self) -> None:
        self.assertEqual(0, self.check("hostname = 'a.example'\n[queue]\nsync = false\n"))
        self.assertEqual(f"{self.path}: ok\n", self.out.getvalue())
        self.assertTrue(self.err.getvalue().startswith(f"warning: {self.path}:3: queue.sync: "))

    def test_bad_config(self) -> None:
        """G03: every error, exit code 1."""
        self.assertEqual(1, self.check("[queue]\nsync = 1\nretry = []\n"))
        self.assertEqual("", self.out.getvalue())
        self.assertEqual(2, len(self.err.getvalue().splitlines()))

    def test_K01_signing_keys(self) -> None:
        """What can't sign, who else can, and what nobody looks at."""
        keys = self.mktemp()
        text = f"hostname = 'a.example'\n[dkim]\nkeys = '{keys}'\n"
        self.assertEqual((0, ""), (self.check(text), self.err.getvalue()))
        put(keys, "a.test.s1.pem", b"")
        os.chmod(put(keys, "a.test.s2.pem", ED25519), 0o604)
        put(keys, "a.test.s3.pem", ED25519)
        put(keys, "odd name.pem", ED25519)
        self.assertEqual(0, self.check(text))
        empty, open_to, odd = self.err.getvalue().splitlines()
        self.assertEqual(empty, f"warning: {keys}/a.test.s1.pem: it is empty")
        self.assertTrue(open_to.startswith(f"warning: {keys}/a.test.s2.pem: everybody can read it"))
        self.assertTrue(odd.startswith(f"warning: {keys}/odd name.pem: its name isn't DOMAIN.SELECTOR.pem"))
        self.err.truncate(0)
        self.assertEqual(0, self.check(f"hostname = 'a.example'\n[dkim]\nkeys = '{keys}/a.test.s3.pem'\n"))
        self.assertIn("Not a directory", self.err.getvalue())

    def test_reports_that_nobody_would_believe(self) -> None:
        keys = self.mktemp()
        reports = "[tls_reports]\norganization = 'A'\nsender = 'x@A.test'\n"
        text = f"hostname = 'a.example'\n{reports}[dkim]\nkeys = '{keys}'\n"
        self.assertEqual(self.check(text), 0)
        self.assertIn(f"tls_reports.sender: {keys} has no key of a.test", self.err.getvalue())
        put(keys, "a.test.s1.pem", ED25519)
        self.assertEqual(self.check(text), 0)
        self.assertEqual(self.err.getvalue().count("tls_reports"), 1)

    def test_certificates(self) -> None:
        """K01 for listeners: what a start would refuse is said, for each listener; what soon ends too."""
        authority = Authority()
        good = authority.server("a.example", days=90).write(self.mktemp())
        ends = authority.server("a.example", days=1).write(self.mktemp())
        listener = "[listeners.{}]\nendpoint = 'tcp:{}'\ntls = 'starttls'\ncertificate = '{}'\n"
        self.assertEqual(0, self.check("hostname = 'a.example'\n" + listener.format("a", 25, good)))
        self.assertEqual("", self.err.getvalue())
        text = listener.format("a", 25, ends) + listener.format("b", 26, "/none") + listener.format("c", 27, "/dev")
        self.assertEqual(1, self.check(text))
        one, other = self.err.getvalue().splitlines()
        for line, expected in ((one, "b.certificate: /none"), (other, "c.certificate: /dev")):
            self.assertTrue(line.startswith(f"{self.path}: listeners.{expected}: it can't be read: "), line)
        self.err.truncate(0)
        self.assertEqual(0, self.check("hostname = 'a.example'\n" + listener.format("a", 25, ends)))
        self.assertIn(f"warning: {self.path}: listeners.a.certificate: {ends}: it expires on 2", self.err.getvalue())

    def test_the_certificate_of_the_api(self) -> None:
        ends = Authority().server("a.example", days=1).write(self.mktemp())
        self.assertEqual(1, self.check("[api]\ncertificate = '/none'\n"))
        self.assertIn("api.certificate: /none: it can't be read: ", self.err.getvalue())
        self.assertEqual(0, self.check(f"hostname = 'a.example'\n[api]\ncertificate = '{ends}'\n"))
        self.assertIn(f"api.certificate: {ends}: it expires on 2", self.err.getvalue())

    def test_authorities(self) -> None:
        """Those by which hosts' certificates are checked."""
        self.assertEqual(1, self.check("hostname = 'a.example'\n[tls]\nauthorities = '/none'\n"))
        self.assertIn("tls.authorities: /none: it can't be read: ", self.err.getvalue())

    def test_users(self) -> None:
        """What the users' file says is looked at as well."""
        users = Path(self.mktemp())
        text = f"hostname = 'a.example'\n[access]\nusers = '{users}'\n"
        self.assertEqual(1, self.check(text))
        self.assertIn(f"{users}: can't be read", self.err.getvalue())
        users.write_text("[users.alice]\nzone = 'bulk'\n[users.bob]\nzone = 'Default'\n")
        users.chmod(0o644)
        self.err.truncate(0)
        self.assertEqual(0, self.check(text))
        self.assertIn(f'warning: {users}: users."alice".zone: no zone "bulk"', self.err.getvalue())
        self.assertNotIn("bob", self.err.getvalue())
        self.assertIn(f"warning: {users}: everybody on this machine can read it", self.err.getvalue())

    def test_rules_for_bounces(self) -> None:
        """A file that can't be used is told of as it would be at a start."""
        rules = Path(self.mktemp())
        text = f"hostname = 'a.example'\n[bounces]\nrules = '{rules}'\n"
        self.assertEqual(1, self.check(text))
        self.assertIn(f"{rules}: can't be read", self.err.getvalue())
        rules.write_text("[[rules]]\ncategory = 'spam'\nmatch = '{a'\n")
        self.assertEqual(1, self.check(text))
        self.assertIn(f"{rules}:3: match: expected choices such as ", self.err.getvalue())
        rules.write_text("[[rules]]\ncategory = 'spam'\nmatch = 'a'\n")
        self.assertEqual(0, self.check(text))

    def test_passwords_for_next_hops(self) -> None:
        """Where they aren't to be had, or to everybody; and never what they are."""
        file = Path(self.mktemp())
        text = (
            "hostname = 'a.example'\n[zones.out]\nhost = 'mx.example'\ntls = 'verify'\nauth_user = 'bob'\n"
            f"auth_password_file = '{file}'\n"
        )
        self.assertEqual(1, self.check(text))
        self.assertIn(f"zones.out.auth_password_file: {file}: it can't be read", self.err.getvalue())
        for wrong in (b"", b"\nsecond\n", b"\xff\n", b"a\tb\n", b"x" * 1025):
            file.write_bytes(wrong)
            self.err.truncate(0)
            self.assertEqual(1, self.check(text), wrong)
            self.assertIn(f"zones.out.auth_password_file: {file}: expected a password", self.err.getvalue())
        file.write_bytes(b"tops3cret\r\nnot this\n")
        file.chmod(0o644)
        self.err.truncate(0)
        self.assertEqual(0, self.check(text))
        self.assertIn(f"warning: {file}: everybody on this machine can read it", self.err.getvalue())
        file.chmod(0o600)
        self.err.truncate(0)
        self.err.seek(0)
        self.assertEqual((0, ""), (self.check(text), self.err.getvalue()))
        self.assertEqual(passwords(load(self.path).zones), {"out": "tops3cret"})
        variable = text.replace(f"file = '{file}'", "variable = 'A_PASSWORD_FOR_A_TEST'")
        self.assertEqual(1, self.check(variable))
        self.patch(os, "environb", {b"A_PASSWORD_FOR_A_TEST": b"tops3cret"})
        self.assertEqual(0, self.check(variable))
        self.assertNotIn("tops3cret", self.out.getvalue() + self.err.getvalue())

    def test_no_config(self) -> None:
        self.assertEqual(1, main(["check-config", "--config", self.mktemp()], never))

    def test_run_starts_what_twistd_starts(self) -> None:
        """The service comes from above; that it can't be had ends the command."""
        asked: list[str] = []

        def start(config: str) -> IService:
            asked.append(config)
            raise SystemExit(1)

        self.assertEqual(1, self.assertRaises(SystemExit, main, ["run", "-c", "x"], start).code)
        self.assertEqual(["x"], asked)
