"""`zonerelay user`: what it writes can be read, by nobody else, and nothing else in the file changes."""

from __future__ import annotations

import getpass
import io
import os
import stat
import sys
from pathlib import Path

from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st
from twisted.application.service import IService
from twisted.trial.unittest import SynchronousTestCase

from relay.access.scram import derive
from relay.access.users import read
from relay.cli.main import main


def never(config: str) -> IService:
    raise AssertionError("nothing was to be started")


class UserCommand(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.path = folder / "users.toml"
        self.out, self.err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)

    def user(self, *words: str, typed: str = "a long password\n") -> int:
        self.patch(sys, "stdin", io.StringIO(typed))
        return main(["user", *words, "--users", str(self.path)], never)

    def mode(self) -> int:
        return stat.S_IMODE(self.path.stat().st_mode)

    def test_add(self) -> None:
        more = ("--sender", "a@x.example", "--sender", "@y.example", "--from-domain", "x.example", "--zone", "bulk")
        more += ("--tenant", "acme")
        self.assertEqual(self.user("add", "alice@x.example", *more), 0)
        known = read(str(self.path))["alice@x.example"]
        self.assertTrue(PasswordHasher().verify(known.hash, "a long password"))
        self.assertEqual(known.user.senders, ("a@x.example", "@y.example"))
        self.assertEqual((known.user.from_domains, known.user.zone), (("x.example",), "bulk"))
        self.assertEqual(known.user.tenant, "acme")
        self.assertEqual(self.mode(), 0o600)
        self.assertEqual(os.listdir(self.path.parent), ["users.toml"], "nothing is left beside it")
        self.assertNotIn("a long password", self.path.read_text() + self.out.getvalue() + self.err.getvalue())

    def test_scram(self) -> None:
        self.assertEqual(self.user("add", "bob", "--scram", "--password-stdin"), 0)
        keys = read(str(self.path))["bob"].keys
        assert keys is not None
        self.assertEqual(derive("a long password", keys.salt, keys.iterations), keys)

    def test_what_else_is_in_the_file_stays(self) -> None:
        text = "# our users\n[users.old] # the first one\ndisabled = true\nmessages = ['5/m']\n"
        self.path.write_text(text)
        self.assertEqual(self.user("add", "new"), 0)
        self.assertEqual(self.user("passwd", "NEW", typed="another password"), 0)
        self.assertTrue(PasswordHasher().verify(read(str(self.path))["new"].hash, "another password"))
        self.assertEqual(self.user("remove", "New"), 0)
        self.assertEqual(self.path.read_text().strip(), text.strip())

    def test_passwd_leaves_the_rest_of_the_user(self) -> None:
        self.user("add", "alice", "--zone", "bulk", "--scram")
        self.assertEqual(self.user("passwd", "alice"), 0)
        known = read(str(self.path))["alice"]
        self.assertEqual((known.user.zone, known.keys, known.hash[:9]), ("bulk", None, "$argon2id"))

    def test_list(self) -> None:
        self.path.write_text("[users.carol]\n[users.gone]\ndisabled = true\n")
        self.user("add", "alice")
        self.user("add", "bob", "--scram")
        self.assertEqual(self.user("list"), 0)
        self.assertEqual(self.out.getvalue(), "alice password\nbob scram\ncarol certificate\ngone disabled\n")

    def test_what_is_refused_changes_nothing(self) -> None:
        self.user("add", "alice")
        before = self.path.read_bytes()
        for words, typed, why in (
            (("add", "ALICE"), "a long password", "is there already"),
            (("add", "bob"), "short", "shorter than"),
            (("add", "bob"), "", "shorter than"),
            (("add", "b\nb"), "a long password", "printable"),
            (("add", "bob", "--sender", "a b"), "a long password", "expected an address"),
            (("add", "bob", "--from-domain", "@x"), "a long password", "expected a domain"),
            (("add", "bob", "--tenant", "a b"), "a long password", "a tenant is"),
            (("passwd", "bob"), "a long password", "no user bob"),
            (("remove", "bob"), "", "no user bob"),
        ):
            self.err.truncate(0)
            self.assertEqual(self.user(*words, typed=typed), 1, words)
            self.assertIn(why, self.err.getvalue())
            self.assertNotIn(".users-", self.err.getvalue())
        self.assertEqual(self.path.read_bytes(), before)
        self.assertEqual(os.listdir(self.path.parent), ["users.toml"])

    def test_who_can_read_it(self) -> None:
        """The group it was given to still can, everybody else no more."""
        for before, after in ((0o644, 0o640), (0o640, 0o640), (0o600, 0o600), (0o666, 0o640)):
            self.path.write_text("[users.old]\n")
            self.path.chmod(before)
            self.assertEqual(self.user("add", "new"), 0)
            self.assertEqual(self.mode(), after)

    def test_a_link_stays_one(self) -> None:
        place = self.path.parent / "elsewhere.toml"
        place.write_text("[users.old]\n")
        self.path.symlink_to(place.name)
        self.assertEqual(self.user("add", "new"), 0)
        self.assertTrue(self.path.is_symlink())
        self.assertEqual(set(read(str(place))), {"old", "new"})

    def test_asked_twice_on_a_terminal(self) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        answers = ["a long password", "a long passwort", "a long password", "a long password"]
        self.patch(getpass, "getpass", lambda prompt: answers.pop(0))
        for code in (1, 0):
            self.patch(sys, "stdin", Terminal())
            self.assertEqual(main(["user", "add", "alice", "--users", str(self.path)], never), code)
        self.assertIn("not the same", self.err.getvalue())

    def test_which_file(self) -> None:
        config = Path(self.mktemp())
        self.patch(sys, "stdin", io.StringIO("a long password\n"))
        config.write_text("[access]\n")
        self.assertEqual(main(["user", "list", "--config", str(config)], never), 1)
        self.assertIn("no users' file", self.err.getvalue())
        config.write_text(f"[access]\nusers = '{self.path}'\n")
        self.assertEqual(main(["user", "add", "alice", "--config", str(config)], never), 0)
        self.assertEqual(set(read(str(self.path))), {"alice"})

    @given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))
    def test_any_name(self, name: str) -> None:
        """It is written and found again, or refused."""
        self.path.write_text("[users.old]\n")
        if name.startswith("-") or name.lower() == "old":
            return
        if self.user("add", name, "--scram") == 0:
            self.assertEqual({known.user.name for known in read(str(self.path)).values()}, {"old", name})
        else:
            self.assertFalse(name.isprintable(), name)
            self.assertEqual(self.path.read_text(), "[users.old]\n")
