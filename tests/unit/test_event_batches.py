"""What is remembered of the batches that went to a sink."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from relay.events.batches import MOST, Batches
from relay.events.reader import KEEP, PAUSES, NotTaken
from tests.unit.sink_rig import NOW
from tests.unit.suppression_rig import FakeShelf

NO = Failure(NotTaken("h answers 503", 9.0, 503, "busy\x1b[m"))


class BatchesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.shelf = Clock(), FakeShelf()
        self.batches = self.begun()

    def begun(self, name: str = "webhook:hook") -> Batches:
        batches = Batches(name, lambda: self.shelf, self.clock, lambda: NOW + round(self.clock.seconds() * 1000))
        batches.start()
        return batches

    def note(self, first: int, last: int, came: Any = 200, replay: bool = False) -> None:
        self.batches.note((first, last), last - first + 1, 0.25, came, replay)

    def told(self, batches: Batches | None = None) -> list[tuple[int, int, int, str]]:
        return [(one.first, one.last, one.tries, one.trouble) for one in (batches or self.batches).page(0, 1000)]

    def test_a_batch_that_fails_is_one_with_all_its_tries(self) -> None:
        self.note(1, 2)
        self.note(3, 4, NO)
        [waiting] = self.batches.page(0, 1)
        self.assertTrue(self.batches.is_waiting(waiting))
        self.clock.advance(5)
        # More have come meanwhile.
        self.note(3, 9, NO)
        self.clock.advance(5)
        self.note(3, 9, 204)
        last, first = self.batches.page(0, 9)
        self.assertEqual((first.index, first.status, first.begun, first.time), (1, 200, NOW, NOW))
        self.assertEqual((last.index, last.tries, last.begun, last.time), (2, 3, NOW, NOW + 10_000))
        self.assertEqual((last.last, last.count, last.seconds, last.status, last.trouble), (9, 7, 0.25, 204, ""))
        self.assertFalse(self.batches.is_waiting(last))

    def test_a_replay_has_its_own(self) -> None:
        self.note(5, 6, NO)
        self.note(5, 6, NO, replay=True)
        self.note(5, 6, NO, replay=True)
        self.note(5, 6)
        again, live = self.batches.page(0, 9)
        self.assertEqual((again.replay, again.tries, again.trouble), (True, 2, "h answers 503"))
        self.assertEqual((live.replay, live.tries, live.trouble), (False, 2, ""))
        self.assertTrue(self.batches.is_waiting(again))
        self.batches.give_up(True)
        self.assertFalse(self.batches.is_waiting(again))

    def test_words_of_others_are_cut_and_on_one_line(self) -> None:
        self.note(1, 1, Failure(NotTaken("x" * 1000 + "\n", said="busy\x1b[m")))
        self.note(2, 2, Failure(ValueError()))
        second, first = self.batches.page(0, 9)
        self.assertEqual((len(first.trouble), first.said, second.trouble), (500, "busy [m", "ValueError"))

    def test_pages(self) -> None:
        for number in range(1, 8):
            self.note(number, number)
        self.assertEqual([one.first for one in self.batches.page(0, 3)], [7, 6, 5])
        self.assertEqual([one.first for one in self.batches.page(5, 3)], [4, 3, 2])
        self.assertEqual(self.batches.page(1, 3), [])

    def test_the_last_ones_are_kept_over_a_restart(self) -> None:
        for number in range(1, MOST + 8):
            self.note(number, number, NO if number == MOST + 7 else 200)
        self.clock.advance(KEEP)
        self.assertEqual((self.shelf.writes, len(self.shelf.kept)), ([MOST], MOST))
        self.note(MOST + 8, MOST + 8)
        self.successResultOf(self.batches.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        told = self.told()
        self.assertEqual((len(told), told[0][0], told[-1][0]), (MOST, MOST + 8, 9))
        self.assertEqual((len(self.shelf.kept), self.shelf.writes), (MOST, [MOST, 1]))
        self.batches = self.begun()
        self.assertEqual(self.told(), told)
        self.note(600, 600)
        self.assertEqual(self.told(), [(600, 600, 1, ""), *told[:-1]])

    def test_one_that_waits_does_so_after_a_restart(self) -> None:
        self.note(1, 1, NO)
        self.note(1, 1)
        self.note(1, 1, NO, replay=True)
        self.note(2, 2, NO)
        self.successResultOf(self.batches.stop())
        self.batches = self.begun()
        self.note(1, 1, replay=True)
        self.note(2, 2)
        self.assertEqual(self.told(), [(2, 2, 2, ""), (1, 1, 2, ""), (1, 1, 2, "")])

    def test_one_is_not_told_of_another(self) -> None:
        self.note(1, 1)
        self.successResultOf(self.batches.stop())
        for name in ("webhook:hoo", "webhook:hook2", "file:hook"):
            self.assertEqual(self.told(self.begun(name)), [])

    def test_what_cannot_be_kept_is_kept_later(self) -> None:
        self.shelf.error = OSError("full")
        self.note(1, 1)
        self.clock.advance(KEEP)
        self.assertEqual(self.shelf.kept, {})
        self.shelf.error = None
        self.clock.advance(PAUSES[1])
        self.assertEqual(self.told(self.begun()), [(1, 1, 1, "")])

    def test_what_cannot_be_read_is_left_out(self) -> None:
        self.note(1, 1)
        self.note(2, 2)
        self.successResultOf(self.batches.stop())
        self.shelf.kept[min(self.shelf.kept)] = b"\xc1"
        self.assertEqual(self.told(self.begun()), [(2, 2, 1, "")])
