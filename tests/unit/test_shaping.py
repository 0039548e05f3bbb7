"""What the parts of shaping tell each other, and what of it a crash can't forget."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Config, Queue
from relay.dispatch.shaping import Shaping
from relay.logs.maillog import MailLog
from relay.zone.decision import Scope
from relay.zone.zones import from_config

PATH = ("default", "example.net", "192.0.2.7")


class Crashes(SynchronousTestCase):
    """Nothing is stopped here: what is known anew is what was on disk."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.clock = Clock()
        self.clock.advance(1_700_000_000)

    def now(self) -> int:
        return int(self.clock.seconds() * 1000)

    def begun(self) -> Shaping:
        config = Config(hostname="relay.test", queue=Queue(path=str(self.directory)))
        log = MailLog(self.clock, self.now)
        shaping = Shaping(config, from_config(config), log, self.clock, self.now, maybeDeferred)
        self.addCleanup(shaping.stop)
        shaping.start()
        return shaping

    def test_what_ended_by_hand_does_not_come_back(self) -> None:
        shaping = self.begun()
        shaping.backoff.complained(*PATH, "blacklist", "554 listed", self.now())
        self.clock.advance(1)
        self.assertEqual(self.begun().backoff.allowance(*PATH, self.now()), 0)
        shaping.backoff.end(Scope(site="example.net"), self.now())
        self.clock.advance(1)
        self.assertIsNone(self.begun().backoff.allowance(*PATH, self.now()))
