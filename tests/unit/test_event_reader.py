"""Readers of events: in order, each taken once, from where they were, whatever happens."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.events.reader import GATHER, KEEP, PAUSES, Reader
from relay.message.event import Event, Numbered
from relay.queue.memory import MemoryStore
from relay.queue.store import Bounds


class Store(MemoryStore):
    """One that forgets."""

    oldest = 1

    def event_bounds(self) -> Bounds:
        return Bounds(self.oldest, len(self._events))

    def events(self, after: int, limit: int) -> list[Numbered]:
        return super().events(max(after, self.oldest - 1), limit)


class ReaderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.store = Store()
        self.taken: list[int] = []
        self.answers: list[Deferred[None]] = []

    def take(self, events: Sequence[Numbered]) -> Deferred[None]:
        if self.answers:
            answer = self.answers.pop(0)
            if answer.called and answer.result is not None:
                return answer
            return answer.addCallback(lambda _: self.taken.extend(one.number for one in events))
        self.taken += [one.number for one in events]
        return succeed(None)

    def reader(self, kinds: frozenset[str] | None = None, batch: int = 500) -> Reader:
        shelf = self.store.shelf("readers")
        reader = Reader("web", self.store, lambda: shelf, self.take, self.clock, kinds=kinds, batch=batch)
        reader.start()
        self.clock.advance(0)
        return reader

    def tell(self, *kinds: str) -> None:
        self.successResultOf(self.store.tell([Event(kind, 1) for kind in kinds]))

    def pass_time(self, seconds: float = GATHER) -> None:
        self.clock.pump([seconds] + [0] * 20)

    def test_the_first_time_it_begins_with_what_comes(self) -> None:
        self.tell("queued", "delivered")
        self.reader()
        self.tell("bounced", "queued")
        self.pass_time()
        self.assertEqual(self.taken, [3, 4])

    def test_it_goes_on_where_it_was(self) -> None:
        first = self.reader()
        self.tell("queued", "queued")
        self.pass_time()
        self.successResultOf(first.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.tell("queued")
        self.reader()
        self.pass_time()
        self.assertEqual(self.taken, [1, 2, 3])

    def test_after_a_crash_what_was_not_kept_comes_again(self) -> None:
        self.reader()
        self.tell("queued")
        self.pass_time()
        self.pass_time(KEEP)
        self.tell("queued")
        self.pass_time()
        self.reader()
        self.pass_time()
        self.assertEqual(self.taken, [1, 2, 2])

    def test_a_crash_right_after_the_first_start_leaves_nothing_out(self) -> None:
        self.reader()
        self.tell("queued")
        self.reader()
        self.pass_time()
        self.assertEqual(self.taken, [1, 1])

    def test_one_batch_at_a_time(self) -> None:
        reader = self.reader(batch=2)
        first: Deferred[None] = Deferred()
        self.answers = [first]
        self.tell(*["queued"] * 5)
        self.pass_time()
        self.tell("queued")
        self.pass_time()
        self.assertEqual((self.taken, reader.behind), ([], 6))
        first.callback(None)
        self.pass_time()
        self.assertEqual((self.taken, reader.behind), ([1, 2, 3, 4, 5, 6], 0))

    def test_only_the_kinds_it_wants(self) -> None:
        reader = self.reader(frozenset({"bounced"}), batch=1)
        self.tell("queued", "bounced", "queued", "queued", "bounced", "queued")
        self.pass_time()
        self.assertEqual((self.taken, reader.cursor), ([2, 5], 6))

    def test_what_is_not_taken_comes_again_after_a_pause_that_grows(self) -> None:
        reader = self.reader()
        self.answers = [fail(OSError("down")), fail(OSError("down"))]
        self.tell("queued")
        self.pass_time()
        self.assertEqual(reader.trouble, "down")
        self.tell("queued")
        self.pass_time(PAUSES[0] - 0.01)
        self.assertEqual(len(self.answers), 1)
        self.pass_time(0.01)
        self.assertEqual(self.answers, [])
        self.pass_time(2 * PAUSES[0])
        self.assertEqual((self.taken, reader.trouble), ([1, 2], ""))

    def test_a_pause_has_an_end(self) -> None:
        self.reader()
        self.answers = [fail(OSError("down")) for _ in range(20)]
        self.tell("queued")
        for _ in range(21):
            self.pass_time(PAUSES[1])
        self.assertEqual(self.taken, [1])

    def test_a_taker_that_raises_is_one_that_failed(self) -> None:
        shelf = self.store.shelf("readers")

        def take(events: Sequence[Numbered]) -> Deferred[None]:
            raise RuntimeError("broken")

        reader = Reader("web", self.store, lambda: shelf, take, self.clock)
        reader.start()
        self.tell("queued")
        self.pass_time()
        self.assertEqual((reader.trouble, reader.cursor), ("broken", 0))

    def test_what_was_forgotten_is_counted(self) -> None:
        reader = self.reader()
        self.answers = [fail(OSError("down"))]
        self.tell(*["queued"] * 5)
        self.pass_time()
        self.store.oldest = 4
        self.pass_time(PAUSES[0])
        self.assertEqual((self.taken, reader.missed), ([4, 5], 3))

    def test_a_cursor_that_lies_ahead_means_nothing(self) -> None:
        reader = self.reader()
        self.tell(*["queued"] * 5)
        self.pass_time()
        self.successResultOf(reader.stop())
        kept = self.store.shelf("readers").get(b"web")
        assert kept is not None
        self.store = Store()
        self.successResultOf(self.store.shelf("readers").write({b"web": kept}))
        self.reader()
        self.tell("queued")
        self.pass_time()
        self.assertEqual(self.taken, [1, 2, 3, 4, 5, 1])

    def test_a_stop_ends_what_is_under_way(self) -> None:
        reader = self.reader()
        waiting: Deferred[None] = Deferred()
        self.answers = [waiting]
        self.tell("queued")
        self.pass_time()
        self.successResultOf(reader.stop())
        self.assertEqual((self.taken, reader.cursor, self.clock.getDelayedCalls()), ([], 0, []))
        self.assertTrue(waiting.called)
        self.assertEqual(self.flushLoggedErrors(CancelledError), [])

    def test_a_cursor_that_can_not_be_kept_is_kept_later(self) -> None:
        reader = self.reader()
        shelf = self.store.shelf("readers")
        self.pass_time(KEEP)
        shelf.broken = True  # type: ignore[attr-defined]
        self.tell("queued")
        self.pass_time()
        self.pass_time(KEEP)
        shelf.broken = False  # type: ignore[attr-defined]
        self.pass_time(PAUSES[1])
        self.assertEqual((shelf.get(b"web"), reader.cursor), ((1).to_bytes(8, "big"), 1))
