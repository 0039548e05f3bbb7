"""A relay that many strangers are cruel to, one after the other, and what leaves it meanwhile.

All tests of a class share one relay and one MX. After each of them the relay lives, serves, has
raised nothing, its log holds no control character, and nothing it sent was unclean (rows S02, L01).
"""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from typing import Any, ClassVar

from twisted.trial.unittest import TestCase

from bench.network import free_ports, greets
from tests.peers.evil_mx import IP
from tests.peers.stranger import Stranger
from tests.scenario.harness import Mx, Relay, post

#: A fresh session is served within (seconds).
SERVED = 5.0
#: A zone whose next hop knows no extensions.
BARE = """
[zones.bare]
pool = "default"
host = "{ip}"
port = {mx}
recipient_domains = ["bare.test"]
bounce_mail = false
"""


class Stage:
    """One relay and its MX, in a directory of their own, for all tests of a class."""

    #: The one that there is; it ends when the next class begins, or with the process.
    current: ClassVar[tuple[type[Hostile], Stage] | None] = None

    def __init__(self, case: type[Hostile]) -> None:
        self.directory = tempfile.mkdtemp(prefix="zonerelay-test-")
        mx, *ports = free_ports(1 + len(case.listeners))
        self.ports = dict(zip(case.listeners, ports, strict=True))
        case.prepare(self.directory)
        tables = [
            f'[listeners.{name}]\nendpoint = "tcp:{self.ports[name]}:interface=127.0.0.1"\n{keys}\n'
            for name, keys in case.listeners.items()
        ]
        extra = "".join(tables) + case.more + BARE.format(ip=IP["no-extensions"], mx=mx)
        self.mx = Mx(self.directory, mx, "0.0.0.0", ("--dump", self.directory))
        extra = extra.replace("{directory}", self.directory)
        self.relay = Relay(self.directory, mx, extra=extra, **case.settings)
        self.ports["feeder"] = self.relay.smtp

    @classmethod
    def of(cls, case: type[Hostile]) -> Stage:
        if cls.current is None or cls.current[0] is not case:
            cls.end()
            stage = Stage(case)
            cls.current = case, stage
            stage.mx.start()
            stage.relay.start()
            _wait(lambda: greets(stage.relay.smtp), "a greeting", stage.relay)
        return cls.current[1]

    @classmethod
    def end(cls) -> None:
        if cls.current is not None:
            (_, stage), cls.current = cls.current, None
            stage.relay.kill()
            stage.mx.stop()
            shutil.rmtree(stage.directory, ignore_errors=True)


atexit.register(Stage.end)


class Hostile(TestCase):
    """A case whose relay has these listeners beside the feeder, each on a port of its own."""

    #: What stands in each listener's table, by its name.
    listeners: ClassVar[dict[str, str]] = {}
    #: More of the configuration; {directory} is that of the class.
    more: ClassVar[str] = ""
    #: Settings of the Relay, see the harness.
    settings: ClassVar[dict[str, Any]] = {}

    @classmethod
    def prepare(cls, directory: str) -> None:
        """Put files into the directory before the relay starts."""

    def setUp(self) -> None:
        stage = Stage.of(type(self))
        self.directory, self.ports, self.mx, self.relay = stage.directory, stage.ports, stage.mx, stage.relay
        self.assertTrue(self.relay.alive, self.relay.said()[-2000:])
        self.addCleanup(self.unharmed)

    def unharmed(self) -> None:
        """The relay is as it was, and nothing unclean has left it."""
        self.settle()
        begun = time.monotonic()
        with self.session() as client:
            self.assertEqual("250", client.tell(b"NOOP")[:3])
        self.assertLess(time.monotonic() - begun, SERVED, "a fresh session waited too long")
        self.assertTrue(self.relay.alive, "it is not the process it was")
        said = self.relay.said()
        for word in ("Traceback", "Unhandled"):
            at = said.find(word)
            self.assertEqual(-1, at, said[max(0, at - 500) : at + 2500])
        odd = sorted({c for c in said if not c.isprintable() and c not in "\n\t"})
        self.assertEqual([], odd, "the log is not fit for a terminal")
        self.assertEqual([], [line for line in self.mx.accepted() if line["viol"]])
        self.assertEqual([], self.to("hidden"), "a hidden transaction was obeyed")

    # -- what strangers do

    def connect(self, listener: str = "feeder", source: str = "127.0.0.1", greeted: bool = True) -> Stranger:
        client = Stranger(self.ports[listener], source, greeted)
        self.addCleanup(client.close)
        return client

    def session(self, listener: str = "feeder") -> Stranger:
        """One that has said EHLO."""
        client = self.connect(listener)
        client.hello()
        return client

    def begun(self, name: str, listener: str = "feeder", domain: str = "evil.test") -> Stranger:
        """One whose sender and recipient, ok+NAME, were accepted."""
        client = self.session(listener)
        self.envelope(client, name, domain)
        return client

    def envelope(self, client: Stranger, name: str, domain: str = "evil.test") -> None:
        self.assertEqual("250 2.1.0 Accepted", client.tell(b"MAIL FROM:<from@src.test> BODY=8BITMIME"))
        self.assertEqual("250 2.1.5 Accepted", client.tell(f"RCPT TO:<ok+{name}@{domain}>".encode()))

    def data(self, client: Stranger, text: bytes) -> str:
        """DATA, and this text with its end; the verdict."""
        self.assertEqual("354", client.tell(b"DATA")[:3])
        return client.say(text)

    def message(self, name: str, text: bytes, listener: str = "feeder") -> str:
        """A session with this text, to which the end is added; its one verdict."""
        with self.begun(name, listener) as client:
            self.assertEqual("354", client.tell(b"DATA")[:3])
            verdict, *bye = client.replies(text + b".\r\nQUIT\r\n")
            self.assertEqual(["221 2.0.0 Bye"], bye, f"{name}: more than one verdict")
        return verdict

    def refused(self, client: Stranger, *lines: bytes, codes: str = "5") -> None:
        """Each line gets one reply, that begins with one of these digits, and the session goes on."""
        for line in lines:
            answer = client.tell(line)
            self.assertIn(answer[:1] or "closed", tuple(codes), f"{line[:80]!r} got {answer!r}")
            self.assertEqual("250", client.tell(b"NOOP")[:3], f"out of step after {line[:80]!r}")

    # -- what comes of it

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 20.0) -> None:
        """Wait for something that has to come."""
        _wait(condition, what, self.relay, seconds)

    def settle(self, seconds: float = 20.0) -> None:
        """Wait until the queue is empty: every delivery has ended somehow."""

        def left() -> int:
            status, body = post(self.relay.api, "/counter/zone/", method="GET")
            self.assertEqual(200, status, body)
            counted = json.loads(body)
            return sum(entry["value"] for kind in ("active", "deferred") for entry in counted[kind]["entries"])

        self.until(lambda: not left(), "the queue to be empty", seconds)

    def to(self, name: str) -> list[dict[str, Any]]:
        """What the MX took for the recipient ok+NAME, whatever the domain. Settle before."""
        return [line for line in self.mx.accepted() if line["rcpt"].split("@")[0] == f"ok+{name}"]

    def text(self, name: str) -> bytes:
        """The one message that it took for ok+NAME, without stuffed dots."""
        self.settle()
        [taken] = self.to(name)
        with open(f"{self.directory}/{taken['file']}", "rb") as file:
            return file.read()


def _wait(condition: Callable[[], Any], what: str, relay: Relay, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end or not relay.alive:
            raise AssertionError(f"not within {seconds} s: {what}; last words: {relay.said()[-2000:]}")
        time.sleep(0.02)
