"""Group commit on a disk whose errors the test decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from relay.message.event import Event
from relay.message.mark import Mark, Taken
from relay.message.values import Delivery, Message
from relay.queue import keys
from relay.queue.commit import BACK_OFF, Committer, Phase
from relay.queue.counters import Counters
from relay.queue.operations import AddChunk, Append, Change, Discard, Finish, Tell
from relay.queue.records import read_event
from relay.queue.store import Parcel, StoreError, ZoneCount
from tests.unit.store_rig import HandReactor, HandWorker, delivery, message, queue_id, settle

NOW = 1_700_000_000_000


def event(kind: str, number: int) -> Event:
    return Event(kind, NOW, queue_id(number), 1)


class Disk:
    """What outlives a handle. `faults`: for each coming write, None or how it fails:
    "lost" (nothing of it is there) or "kept" (all of it is, although an error was told)."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}
        self.faults: list[str | None] = []
        self.full = False
        self.unreadable = False
        self.batches: list[list[bytes]] = []
        self.handles = 0

    def open(self) -> DiskEngine:
        if self.full or self.unreadable:
            raise OSError(28, "No space left on device")
        self.handles += 1
        return DiskEngine(self)


class DiskBatch:
    def __init__(self) -> None:
        self.changes: list[tuple[bytes, bytes | None]] = []

    def put(self, key: bytes, value: bytes) -> None:
        self.changes.append((key, value))

    def delete(self, key: bytes) -> None:
        self.changes.append((key, None))


class DiskEngine:
    """A handle; dead after a failed write, as LevelDB's is."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.dead = self.closed = False
        self.batch = DiskBatch

    def write(self, batch: Any) -> None:
        assert not self.closed
        fault = self.disk.faults.pop(0) if self.disk.faults else None
        if self.disk.full or self.dead:
            fault = "lost"
        if fault != "lost":
            self.disk.batches.append([key for key, _ in batch.changes])
            for key, value in batch.changes:
                if value is None:
                    self.disk.data.pop(key, None)
                else:
                    self.disk.data[key] = value
        if fault:
            self.dead = True
            raise OSError(5, "Input/output error")

    def get(self, key: bytes) -> bytes | None:
        assert not self.closed
        return self.disk.data.get(key)

    def keys(self, start: bytes, stop: bytes, limit: int) -> list[bytes]:
        return sorted(key for key in self.disk.data if start <= key < stop)[:limit]

    def items(self, start: bytes, stop: bytes, limit: int = 1 << 32) -> list[tuple[bytes, bytes]]:
        return [(key, self.disk.data[key]) for key in self.keys(start, stop, limit)]

    def last(self, start: bytes, stop: bytes) -> bytes | None:
        return (self.keys(start, stop, 1 << 32) or [None])[-1]  # type: ignore[list-item]

    def hop(self, start: bytes, stop: bytes, onward: Callable[[bytes], bytes], limit: int) -> list[bytes]:
        raise NotImplementedError

    def size(self, start: bytes, stop: bytes) -> int:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True


class CommitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor, self.worker, self.disk = HandReactor(), HandWorker(), Disk()
        self.space = True
        self.committer = Committer(
            self.reactor, self.worker, self.disk.open(), self.disk.open, lambda: self.space, lambda: 0  # type: ignore
        )
        self.back = self.broke = 0
        self.committer.on_writable.append(self.writable_again)
        self.committer.on_broken.append(self.broken)

    def writable_again(self) -> None:
        self.back += 1

    def broken(self) -> None:
        self.broke += 1

    def append(self, number: int, **fields: Any) -> Deferred[None]:
        return self.committer.add(Append([Parcel(message(number), [delivery(number, **fields)], b"body")]))

    def finish(self, number: int) -> Deferred[None]:
        return self.committer.add(Finish(message(number), delivery(number)))

    def settle(self) -> None:
        settle(self.reactor, self.worker)

    def wait(self, seconds: float) -> None:
        self.reactor.advance(seconds)
        self.settle()

    def stored(self, number: int) -> bool:
        """Whether a message is there; and then all of it."""
        own = [key for key in self.disk.data if queue_id(number).encode() in key]
        self.assertIn(len(own), (0, 4))
        return bool(own)

    def check_counts(self) -> None:
        """The counts in memory and on disk are those of the rows on disk."""
        rows = [keys.decode(key).fields for key in self.disk.data if key[:1] == b"q"]
        on_disk = Counters((*keys.counter_of(key), 1) for key in ())
        for key, record in self.disk.data.items():
            if key[:1] == b"c":
                on_disk.add(*keys.counter_of(key), record[-1])
        for zone in {str(row[0]) for row in rows} | {"default"}:
            due = [int(row[3]) for row in rows if row[0] == zone]
            queued = sum(1 for when in due if when <= NOW)
            expected = ZoneCount(queued, len(due) - queued, 0)
            self.assertEqual(self.committer.book.counters.count(zone, NOW), expected)
            self.assertEqual(on_disk.count(zone, NOW), expected)

    # -- groups

    def test_one_write_serves_all_that_came_while_the_last_one_ran(self) -> None:
        """Q18: on a slow disk fifty messages share a sync, and the reactor waits for none."""
        first = self.append(1)
        self.reactor.advance(0)
        others = [self.append(number) for number in range(2, 52)]
        self.assertEqual(len(self.worker.jobs), 1)
        self.assertNoResult(first)
        self.worker.run_one()
        self.successResultOf(first)
        self.assertEqual(len(self.worker.jobs), 1)
        self.assertNoResult(others[0])
        self.worker.run_one()
        for other in others:
            self.successResultOf(other)
        self.assertEqual(len(self.disk.batches), 2)
        self.check_counts()

    def test_what_comes_in_one_turn_goes_in_one_write(self) -> None:
        waiting = [self.append(number) for number in range(1, 9)]
        self.settle()
        for deferred in waiting:
            self.successResultOf(deferred)
        self.assertEqual(len(self.disk.batches), 1)

    def test_the_next_write_has_begun_when_the_ends_are_told(self) -> None:
        begun: list[int] = []
        self.append(1).addCallback(lambda _: begun.append(len(self.worker.jobs)))
        self.reactor.advance(0)
        self.append(2)
        self.worker.run_one()
        self.assertEqual(begun, [1])

    # -- write errors

    def test_a_failed_append_is_taken_back_before_it_fails(self) -> None:
        """Q06: an fsync that failed may have left the message in the log all the same."""
        for fault in ("kept", "lost"):
            self.disk.faults = [fault]
            number = 1 if fault == "kept" else 2
            failed = self.append(number)
            self.reactor.advance(0)
            self.worker.run_one()  # the write
            self.assertFalse(self.committer.phase is Phase.OPEN)
            self.assertIsNone(self.committer.engine)
            self.assertNoResult(failed)
            self.worker.run_one()  # the reopening
            self.assertNoResult(failed)
            self.assertIsNotNone(self.committer.engine)
            self.worker.run_one()  # the taking back
            self.failureResultOf(failed, StoreError)
            self.assertFalse(self.stored(number))
            self.assertIs(self.committer.phase, Phase.OPEN)
            self.check_counts()
        self.assertEqual(self.back, 2)
        again = self.append(3)
        self.settle()
        self.successResultOf(again)
        self.assertTrue(self.stored(3))
        self.check_counts()

    def test_nor_is_it_in_any_history(self) -> None:
        told = [Event("queued", NOW, queue_id(1))]
        self.disk.faults = ["kept"]
        failed = self.committer.add(Append([Parcel(message(1), [delivery(1)], b"body", told)]))
        self.settle()
        self.failureResultOf(failed, StoreError)
        self.assertEqual(list(self.disk.data), [keys.STATE])

    def test_it_is_told_to_nobody_while_it_is_still_there(self) -> None:
        told = [Event("queued", NOW, queue_id(1))]
        self.disk.faults = ["kept"]
        failed = self.committer.add(Append([Parcel(message(1), [delivery(1)], b"body", told)]))
        self.reactor.advance(0)
        self.worker.run_one()  # the write
        self.worker.run_one()  # the reopening
        self.assertIs(self.committer.phase, Phase.MENDING)
        self.assertEqual((len(self.told()), self.committer.told), (1, 0))
        self.settle()
        self.failureResultOf(failed, StoreError)
        self.assertEqual((self.told(), self.committer.told), ([], 1))

    def test_what_was_told_is_told_once_through_errors(self) -> None:
        """Whether or not the group that failed is on disk."""
        self.append(1)
        self.settle()
        seen: list[int] = []
        self.committer.on_events.append(lambda: seen.append(self.committer.told))
        for number, fault in enumerate(("kept", "lost"), 1):
            self.append(number)
            self.settle()
            self.disk.faults = [fault]
            told = [Event("delivered", NOW, queue_id(number), 1)]
            finished = self.committer.add(Finish(message(number), delivery(number), told))
            self.settle()
            self.successResultOf(finished)
            self.assertEqual(seen[-1], number)
            self.assertEqual(len(self.committer.book.engine.keys(b"e", b"f", 9)), number)

    def test_nor_does_a_change_or_what_only_tells_come_twice(self) -> None:
        """With a notice to the sender, which is counted once."""
        faults = (["kept"], ["lost"], ["kept", "kept", "lost"], ["lost", "kept"], ["kept", "lost", "kept"])
        for number, fault in enumerate(faults, 1):
            self.append(number)
            self.settle()
            known = len(self.told())
            notice = Parcel(message(10 + number), [delivery(10 + number)], b"late", [event("queued", 10 + number)])
            old = delivery(number)
            self.disk.faults = [*fault]
            waiting = [
                self.committer.add(Tell([event("complaint", 20 + number)])),
                self.committer.add(Change(old, replace(old, attempts=1), [event("deferred", number)], notice)),
                self.committer.add(Tell([event("complaint", 20 + number)])),
            ]
            self.settle()
            self.wait(BACK_OFF[1])
            for deferred in waiting:
                self.successResultOf(deferred)
            kinds = [one.kind for one in self.told()[known:]]
            self.assertEqual(sorted(kinds), ["complaint", "complaint", "deferred", "queued"], str(fault))
            self.check_counts()

    def test_a_change_that_changed_nothing_is_told(self) -> None:
        self.append(1)
        self.settle()
        self.disk.faults = ["lost"]
        self.committer.add(Change(delivery(1), delivery(1), [event("released", 1)]))
        self.settle()
        self.assertEqual([one.kind for one in self.told()], ["released"])

    def told(self) -> list[Event]:
        return [read_event(record) for key, record in sorted(self.disk.data.items()) if key[:1] == b"e"]

    def test_outcomes_are_never_dropped(self) -> None:
        """Q05, Q06: kept through any number of errors, written before anything new."""
        for number in range(1, 7):
            self.append(number)
        self.settle()
        self.disk.faults = ["kept", "lost", "kept", None]
        row = delivery(3)
        waiting = [
            self.finish(1),
            self.finish(2),
            self.committer.add(Change(row, replace(row, due=NOW + 60_000, attempts=1))),
        ]
        self.reactor.advance(0)
        waiting.append(self.finish(4))  # planned behind the group that fails
        self.worker.run_one()
        waiting.append(self.finish(5))  # given while broken
        for deferred in waiting:
            self.assertNoResult(deferred)
        while self.committer.phase is not Phase.OPEN:
            self.settle()
            self.reactor.advance(BACK_OFF[1])
        self.settle()
        for deferred in waiting:
            self.successResultOf(deferred)
        self.assertEqual([self.stored(number) for number in (1, 2, 4, 5, 6)], [False] * 4 + [True])
        self.assertEqual(len([key for key in self.disk.data if key[:1] == b"x"]), 3)
        self.check_counts()

    def test_a_full_disk_refuses_mail_and_comes_back_by_itself(self) -> None:
        """Q03, Q04: also when the database can't even be opened while the disk is full."""
        self.append(1)
        self.settle()
        self.disk.full = True
        refused = self.append(2)
        finished = self.finish(1)
        self.settle()
        self.failureResultOf(refused, StoreError)
        for _ in range(5):
            self.assertIs(self.committer.phase, Phase.BROKEN)
            self.failureResultOf(self.append(3), StoreError)
            self.failureResultOf(self.committer.add(AddChunk(queue_id(9), 0, b"x")), StoreError)
            self.assertNoResult(finished)
            self.wait(BACK_OFF[1])
        self.disk.full = False
        self.wait(BACK_OFF[1])
        self.successResultOf(finished)
        self.assertEqual(self.back, 1)
        accepted = self.append(4)
        self.settle()
        self.successResultOf(accepted)
        self.assertEqual([self.stored(number) for number in (1, 2, 3, 4)], [False, False, False, True])
        self.check_counts()

    def test_a_refused_message_left_on_a_full_disk_is_taken_back_first(self) -> None:
        """Q06: it was told refused while nothing could be written; it must never be delivered."""
        self.disk.faults = ["kept"]
        # Its token is taken back with it: when it is sent again it must be taken.
        mark = Mark(b"t" * keys.TOKEN_LENGTH, Taken(message(1).id, message(1).created))
        refused = self.committer.add(Append([Parcel(message(1), [delivery(1)], b"body")], mark))
        self.reactor.advance(0)
        self.worker.run_one()
        tokens = [key for key in self.disk.data if key[:1] in (b"i", b"j")]
        self.assertEqual(len(tokens), 2)
        self.disk.full = True
        self.settle()
        self.failureResultOf(refused, StoreError)
        self.assertTrue(self.stored(1))
        self.disk.full = False
        self.wait(BACK_OFF[1])
        self.assertFalse(self.stored(1))
        self.assertFalse(set(tokens) & set(self.disk.data))
        self.assertIs(self.committer.phase, Phase.OPEN)
        self.check_counts()

    def test_errors_while_mending(self) -> None:
        """The taking back fails twice; nothing is forgotten, and each end is told once."""
        self.append(1)
        self.settle()
        self.disk.faults = ["kept", "kept", "lost"]
        refused, finished = self.append(2), self.finish(1)
        self.settle()
        self.wait(BACK_OFF[1])
        self.failureResultOf(refused, StoreError)
        self.successResultOf(finished)
        self.assertEqual((self.stored(1), self.stored(2)), (False, False))
        self.assertEqual(self.disk.handles, 4)
        self.assertEqual((self.broke, self.back), (1, 1))
        self.check_counts()

    def test_a_finish_of_what_was_refused_is_no_error(self) -> None:
        self.disk.faults = ["kept"]
        refused, finished = self.append(1), self.finish(1)
        self.settle()
        self.failureResultOf(refused, StoreError)
        self.successResultOf(finished)
        self.assertEqual([key for key in self.disk.data if key[:1] != b"#"], [])
        self.check_counts()

    def test_a_multi_recipient_message_through_an_error(self) -> None:
        rows = [delivery(1, seq) for seq in (1, 2, 3)]
        mail = message(1, recipients=3)
        self.committer.add(Append([Parcel(mail, rows, b"body")]))
        self.settle()
        self.disk.faults = ["kept", "lost"]
        waiting = [self.committer.add(Finish(mail, row)) for row in rows[:2]]
        self.settle()
        self.wait(BACK_OFF[1])
        for deferred in waiting:
            self.successResultOf(deferred)
        self.assertIn(keys.message(queue_id(1)), self.disk.data)
        self.committer.add(Finish(mail, rows[2]))
        self.settle()
        self.assertEqual([key for key in self.disk.data if key[:1] != b"#"], [])

    def test_chunks_through_an_error(self) -> None:
        """The mark is written again after an error, so that the sweep can find the chunks."""
        self.disk.faults = ["lost"]
        self.failureResultOf_later(AddChunk(queue_id(1), 0, b"x"))
        second = self.committer.add(AddChunk(queue_id(1), 1, b"y"))
        self.settle()
        self.successResultOf(second)
        self.assertIn(keys.under_way(queue_id(1)), self.disk.data)
        self.committer.add(Discard(queue_id(1), 0, 2, whole=True))
        self.settle()
        self.assertEqual(list(self.disk.data), [b"#state"])

    def failureResultOf_later(self, operation: AddChunk) -> None:
        failed = self.committer.add(operation)
        self.settle()
        self.failureResultOf(failed, StoreError)

    def test_back_off_grows_to_its_limit(self) -> None:
        self.disk.full = True
        self.append(1).addErrback(lambda _: None)
        self.settle()
        pauses = []
        for _ in range(6):
            (call,) = self.reactor.getDelayedCalls()
            pauses.append(round(call.getTime() - self.reactor.seconds(), 3))
            self.wait(pauses[-1])
        self.assertEqual(pauses, [0.5, 1.0, 2.0, 4.0, 5.0, 5.0])

    # -- space

    def test_little_space_refuses_new_mail_only(self) -> None:
        """Q03: before the disk is full, so that outcomes can still be written."""
        self.append(1)
        self.settle()
        self.space = False
        self.successResultOf_in(1, self.append(2))
        failure = self.failureResultOf(self.append(3), StoreError)
        self.assertIn("nearly full", str(failure.value))
        finished = self.finish(1)
        self.settle()
        self.successResultOf(finished)
        self.assertIs(self.committer.phase, Phase.OPEN)
        self.space = True
        self.wait(1)
        self.successResultOf_in(0, self.append(4))

    def successResultOf_in(self, seconds: float, deferred: Deferred[None]) -> None:
        self.wait(seconds)
        self.successResultOf(deferred)

    # -- the end

    def test_closing_writes_what_was_given(self) -> None:
        engine = self.committer.engine
        first = self.append(1)
        self.reactor.advance(0)
        second = self.append(2)
        closed = self.committer.close()
        self.assertNoResult(closed)
        self.settle()
        for deferred in (first, second, closed):
            self.successResultOf(deferred)
        assert isinstance(engine, DiskEngine)
        self.assertTrue(engine.closed and self.worker.stopped)
        self.failureResultOf(self.append(3), StoreError)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_closing_while_broken_ends(self) -> None:
        self.append(1)
        self.settle()
        self.disk.full = True
        finished = self.finish(1)
        self.settle()
        closed = self.committer.close()
        self.settle()
        self.failureResultOf(finished, StoreError)
        self.successResultOf(closed)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_closing_in_the_middle_of_a_write_error(self) -> None:
        for full in (False, True):
            self.setUp()
            self.disk.faults = ["kept"]
            refused = self.append(1)
            self.reactor.advance(0)
            closed = self.committer.close()
            self.worker.run_one()
            self.disk.full = full
            self.settle()
            self.failureResultOf(refused, StoreError)
            self.successResultOf(closed)
            self.assertEqual(self.stored(1), full)
            self.assertTrue(self.worker.stopped)

    # -- any history

    def test_any_history_of_errors(self) -> None:
        """Q06: whatever fails, what was acknowledged is there and what was refused is not."""
        import random

        for seed in range(60):
            self.setUp()
            chance = random.Random(seed)
            ends: dict[int, list[bool]] = {}
            mails: dict[int, tuple[Message, Delivery]] = {}
            finished: set[int] = set()

            def told(deferred: Deferred[None], number: int, ends: dict[int, list[bool]] = ends) -> None:
                deferred.addCallbacks(
                    lambda _: ends[number].append(True), lambda _: ends[number].append(False)
                )

            for number in range(1, 60):
                ends[number] = []
                told(self.append(number), number)
                mails[number] = (message(number), delivery(number))
                done = [one for one, end in ends.items() if end == [True] and one not in finished]
                if done and chance.random() < 0.5:
                    one = chance.choice(done)
                    finished.add(one)
                    self.finish(one)
                if chance.random() < 0.15:
                    self.disk.faults.append(chance.choice(("kept", "lost")))
                for _ in range(chance.randrange(3)):
                    if self.worker.jobs:
                        self.worker.run_one()
                    self.reactor.advance(chance.choice((0, 0, 1)))
            self.disk.faults.clear()
            self.wait(BACK_OFF[1])
            for number, end in ends.items():
                self.assertEqual(len(end), 1)
                self.assertEqual(self.stored(number), end == [True] and number not in finished)
            self.check_counts()
