"""What becomes of an attempt: on disk first, then said."""

from __future__ import annotations

import msgspec.structs

from relay.bounce.diagnosis import Diagnosis
from relay.events.steps import Steps
from relay.message.dialogue import Dialogue
from relay.message.values import Delivery, Message, Outcome, Result
from relay.queue.schedule import Work
from tests.unit.dispatch_rig import BOUNCED, DEFERRED, DELIVERED, DispatchRig


class ResultTests(DispatchRig):
    def setUp(self) -> None:
        super().setUp()
        self.message: Message = self.accept("d.test")
        self.work = self.claimed()

    def claimed(self) -> Work:
        row = self.store.delivery(self.message.id, 1)
        assert row is not None
        work = self.schedule.claim(self.message, row)
        assert work is not None
        return work

    def row(self) -> Delivery:
        row = self.store.delivery(self.message.id, 1)
        assert row is not None
        return row

    def test_nothing_is_said_before_it_is_on_disk(self) -> None:
        written = self.results.record(self.work, DELIVERED)
        self.assertEqual((self.results.pending, self.tally.results, self.lines()), (1, [], []))
        self.tell()
        self.assertIs(self.successResultOf(written), True)
        self.assertEqual((self.results.pending, self.tally.results), (0, [Result.DELIVERED]))
        [line] = self.lines()
        self.assertIn(f" delivered id={self.message.id}.001 ", line)
        self.assertIn('reply="250 2.0.0 ok"', line)
        self.everything_is_free()

    def test_what_could_not_be_written_is_not_said(self) -> None:
        written = self.results.record(self.work, DELIVERED)
        self.store.die()
        self.assertIs(self.successResultOf(written), False)
        self.assertEqual((self.results.pending, self.tally.results, self.lines()), (0, [], []))
        self.assertTrue(self.flushLoggedErrors())

    def test_deferred(self) -> None:
        self.results.record(self.work, DEFERRED)
        self.tell()
        row = self.row()
        self.assertEqual((row.attempts, row.due - self.now()), (1, 60_000))
        self.assertEqual((row.response, row.category), ("451 later", "reply"))
        self.assertEqual((row.first_failure, row.last_failure), (self.now(), self.now()))
        [line] = self.lines()
        self.assertIn("attempts=1 seconds_to_retry=60", line)

    def test_what_a_reply_means_is_remembered_told_and_counted(self) -> None:
        meaning = Diagnosis("slowdown", "rate", "relay", "Too much", 451)
        self.results.record(self.work, DEFERRED, meaning)
        self.tell()
        self.assertEqual((self.row().category, self.tally.refusals), ("rate", [("rate", "slowdown")]))
        self.assertIn(" category=rate action=slowdown ", self.lines()[0])

    def test_where_it_failed_is_told_when_nobody_replied(self) -> None:
        lost = Outcome(Result.DEFERRED, "Connection lost", category="network", stage="rcpt")
        self.results.record(self.work, lost)
        self.tell()
        self.assertEqual((self.row().category, self.tally.refusals), ("network", []))
        self.assertIn(" category=network ", self.lines()[0])
        self.assertNotIn(" action=", self.lines()[0])

    def test_the_first_failure_stays(self) -> None:
        first = self.now()
        self.results.record(self.work, DEFERRED)
        self.tell()
        self.clock.advance(60)
        self.results.record(self.claimed(), DEFERRED)
        self.tell()
        row = self.row()
        self.assertEqual((row.attempts, row.first_failure, row.last_failure), (2, first, self.now()))

    def test_used_up(self) -> None:
        self.work.delivery = msgspec.structs.replace(self.work.delivery, attempts=2)
        self.results.record(self.work, DEFERRED)
        self.tell()
        self.assertEqual((self.tally.results, self.tally.bounces), ([Result.BOUNCED], 1))
        self.everything_is_free()

    def test_bounced_and_dropped_end_it(self) -> None:
        self.results.record(self.work, BOUNCED)
        self.tell()
        self.message = self.accept("e.test")
        self.results.record(self.claimed(), Outcome(Result.DROPPED, "suppressed"))
        self.tell()
        self.assertEqual((self.tally.results, self.tally.bounces), ([Result.BOUNCED, Result.DROPPED], 1))
        self.everything_is_free()

    def test_the_dialogue_is_kept_where_events_are(self) -> None:
        failed = msgspec.structs.replace(DEFERRED, dialogue="0.1 < 451 later")
        for kept, said in ((False, None), (True, Dialogue(self.now(), "0.1 < 451 later"))):
            self.results._steps = Steps(kept, self.now)
            self.results.record(self.claimed() if kept else self.work, failed)
            self.tell()
            self.assertEqual(self.store.dialogue(self.message.id, 1), said)

    def test_the_event_names_the_site(self) -> None:
        self.results._steps = Steps(True, self.now)
        self.results.record(self.work, DEFERRED, site="mx.test")
        self.tell()
        self.results.record(self.claimed(), BOUNCED, site="other.test")
        self.tell()
        told = [(one.event.kind, one.event.site) for one in self.store.events(0, 10)]
        self.assertEqual([one for one in told if one[1]], [("deferred", "mx.test"), ("bounced", "other.test")])

    def test_put_aside(self) -> None:
        self.results.put_aside(self.work, "3 children died with it")
        self.tell()
        self.assertEqual(self.row().held, "3 children died with it")
        self.join()
        self.assertEqual(self.schedule.lanes(), [], "seen when it is its lane's turn")
        self.assertIn("held id=" + self.message.id + '.001 why="3 children died with it"', self.lines()[0])

    def test_D04_doubt_is_said(self) -> None:
        self.results.record(self.work, msgspec.structs.replace(DEFERRED, doubtful=True))
        self.tell()
        self.assertIn("may be sent more than once", self.lines()[0])

    def test_L01_a_hostile_reply_makes_one_line(self) -> None:
        self.results.record(self.work, msgspec.structs.replace(DEFERRED, response="451 a\r\nx delivered id=1\x1b[0m"))
        self.tell()
        self.assertEqual(len(self.lines()), 1)
