"""Policies in force: fetched, shared, kept over restarts, renewed in time, and held while everything fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Dns, Zone
from relay.delivery.sts import policies as module
from relay.delivery.sts import shelf as shelves
from relay.delivery.sts.fetching import Unfetched
from relay.delivery.sts.heeding import Heeding
from relay.delivery.sts.making import heeding
from relay.delivery.sts.policies import Answer, Policies
from relay.delivery.sts.policy import Mode, StsPolicy
from relay.delivery.sts.shelf import Kept, Shelf
from relay.net.client_tls import ClientTls
from relay.net.dns import NoData, Resolver, TimedOut
from tests.unit.test_child import a_briefing

WEEK = 7 * 86400
ENFORCE = StsPolicy(Mode.ENFORCE, ("mx.a.test",), WEEK)
TESTING = ENFORCE._replace(mode=Mode.TESTING)
NONE = StsPolicy(Mode.NONE, (), WEEK)
#: Milliseconds.
BEGIN = 1_700_000_000_000


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.clock = Clock()
        self.record: Any = ["v=STSv1; id=1"]
        self.fetches: list[Deferred[StsPolicy]] = []
        self.asked: list[str] = []
        self.wanted: list[str] = []
        self.ahead = 0
        self.policies = self.make()

    def make(self, child: str = "1", start: bool = False) -> Policies:
        """Those of a child."""
        shelf = Shelf(self.directory, child)
        made = Policies(self.txt, self.fetch, shelf, self.clock, self.now, self.in_thread)
        if start:
            made.start()
        return made

    def in_thread(self, work: Callable[..., None], *arguments: Any) -> Deferred[None]:
        return maybeDeferred(work, *arguments)

    def now(self) -> int:
        return BEGIN + self.ahead + int(self.clock.seconds() * 1000)

    async def txt(self, name: str) -> list[str]:
        self.asked.append(name)
        if isinstance(self.record, Exception):
            raise self.record
        return list(self.record)

    async def fetch(self, domain: str) -> StsPolicy:
        self.wanted.append(domain)
        self.fetches.append(Deferred())
        return await self.fetches[-1]

    def ask(self, policies: Policies | None = None) -> Deferred[Answer]:
        return Deferred.fromCoroutine((policies or self.policies).of("a.test"))

    def answer(self, policies: Policies | None = None) -> Answer:
        """One that doesn't have to be waited for."""
        return self.successResultOf(self.ask(policies))

    def fetched(self, policy: StsPolicy | Exception = ENFORCE) -> Answer:
        """What comes of a fetch."""
        asked = self.ask()
        self.assertNoResult(asked)
        self.end(policy)
        return self.successResultOf(asked)

    def end(self, policy: StsPolicy | Exception = ENFORCE) -> None:
        if isinstance(policy, Exception):
            self.fetches[-1].errback(policy)
        else:
            self.fetches[-1].callback(policy)


class Looking(Case):
    def test_one_that_is_new(self) -> None:
        self.assertEqual(self.fetched(), Answer(ENFORCE))
        self.assertEqual(self.asked, ["_mta-sts.a.test"])
        self.assertEqual((self.answer(), len(self.fetches)), (Answer(ENFORCE), 1))

    def test_a_domain_without(self) -> None:
        for record in ([], ["v=spf1 -all"], NoData("none")):
            self.record = record
            answer = self.answer(self.make())
            self.assertEqual(answer, Answer(None, "it has no MTA-STS record"))
            self.assertFalse(answer.enforced)
        self.record = TimedOut("nobody answers")
        self.assertEqual(self.answer(self.make()).lack, "its MTA-STS record is not to be had: nobody answers")
        self.assertEqual(self.fetches, [])

    def test_all_who_ask_share_one_fetch(self) -> None:
        asked = [self.ask(), self.ask(), self.ask()]
        self.assertEqual(len(self.fetches), 1)
        asked[0].cancel()
        self.failureResultOf(asked[0], CancelledError)
        self.assertNoResult(asked[1])
        self.end()
        self.assertEqual([self.successResultOf(each) for each in asked[1:]], [Answer(ENFORCE)] * 2)

    def test_D26_a_fetch_that_has_failed_costs_nothing_for_a_while(self) -> None:
        answer = self.fetched(Unfetched("it is down"))
        reason = "its MTA-STS policy can't be fetched: it is down"
        self.assertEqual(answer, Answer(None, reason, "sts-policy-fetch-error", True))
        self.clock.advance(module.AGAIN - 1)
        self.assertEqual((self.answer(), len(self.fetches)), (answer, 1))
        self.record = ["v=STSv1; id=2"]
        self.assertTrue(self.fetched().enforced, "another one is tried at once")
        self.record = ["v=STSv1; id=3"]
        self.ask()
        self.end(Unfetched("it is down"))
        self.clock.advance(module.AGAIN)
        self.ask()
        self.assertEqual(len(self.fetches), 4)

    def test_a_fault_of_ours_ends_no_wait(self) -> None:
        self.assertEqual(self.fetched(ZeroDivisionError()), Answer(None, ""))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_D26_what_holds_goes_on_to_hold(self) -> None:
        """Whoever stands in the way takes nothing back: neither without a record, nor without a policy host."""
        self.fetched()
        for record in ([], NoData("none"), TimedOut("nobody answers"), ["v=STSv1; id=1", "v=STSv1; id=2"]):
            self.record = record
            self.assertEqual(self.answer(), Answer(ENFORCE))
        self.record = ["v=STSv1; id=2"]
        self.assertEqual(self.fetched(Unfetched("it is down")), Answer(ENFORCE))
        self.assertEqual(self.answer(), Answer(ENFORCE))
        self.clock.advance(WEEK)
        self.record = []
        self.assertEqual(self.answer(), Answer(None, "it has no MTA-STS record"), "its time is over")

    def test_D26_another_policy(self) -> None:
        self.fetched()
        self.record = ["v=STSv1; id=2"]
        self.assertEqual(self.fetched(NONE), Answer(NONE))
        self.assertFalse(self.answer().enforced)
        self.assertEqual(self.answer().lack, 'its mode is "none"')
        self.assertEqual(len(self.fetches), 2)

    def test_another_policy_is_not_waited_for_long(self) -> None:
        self.fetched()
        self.record = ["v=STSv1; id=2"]
        asked = self.ask()
        self.clock.advance(module.PATIENCE)
        self.assertEqual(self.successResultOf(asked), Answer(ENFORCE))
        self.end(NONE)
        self.assertEqual(self.answer(), Answer(NONE))

    def test_one_that_holds_for_no_time(self) -> None:
        """It is fetched no more often than one that can't be."""
        short = ENFORCE._replace(max_age=0)
        self.assertEqual(self.fetched(short), Answer(None, "its MTA-STS policy held for 0 s"))
        self.assertEqual((self.answer().policy, len(self.fetches)), (None, 1))

    def test_what_is_known_without_asking(self) -> None:
        self.assertIsNone(self.policies.known("a.test"))
        self.fetched()
        self.clock.advance(module.FRESH)
        self.assertEqual(self.policies.known("a.test"), Answer(ENFORCE))
        self.clock.advance(1)
        self.assertIsNone(self.policies.known("a.test"))
        self.answer()
        self.assertTrue(self.policies.known("a.test"))

    def test_so_many_are_remembered(self) -> None:
        self.patch(module, "MOST", 2)
        self.record = []
        for domain in ("a.test", "b.test", "a.test", "c.test"):
            self.successResultOf(Deferred.fromCoroutine(self.policies.of(domain)))
        known = [bool(self.policies.known(domain)) for domain in ("a.test", "b.test", "c.test")]
        self.assertEqual(known, [True, False, True])


class Renewing(Case):
    def setUp(self) -> None:
        super().setUp()
        self.policies = self.make(start=True)

    def test_each_day_whether_there_is_mail_or_not(self) -> None:
        self.fetched()
        for day in range(1, 15):
            self.clock.pump([module.SWEEP] * (86400 // int(module.SWEEP) + 1))
            self.assertEqual(len(self.fetches), day + 1)
            self.end()
        self.record = TimedOut("nobody answers")
        self.assertEqual(self.answer(), Answer(ENFORCE), "long after its first life was over")

    def test_a_short_one_by_the_half_of_its_life(self) -> None:
        self.fetched(ENFORCE._replace(max_age=7200))
        self.clock.pump([module.SWEEP] * 59)
        self.assertEqual(len(self.fetches), 1)
        self.clock.pump([module.SWEEP] * 2)
        self.assertEqual(len(self.fetches), 2)

    def test_a_host_that_is_down_is_not_asked_too_often(self) -> None:
        self.fetched()
        self.clock.pump([module.SWEEP] * (86400 // int(module.SWEEP) + 1))
        self.end(Unfetched("it is down"))
        self.clock.pump([module.SWEEP] * 58)
        self.assertEqual(len(self.fetches), 2)
        self.clock.pump([module.SWEEP] * 3)
        self.assertEqual(len(self.fetches), 3)
        self.assertEqual(self.answer(), Answer(ENFORCE))

    def test_D26_nor_is_one_with_a_record_that_is_new(self) -> None:
        self.fetched()
        self.clock.advance(86400 - 1)
        self.record = ["v=STSv1; id=2"]
        for _ in range(10):
            self.ask()
            self.clock.advance(module.SWEEP / 2)
            if not self.fetches[-1].called:
                self.end(Unfetched("it is down"))
        self.assertEqual(len(self.fetches), 3, "once for each id")
        self.assertEqual(self.answer(), Answer(ENFORCE))

    def test_so_many_at_once(self) -> None:
        for number in range(module.AT_ONCE + 2):
            asked = Deferred.fromCoroutine(self.policies.of(f"{number}.test"))
            self.end()
            self.successResultOf(asked)
        begun = len(self.fetches)
        self.clock.advance(86400)
        self.assertEqual(len(self.fetches), begun + module.AT_ONCE)
        self.clock.advance(module.SWEEP)
        self.assertEqual(len(self.fetches), begun + module.AT_ONCE + 2)

    def test_those_that_were_fetched_longest_ago_come_first(self) -> None:
        """Short lives use up no turns of others."""
        self.patch(module, "AT_ONCE", 1)
        short = ENFORCE._replace(max_age=7200)
        for domain, policy in (*((f"{number}.test", short) for number in range(80)), ("a.test", ENFORCE)):
            asked = Deferred.fromCoroutine(self.policies.of(domain))
            self.end(policy)
            self.successResultOf(asked)
        for _ in range(86400 // int(module.SWEEP) + 2):
            self.clock.advance(module.SWEEP)
            if not self.fetches[-1].called:
                self.end(short)
        self.assertEqual(self.wanted.count("a.test"), 2)

    def test_one_of_a_clock_that_was_ahead(self) -> None:
        """It holds, but is fetched anew and not believed for years."""
        self.ahead = 400 * 86_400_000
        self.fetched()
        self.ahead = 0
        self.assertEqual(self.answer(), Answer(ENFORCE))
        self.clock.pump([module.AGAIN, module.SWEEP])
        self.assertEqual(len(self.fetches), 2)
        self.end()
        self.clock.pump([module.SWEEP] * 100)
        self.assertEqual(len(self.fetches), 2)


class Keeping(Case):
    def test_D26_a_restart_forgets_nothing(self) -> None:
        self.fetched()
        self.clock.advance(3 * 86400)
        self.record = TimedOut("nobody answers")
        self.assertEqual(self.answer(self.make("2")), Answer(ENFORCE))
        self.clock.advance(4 * 86400)
        self.assertIsNone(self.answer(self.make("3")).policy)

    def test_children_share_what_one_has_fetched(self) -> None:
        other = self.make("2")
        self.record = []
        self.answer(other)
        self.record = ["v=STSv1; id=1"]
        self.fetched()
        self.assertEqual(self.answer(other), Answer(ENFORCE))
        self.record = ["v=STSv1; id=2"]
        self.fetched(NONE)
        self.assertEqual((self.answer(other), len(self.fetches)), (Answer(NONE), 2))

    def test_D26_what_one_child_knows_holds_for_all(self) -> None:
        """Also for one that has known none, or an older one, when the record is gone."""
        other = self.make("2")
        self.record = NoData("there is none")
        self.assertIsNone(self.answer(other).policy)
        for record, policy in (("1", TESTING), ("2", ENFORCE)):
            self.clock.advance(module.FRESH)
            self.record = [f"v=STSv1; id={record}"]
            self.fetched(policy)
            self.record = TimedOut("nobody answers")
            self.assertEqual(self.answer(other), Answer(policy))
            self.assertEqual(other.known("a.test"), Answer(policy))
        self.assertEqual(len(self.fetches), 2)

    def test_a_renewal_is_shared(self) -> None:
        other = self.make("2", start=True)
        self.fetched()
        self.answer(other)
        self.clock.advance(86400 - module.SWEEP)
        self.policies._begin("a.test", "1", self.policies._entry("a.test"), [])
        self.end()
        self.clock.pump([module.SWEEP] * 3)
        self.assertEqual(len(self.fetches), 2)

    def test_a_disk_that_is_full(self) -> None:
        self.directory.write_bytes(b"no directory")
        self.assertEqual(self.fetched(), Answer(ENFORCE))
        self.assertEqual(self.answer(), Answer(ENFORCE))


class Shelves(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.shelf = Shelf(self.directory, "1")
        self.kept = Kept("a.test", "1", BEGIN, Mode.ENFORCE, ("mx.a.test",), WEEK)

    def test_what_is_put_there_is_there(self) -> None:
        self.assertIsNone(self.shelf.read("a.test"))
        self.shelf.write(self.kept)
        self.assertEqual(Shelf(self.directory, "2").read("a.test"), self.kept)
        self.assertIsNone(self.shelf.read("b.test"))
        [path] = self.directory.iterdir()
        self.assertEqual((path.stat().st_mode & 0o777, self.directory.stat().st_mode & 0o777), (0o600, 0o700))

    def test_how_long_it_holds(self) -> None:
        end = BEGIN + WEEK * 1000
        self.assertEqual([self.kept.holds(now) for now in (0, BEGIN, end - 1, end)], [True, True, True, False])

    def test_the_longest_names_and_policies(self) -> None:
        domain = ".".join(["x" * 61] * 4)
        mx = tuple(f"{number:03d}." + ".".join(["y" * 61] * 4) for number in range(100))
        kept = Kept(domain, "1" * 32, BEGIN, Mode.ENFORCE, mx, 31_557_600)
        self.shelf.write(kept)
        self.assertEqual(self.shelf.read(domain), kept)

    def test_what_is_damaged_is_none(self) -> None:
        self.shelf.write(self.kept)
        [path] = self.directory.iterdir()
        whole = path.read_bytes()
        for data in (b"", whole[:-1], whole.replace(b"a.test", b"b.test"), whole.replace(b"enforce", b"x"), b"\xff"):
            path.write_bytes(data)
            with capturedLogs() as logs:
                self.assertIsNone(self.shelf.read("a.test"), data)
            self.told_of(path, logs)

    def test_what_can_not_be_read_is_none(self) -> None:
        path = self.shelf._path("a.test")
        path.mkdir(parents=True)
        with capturedLogs() as logs:
            self.assertIsNone(self.shelf.read("a.test"))
        self.told_of(path, logs)
        with capturedLogs() as logs:
            self.assertIsNone(self.shelf.read("b.test"))
        self.assertEqual(logs, [], "there is none")

    def told_of(self, path: Path, logs: Sequence[LogEvent]) -> None:
        [event] = logs
        self.assertEqual(event["log_level"], LogLevel.warn)
        self.assertIn(f"MTA-STS policy of a.test: {path}: ", formatEvent(event))

    def test_tidy(self) -> None:
        self.shelf.tidy(BEGIN)
        self.patch(shelves, "MOST", 3)
        for number in range(6):
            self.shelf.write(Kept(f"{number}.test", "1", BEGIN, Mode.NONE, (), 1))
            self.touch(self.shelf._path(f"{number}.test"), BEGIN - 5 + number)
        self.touch(self.shelf._path("5.test"), BEGIN - shelves._LONGEST - 1)
        half = self.shelf._path("0.test").with_suffix(".json.2.new")
        for written, left in ((BEGIN, True), (BEGIN - 3_600_001, False)):
            half.write_bytes(b"")
            self.touch(half, written)
            self.shelf.tidy(BEGIN)
            self.assertEqual(half.exists(), left)
        left_over = [number for number in range(6) if self.shelf.read(f"{number}.test")]
        self.assertEqual(left_over, [2, 3, 4])

    def touch(self, path: Path, when: int) -> None:
        os.utime(path, ns=(when * 1_000_000, when * 1_000_000))


class Making(SynchronousTestCase):
    def test_for_hosts_of_domains_alone(self) -> None:
        clock: Any = Clock()
        resolver = Resolver(clock, Dns(nameservers=("127.0.0.1:53",)))

        def made(options: Zone, **heeded: bool) -> object:
            briefing = replace(a_briefing(), options=options, sts=heeded, policies=self.mktemp())
            return heeding(briefing, clock, clock, resolver, ClientTls(), print, maybeDeferred)

        for fixed in (Zone(host="smart.test"), Zone(url="https://web.test/")):
            self.assertIsNone(made(fixed, default=False))
        self.assertIsInstance(made(Zone(), default=False), Heeding)
        self.assertEqual(clock.getDelayedCalls(), [], "a message may ask for one")
        self.assertIsInstance(made(Zone(), default=False, some=True), Heeding)
        self.assertEqual(len(clock.getDelayedCalls()), 2, "they are renewed, and the directory is tidied")
