"""Sinks of a configuration: each with a place of its own, what is told of it, and by whom."""

from __future__ import annotations

import json
import os

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Bounces, Config, Sink
from relay.config.secret import SecretUnusable
from relay.events.reader import GATHER, KEEP, LONGEST, PAUSES
from relay.events.sink import Standing
from relay.events.sinks import Sinks
from relay.message.event import Event
from relay.metrics.definitions import Metrics
from relay.queue.memory import MemoryStore
from tests.unit.sink_rig import NOW, Answer, FakeWeb, means

CONFIG = Config(
    sinks={
        "hook": Sink(url="https://hooks.test/", batch=2),
        "log": Sink(kind="file", path="events", events=("bounced",)),
    },
    bounces=Bounces(url="https://b.test/in"),
)


class SinksTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.web, self.store = Clock(), FakeWeb(), MemoryStore()
        self.directory = self.mktemp()
        os.mkdir(self.directory)
        here = os.getcwd()
        os.chdir(self.directory)
        self.addCleanup(os.chdir, here)
        self.sinks = self.begun()

    def begun(self) -> Sinks:
        sinks = Sinks(CONFIG, self.store, means(self.clock, self.web))
        sinks.make()
        sinks.start()
        return sinks

    def tell(self, *kinds: str) -> None:
        self.successResultOf(self.store.tell([Event(kind, 1, "1a20169d1ea0007acc", 1) for kind in kinds]))
        self.pass_time(GATHER)

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([seconds] + [0] * 20)

    def posted(self) -> list[list[int]]:
        found = [json.loads(posted.body) for posted in self.web.posted if posted.url == "https://hooks.test/"]
        return [[one["number"] for one in batch["events"]] for batch in found]

    def standing(self, name: str) -> Standing:
        return next(one for one in self.sinks.standings() if one.name == name)

    def test_each_gets_its_own(self) -> None:
        self.tell("queued", "bounced", "delivered")
        self.assertEqual(self.posted(), [[1, 2], [3]])
        with open("events") as file:
            self.assertEqual([json.loads(line)["number"] for line in file], [2])
        self.assertEqual(len([posted for posted in self.web.posted if posted.url == "https://b.test/in"]), 1)
        hook = self.standing("hook")
        self.assertEqual((hook.kind, hook.where, hook.state), ("webhook", "https://hooks.test/", "up to date"))
        self.assertEqual((hook.behind, hook.taken, hook.missed, hook.failures, hook.last), (0, 3, 0, 0, NOW))
        self.assertEqual(self.standing("bounces").taken, 1)

    def test_one_that_fails_holds_up_no_other_and_goes_on_where_it_was(self) -> None:
        self.web.judge = lambda body: Answer(503)
        self.tell("queued", "bounced", "delivered")
        hook = self.standing("hook")
        self.assertEqual((hook.state, hook.behind, hook.failures), ("waiting", 3, 1))
        self.assertEqual((hook.trouble, hook.until), ("hooks.test answers 503", NOW + round(PAUSES[0] * 1000)))
        self.assertEqual(self.standing("log").state, "up to date")
        self.web.judge = lambda body: Answer(200)
        self.web.posted.clear()
        self.pass_time(PAUSES[0])
        self.assertEqual(self.posted(), [[1, 2], [3]])
        self.assertEqual((self.standing("hook").trouble, self.standing("hook").state), ("", "up to date"))

    def test_it_may_be_asked_to_wait_for_longer_but_not_for_ever(self) -> None:
        for asked, waits in ((30.0, 30.0), (1e9, LONGEST)):
            self.web.judge = lambda body, asked=asked: Answer(429, asked)
            self.tell("queued")
            self.assertEqual(self.standing("hook").until, NOW + round(waits * 1000))
            self.web.judge = lambda body: Answer(200)
            self.pass_time(waits)
            self.assertEqual(self.standing("hook").state, "up to date")

    def test_a_restart_goes_on_where_each_was(self) -> None:
        self.tell("queued")
        self.pass_time(KEEP)
        self.successResultOf(self.sinks.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.tell("bounced")
        self.web.posted.clear()
        self.sinks = self.begun()
        self.pass_time(0)
        self.assertEqual(self.posted(), [[2]])
        self.assertEqual(len(self.web.posted), 2)

    def test_what_was_handed_on_is_told_over_a_restart(self) -> None:
        self.web.judge = lambda body: Answer(503, text="come\x1b back")
        self.tell("queued", "bounced", "delivered")
        hook = self.sinks.get("hook")
        assert hook is not None
        [(batch, then)] = hook.batches(0, 10)
        self.assertEqual((batch.first, batch.last, batch.count, batch.tries, batch.status), (1, 2, 2, 1, 503))
        self.assertEqual((batch.trouble, batch.said), ("hooks.test answers 503", "come  back"))
        self.assertEqual(then, NOW + round(PAUSES[0] * 1000))
        self.web.judge = lambda body: Answer(202)
        self.pass_time(PAUSES[0])
        told = hook.batches(0, 10)
        self.assertEqual(
            [(one.first, one.last, one.tries, one.status, one.trouble, then) for one, then in told],
            [(3, 3, 1, 202, "", 0), (1, 2, 2, 202, "", 0)],
        )
        self.successResultOf(self.sinks.stop())
        self.sinks = self.begun()
        again = self.sinks.get("hook")
        assert again is not None
        self.assertEqual(again.batches(0, 10), told)
        log = self.sinks.get("log")
        assert log is not None
        self.assertEqual([(one.first, one.status) for one, _ in log.batches(0, 10)], [(2, 0)])

    def test_a_replay_to_each_kind(self) -> None:
        self.tell("queued", "bounced", "delivered")
        self.web.posted.clear()
        for name in ("hook", "log", "bounces"):
            sink = self.sinks.get(name)
            assert sink is not None
            self.successResultOf(Deferred.fromCoroutine(sink.replay(0, 99)))
        self.pass_time(0)
        self.assertEqual(self.posted(), [[1, 2], [3]])
        self.assertEqual(len([posted for posted in self.web.posted if posted.url == "https://b.test/in"]), 1)
        with open("events") as file:
            self.assertEqual([json.loads(line)["number"] for line in file], [2, 2])
        for name in ("hook", "log", "bounces"):
            stands = self.standing(name)
            assert stands.replay is not None
            self.assertEqual((stands.replay.phase, stands.replay.at, stands.cursor), ("done", 3, 3))
        self.assertEqual(self.standing("hook").taken, 3, "what is handed on again isn't counted twice")

    def test_a_secret_that_cannot_be_had_stops_the_start(self) -> None:
        config = Config(bounces=Bounces(url="https://b.test/", secret_file="/nowhere/secret"))
        with self.assertRaises(SecretUnusable):
            Sinks(config, self.store, means(self.clock)).make()

    def test_metrics(self) -> None:
        self.tell("queued")
        metrics = Metrics()
        metrics.sinks = self.sinks.standings
        text = metrics.exposition().decode()
        for line in (
            'zonerelay_sink_taken_total{sink="hook"} 1.0',
            'zonerelay_sink_missed_total{sink="hook"} 0.0',
            'zonerelay_sink_failures_total{sink="log"} 0.0',
            'zonerelay_sink_behind{sink="bounces"} 0.0',
            'zonerelay_sink_aside{sink="bounces"} 0.0',
            f'zonerelay_sink_last_success_seconds{{sink="hook"}} {NOW / 1000!r}',
        ):
            self.assertIn(line, text.replace("1.795319890123e+09", repr(NOW / 1000)))
