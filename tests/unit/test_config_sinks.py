"""What check-config says of [sinks], and of where [bounces] are reported to."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from io import StringIO
from pathlib import Path
from typing import get_args

from msgspec import structs
from twisted.trial.unittest import SynchronousTestCase

from relay.cli import check_config
from relay.config.check_sinks import OPTIONS
from relay.config.load import ConfigError, load_with_warnings, parse
from relay.config.schema import Sink
from relay.events.sinks import MAKERS

GOOD = """hostname = "relay.example.com"
[sinks.hook]
kind = "webhook"
url = "https://hooks.example.com/in?x=1"
secret_file = "secret"
events = ["bounced", "complaint"]
batch = 500
timeout = "5s"
[sinks.near]
kind = "webhook"
url = "http://10.0.0.5:8080/"
secret_variable = "HOOK"
allow_private = true
[sinks.log]
kind = "file"
path = "/var/log/events"
max_size = "1GB"
keep = 9
[sinks.old]
kind = "udp"
host = "log.example.com"
port = 31240
[sinks.graylog]
kind = "gelf"
host = "2001:db8::5"
transport = "tcp"
[bounces]
url = "https://hooks.example.com/bounces"
secret_variable = "HOOK"
"""


class Checked(SynchronousTestCase):
    def wrong(self, old: str, new: str) -> str:
        self.assertIn(old, GOOD)
        with self.assertRaises(ConfigError) as caught:
            parse(GOOD.replace(old, new), "f")
        return str(caught.exception)

    def test_one_name_for_two(self) -> None:
        said = self.wrong("[sinks.near]", "[sinks.bounces]")
        self.assertIn("sinks.bounces: expected another name: bounces.url is the sink of this one", said)

    def warned(self, text: str) -> list[str]:
        path = self.mktemp()
        Path(path).write_text(text)
        return load_with_warnings(path)[1]

    def test_right(self) -> None:
        self.assertEqual(self.warned(GOOD), [])
        self.assertEqual(len(parse(GOOD, "f").sinks), 5)

    def test_each_kind_has_a_maker(self) -> None:
        [field] = [field for field in structs.fields(Sink) if field.name == "kind"]
        kinds = set(get_args(field.type))
        self.assertEqual((set(MAKERS), set(OPTIONS)), (kinds, kinds))

    def test_what_a_kind_needs(self) -> None:
        for line, key, what in (
            ('url = "https://hooks.example.com/in?x=1"\n', "hook.url", 'a URL, for kind is "webhook"'),
            ('path = "/var/log/events"\n', "log.path", 'a file, for kind is "file"'),
            ('host = "log.example.com"\n', "old.host", 'a host, for kind is "udp"'),
            ('host = "2001:db8::5"\n', "graylog.host", 'a host, for kind is "gelf"'),
        ):
            self.assertIn(f"sinks.{key}: expected {what}", self.wrong(line, ""))

    def test_what_is_of_no_use(self) -> None:
        said = self.wrong('path = "/var/log/events"', 'path = "/x"\nurl = "https://a.example/"\nallow_private = true')
        self.assertIn('sinks.log.url: of no use, for kind is "file"; expected it with "webhook"', said)
        self.assertIn("sinks.log.allow_private: of no use", said)
        self.assertIn("sinks.log.timeout: of no use", self.wrong("keep = 9", 'timeout = "1s"'))
        said = self.wrong("port = 31240", 'port = 1\ntransport = "tcp"')
        self.assertIn('sinks.old.transport: of no use, for kind is "udp"; expected it with "gelf"', said)

    def test_events(self) -> None:
        said = self.wrong('"complaint"]', '"complaints"]')
        self.assertIn('sinks.hook.events[1]: unknown kind "complaints"; did you mean "complaint"?', said)

    def test_urls(self) -> None:
        for url in ("ftp://a.example/", "https://", "hooks.example.com", "https://user:pa ss@a.example/"):
            said = self.wrong("https://hooks.example.com/in?x=1", url)
            self.assertIn('sinks.hook.url: expected a URL such as "https://example.com/mail"', said)
            self.assertNotIn("pa ss", said)
        self.assertIn("bounces.url: expected a URL", self.wrong("https://hooks.example.com/bounces", "x"))

    def test_H11_a_private_address_wants_leave(self) -> None:
        for host in ("127.0.0.1", "[::1]", "10.0.0.1", "[::ffff:169.254.169.254]"):
            said = self.wrong("https://hooks.example.com/in?x=1", f"http://{host}/")
            self.assertIn("no public address; expected allow_private = true with it", said)

    def test_secrets(self) -> None:
        said = self.wrong('secret_file = "secret"', 'secret_file = "secret"\nsecret_variable = "X"')
        self.assertIn("sinks.hook.secret_file: expected either secret_file or secret_variable", said)
        said = self.wrong('secret_variable = "HOOK"\nallow', 'secret_variable = "whsec_aGVsbG8="\nallow')
        self.assertIn("sinks.near.secret_variable: expected the name of an environment variable", said)
        self.assertNotIn("aGVsbG8", said)
        said = self.wrong('url = "https://hooks.example.com/bounces"\n', "")
        self.assertIn("bounces.secret_variable: expected a url beside it", said)

    def test_a_secret_that_cannot_be_had(self) -> None:
        """Neither check-config nor a start goes on without it."""
        path, secret = self.mktemp(), self.mktemp()
        Path(path).write_text(GOOD.replace('"secret"', f'"{secret}"'))
        self.patch(os, "environb", {b"HOOK": b"0123456789abcdef"})
        said = StringIO()
        self.patch(sys, "stderr", said)
        self.patch(sys, "stdout", StringIO())
        arguments = Namespace(config=path)
        self.assertEqual(check_config.run(arguments, lambda *_: 0), 1)
        self.assertIn(f"sinks.hook.secret_file: {secret}: it can't be read: No such file", said.getvalue())
        Path(secret).write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
        os.chmod(secret, 0o644)
        self.assertEqual(check_config.run(arguments, lambda *_: 0), 0)
        self.assertIn(f"{secret}: everybody on this machine can read it", said.getvalue())

    def test_hosts(self) -> None:
        self.assertIn("sinks.old.host: expected a host name or an address", self.wrong("log.example.com", "a b"))

    def test_a_file_for_each(self) -> None:
        two = GOOD + '[sinks.again]\nkind = "file"\npath = "/var/log/events"\n'
        with self.assertRaises(ConfigError) as caught:
            parse(two, "f")
        self.assertIn("sinks.again.path: expected a file of its own", str(caught.exception))

    def test_nothing_to_hand_on(self) -> None:
        said = self.wrong("[bounces]", "[events]\nkeep = 0\n[bounces]")
        self.assertIn("sinks.hook: expected events.keep above 0", said)
        self.assertIn("bounces.url: expected events.keep above 0", said)

    def test_warnings(self) -> None:
        [warning] = self.warned(GOOD.replace("https://hooks.example.com/b", "http://hooks.example.com/b"))
        self.assertTrue(warning.endswith("bounces.url: http: whoever is on the way can read what is sent"), warning)
