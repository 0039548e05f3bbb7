"""What check-config says of [returns], and of zones and listeners that rely on it."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from relay.config.load import ConfigError, load_with_warnings, parse
from relay.config.schema import Returns
from relay.config.secret import SecretUnusable, secrets

GOOD = """hostname = "relay.example.com"
[returns]
domain = "back.example.com"
secret_file = "secret"
[listeners.back]
endpoint = "tcp:25"
returns = true
allow_networks = ["0.0.0.0/0", "::/0"]
[zones.default]
return_path = "verp"
list_unsubscribe = true
"""


class Checked(SynchronousTestCase):
    def wrong(self, old: str, new: str) -> str:
        self.assertIn(old, GOOD)
        with self.assertRaises(ConfigError) as caught:
            parse(GOOD.replace(old, new), "f")
        return str(caught.exception)

    def test_right(self) -> None:
        path = self.mktemp()
        Path(path).write_text(GOOD)
        config, warnings = load_with_warnings(path)
        self.assertEqual(warnings, [])
        self.assertTrue(config.listeners["back"].returns)

    def test_it_is_no_open_relay_only_where_it_takes_nothing_else(self) -> None:
        self.assertIn("is an open relay", self.wrong("returns = true\n", ""))

    def test_wrong(self) -> None:
        for old, new, said in (
            ('"back.example.com"', '"back"', "f:3: returns.domain: expected a domain"),
            ('secret_file = "secret"', "", "returns.secret_file: expected it or secret_variable"),
            ('secret_file = "secret"', 'secret_variable = "a b"', "f:4: returns.secret_variable: expected the name"),
            ("[listeners", 'keep_domains = ["-"]\n[listeners', "f:5: returns.keep_domains[0]: expected a domain"),
            ("[listeners", 'complaints = "a+b"\n[listeners', "f:5: returns.complaints: expected the part of"),
            ("[listeners", 'complaints = "a@b"\n[listeners', "f:5: returns.complaints: expected the part of"),
            ("[listeners", 'max_size = "1KB"\n[listeners', "f:5: returns.max_size: expected"),
            ("[listeners", 'srs_age = "1h"\n[listeners', "f:5: returns.srs_age: expected"),
            ("[listeners", 'unsubscribe_url = "x"\n[listeners', "f:5: returns.unsubscribe_url: expected a URL"),
            ("[listeners", 'unsubscribe_url = "http://a.b/"\n[listeners', "f:5: returns.unsubscribe_url: expected"),
            ("[listeners", 'unsubscribe_url = "https://a.b/<"\n[listeners', "f:5: returns.unsubscribe_url: expected"),
            ("returns = true", "returns = true\nprocesses = 2", "f:8: listeners.back.processes: not used"),
            ("returns = true", "returns = true\nopen_relay = true", "f:8: listeners.back.open_relay: not used"),
            ("returns = true", 'returns = true\nnull_sender = "reject"', "f:8: listeners.back.null_sender: expected"),
            ('"verp"', '"verp"\nrecipients_per_transaction = 5', "f:11: zones.default.recipients_per_transaction"),
            ('"verp"', '"srs"\nrecipients_per_transaction = 5', "for there is list_unsubscribe"),
            ('"verp"', '"verp"\nurl = "https://a.example/"', "f:10: zones.default.return_path: expected"),
            ("hostname", "events = { keep = 0 }\nhostname", "listeners.back.returns: expected events.keep beside it"),
            ('"verp"', '"pra"', "f:10: zones.default.return_path"),
        ):
            self.assertIn(said, self.wrong(old, new))

    def test_nothing_without_a_domain(self) -> None:
        said = self.wrong('domain = "back.example.com"', "")
        for key in ("listeners.back.returns", "zones.default.return_path", "zones.default.list_unsubscribe"):
            self.assertIn(f"{key}: expected a domain in [returns]", said)

    def test_where_nobody_takes_what_comes_back(self) -> None:
        path = self.mktemp()
        Path(path).write_text(GOOD.replace("returns = true", "auth = false").replace('"0.0.0.0/0", "::/0"', '"::1"'))
        self.assertEqual(
            [line.partition(": ")[2] for line in load_with_warnings(path)[1]],
            [
                f"zones.default.{key}: no listener has returns = true: nobody here takes what comes back"
                for key in ("return_path", "list_unsubscribe")
            ],
        )


class Secrets(SynchronousTestCase):
    def of(self, text: bytes) -> tuple[bytes, ...]:
        path = self.mktemp()
        Path(path).write_bytes(text)
        return secrets(("returns",), Returns(secret_file=path))

    def test_in_a_file(self) -> None:
        self.assertEqual(self.of(b"a" * 16 + b"\r\n" + b"b" * 20 + b"\n"), (b"a" * 16, b"b" * 20))

    def test_in_the_environment(self) -> None:
        self.patch(os, "environb", {b"BACK": b"c" * 16})
        self.assertEqual(secrets(("returns",), Returns(secret_variable="BACK")), (b"c" * 16,))
        self.assertEqual(secrets(("returns",), Returns()), ())

    def test_unusable(self) -> None:
        for text in (b"", b"\n\n", b"too short", b"a" * 16 + b"\nb", b"a" * 1025, b"a" * 16 + b"\n" + b"b" * 20000,
                     b"\n".join([b"a" * 16] * 11)):  # fmt: skip
            with self.assertRaises(SecretUnusable) as caught:
                self.of(text)
            self.assertIn("expected 1 to 10 secrets of 16 to 1024 bytes", str(caught.exception))
        for section in (Returns(secret_file="/nowhere/x"), Returns(secret_variable="NOT_THERE")):
            with self.assertRaises(SecretUnusable):
                secrets(("returns",), section)
