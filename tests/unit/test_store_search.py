"""The promises of the store to those who search: all rows, and those whose message bears a label; the real one and the
fake alike."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Events
from relay.events.steps import Steps
from relay.queue import keys
from relay.queue.eventsweep import PERIOD
from relay.queue.memory import MemoryStore
from relay.queue.store import BEGIN, Point, Store
from tests.unit.store_rig import OnDisk, delivery, message, queue_id, settle

NOW = 1_700_000_000_000
DAY = 86_400_000
STEPS = Steps(True, lambda: NOW)
#: Mails in the order in which they come: recipients, tag, day, which of the deliveries have ended.
MAILS = st.lists(st.tuples(st.integers(1, 3), st.sampled_from("ab"), st.integers(0, 2), st.sets(st.integers(1, 3))))


class Conformance:
    """Mixed into a TestCase that sets `store` and `done`."""

    store: Store

    assertEqual: Any
    assertLessEqual: Any

    def done(self, deferred: Deferred[Any]) -> None:
        raise NotImplementedError

    def put(self, number: int, seqs: int = 1, created: int = NOW, **fields: Any) -> None:
        mail = replace(message(number, recipients=seqs), created=created, **fields)
        rows = [delivery(number, seq) for seq in range(1, seqs + 1)]
        self.done(self.store.append(mail, rows, b"body", b"", STEPS.queued(mail, rows)))

    def end(self, number: int, seq: int = 1) -> None:
        mail = self.store.message(queue_id(number))
        assert mail is not None
        self.done(self.store.finish(mail, delivery(number, seq)))

    def rows(self, step: int) -> list[str]:
        found: list[str] = []
        mark: Point | None = BEGIN
        while mark is not None:
            rows, mark = self.store.walk(mark, step)
            found += [row.name for row, _ in rows]
        return found

    def labelled(self, kind: str, value: str, step: int = 1000, day: int = NOW // DAY) -> list[str]:
        """What is found by looking so often at a time, and by going on behind each row."""
        found: list[str] = []
        mark: Point | None = Point(day, BEGIN.id, 0)
        while mark is not None:
            rows, mark = self.store.labelled(kind, value, mark, step)
            found += [row.name for row, _ in rows]
        one_by_one: list[str] = []
        mark = Point(day, BEGIN.id, 0)
        while mark is not None:
            rows, mark = self.store.labelled(kind, value, mark, step)
            if rows:
                one_by_one.append(rows[0][0].name)
                mark = rows[0][1]
        self.assertEqual(one_by_one, found)
        return found

    def test_all_rows_in_the_order_of_their_age(self) -> None:
        self.assertEqual(self.rows(10), [])
        for number in (3, 1, 2):
            self.put(number, number)
        names = [delivery(number, seq).name for number in (1, 2, 3) for seq in range(1, number + 1)]
        for step in (1, 2, 3, 6, 100):
            self.assertEqual(self.rows(step), names)

    def test_those_whose_message_bears_a_label(self) -> None:
        self.put(1, 3, message_id="<One@example.com>", tenant="acme", tags=("news", "spring"))
        self.put(2, sender="Other@example.com", tags=("news",))
        self.put(3, created=NOW + DAY, tenant="Acme")
        one = [delivery(1, seq).name for seq in (1, 2, 3)]
        for step in (1, 2, 3, 4, 5, 100):
            self.assertEqual(self.labelled("message-id", "<one@EXAMPLE.com>", step), one)
            self.assertEqual(self.labelled("sender", "other@example.com", step), [delivery(2).name])
            self.assertEqual(self.labelled("tenant", "acme", step), [*one, delivery(3).name])
            self.assertEqual(self.labelled("tag", "news", step), [*one, delivery(2).name])
            self.assertEqual(self.labelled("recipient", "R2@example.org", step), [one[1]])
            self.assertEqual(
                self.labelled("recipient", "r1@example.org", step), [one[0], delivery(2).name, delivery(3).name]
            )
            self.assertEqual(self.labelled("tag", "none", step), [])
        self.assertEqual(self.labelled("tag", ""), [])
        self.assertEqual(self.labelled("tenant", "acme", day=NOW // DAY + 1), [delivery(3).name])
        self.assertLessEqual(self.store.labelled_since(), NOW)

    def test_what_is_gone_is_passed_over(self) -> None:
        for number in range(1, 200):
            self.put(number, 2 if number % 50 == 0 else 1, tags=("news",) if number % 2 else ("other",))
        for number in (*range(1, 97), *range(103, 150)):
            for seq in (1, 2) if number % 50 == 0 else (1,):
                self.end(number, seq)
        left = [delivery(number).name for number in (*range(97, 103), *range(150, 200)) if number % 2]
        for step in (1, 7, 1000):
            self.assertEqual(self.labelled("tag", "news", step), left)

    def check_any(self, mails: list[tuple[int, str, int, set[int]]], step: int) -> None:
        first = int(self.store.newest or "0", 16) + 1
        wanted: dict[str, list[tuple[int, str]]] = {}
        tags = {tag: f"{tag}{first}" for tag in "ab"}
        for number, (seqs, tag, days, gone) in enumerate(mails, first):
            self.put(number, seqs, NOW + days * DAY, tags=(tags[tag],))
            for seq in range(1, seqs + 1):
                if seq in gone:
                    self.end(number, seq)
                else:
                    wanted.setdefault(tag, []).append((days, delivery(number, seq).name))
        for tag in "ab":
            names = [name for _, name in sorted(wanted.get(tag, []))]
            self.assertEqual(self.labelled("tag", tags[tag], step), names)


class InMemory(Conformance, SynchronousTestCase):
    def setUp(self) -> None:
        self.store = MemoryStore()

    def done(self, deferred: Deferred[Any]) -> None:
        self.successResultOf(deferred)

    @settings(max_examples=25, deadline=None)
    @given(MAILS, st.integers(1, 9))
    def test_any_of_them(self, mails: list[tuple[int, str, int, set[int]]], step: int) -> None:
        self.check_any(mails, step)


class OnLevel(OnDisk, Conformance):
    @settings(max_examples=25, deadline=None)
    @given(MAILS, st.integers(1, 9))
    def test_any_of_them(self, mails: list[tuple[int, str, int, set[int]]], step: int) -> None:
        self.check_any(mails, step)

    def test_a_row_that_can_not_be_read_is_left_out(self) -> None:
        for number in (1, 2, 3):
            self.put(number, tags=("news",))
        self.store._engine._db.put(keys.delivery(queue_id(2), 1), b"\x01damaged")  # type: ignore[attr-defined]
        names = [delivery(1).name, delivery(3).name]
        self.assertEqual(self.rows(1), names)
        self.assertEqual(self.labelled("tag", "news", 1), names)
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    def test_a_busy_sender_costs_no_more_than_what_is_in_the_queue(self) -> None:
        """And many in the queue no more than what is the sender's."""
        engine = self.store._engine
        looks = 0
        real = engine._db.raw_iterator  # type: ignore[attr-defined]

        class Counting:
            def __getattr__(self, name: str) -> Any:
                return getattr(db, name)

            def raw_iterator(self, **options: Any) -> Any:
                nonlocal looks
                looks += 1
                return real(**options)

        db = engine._db  # type: ignore[attr-defined]
        for number in range(1, 1001):
            self.put(number, tags=("busy",))
            if number != 500:
                self.end(number)
        for number in range(1001, 2001):
            self.put(number, tags=("rare",) if number == 1500 else ("other",))
        engine._db = Counting()  # type: ignore[attr-defined]
        start = Point(NOW // DAY, BEGIN.id, 0)
        self.assertEqual([row.id for row, _ in self.store.labelled("tag", "busy", start, 100).rows], [queue_id(500)])
        busy, looks = looks, 0
        self.assertEqual([row.id for row, _ in self.store.labelled("tag", "rare", start, 100).rows], [queue_id(1500)])
        engine._db = db  # type: ignore[attr-defined]
        self.assertTrue(busy < 12 and looks < 12, (busy, looks))


class SinceWhen(OnDisk):
    events = Events(keep=2 * 86_400.0)

    def test_of_a_new_queue_all_is_found(self) -> None:
        self.assertEqual(self.store.labelled_since(), NOW)
        self.restart()
        self.assertEqual(self.store.labelled_since(), NOW, "it stays")

    def test_what_was_taken_while_no_events_were_kept_is_not(self) -> None:
        self.stop()
        self.events = Events(keep=0)
        self.start()
        self.assertGreater(self.store.labelled_since(), NOW << 10)
        self.stop()
        self.events = Events()
        self.start()
        self.assertEqual(self.store.labelled_since(), round(self.reactor.seconds() * 1000))

    def test_nor_is_what_is_older_than_the_events(self) -> None:
        for number, days in ((1, 0), (2, 3)):
            mail = replace(message(number), created=NOW + days * DAY)
            self.done(self.store.append(mail, [delivery(number)], b"", b"", STEPS.queued(mail, [delivery(number)])))
        self.reactor.advance(3 * 86_400 + PERIOD)
        settle(self.reactor, self.worker)
        since = self.store.labelled_since()
        self.assertTrue(NOW + 3 * DAY < since < NOW + 3 * DAY + 3_600_000)
        self.reactor.advance(3 * 86_400)
        settle(self.reactor, self.worker)
        self.assertGreater(self.store.labelled_since(), NOW << 10, "there are no events at all")
