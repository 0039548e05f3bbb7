"""Journals of earlier starts: settled before anything is offered, and never what holds up all mail."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs

from relay.channel.journal import Acceptance, encode
from relay.dispatch import legacy as module
from relay.dispatch.legacy import Legacy
from relay.message.values import Message, Result
from tests.unit.dispatch_rig import DispatchRig


class Journals(DispatchRig):
    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.legacy = Legacy(self.store, self.schedule, self.dispatcher.settle_from_journal, self.clock)

    def journal(self, name: str, *messages: Message) -> Path:
        path = self.directory / name
        entries = (Acceptance(message.id, 1, 9, "mx.test", "250 ok") for message in messages)
        path.write_bytes(b"".join(map(encode, entries)))
        return path

    def settle(self, *journals: Path) -> Deferred[None]:
        return Deferred.fromCoroutine(self.legacy.settle(journals))

    def delivered(self) -> int:
        return self.tally.results.count(Result.DELIVERED)

    def test_N26_a_journal_goes_only_when_all_of_it_is_on_disk(self) -> None:
        first, second, other = (self.accept("a.test") for _ in range(3))
        path = self.journal("1-1.0", first, second)
        done = self.settle(path)
        self.store.let_go(2)
        self.assertNoResult(done)
        self.assertTrue(path.exists())
        self.tell()
        self.assertIsNone(self.successResultOf(done))
        self.assertFalse(path.exists())
        self.assertEqual((self.delivered(), list(self.store.rows)), (2, [(other.id, 1)]))

    def test_what_is_in_the_queue_no_more_is_settled(self) -> None:
        message = self.accept("a.test")
        path = self.journal("1-1.0", message, message)
        done = self.settle(path)
        for _ in range(3):
            self.tell()
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual((path.exists(), self.delivered()), (False, 1))

    def test_Q08_a_record_that_cannot_be_read_is_passed_over(self) -> None:
        bad, good = self.accept("a.test"), self.accept("a.test")
        self.store.unreadable.add(bad.id)
        path, next_one = self.journal("1-1.0", bad, good), self.journal("1-2.0")
        with capturedLogs() as events:
            done = self.settle(path, next_one)
            self.tell()
            self.tell()
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual((path.exists(), next_one.exists(), self.delivered()), (True, False, 1))
        self.assertIn(bad.id, [event.get("id") for event in events])
        self.assertIn(str(path), [event.get("file") for event in events])

    def test_a_queue_that_is_being_reopened_is_asked_again(self) -> None:
        path = self.journal("1-1.0", self.accept("a.test"))
        self.store.silent = True
        done = self.settle(path)
        for _ in range(5):
            self.clock.advance(module._PATIENCE)
        self.assertNoResult(done)
        self.store.silent = False
        self.clock.advance(module._PATIENCE)
        self.tell()
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual((path.exists(), self.delivered()), (False, 1))

    def test_an_operators_change_is_awaited(self) -> None:
        """Sent now by hand: the row is written anew, and settled after that."""
        message = self.accept("a.test")
        row = self.store.delivery(message.id, 1)
        assert row is not None
        work = self.schedule.claim(message, row)
        assert work is not None
        changing = self.store.change(row, row).addCallback(lambda _: self.schedule.settled(work, row))
        path = self.journal("1-1.0", message)
        done = self.settle(path)
        self.assertEqual(self.delivered(), 0)
        for _ in range(3):
            self.tell()
        self.successResultOf(changing)
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual((path.exists(), self.delivered(), self.store.rows), (False, 1, {}))

    def test_a_delivery_that_never_comes_free_holds_up_nothing(self) -> None:
        stuck, good = self.accept("a.test"), self.accept("a.test")
        row = self.store.delivery(stuck.id, 1)
        assert row is not None
        self.assertIsNotNone(self.schedule.claim(stuck, row))
        path = self.journal("1-1.0", stuck, good)
        done = self.settle(path)
        for _ in range(10):
            self.tell()
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual((path.exists(), self.delivered()), (True, 1))

    def test_what_did_not_come_on_disk_keeps_the_journal(self) -> None:
        path = self.journal("1-1.0", self.accept("a.test"))
        done = self.settle(path)
        self.store.die()  # the barrier too: it is tried again
        self.clock.advance(module._PATIENCE)
        self.tell()
        self.assertIsNone(self.successResultOf(done))
        self.assertTrue(path.exists())
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_a_journal_that_cannot_be_read_is_named_and_kept(self) -> None:
        good = self.journal("1-2.0", self.accept("a.test"))
        bad = self.directory / "1-1.0"
        bad.mkdir()  # reading it fails, whoever we are
        opened = os.open

        def open_(path: Any, *more: Any) -> int:
            if path == bad:
                raise OSError(5, "Input/output error")
            return opened(path, *more)

        self.patch(os, "open", open_)
        with capturedLogs() as events:
            done = self.settle(bad, good)
            for _ in range(60):
                self.clock.advance(0.1)
            self.tell()
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual((bad.exists(), good.exists(), self.delivered()), (True, False, 1))
        self.assertIn(str(bad), [event.get("file") for event in events])

    def test_a_stop_meanwhile_undoes_nothing(self) -> None:
        path = self.journal("1-1.0", self.accept("a.test"))
        done = self.settle(path)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.tell()
        self.assertEqual((path.exists(), self.delivered(), self.store.rows), (True, 1, {}))
