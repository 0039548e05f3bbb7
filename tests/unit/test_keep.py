"""State outlives a restart, and a file that is no such file stops nobody."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from relay import keep as module
from relay.access.quota import Quotas
from relay.access.refused import Refused
from relay.config.schema import Backoff as BackoffSection
from relay.keep import InThread, Keep, encoded
from relay.message.user import User
from relay.zone.backoff import Backoff

USER = User("alice", messages=((2, 3600.0),))
GARBAGE = (
    b"", b"{", b"[]", b"[[1]]", b'[["alice","messages",-1,3600.0,[[0,1]]]]', b"\xff" * 100, b"null", b"[" * 100_000,
)  # fmt: skip


class KeepTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.clock = Clock()

    def begun(self) -> tuple[Quotas, Keep[float]]:
        quotas = Quotas([], [])
        keep = Keep(quotas, self.path, self.clock, self.clock.seconds, "counts")
        keep.start()
        return quotas, keep

    def test_over_a_restart(self) -> None:
        quotas, keep = self.begun()
        quotas.charge(USER, 1, 0.0)
        quotas.charge(USER, 1, 0.0)
        keep.stop()
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.assertRaises(Refused, self.begun()[0].charge, USER, 1, 1.0)

    def test_over_a_crash(self) -> None:
        quotas, _ = self.begun()
        quotas.charge(USER, 1, 0.0)
        self.assertFalse(self.path.exists())
        self.clock.advance(30)
        quotas.charge(USER, 1, 30.0)
        self.clock.advance(30)
        self.assertRaises(Refused, self.begun()[0].charge, USER, 1, 61.0)

    def test_whatever_the_file_holds(self) -> None:
        for held in GARBAGE:
            self.path.write_bytes(held)
            quotas, keep = self.begun()
            quotas.charge(USER, 1, 0.0)
            keep.stop()
            self.assertNotEqual(self.path.read_bytes(), held)

    def test_a_file_that_is_too_long(self) -> None:
        self.patch(module, "LONGEST", 1000)
        self.path.write_bytes(b"[" + b" " * 1000 + b"]")
        with capturedLogs() as events:
            self.begun()[1].stop()
        self.assertEqual([event["error"] for event in events], ["longer than 1000 bytes"])

    def test_a_folder_that_cannot_be_written(self) -> None:
        """The relay goes on without."""
        self.path = self.path / "none" / "quota.json"
        quotas, keep = self.begun()
        quotas.charge(USER, 1, 0.0)
        with capturedLogs() as events:
            keep.stop()
        self.assertEqual([event["fate"] for event in events], ["not written"])
        self.assertFalse(self.path.exists())


class BackoffTests(SynchronousTestCase):
    """Back-offs are kept by the same class, and garbage is no reason not to start."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.clock = Clock()

    def begun(self) -> tuple[Backoff, Keep[int]]:
        backoff = Backoff(BackoffSection(), lambda decision: keep.soon())
        keep = Keep(backoff, self.path, self.clock, lambda: int(self.clock.seconds() * 1000), "back-offs")
        keep.start()
        return backoff, keep

    def test_a_listing_is_on_disk_within_a_second(self) -> None:
        backoff, _ = self.begun()
        backoff.complained("z", "s", "192.0.2.7", "blacklist", "554 listed", 0)
        self.clock.advance(1)
        self.assertEqual(self.begun()[0].allowance("z", "s", "192.0.2.7", 0), 0)

    def test_whatever_the_file_holds(self) -> None:
        for held in GARBAGE:
            self.path.write_bytes(held)
            with capturedLogs() as events:
                backoff, keep = self.begun()
                keep.stop()
            self.assertEqual([event["fate"] for event in events], ["start anew"], held)
            self.assertEqual(len(backoff), 0)


class Word:
    """As little state as there can be."""

    def __init__(self) -> None:
        self.word = ""
        self.asked = 0

    def saved(self, now: float) -> list[str]:
        self.asked += 1
        return [self.word]

    def restore(self, saved: Any, now: float) -> None:
        (self.word,) = saved


class WritingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.clock = Clock()
        self.jobs: list[tuple[Callable[[], None], Deferred[None]]] = []

    def begun(self, in_thread: InThread = maybeDeferred) -> tuple[Word, Keep[float]]:
        word = Word()
        keep = Keep(word, self.path, self.clock, self.clock.seconds, "a word", in_thread)
        keep.start()
        return word, keep

    def later(self, job: Callable[[], None]) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self.jobs.append((job, done))
        return done

    def test_soon_is_at_once_and_then_once_a_second(self) -> None:
        word, keep = self.begun()
        self.clock.advance(5)
        word.asked = 0
        for count in range(100):
            word.word = f"first {count}"
            keep.soon()
        self.clock.advance(0)
        self.assertEqual((self.path.read_text(), word.asked), ('["first 99"]', 1))
        word.word = "second"
        keep.soon()
        self.clock.advance(0.9)
        self.assertEqual(self.path.read_text(), '["first 99"]')
        self.clock.advance(0.1)
        self.assertEqual(self.path.read_text(), '["second"]')

    def test_stop_takes_back_what_was_to_be_soon(self) -> None:
        word, keep = self.begun()
        word.word = "last"
        keep.soon()
        keep.stop()
        self.assertEqual(self.path.read_text(), '["last"]')
        self.assertEqual(self.clock.getDelayedCalls(), [])
        keep.soon()
        keep.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_thread_that_is_late_brings_back_no_older_state(self) -> None:
        word, keep = self.begun(self.later)
        for word.word in ("one", "two"):
            keep.write()
        word.word = "three"
        keep.stop()
        for job, _ in reversed(self.jobs):
            job()
        self.assertEqual(self.path.read_text(), '["three"]')

    def test_words_are_made_in_the_thread_of_what_was_when_it_was_asked_for(self) -> None:
        word, keep = self.begun(self.later)
        made: list[object] = []
        self.patch(module, "encoded", lambda state: made.append(state) or encoded(state))
        word.word = "one"
        keep.write()
        word.word = "two"
        self.assertEqual(made, [])
        self.jobs[0][0]()
        self.assertEqual(self.path.read_text(), '["one"]')

    def test_what_is_the_same_is_not_written_again(self) -> None:
        word, keep = self.begun()
        word.word = "one"
        keep.write()
        self.path.unlink()
        keep.write()
        self.assertFalse(self.path.exists())

    def test_a_state_of_many_entries_is_encoded_in_pieces(self) -> None:
        many = [(f"entry {number}", number, None) for number in range(2500)]
        for state in ([], many[:1], many[:1000], many, (many, [], many[:3]), ()):
            self.assertEqual(encoded(state), msgspec.json.encode(state))

    def test_stop_waits_for_no_thread(self) -> None:
        """What one had yet to begin is on disk too."""
        word, keep = self.begun(self.later)
        word.word = "one"
        keep.write()
        keep.stop()
        self.assertEqual(self.path.read_text(), '["one"]')

    def test_a_disk_that_is_full_for_a_while(self) -> None:
        word, keep = self.begun()
        word.word = "one"
        with mock.patch.object(os, "fsync", side_effect=OSError(28, "No space left on device")):
            with capturedLogs() as events:
                keep.write()
            self.assertIn("No space left", events[0]["error"])
            self.assertFalse(self.path.exists())
        self.clock.advance(30)
        self.assertEqual(self.path.read_text(), '["one"]')

    def test_synced_before_it_takes_the_old_ones_place_and_after(self) -> None:
        word, keep = self.begun()
        word.word = "one"
        done: list[str] = []

        def noted(name: str, call: Any) -> Any:
            return lambda *given: (done.append(name), call(*given))[1]

        with (
            mock.patch.object(os, "fsync", noted("sync", os.fsync)),
            mock.patch.object(os, "replace", noted("replace", os.replace)),
        ):
            keep.write()
        self.assertEqual(done, ["sync", "replace", "sync"])
