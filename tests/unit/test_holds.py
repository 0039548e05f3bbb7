"""Holds: in force when they are on disk, over restarts, until their time is over."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay import keep
from relay.dispatch import holds as holds_module
from relay.dispatch import holdsfile
from relay.dispatch.holds import BadHold, Hold, Holds, HoldsUnusable, TooManyHolds
from relay.zone.decision import Decision, Scope

START = 1_700_000_000.0
DOMAIN = Scope(domain="x.test")


class Threads:
    """Runs what it is given at once, or (`late`) when it is told to."""

    def __init__(self) -> None:
        self.late = False
        self.given: list[Callable[[], None]] = []

    def __call__(self, function: Callable[..., None], *arguments: Any) -> Deferred[None]:
        if not self.late:
            return execute(function, *arguments)
        done: Deferred[None] = Deferred()
        self.given.append(lambda: execute(function, *arguments).chainDeferred(done))
        return done

    def work(self) -> None:
        self.given.pop(0)()


class HoldsCase(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.path = folder / "holds.json"
        self.clock = Clock()
        self.clock.rightNow = START
        self.jump = 0
        self.threads = Threads()
        self.told: list[Decision] = []
        self.changes = 0
        self.holds = self.begun()

    def now(self) -> int:
        return round(self.clock.seconds() * 1000) + self.jump

    def begun(self) -> Holds:
        def changed() -> None:
            self.changes += 1

        holds = Holds(self.path, self.clock, self.now, self.threads, self.told.append, changed)
        holds.start()
        return holds

    def again(self) -> Holds:
        """What a restart finds on the disk."""
        self.successResultOf(self.holds.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.holds = self.begun()
        return self.holds

    def add(self, scope: Scope = DOMAIN, **more: Any) -> Hold:
        return self.successResultOf(self.holds.add(scope, "why", **more))

    def held(self, domain: str = "x.test") -> bool:
        return self.holds.matching("default", domain, "", "") is not None

    def break_disk(self, step: str) -> None:
        def fails(*_: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        self.broken = self.patch(keep.os, step, fails)


class InForce(HoldsCase):
    def test_add_and_release(self) -> None:
        hold = self.add(until=self.now() + 7_200_000)
        self.assertEqual(self.holds.listed(), [hold])
        self.assertEqual(self.holds.matching("default", "x.test", "", "al"), hold)
        self.assertIsNone(self.holds.matching("default", "y.test", "", "al"))
        self.assertEqual(self.successResultOf(self.holds.release(hold.id)), hold)
        self.assertEqual((self.holds.listed(), self.held()), ([], False))
        self.assertEqual(
            self.told,
            [
                Decision("held", DOMAIN, f"hold {hold.id}: why", self.now(), hold.until),
                Decision("released", DOMAIN, f"hold {hold.id} ended by hand: why", self.now()),
            ],
        )
        self.assertEqual(self.changes, 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_only_an_address(self) -> None:
        self.add(Scope(domain="x.test", address="192.0.2.1"))
        self.assertFalse(self.held())
        self.assertEqual(self.holds.addresses("default", "x.test", "", ""), {"192.0.2.1"})
        self.assertEqual(self.holds.addresses("default", "y.test", "", ""), frozenset())

    def test_of_two_alike_each_is_released_for_itself(self) -> None:
        first, second = self.add(), self.add()
        self.assertNotEqual(first.id, second.id)
        self.holds.release(first.id)
        self.assertTrue(self.held())
        self.holds.release(second.id)
        self.assertFalse(self.held())

    def test_an_id_of_its_own(self) -> None:
        """Among those in force, and those on their way to the disk."""
        ids = iter(("a", "a", "b", "a", "b", "c"))
        self.holds._new_id = lambda: next(ids)
        self.threads.late = True
        added = [self.holds.add(DOMAIN, "why"), self.holds.add(DOMAIN, "why")]
        self.threads.work()
        self.threads.work()
        added.append(self.holds.add(DOMAIN, "why"))
        self.threads.work()
        self.assertEqual([self.successResultOf(each).id for each in added], ["a", "b", "c"])

    def test_what_cannot_be(self) -> None:
        self.assertRaises(BadHold, self.holds.add, Scope(), "why")
        self.assertRaises(BadHold, self.holds.add, DOMAIN, "why", self.now())
        self.assertIsNone(self.successResultOf(self.holds.release("unknown")))
        self.assertEqual((self.told, self.changes, self.path.exists()), ([], 0, False))

    def test_bounded(self) -> None:
        """Those on their way to the disk are counted as well."""
        self.patch(holds_module, "MOST", 2)
        self.threads.late = True
        for _ in range(2):
            self.holds.add(DOMAIN, "why")
        self.assertRaises(TooManyHolds, self.holds.add, DOMAIN, "why")
        self.threads.work()
        self.threads.work()
        self.assertRaises(TooManyHolds, self.holds.add, DOMAIN, "why")
        self.holds.release(self.holds.listed()[0].id)
        self.threads.work()
        self.holds.add(DOMAIN, "why")


class OnDisk(HoldsCase):
    def test_nothing_is_said_before(self) -> None:
        self.threads.late = True
        added = self.holds.add(DOMAIN, "why")
        self.assertNoResult(added)
        self.assertEqual((self.held(), self.told), (False, []))
        self.threads.work()
        hold = self.successResultOf(added)
        self.assertEqual(holdsfile.read(self.path), [hold])
        released = self.holds.release(hold.id)
        self.assertNoResult(released)
        self.assertTrue(self.held())
        self.threads.work()
        self.successResultOf(released)
        self.assertEqual((holdsfile.read(self.path), self.held()), ([], False))

    def test_what_comes_meanwhile_goes_into_the_next_file(self) -> None:
        old = self.add(Scope(zone="old"))
        self.threads.late = True
        asked: list[Deferred[Any]] = [self.holds.add(DOMAIN, "why"), self.holds.add(Scope(zone="a"), "why")]
        asked += [self.holds.release(old.id), self.holds.release(old.id)]
        self.assertEqual(len(self.threads.given), 1)
        self.threads.work()
        self.successResultOf(asked[0])
        self.assertNoResult(asked[1])
        self.threads.work()
        self.assertEqual(self.threads.given, [])
        self.assertEqual(self.successResultOf(asked[1]).scope, Scope(zone="a"))
        self.assertEqual([self.successResultOf(each) for each in asked[2:]], [old, None])
        self.assertEqual(holdsfile.read(self.path), self.holds.listed())

    def test_restart(self) -> None:
        scopes = (DOMAIN, Scope(zone="a", site="s", user="Al"), Scope(domain="x.test", address="192.0.2.1"))
        kept = [self.add(scope, until=self.now() + n * 1000) for n, scope in enumerate(scopes, 1)]
        kept.append(self.add(Scope(), everything=True))
        self.assertEqual(self.again().listed(), kept)
        self.assertTrue(self.held("any.test"))
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.assertEqual(os.listdir(self.path.parent), ["holds.json"])

    def test_on_disk_means_synced(self) -> None:
        """The file before it takes the other's place, and then its name in the directory."""
        steps: list[str] = []
        for name in ("fsync", "replace"):
            done = getattr(os, name)

            def noted(*arguments: Any, name: str = name, done: Any = done) -> None:
                of = ""
                if name == "fsync":
                    of = " directory" if stat.S_ISDIR(os.fstat(arguments[0]).st_mode) else " file"
                steps.append(name + of)
                done(*arguments)

            self.patch(keep.os, name, noted)
        self.add()
        self.assertEqual(steps, ["fsync file", "replace", "fsync directory"])

    def test_a_disk_that_is_full(self) -> None:
        """Nothing is held that was said to be not, and what was held is held, now and after a restart."""
        old = self.add(Scope(zone="old"))
        for step in ("fsync", "replace"):
            self.break_disk(step)
            self.failureResultOf(self.holds.add(DOMAIN, "why"), OSError)
            self.failureResultOf(self.holds.release(old.id), OSError)
            self.assertEqual((self.held(), self.holds.listed(), len(self.told)), (False, [old], 1))
            self.broken.restore()
            self.assertEqual(self.again().listed(), [old])
        self.flushLoggedErrors()
        self.add()
        self.assertEqual(len(self.again().listed()), 2)

    def fail_behind_the_rename(self) -> None:
        """The new file is there, but was said to have failed."""
        real = os.fsync

        def fails(number: int) -> None:
            if stat.S_ISDIR(os.fstat(number).st_mode):
                raise OSError(errno.EIO, "Input/output error")
            real(number)

        self.broken = self.patch(keep.os, "fsync", fails)
        self.failureResultOf(self.holds.add(DOMAIN, "why"), OSError)
        self.assertEqual(len(holdsfile.read(self.path)), 1)
        self.broken.restore()

    def test_a_file_in_doubt_is_written_again(self) -> None:
        self.fail_behind_the_rename()
        self.clock.advance(60)
        self.assertEqual(holdsfile.read(self.path), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_file_in_doubt_is_written_again_at_the_stop(self) -> None:
        self.fail_behind_the_rename()
        self.assertEqual(self.again().listed(), [])

    def test_stop_waits_for_the_disk(self) -> None:
        self.threads.late = True
        self.holds.add(DOMAIN, "why")
        self.holds.add(Scope(zone="a"), "why")
        stopped = self.holds.stop()
        self.threads.work()
        self.assertNoResult(stopped)
        self.threads.work()
        self.successResultOf(stopped)
        self.assertEqual(len(holdsfile.read(self.path)), 2)
        self.holds.add(Scope(zone="b"), "why")
        self.threads.work()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Ends(HoldsCase):
    def test_its_time_is_over(self) -> None:
        first = self.add(until=self.now() + 30_000)
        self.add(Scope(zone="a"), until=self.now() + 90_000)
        self.clock.advance(29.999)
        self.assertTrue(self.held())
        self.clock.advance(0.001)
        self.assertFalse(self.held())
        self.assertEqual(
            self.told[-1],
            Decision("released", DOMAIN, f"hold {first.id} ended, its time is over: why", self.now()),
        )
        self.assertEqual(self.changes, 3)
        self.assertEqual(len(holdsfile.read(self.path)), 1)
        self.clock.advance(60)
        self.assertEqual((self.holds.listed(), holdsfile.read(self.path)), ([], []))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_timer(self) -> None:
        for n in range(100):
            self.add(until=self.now() + 1000 * n + 1)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.pump([1.0] * 100)
        self.assertEqual(self.holds.listed(), [])

    def test_while_it_is_being_released(self) -> None:
        hold = self.add(until=self.now() + 1000)
        self.threads.late = True
        released = self.holds.release(hold.id)
        self.clock.advance(1)
        self.assertFalse(self.held())
        self.threads.work()
        self.assertIsNone(self.successResultOf(released))
        self.assertEqual([one.kind for one in self.told], ["held", "released"])

    def test_over_before_it_is_on_disk(self) -> None:
        self.threads.late = True
        added = self.holds.add(DOMAIN, "why", self.now() + 1000)
        self.clock.advance(5)
        self.threads.work()
        self.successResultOf(added)
        self.clock.advance(0.001)
        self.assertFalse(self.held())

    def test_over_while_the_relay_was_down(self) -> None:
        self.add(until=self.now() + 1000)
        kept = self.add(Scope(zone="a"), until=self.now() + 9000)
        self.successResultOf(self.holds.stop())
        self.clock.rightNow += 5
        self.assertEqual(self.again().listed(), [kept])
        self.assertEqual(self.told[-1].kind, "released")
        self.assertEqual(holdsfile.read(self.path), [kept])

    def test_a_clock_that_jumps(self) -> None:
        """Forwards it is noticed within a minute; backwards the hold lasts until the clock says so."""
        self.add(until=self.now() + 7_200_000)
        self.jump = 8_000_000
        self.clock.advance(60)
        self.assertFalse(self.held())
        self.add(until=self.now() + 1000)
        self.jump -= 3_600_000
        self.clock.advance(1)
        self.assertTrue(self.held())
        self.clock.pump([60.0] * 60)
        self.assertFalse(self.held())

    def test_set_back_after_the_end(self) -> None:
        """What is over doesn't come back."""
        self.add(until=self.now() + 1000)
        self.clock.advance(1)
        self.jump = -3_600_000
        self.assertEqual(self.again().listed(), [])


class Damaged(HoldsCase):
    GOOD = '{"id":"a1","domain":"x.test","reason":"why","since":5}'

    def refusal(self, held: bytes) -> str:
        self.path.write_bytes(held)
        line = str(self.assertRaises(HoldsUnusable, self.begun))
        self.assertTrue(line.startswith(f"{self.path}: the holds can't be read: "), line)
        self.assertTrue(line.isprintable(), line)
        self.assertEqual(self.path.read_bytes(), held)
        return line

    def test_what_is_no_such_file(self) -> None:
        self.add()
        whole = self.path.read_bytes()
        for cut in range(len(whole)):
            self.refusal(whole[:cut])
        for held in (b"\0" * 100, b"\xff", b"null", b"[]", b"{}", b"[" * 100_000, whole + b"x"):
            self.refusal(held)

    def test_what_is_wrong_and_where(self) -> None:
        def file(entries: str, version: str = "1") -> bytes:
            return f'{{"version":{version},"holds":[{entries}]}}'.encode()

        self.path.write_bytes(file(self.GOOD))
        self.assertEqual(self.begun().listed(), [Hold("a1", DOMAIN, "why", 5)])
        for entries, place in (
            (f"{self.GOOD},{self.GOOD}", "holds[1].id: "),
            (self.GOOD.replace("a1", "../a"), "holds[0].id: "),
            (self.GOOD.replace("x.test", "x..test"), "holds[0].domain: "),
            (self.GOOD.replace("why", "w\\u0007"), "holds[0].reason: "),
            (self.GOOD.replace('"domain":"x.test",', ""), "holds[0].everything: "),
            (self.GOOD.replace("5}", "5,\"until\":5}"), "holds[0].until: "),
            (self.GOOD.replace("5}", "-5}"), "holds[0].since: "),
            (self.GOOD.replace("5}", '"5"}'), "$.holds[0].since"),
            (self.GOOD.replace("5}", '5,"tenant":"t"}'), "unknown field `tenant`"),
        ):
            self.assertIn(place, self.refusal(file(entries)))
        self.assertIn("expected version 1, got 2", self.refusal(file("", "2")))
        self.patch(holdsfile, "MOST", 1)
        self.assertIn("at most 1 holds", self.refusal(file(f"{self.GOOD},{self.GOOD.replace('a1', 'a2')}")))
        self.patch(holdsfile, "_LARGEST", 10)
        self.assertIn("at most 10 bytes", self.refusal(file(self.GOOD)))

    def test_a_file_that_cannot_be_opened(self) -> None:
        self.path.mkdir()
        self.assertIn("Is a directory", str(self.assertRaises(HoldsUnusable, self.begun)))

    def test_left_by_a_write_that_was_cut_off(self) -> None:
        self.add()
        self.path.with_suffix(".new").write_bytes(b"{")
        self.assertEqual(len(self.again().listed()), 1)
