"""The promises of the store, kept by the real one and by the fake alike."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from relay.config.schema import Queue
from relay.message.event import Event
from relay.message.mark import Mark, Taken
from relay.queue.level import LevelStore
from relay.queue.memory import MemoryStore
from relay.queue.operations import Forget
from relay.queue.store import LaneKey, Parcel, Place, Store, Unreadable, ZoneCount
from relay.queue.tokens import PAUSE, PERIOD
from tests.unit.store_rig import HandReactor, HandWorker, OnDisk, delivery, message, queue_id, settle

NOW = 1_700_000_000_000
TOKEN = bytes(range(32))


def _id(taken: Taken | None) -> str | None:
    return taken and taken.id


class Conformance:
    """Mixed into a TestCase that sets `store` and `done`."""

    store: Store

    def done(self, deferred: Deferred[Any]) -> None:
        raise NotImplementedError

    def put(self, number: int, *rows: Any, **fields: Any) -> tuple[Any, list[Any]]:
        rows_ = list(rows) or [delivery(number, **fields)]
        mail = message(number, recipients=len(rows_))
        self.done(self.store.append(mail, rows_, b"body"))
        return mail, rows_

    # -- append and read

    def test_what_was_appended_is_read_back(self) -> None:
        mail, rows = self.put(1)
        self.assertEqual(self.store.message(queue_id(1)), mail)
        self.assertEqual(self.store.delivery(queue_id(1), 1), rows[0])
        self.assertEqual(self.store.deliveries(queue_id(1), 0, 10), rows)
        self.assertEqual(self.store.recipients(queue_id(1)), ["r1@example.org"])
        self.assertEqual(self.store.chunk(queue_id(1), 0), b"body")
        self.assertEqual(self.store.newest, queue_id(1))

    def test_unknown_ids_are_nothing(self) -> None:
        self.put(1)
        for unknown in (queue_id(2), "", "1", "0" * 17, "0" * 19, "\u00e4" * 18):
            self.assertIsNone(self.store.message(unknown))
            self.assertIsNone(self.store.delivery(unknown, 1))
            self.assertEqual(self.store.deliveries(unknown, 0, 10), [])
            self.assertEqual(self.store.recipients(unknown), [])
            self.assertRaises(Unreadable, self.store.chunk, unknown, 0)
        self.assertIsNone(self.store.delivery(queue_id(1), 2))
        self.assertRaises(Unreadable, self.store.chunk, queue_id(1), 1)

    def test_a_message_without_a_body_has_no_chunk(self) -> None:
        mail = message(1, chunks=0)
        self.done(self.store.append(mail, [delivery(1)], b""))
        self.assertRaises(Unreadable, self.store.chunk, queue_id(1), 0)
        self.done(self.store.finish(mail, delivery(1)))
        self.assertIsNone(self.store.message(queue_id(1)))

    def test_chunks_are_kept_and_go_with_the_last_delivery(self) -> None:
        mail = message(1, chunks=3)
        self.done(self.store.add_chunk(queue_id(1), 0, b"0000"))
        self.done(self.store.add_chunk(queue_id(1), 1, b"1111"))
        self.done(self.store.append(mail, [delivery(1)], b"2222"))
        self.assertEqual([self.store.chunk(queue_id(1), n) for n in range(3)], [b"0000", b"1111", b"2222"])
        self.done(self.store.finish(mail, delivery(1)))
        for number in range(3):
            self.assertRaises(Unreadable, self.store.chunk, queue_id(1), number)

    def test_discarded_chunks_are_gone(self) -> None:
        for number in range(3):
            self.done(self.store.add_chunk(queue_id(1), number, b"x"))
        self.done(self.store.discard(queue_id(1), 2))
        self.assertRaises(Unreadable, self.store.chunk, queue_id(1), 1)
        self.assertEqual(self.store.chunk(queue_id(1), 2), b"x")

    # -- finish

    def test_a_message_stays_until_its_last_delivery_is_finished(self) -> None:
        mail, rows = self.put(1, *[delivery(1, seq) for seq in (1, 2, 3)])
        names = [row.recipient for row in rows]
        for seq in (2, 1):
            self.done(self.store.finish(mail, rows[seq - 1]))
            self.assertEqual(self.store.message(queue_id(1)), mail)
            self.assertEqual(self.store.recipients(queue_id(1)), names)
        self.done(self.store.finish(mail, rows[2]))
        self.assertIsNone(self.store.message(queue_id(1)))
        self.assertEqual(self.store.recipients(queue_id(1)), [])
        self.assertRaises(Unreadable, self.store.chunk, queue_id(1), 0)
        self.assertEqual(self.store.count("default", NOW), ZoneCount(0, 0, 0))

    def test_finishing_twice_counts_once(self) -> None:
        mail, rows = self.put(1, *[delivery(1, seq) for seq in (1, 2)])
        first = [self.store.finish(mail, rows[0]) for _ in range(3)]
        for deferred in first:
            self.done(deferred)
        self.assertEqual(self.store.message(queue_id(1)), mail)
        self.assertEqual(self.store.count("default", NOW), ZoneCount(1, 0, 0))
        self.done(self.store.finish(mail, rows[0]))
        self.assertEqual(self.store.count("default", NOW), ZoneCount(1, 0, 0))

    def test_finish_in_the_same_breath_as_append(self) -> None:
        mail, row = message(1), delivery(1)
        appended = self.store.append(mail, [row], b"body")
        finished = self.store.finish(mail, row)
        self.done(appended)
        self.done(finished)
        self.assertIsNone(self.store.message(queue_id(1)))
        self.assertEqual(self.store.scan(LaneKey("default", "example.org"), None, NOW, 10).places, [])
        self.assertEqual(self.store.count("default", NOW), ZoneCount(0, 0, 0))

    def test_all_deliveries_finished_in_the_same_breath(self) -> None:
        rows = [delivery(1, seq) for seq in range(1, 6)]
        mail = message(1, recipients=5)
        waiting = [self.store.append(mail, rows, b"body"), *(self.store.finish(mail, row) for row in rows)]
        for deferred in waiting:
            self.done(deferred)
        self.assertIsNone(self.store.message(queue_id(1)))
        self.assertEqual(self.store.recipients(queue_id(1)), [])

    # -- change

    def test_a_deferral_moves_the_delivery(self) -> None:
        mail, (row,) = self.put(1)
        later = replace(row, due=NOW + 300_000, attempts=1, first_failure=NOW, category="network")
        self.done(self.store.change(row, later))
        self.assertEqual(self.store.delivery(queue_id(1), 1), later)
        page = self.store.scan(LaneKey("default", "example.org"), None, NOW, 10)
        self.assertEqual((page.places, page.next_due), ([], NOW + 300_000))
        self.assertEqual(self.store.count("default", NOW), ZoneCount(0, 1, 0))
        self.assertEqual(self.store.count("default", NOW + 300_000), ZoneCount(1, 0, 0))
        self.done(self.store.finish(mail, later))
        self.assertEqual(self.store.query("recipient", row.recipient, "", 10), [])

    def test_a_change_of_what_is_gone_brings_nothing_back(self) -> None:
        """Q24: a delivery deleted by the operator while its attempt ran stays deleted."""
        mail, (row,) = self.put(1)
        gone = self.store.finish(mail, row)
        late = self.store.change(row, replace(row, due=NOW + 1000, attempts=1))
        self.done(gone)
        self.done(late)
        self.done(self.store.change(row, replace(row, due=NOW + 2000, attempts=1)))
        self.assertIsNone(self.store.delivery(queue_id(1), 1))
        self.assertEqual(self.store.lanes(None, 10), [])
        self.assertEqual(self.store.zones(), [])

    def test_a_change_with_an_old_row_that_is_no_longer_true(self) -> None:
        mail, (row,) = self.put(1)
        sent_now = self.store.change(row, replace(row, due=NOW - 5000))
        deferred = self.store.change(row, replace(row, due=NOW + 60_000, attempts=1, first_failure=NOW))
        self.done(sent_now)
        self.done(deferred)
        page = self.store.scan(LaneKey("default", "example.org"), None, NOW + 90_000, 10)
        self.assertEqual(page.places, [Place(NOW + 60_000, queue_id(1), 1)])
        self.done(self.store.finish(mail, row))
        self.assertEqual(self.store.scan(LaneKey("default", "example.org"), None, NOW + 90_000, 10).places, [])
        self.assertEqual(self.store.count("default", NOW), ZoneCount(0, 0, 0))

    def test_a_change_can_move_to_another_lane(self) -> None:
        _, (row,) = self.put(1)
        self.done(self.store.change(row, replace(row, zone="other", domain="example.net")))
        self.assertEqual(self.store.lanes(None, 10), [(LaneKey("other", "example.net"), NOW)])
        self.assertEqual(self.store.zones(), ["other"])

    # -- tokens

    def test_a_token_is_kept_with_its_message_and_outlives_it(self) -> None:
        mail, row = message(1), delivery(1)
        self.assertIsNone(self.store.recall(TOKEN, 0))
        self.done(self.store.append(mail, [row], b"body", TOKEN))
        self.assertEqual(_id(self.store.recall(TOKEN, NOW)), queue_id(1))
        self.done(self.store.finish(mail, row))
        self.assertEqual(_id(self.store.recall(TOKEN, NOW - 1)), queue_id(1))
        self.assertIsNone(self.store.recall(TOKEN, NOW + 1))
        self.assertIsNone(self.store.recall(b"\0" * 32, 0))
        self.done(self.store.append(message(2), [delivery(2)], b"body"))
        self.assertIsNone(self.store.recall(b"", 0))

    def test_a_token_that_was_forgotten_can_be_taken_again(self) -> None:
        self.done(self.store.append(message(1), [delivery(1)], b"body", TOKEN))
        later = replace(message(2), created=NOW + 90_000_000)
        self.done(self.store.append(later, [delivery(2)], b"body", TOKEN))
        self.assertEqual(_id(self.store.recall(TOKEN, NOW + 90_000_000)), queue_id(2))

    def test_several_come_together_with_their_mark(self) -> None:
        mark = Mark(TOKEN, Taken(queue_id(1), NOW, b"digest", b"answer"))
        told = {n: [Event("queued", NOW, queue_id(n))] for n in (1, 2)}
        parcels = [Parcel(message(n), [delivery(n)], b"body %d" % n, told[n]) for n in (1, 2)]
        self.done(self.store.append_all(parcels, mark, [Event("suppressed", NOW, queue_id(3))]))
        self.assertEqual(self.store.recall(TOKEN, NOW), mark.taken)
        self.assertEqual([self.store.chunk(queue_id(n), 0) for n in (1, 2)], [b"body 1", b"body 2"])
        self.assertEqual(self.store.deliveries(queue_id(2), 0, 5), [delivery(2)])
        self.assertEqual([one.event.id for one in self.store.events(0, 9)], [queue_id(n) for n in (1, 2, 3)])
        self.assertEqual(self.store.newest, queue_id(2))

    def test_a_mark_may_come_without_a_message(self) -> None:
        mark = Mark(TOKEN, Taken(queue_id(1), NOW, b"digest", b"answer"))
        self.done(self.store.append_all([], mark))
        self.assertEqual(self.store.recall(TOKEN, NOW), mark.taken)
        self.assertEqual(self.store.zones(), [])

    # -- held

    def test_held_deliveries_are_out_of_the_due_index(self) -> None:
        for number in (1, 2, 3):
            self.put(number)
        held = [replace(delivery(number), held="operator") for number in (1, 3)]
        for row in held:
            self.done(self.store.change(delivery(int(row.id, 16)), row))
        self.assertEqual(self.store.held("", 10), held)
        self.assertEqual(self.store.held(held[0].name, 10), held[1:])
        self.assertEqual(self.store.held("", 1), held[:1])
        page = self.store.scan(LaneKey("default", "example.org"), None, NOW, 10)
        self.assertEqual([place.id for place in page.places], [queue_id(2)])
        self.assertEqual(self.store.count("default", NOW), ZoneCount(1, 0, 2))
        self.done(self.store.change(held[0], replace(held[0], held="", due=NOW)))
        self.assertEqual(self.store.count("default", NOW), ZoneCount(2, 0, 1))
        self.assertEqual(self.store.held("", 10), held[1:])

    def test_held_lane_alone_is_no_lane(self) -> None:
        self.put(1, held="operator")
        self.assertEqual(self.store.lanes(None, 10), [])
        self.assertEqual(self.store.zones(), ["default"])

    def test_set_aside_holds(self) -> None:
        _, (row,) = self.put(1)
        self.done(self.store.set_aside(LaneKey("default", "example.org"), Place(NOW, row.id, 1), "unreadable"))
        self.assertEqual([one.held for one in self.store.held("", 10)], ["unreadable"])
        self.assertEqual(self.store.count("default", NOW), ZoneCount(0, 0, 1))

    # -- lanes and scan

    def test_lanes_in_order_and_by_pages(self) -> None:
        lanes = [
            LaneKey("a", "x.org"),
            LaneKey("a", "x.org", "1me"),
            LaneKey("a", "x.org.uk"),
            LaneKey("a", "y.org", "0"),
            LaneKey("ab", "b.org"),
            LaneKey("b", "a.org"),
        ]
        for number, (zone, domain, flow) in enumerate(random.Random(1).sample(lanes, len(lanes))):
            self.put(number * 2 + 1, zone=zone, domain=domain, flow=flow, due=NOW + 7)
            self.put(number * 2 + 2, zone=zone, domain=domain, flow=flow, due=NOW)
        expected = [(lane, NOW) for lane in lanes]
        self.assertEqual(self.store.lanes(None, 10), expected)
        self.assertEqual(self.store.lanes(None, 2), expected[:2])
        self.assertEqual(self.store.lanes(lanes[1], 10), expected[2:])
        self.assertEqual(self.store.lanes(LaneKey("a", "x"), 1), expected[:1])
        self.assertEqual(self.store.lanes(lanes[-1], 10), [])
        self.assertEqual(self.store.zones(), ["a", "ab", "b"])

    def test_scan_pages_and_the_next_due_time(self) -> None:
        for number in range(1, 6):
            self.put(number, due=NOW + number * 1000)
        self.put(9, domain="example.net", due=NOW)

        def page(start: Place | None, until: int, limit: int) -> tuple[list[int], int | None]:
            found = self.store.scan(LaneKey("default", "example.org"), start, NOW + until, limit)
            return [int(place.id, 16) for place in found.places], found.next_due

        self.assertEqual(page(None, 0, 10), ([], NOW + 1000))
        self.assertEqual(page(None, 3000, 10), ([1, 2, 3], NOW + 4000))
        self.assertEqual(page(None, 3000, 2), ([1, 2], NOW + 3000))
        self.assertEqual(page(None, 9000, 5), ([1, 2, 3, 4, 5], None))
        self.assertEqual(page(Place(NOW + 3000, queue_id(3), 1), 9000, 10), ([3, 4, 5], None))
        self.assertEqual(page(Place(NOW + 3000, queue_id(3), 2), 9000, 10), ([4, 5], None))
        self.assertEqual(page(Place(NOW + 9000, "", 0), 9000, 10), ([], None))
        self.assertEqual(self.store.scan(LaneKey("none", "example.org"), None, NOW, 10).places, [])

    def test_deliveries_by_pages(self) -> None:
        _, rows = self.put(1, *[delivery(1, seq) for seq in range(1, 8)])
        self.assertEqual(self.store.deliveries(queue_id(1), 0, 3), rows[:3])
        self.assertEqual(self.store.deliveries(queue_id(1), 3, 10), rows[3:])

    # -- indexes

    def test_queries_find_what_was_deferred(self) -> None:
        for number in (1, 2, 3):
            self.put(number)
        self.assertEqual(self.store.query("sender", "a@example.com", "", 10), [])
        names = []
        for number in (3, 1):
            row = delivery(number)
            failed = replace(row, attempts=1, first_failure=NOW, due=NOW + 1000, category="dns")
            self.done(self.store.change(row, failed))
            names.insert(0, failed.name)
        for kind, value in (("sender", "a@example.com"), ("recipient", "r1@example.org"), ("reason", "dns")):
            self.assertEqual(self.store.query(kind, value, "", 10), names)
            self.assertEqual(self.store.query(kind, value, names[0], 10), names[1:])
            self.assertEqual(self.store.query(kind, value, "", 1), names[:1])
            self.assertEqual(self.store.query(kind, value[:-1], "", 10), [])
        again = self.store.delivery(queue_id(1), 1)
        assert again is not None
        self.done(self.store.change(again, replace(again, attempts=2, category="reply")))
        self.assertEqual(self.store.query("reason", "dns", "", 10), names[1:])
        self.assertEqual(self.store.query("sender", "a@example.com", "", 10), names)
        self.done(self.store.finish(message(1), again))
        self.assertEqual(self.store.query("sender", "a@example.com", "", 10), names[1:])

    # -- counts

    def test_counts_are_exact_after_any_history(self) -> None:
        """Q15: and at any time asked for, forwards and backwards."""
        chance = random.Random(7)
        rows: dict[str, Any] = {}
        waiting = []
        for number in range(1, 200):
            row = delivery(number, zone=chance.choice("ab"), due=NOW + chance.choice((0, 0, 60_000)))
            waiting.append(self.store.append(message(number), [row], b"body"))
            rows[row.id] = row
            other = rows[chance.choice(list(rows))]
            if chance.random() < 0.4:
                waiting.append(self.store.finish(message(int(other.id, 16)), other))
                del rows[other.id]
            elif chance.random() < 0.6:
                due = NOW + 1000 * chance.randrange(1, 90)
                new = replace(other, due=due, attempts=1, held=chance.choice(("", "", "x")))
                waiting.append(self.store.change(other, new))
                rows[other.id] = new
        for deferred in waiting:
            self.done(deferred)
        times = [NOW + 1000 * second for second in (0, 30, 45, 10, 100, -5, 60)]
        for zone in "ab":
            for now in times:
                live = [row for row in rows.values() if row.zone == zone]
                queued = sum(1 for row in live if not row.held and row.due <= now)
                held = sum(1 for row in live if row.held)
                expected = ZoneCount(queued, len(live) - held - queued, held)
                self.assertEqual(self.store.count(zone, now), expected)
        self.assertEqual(self.store.count("none", NOW), ZoneCount(0, 0, 0))


class MemoryStoreTests(Conformance, SynchronousTestCase):
    def setUp(self) -> None:
        self.store = MemoryStore()

    def done(self, deferred: Deferred[Any]) -> None:
        self.successResultOf(deferred)


class LevelStoreTests(OnDisk, Conformance, SynchronousTestCase):
    def test_everything_is_there_after_a_restart(self) -> None:
        mail, rows = self.put(1, *[delivery(1, seq) for seq in (1, 2)])
        self.put(2, due=NOW + 5000)
        self.restart()
        self.assertEqual(self.store.message(queue_id(1)), mail)
        self.assertEqual(self.store.deliveries(queue_id(1), 0, 10), rows)
        self.assertEqual(self.store.count("default", NOW), ZoneCount(2, 1, 0))
        self.assertEqual(self.store.newest, queue_id(2))
        self.assertEqual(self.store.last_seen, NOW)
        self.done(self.store.finish(mail, rows[0]))
        self.restart()
        self.done(self.store.finish(mail, rows[1]))
        self.assertIsNone(self.store.message(queue_id(1)))
        self.assertEqual(self.store.count("default", NOW), ZoneCount(0, 1, 0))

    def test_an_emptied_queue_is_empty(self) -> None:
        """Nothing but the format and the state is left: no key leaks."""
        mail, rows = self.put(1, *[delivery(1, seq) for seq in (1, 2)])
        failed = replace(rows[0], attempts=1, due=NOW + 1000, first_failure=NOW, held="x")
        self.done(self.store.change(rows[0], failed))
        self.done(self.store.change(failed, replace(failed, held="", attempts=2, category="dns")))
        self.done(self.store.add_chunk(queue_id(2), 0, b"0000"))
        self.done(self.store.append(message(2, chunks=2), [delivery(2)], b"1111"))
        self.done(self.store.add_chunk(queue_id(3), 0, b"0000"))
        self.done(self.store.discard(queue_id(3), 1))
        for row in rows:
            self.done(self.store.finish(mail, row))
        self.done(self.store.finish(message(2, chunks=2), delivery(2)))
        left = self.store._engine.keys(b"", b"\xff", 100)
        self.assertEqual(left, [b"#format", b"#state", b"#traced"])

    # -- tokens, on disk

    def tokens(self) -> list[bytes]:
        return self.store._engine.keys(b"i", b"k", 10_000)

    def test_tokens_are_there_after_a_restart(self) -> None:
        self.done(self.store.append(message(1), [delivery(1)], b"body", TOKEN))
        self.restart()
        self.assertEqual(_id(self.store.recall(TOKEN, NOW)), queue_id(1))

    def test_old_tokens_are_swept_a_slice_at_a_time(self) -> None:
        count = 450
        waiting = [
            self.store.append(
                replace(message(number), created=NOW + number), [delivery(number)], b"", number.to_bytes(32, "big")
            )
            for number in range(1, count + 1)
        ]
        for one in waiting:
            self.done(one)
        self.done(self.store.append(replace(message(999), created=NOW + 86_000_000), [delivery(999)], b"", TOKEN))
        self.reactor.advance(PERIOD)
        settle(self.reactor, self.worker)
        self.assertEqual(len(self.tokens()), 2 * count + 2)
        self.reactor.advance(86_400)
        left = []
        while len(self.tokens()) > 2 and len(left) < 10:
            settle(self.reactor, self.worker)
            left.append(len(self.tokens()) // 2 - 1)
            self.reactor.advance(PAUSE)
        self.assertEqual(left, [250, 50, 0])
        self.assertEqual(_id(self.store.recall(TOKEN, NOW)), queue_id(999))
        self.reactor.advance(86_400)
        settle(self.reactor, self.worker)
        self.assertEqual(self.tokens(), [])

    def test_a_token_used_again_is_not_swept_with_the_old_one(self) -> None:
        self.done(self.store.append(message(1), [delivery(1)], b"body", TOKEN))
        new = replace(message(2), created=NOW + 86_400_000 + 1_000_000)
        self.done(self.store.append(new, [delivery(2)], b"body", TOKEN))
        self.assertEqual(len(self.tokens()), 3)
        self.reactor.advance(86_400 + PERIOD)
        settle(self.reactor, self.worker)
        self.assertEqual(len(self.tokens()), 2)
        self.assertEqual(_id(self.store.recall(TOKEN, NOW + 1)), queue_id(2))

    def test_nor_when_both_come_in_one_breath(self) -> None:
        self.done(self.store.append(message(1), [delivery(1)], b"body", TOKEN))
        new = replace(message(2), created=NOW + 90_000_000)
        appended = self.store.append(new, [delivery(2)], b"body", TOKEN)
        self.done(self.store._writer.add(Forget([(NOW, TOKEN)])))
        self.successResultOf(appended)
        self.assertEqual(_id(self.store.recall(TOKEN, NOW + 1)), queue_id(2))
        self.assertEqual(len(self.tokens()), 2)

    def test_a_damaged_token_is_told_and_swept(self) -> None:
        """Q21."""
        self.done(self.store.append(message(1), [delivery(1)], b"body", TOKEN))
        batch = self.store._engine.batch()
        batch.put(b"i" + TOKEN, b"\x01\0\0\0\0damaged")
        self.store._engine.write(batch)
        self.assertRaises(Unreadable, self.store.recall, TOKEN, 0)
        self.reactor.advance(86_400 + PERIOD)
        settle(self.reactor, self.worker)
        self.assertEqual(self.tokens(), [])

    def test_ids_seen_are_remembered_when_their_mail_is_gone(self) -> None:
        """Q15, Q16: no id is given out twice, even if the clock went back."""
        mail, rows = self.put(77)
        self.done(self.store.finish(mail, rows[0]))
        self.restart()
        self.assertEqual(self.store.newest, queue_id(77))

    def test_chunks_never_completed_are_swept_at_the_next_start(self) -> None:
        for number in range(600):
            waiting = self.store.add_chunk(queue_id(5), number, b"x")
        self.done(waiting)
        self.done(self.store.add_chunk(queue_id(6), 0, b"0000"))
        self.done(self.store.append(message(6, chunks=2), [delivery(6)], b"1111"))
        self.restart()
        for number in (0, 599):
            self.assertRaises(Unreadable, self.store.chunk, queue_id(5), number)
        self.assertEqual(self.store.chunk(queue_id(6), 0), b"0000")
        self.assertEqual(self.store._engine.keys(b"w", b"x", 10), [])

    def test_the_sweep_leaves_what_is_under_way_alone(self) -> None:
        self.done(self.store.add_chunk(queue_id(5), 0, b"old"))
        self.stop()
        self.reactor, self.worker = HandReactor(), HandWorker()
        self.store = LevelStore(self.path, Queue(), self.reactor, worker=self.worker)  # type: ignore
        self.store.open()
        new = self.store.add_chunk(queue_id(6), 0, b"new")
        self.done(new)
        self.assertRaises(Unreadable, self.store.chunk, queue_id(5), 0)
        self.assertEqual(self.store.chunk(queue_id(6), 0), b"new")

    def test_a_mark_left_beside_a_complete_message_does_no_harm(self) -> None:
        self.done(self.store.append(message(1, chunks=1), [delivery(1)], b"body"))
        self.done(self.store.add_chunk(queue_id(1), 0, b"body"))
        self.restart()
        self.assertEqual(self.store.chunk(queue_id(1), 0), b"body")

    def test_reading_sees_only_what_is_durable(self) -> None:
        self.store.append(message(1), [delivery(1)], b"body")
        self.reactor.advance(0)
        self.assertIsNone(self.store.message(queue_id(1)))
        settle(self.reactor, self.worker)
        self.assertIsNotNone(self.store.message(queue_id(1)))

    def test_impossible_keys_are_refused_and_leave_nothing(self) -> None:
        self.failureResultOf(self.store.append(message(1), [delivery(1, zone="a\0b")], b""), ValueError)
        bad = [delivery(2, 1), delivery(2, 2, recipient="\ud800")]
        self.failureResultOf(self.store.append(message(2, recipients=2), bad, b""), UnicodeEncodeError)
        self.assertRaises(ValueError, self.store.append, replace(message(1), id="12"), [], b"")
        self.done(self.store.append(message(3), [delivery(3)], b"body"))
        self.assertIsNone(self.store.message(queue_id(2)))
        self.assertEqual(self.store.count("default", NOW), ZoneCount(1, 0, 0))

    def test_one_unreadable_row_is_set_aside_and_the_rest_flows(self) -> None:
        """Q21."""
        self.put(1, *[delivery(1, seq) for seq in (1, 2)])
        self.put(2)
        for damaged in (b"", b"\x01abcd", b"\x63" * 40, b"\x01\0\0\0\0garbage"):
            batch = self.store._engine.batch()
            batch.put(b"d" + queue_id(1).encode() + b"\0\0\0\2", damaged)
            self.store._engine.write(batch)
            self.assertRaises(Unreadable, self.store.delivery, queue_id(1), 2)
            self.assertEqual([row.seq for row in self.store.deliveries(queue_id(1), 0, 10)], [1])
        places = self.store.scan(LaneKey("default", "example.org"), None, NOW, 10).places
        self.assertEqual(len(places), 3)
        self.done(self.store.set_aside(LaneKey("default", "example.org"), places[1], "unreadable row"))
        (held,) = self.store.held("", 10)
        self.assertEqual((held.seq, held.recipient, held.held), (2, "r2@example.org", "unreadable row"))
        self.assertEqual(self.store.count("default", NOW), ZoneCount(2, 0, 1))
        self.done(self.store.finish(message(1, recipients=2), delivery(1, 1)))
        self.done(self.store.finish(message(1, recipients=2), held))
        self.assertIsNone(self.store.message(queue_id(1)))
        self.assertEqual(self.store.count("default", NOW), ZoneCount(1, 0, 0))

    def test_a_place_without_a_row_is_forgotten(self) -> None:
        """Q21."""
        _, (row,) = self.put(1)
        batch = self.store._engine.batch()
        batch.delete(b"d" + queue_id(1).encode() + b"\0\0\0\1")
        self.store._engine.write(batch)
        self.done(self.store.set_aside(LaneKey("default", "example.org"), Place(NOW, row.id, 1), "no row"))
        self.assertEqual(self.store.lanes(None, 10), [])
        self.assertEqual(self.store.zones(), [])

    def test_a_damaged_message_record_or_chunk_is_never_taken_for_mail(self) -> None:
        """Q21, Q22."""
        self.put(1)
        batch = self.store._engine.batch()
        batch.put(b"m" + queue_id(1).encode(), b"\x02\0\0\0\0\x90")
        batch.put(b"b" + queue_id(1).encode() + b"\0\0\0\0", b"\0\0\0\0body")
        self.store._engine.write(batch)
        self.assertRaises(Unreadable, self.store.message, queue_id(1))
        self.assertRaises(Unreadable, self.store.chunk, queue_id(1), 0)

    def test_ten_thousand_recipients(self) -> None:
        rows = [delivery(1, seq) for seq in range(1, 10_001)]
        mail = message(1, recipients=10_000)
        self.done(self.store.append(mail, rows, b"body"))
        self.assertEqual(len(self.store.recipients(queue_id(1))), 10_000)
        for row in rows[:-1]:
            last = self.store.finish(mail, row)
        self.done(last)
        self.assertIsNotNone(self.store.message(queue_id(1)))
        self.done(self.store.finish(mail, rows[-1]))
        self.assertIsNone(self.store.message(queue_id(1)))
        self.assertEqual(len(os.listdir(os.path.join(self.path, "journal"))), 0)


class RealThreadTests(TestCase):
    """The same store with a real thread and the real reactor."""

    async def _mail(self) -> None:
        from twisted.internet import reactor

        path = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, path)
        store = LevelStore(path, Queue(), reactor)  # type: ignore[arg-type]
        store.open()
        waiting = [store.append(message(n), [delivery(n)], b"body") for n in range(1, 101)]
        for deferred in waiting:
            await deferred
        self.assertEqual(store.count("default", NOW).queued, 100)
        for n in range(1, 101):
            await store.finish(message(n), delivery(n))
        self.assertEqual(store.lanes(None, 1), [])
        pending = store.append(message(500), [delivery(500)], b"body")
        await store.close()
        await pending
        store.open()
        self.assertIsNotNone(store.message(queue_id(500)))
        await store.close()

    def test_a_hundred_messages_and_a_restart(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._mail())
