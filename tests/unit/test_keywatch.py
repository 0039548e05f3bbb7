"""What the master knows of its signing keys: at the start, as they come and go, and by its children."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.channel.frames import BadKey
from relay.config.schema import Dkim
from relay.dispatch.keywatch import EVERY, KeyWatch
from relay.zone.decision import Decision
from tests.unit.dkim_rig import ED25519, put

FILE = "example.test.s1.pem"


def at_once(work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    return maybeDeferred(work, *arguments)


class Watch(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = self.mktemp()
        os.mkdir(self.directory)
        self.clock = Clock()
        self.decided: list[Decision] = []

    def start(self, **options: Any) -> KeyWatch:
        section = Dkim(keys=self.directory, **options)
        watch = KeyWatch(section, self.decided.append, self.clock, lambda: int(self.clock.seconds() * 1000), at_once)
        watch.start()
        self.addCleanup(watch.stop)
        return watch

    def kinds(self) -> list[str]:
        """What was decided since this was asked."""
        kinds = [decision.kind for decision in self.decided]
        self.decided.clear()
        return kinds

    def test_K01_at_the_start(self) -> None:
        put(self.directory, FILE, b"")
        put(self.directory, "other.test.s1.pem", ED25519)
        watch = self.start()
        (decision,) = self.decided
        self.assertEqual((decision.kind, decision.scope.domain), ("bad-key", "example.test"))
        self.assertEqual(decision.reason, f"{FILE}: it is empty")
        self.assertEqual([(bad.file, bad.reason) for bad in watch.bad()], [(FILE, "it is empty")])
        self.assertEqual(watch.count, 2)
        for _ in range(10):
            self.clock.advance(EVERY)
        self.assertEqual(self.kinds(), ["bad-key"])

    def test_K03_good_again_and_gone(self) -> None:
        put(self.directory, FILE, b"")
        watch = self.start()
        put(self.directory, FILE, ED25519)
        self.clock.advance(EVERY)
        self.assertEqual((self.kinds(), watch.bad()), (["bad-key", "good-key"], []))
        os.remove(f"{self.directory}/{FILE}")
        self.clock.advance(EVERY)
        self.assertEqual((self.kinds(), watch.bad(), watch.count), (["key-gone"], [], 0))

    def test_K01_what_a_child_comes_upon(self) -> None:
        put(self.directory, FILE, ED25519)
        watch = self.start()
        put(self.directory, FILE, b"")
        for _ in range(2):
            watch.told(BadKey("example.test", FILE, "it is empty\x1b\n" + "x" * 1000))
        self.assertEqual(self.kinds(), ["bad-key"])
        self.assertEqual((len(watch.bad()[0].reason), watch.bad()[0].reason.isprintable()), (300, True))
        self.clock.advance(EVERY)
        self.assertEqual((self.kinds(), watch.bad()[0].reason), (["bad-key"], "it is empty"))

    def test_K02_a_child_that_says_anything(self) -> None:
        watch = self.start()
        for domain, file in (("../x", FILE), ("a.test", "../../etc/passwd"), ("a.test", "a/b.s.pem"), ("", "")):
            watch.told(BadKey(domain, file, "x"))
        self.assertEqual(watch.bad(), [])

    def test_K01_a_key_that_has_to_be(self) -> None:
        watch = self.start(required_domains=("Example.test",))
        self.assertEqual([(bad.domain, bad.file) for bad in watch.bad()], [("example.test", "")])
        self.clock.advance(10 * 3600)
        self.clock.advance(EVERY)
        self.assertEqual((self.kinds(), len(watch.bad())), (["bad-key"], 1))
        put(self.directory, FILE, ED25519)
        self.clock.advance(EVERY)
        self.assertEqual((self.kinds(), watch.bad()), (["good-key"], []))

    def test_K03_a_key_that_mail_misses(self) -> None:
        """For as long as there is such mail, and some hours."""
        watch = self.start()
        watch.told(BadKey("example.test", "", "it has no key any more"))
        self.clock.advance(3600)
        self.clock.advance(EVERY)
        self.assertEqual(len(watch.bad()), 1)
        self.clock.advance(6 * 3600)
        self.clock.advance(EVERY)
        self.assertEqual((watch.bad(), self.kinds()), ([], ["bad-key", "good-key"]))

    def test_stop(self) -> None:
        watch = self.start()
        watch.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
