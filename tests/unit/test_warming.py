"""Warm-up counts on disk before they are spent, and what happens when the disk says no."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Warmup
from relay.dispatch.warmup import Warming
from relay.zone.plan import DAY, day_of
from relay.zone.warmup import Warmups

COLD = "192.0.2.1"
START = day_of("2026-12-01") * DAY


class Thread:
    """Does what it is given when it is told to."""

    def __init__(self) -> None:
        self.given: list[tuple[Deferred[None], Callable[..., None], tuple[Any, ...]]] = []

    def __call__(self, call: Callable[..., None], /, *args: Any) -> Deferred[None]:
        self.given.append((Deferred(), call, args))
        return self.given[-1][0]

    def work(self) -> None:
        """Do one."""
        done, call, args = self.given.pop(0)
        try:
            call(*args)
        except OSError:
            done.errback(Failure())
        else:
            done.callback(None)


class WarmingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "warmup.json"
        self.path.parent.mkdir()
        self.clock = Clock()
        self.changes: list[tuple[str, str]] = []

    def begun(self, *days: int, addresses: tuple[str, ...] = (COLD,)) -> Warming:
        warming = self.made(*days, addresses=addresses)
        warming.start()
        return warming

    def made(self, *days: int, addresses: tuple[str, ...]) -> Warming:
        self.thread = Thread()
        warmups = Warmups(
            {"slow": Warmup(days=days)}, dict.fromkeys(addresses, ("slow", "2026-12-01")), lambda decision: None
        )
        return Warming(
            warmups,
            self.path,
            self.clock,
            lambda: START + int(self.clock.seconds() * 1000),
            self.thread,
            lambda *what: self.changes.append(what),
        )

    def stopped(self, warming: Warming) -> None:
        stopping = Deferred.fromCoroutine(warming.stop())
        while self.thread.given:
            self.thread.work()
        self.successResultOf(stopping)

    def spent(self, warming: Warming, site: str = "gmail") -> None:
        """One, through the disk."""
        told = warming.spend(COLD, site)
        if isinstance(told, Deferred):
            self.thread.work()
            told = self.successResultOf(told)
        self.assertTrue(told)

    def test_written_before_it_goes(self) -> None:
        warming = self.begun(3)
        waiting = warming.spend(COLD, "gmail")
        assert isinstance(waiting, Deferred)
        self.assertNoResult(waiting)
        self.assertFalse(self.path.exists())
        self.thread.work()
        self.assertTrue(self.successResultOf(waiting))
        self.assertEqual(self.path.read_bytes(), b'[["192.0.2.1",%d,{"gmail":1}]]' % (START // DAY))
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_synced_in_this_order(self) -> None:
        """File, name, folder: a power cut at any point leaves the old counts or the new ones."""
        steps: list[str] = []
        sync, replace = os.fsync, os.replace

        def noted_sync(number: int) -> None:
            steps.append("folder" if stat.S_ISDIR(os.fstat(number).st_mode) else "file")
            sync(number)

        def noted_replace(new: Any, old: Any) -> None:
            steps.append("name")
            replace(new, old)

        self.patch(os, "fsync", noted_sync)
        self.patch(os, "replace", noted_replace)
        self.spent(self.begun(3))
        self.assertEqual(steps, ["file", "name", "folder"])

    def test_after_kill_9(self) -> None:
        warming = self.begun(3)
        for _ in range(2):
            self.spent(warming)
        warming = self.begun(3)
        self.assertEqual(warming.room(COLD, "gmail"), 1)
        self.spent(warming)
        self.assertIs(warming.spend(COLD, "gmail"), False)

    def test_a_stop_gives_up_what_was_reserved_ahead(self) -> None:
        warming = self.begun(1000)
        for _ in range(3):
            self.spent(warming)
        self.assertEqual(self.begun(1000).room(COLD, "gmail"), 980)
        warming = self.begun(1000)
        self.spent(warming)
        self.stopped(warming)
        self.assertEqual(self.begun(1000).room(COLD, "gmail"), 979)
        self.assertEqual((warming.room(COLD, "gmail"), warming.spend(COLD, "gmail")), (0, False))
        self.assertTrue(warming.spend("192.0.2.9", "gmail"))

    def test_a_stop_before_the_start_writes_nothing(self) -> None:
        self.spent(self.begun(3))
        self.stopped(self.made(3, addresses=(COLD,)))
        self.assertEqual(self.begun(3).room(COLD, "gmail"), 2)

    def test_a_stop_while_some_wait(self) -> None:
        warming = self.begun(3)
        first = warming.spend(COLD, "gmail")
        second = warming.spend(COLD, "gmail")
        assert isinstance(first, Deferred) and isinstance(second, Deferred)
        self.stopped(warming)
        self.assertEqual((self.successResultOf(first), self.successResultOf(second)), (True, False))
        self.assertEqual(self.begun(3).room(COLD, "gmail"), 2)

    def test_all_that_wait_go_with_one_write(self) -> None:
        warming = self.begun(50)
        waiting = [warming.spend(COLD, f"site{number}") for number in range(20)]
        self.thread.work()
        self.thread.work()
        self.assertEqual(self.thread.given, [])
        self.assertEqual([self.successResultOf(one) for one in waiting if isinstance(one, Deferred)], [True] * 20)

    def test_within_a_block_that_is_being_written(self) -> None:
        """They have asked for nothing new, and still don't wait for ever."""
        warming = self.begun(1000)
        waiting = [warming.spend(COLD, "gmail") for _ in range(3)]
        while self.thread.given:
            self.thread.work()
        self.assertEqual([self.successResultOf(one) for one in waiting if isinstance(one, Deferred)], [True] * 3)

    def test_the_next_block_is_written_before_it_is_needed(self) -> None:
        warming = self.begun(1000)
        self.spent(warming)
        for _ in range(8):
            self.assertIs(warming.spend(COLD, "gmail"), True)
        self.assertEqual(self.thread.given, [])
        self.assertIs(warming.spend(COLD, "gmail"), True)
        self.thread.work()
        for _ in range(15):
            self.assertIs(warming.spend(COLD, "gmail"), True)

    def test_a_disk_that_fails(self) -> None:
        """Nothing goes beyond what it took before, and it is tried again; then all is as it was."""
        self.spent(warming := self.begun(3))
        self.patch(os, "replace", self.full)
        waiting = [warming.spend(COLD, "gmail"), warming.spend(COLD, "yahoo")]
        self.thread.work()
        self.assertEqual([self.successResultOf(one) for one in waiting if isinstance(one, Deferred)], [False, False])
        self.assertEqual((warming.room(COLD, "gmail"), warming.room(COLD, "yahoo")), (0, 0))
        self.assertIs(warming.spend(COLD, "gmail"), False)
        self.assertEqual((self.thread.given, self.changes), ([], []))
        self.clock.advance(5)
        self.thread.work()
        self.assertEqual(warming.room(COLD, "gmail"), 0)
        self.unpatched()
        self.clock.advance(5)
        self.thread.work()
        self.assertEqual(self.changes, [(COLD, "")])
        self.assertEqual((warming.room(COLD, "gmail"), warming.room(COLD, "yahoo")), (2, 3))
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    def full(self, *names: Any) -> None:
        raise OSError(28, "No space left on device")

    def unpatched(self) -> None:
        self.patch(os, "replace", os.rename)

    def test_what_failed_is_reserved_by_the_next_try(self) -> None:
        warming = self.begun(1000)
        self.patch(os, "replace", self.full)
        warming.spend(COLD, "gmail")
        self.thread.work()
        self.unpatched()
        self.clock.advance(5)
        self.thread.work()
        self.assertIs(warming.spend(COLD, "gmail"), True)

    def test_a_disk_that_fails_at_the_stop(self) -> None:
        self.spent(warming := self.begun(3))
        self.patch(os, "replace", self.full)
        warming.spend(COLD, "gmail")
        self.thread.work()
        self.stopped(warming)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.begun(3).room(COLD, "gmail"), 2)

    def test_one_that_stops_waiting_gives_back(self) -> None:
        """Once, whether or not the write then fails."""
        for fails in (False, True):
            warming = self.begun(3, addresses=(COLD, "192.0.2.2"))
            self.spent(warming, f"site{fails}")
            waiting = warming.spend(COLD, f"site{fails}")
            assert isinstance(waiting, Deferred)
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)
            warming.give_back(COLD, f"site{fails}", warming.day())
            if fails:
                self.patch(os, "replace", self.full)
            self.thread.work()
            self.assertEqual(warming.listed(COLD, f"site{fails}")[0].sites[0].sent, 1)

    def test_room_that_comes_back_is_told(self) -> None:
        self.spent(warming := self.begun(1))
        self.assertEqual(warming.room(COLD, "gmail"), 0)
        warming.give_back(COLD, "gmail", warming.day() - 1)
        self.assertEqual(self.changes, [])
        warming.give_back(COLD, "gmail", warming.day())
        self.assertEqual((self.changes, warming.room(COLD, "gmail")), ([(COLD, "gmail")], 1))

    def test_a_file_that_is_none(self) -> None:
        """Mail goes by other addresses until midnight; the new file says so at once."""
        day = START // DAY
        for held in (b"", b"{", b"null", b"\xff" * 9, b"[[1]]", b'[["192.0.2.1",%d,{"a":-1}]]' % day):
            self.path.write_bytes(held)
            warming = self.begun(3, 5)
            self.assertEqual(warming.room(COLD, "gmail"), 0, held)
            self.thread.work()
            self.assertEqual(self.path.read_bytes(), b'[["192.0.2.1",%d,{}]]' % (day + 1))
            self.clock.advance(86400)
            self.assertEqual(self.begun(3, 5).room(COLD, "gmail"), 5)
            self.clock.advance(-86400)

    def test_a_file_that_is_too_large(self) -> None:
        self.patch(self.modules(), "_LARGEST", 3)
        self.path.write_bytes(b"[  ]")
        self.assertEqual(self.begun(3).room(COLD, "gmail"), 0)

    def modules(self) -> Any:
        from relay.dispatch import warmup

        return warmup

    def test_nothing_in_warm_up_touches_no_disk(self) -> None:
        warming = self.begun(3, addresses=())
        self.assertIs(warming.spend(COLD, "gmail"), True)
        self.assertIsNone(warming.room(COLD, "gmail"))
        self.stopped(warming)
        self.assertEqual(list(self.path.parent.iterdir()), [])

    def test_midnight(self) -> None:
        self.spent(warming := self.begun(1, 2))
        self.assertEqual(warming.next_change(), START + DAY)
        self.clock.advance(86400)
        self.assertEqual((warming.day(), warming.room(COLD, "gmail")), (START // DAY + 1, 2))

    def test_four_weeks_with_a_crash_a_day(self) -> None:
        """Each day as the plan says, to a few per cent of the large ones; never more."""
        plan = [20, 100, 150, 199, *range(200, 2600, 100)]
        warming = self.begun(*plan)
        for number, amount in enumerate(plan):
            sent = 0
            for hour in range(24):
                self.clock.advance(3600 if hour else 0)
                if hour == number % 24:
                    warming = self.begun(*plan)
                while warming.room(COLD, "gmail") and sent < amount * (hour + 1) // 20:
                    self.spent(warming)
                    while self.thread.given:
                        self.thread.work()
                    sent += 1
            self.assertLessEqual(sent, amount)
            self.assertGreaterEqual(sent, amount if amount < 200 else amount * 0.96)
            self.clock.advance(3600)

    def test_the_thread_may_be_done_at_once(self) -> None:
        warming = self.begun(3)
        warming._in_thread = lambda call, *args: succeed(call(*args))
        told = warming.spend(COLD, "gmail")
        assert isinstance(told, Deferred)
        self.assertTrue(self.successResultOf(told))
