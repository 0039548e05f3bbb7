"""The promises of the store about events, histories and shelves, kept by the real one and by the fake alike."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Events
from relay.message.dialogue import Dialogue
from relay.message.event import Event
from relay.queue import keys
from relay.queue.chronicle import ends
from relay.queue.engine import Engine
from relay.queue.eventsweep import PAUSE, PERIOD, SLICE
from relay.queue.level import LevelStore
from relay.queue.memory import MemoryStore
from relay.queue.store import Bounds, Parcel, Store
from tests.unit.store_rig import HandReactor, OnDisk, delivery, message, queue_id, settle

NOW = 1_700_000_000_000
DAY = 86_400_000


def event(kind: str, number: int = 1, seq: int = 1, **fields: Any) -> Event:
    return Event(kind, fields.pop("time", NOW), queue_id(number), seq, **fields)


class Conformance:
    """Mixed into a TestCase that sets `store` and `done`."""

    store: Store

    assertEqual: Any
    assertIsNone: Any

    def done(self, deferred: Deferred[Any]) -> None:
        raise NotImplementedError

    def put(self, number: int, *rows: Any, created: int = NOW, **fields: Any) -> tuple[Any, Any]:
        rows = rows or (delivery(number),)
        mail = replace(message(number, recipients=len(rows)), created=created, **fields)
        self.done(self.store.append(mail, rows, b"body", b"", [event("queued", number, 0, time=created)]))
        return mail, rows

    def kinds(self, after: int = 0) -> list[str]:
        return [one.event.kind for one in self.store.events(after, 1000)]

    # -- events

    def test_events_come_with_what_they_tell_of_and_stay(self) -> None:
        mail, (row,) = self.put(1)
        later = replace(row, due=NOW + 5000, attempts=1, first_failure=NOW)
        self.done(self.store.change(row, later, [event("deferred", due=NOW + 5000)]))
        self.done(self.store.finish(mail, later, [event("delivered", reply="250 ok")]))
        self.assertEqual(self.kinds(), ["queued", "deferred", "delivered"])
        self.assertEqual(self.store.event_bounds(), Bounds(1, 3))
        found = self.store.events(1, 1)
        self.assertEqual((found[0].number, found[0].event), (2, event("deferred", due=NOW + 5000)))
        self.assertEqual(self.store.events(3, 10), [])

    def test_what_is_done_already_is_not_told_again(self) -> None:
        mail, (row,) = self.put(1)
        for _ in range(2):
            self.done(self.store.finish(mail, row, [event("delivered")]))
        self.done(self.store.change(row, replace(row, attempts=1), [event("deferred")]))
        self.assertEqual(self.kinds(), ["queued", "delivered"])

    def test_who_waits_is_called_when_they_are_there(self) -> None:
        seen: list[int] = []
        self.store.on_events(lambda: seen.append(self.store.event_bounds().newest))
        self.put(1)
        self.done(self.store.tell([Event("decision", NOW, what="suspended"), Event("decision", NOW)]))
        self.assertEqual(seen, [1, 3])
        self.done(self.store.append(message(2), [delivery(2)], b"body"))
        self.assertEqual(seen, [1, 3])

    def test_a_notice_comes_with_the_end_or_not_at_all(self) -> None:
        mail, (row,) = self.put(1)
        notice = Parcel(message(2), [delivery(2)], b"sorry", [event("queued", 2, 0)])
        self.done(self.store.finish(mail, row, [event("bounced")], notice))
        self.assertEqual(self.store.message(queue_id(2)), message(2))
        self.assertEqual(self.store.chunk(queue_id(2), 0), b"sorry")
        self.assertIsNone(self.store.message(queue_id(1)))
        self.assertEqual(self.store.count("default", NOW).queued, 1)
        self.assertEqual(sorted(self.kinds()), ["bounced", "queued", "queued"])
        self.done(self.store.finish(message(2), delivery(2)))
        self.done(self.store.finish(mail, row, [event("bounced")], notice))
        self.assertIsNone(self.store.message(queue_id(2)))

    def test_a_notice_may_come_with_a_change(self) -> None:
        _, (row,) = self.put(1)
        notice = Parcel(message(2), [delivery(2)], b"wait")
        self.done(self.store.change(row, replace(row, attempts=1), [event("deferred")], notice))
        self.assertEqual(self.store.deliveries(queue_id(2), 0, 10), [delivery(2)])

    # -- the dialogue of the last failure

    def test_the_dialogue_comes_with_the_failure_and_the_last_one_stays(self) -> None:
        mail, (row,) = self.put(1)
        self.assertIsNone(self.store.dialogue(queue_id(1), 1))
        later = replace(row, attempts=1, first_failure=NOW)
        self.done(self.store.change(row, later, [event("deferred")], dialogue=Dialogue(NOW, "0.1 < 450 no")))
        self.assertEqual(self.store.dialogue(queue_id(1), 1), Dialogue(NOW, "0.1 < 450 no"))
        self.done(self.store.finish(mail, later, [event("bounced")], dialogue=Dialogue(NOW, "0.1 < 550 no")))
        self.assertEqual(self.store.dialogue(queue_id(1), 1), Dialogue(NOW, "0.1 < 550 no"))
        self.done(self.store.finish(mail, later, [event("bounced")], dialogue=Dialogue(NOW, "never")))
        self.assertEqual(self.store.dialogue(queue_id(1), 1), Dialogue(NOW, "0.1 < 550 no"))
        self.assertIsNone(self.store.dialogue("nonsense", 1))

    def test_it_goes_with_the_delivery_where_no_events_are_kept_any_more(self) -> None:
        mail, (row,) = self.put(1)
        later = replace(row, attempts=1, first_failure=NOW)
        self.done(self.store.change(row, later, [event("deferred")], dialogue=Dialogue(NOW, "0.1 < 450 no")))
        self.done(self.store.finish(mail, later))
        self.assertIsNone(self.store.dialogue(queue_id(1), 1))

    # -- history

    def test_the_history_of_a_delivery_has_its_message_and_no_other(self) -> None:
        mail, rows = self.put(1, delivery(1, 1), delivery(1, 2))
        self.put(2)
        for row in reversed(rows):
            self.done(self.store.finish(mail, row, [event("delivered", seq=row.seq)]))
        named = [(one.event.kind, one.event.seq) for one in self.store.history(queue_id(1), 1, 10)]
        self.assertEqual(named, [("queued", 0), ("delivered", 1)])
        everything = [one.event.seq for one in self.store.history(queue_id(1), None, 10)]
        self.assertEqual(everything, [0, 2, 1])
        self.assertEqual(len(self.store.history(queue_id(1), None, 2)), 2)
        self.assertEqual(self.store.history("nonsense", None, 10), [])

    def test_the_ends_of_a_history(self) -> None:
        mail, rows = self.put(1, delivery(1, 1), delivery(1, 2))
        self.put(2)
        for row in reversed(rows):
            self.done(self.store.finish(mail, row, [event("delivered", seq=row.seq)]))

        def ends(seq: int | None) -> list[tuple[str, int]] | None:
            found = self.store.ends(queue_id(1), seq, 10)
            return None if found is None else [(one.event.kind, one.event.seq) for one in found]

        for seq in (None, 1, 2):
            told = self.store.history(queue_id(1), seq, 10)
            self.assertEqual(self.store.ends(queue_id(1), seq, 10), (told[0], told[-1]))
        self.assertEqual(ends(None), [("queued", 0), ("delivered", 1)])
        self.assertEqual(ends(2), [("queued", 0), ("delivered", 2)])
        self.assertEqual(ends(3), [("queued", 0), ("queued", 0)])
        self.assertIsNone(self.store.ends(queue_id(3), None, 10))
        self.assertIsNone(self.store.ends("nonsense", None, 10))

    def test_it_is_found_by_what_people_know(self) -> None:
        self.put(1, delivery(1, 1), delivery(1, 2), message_id="<A@example.com>")
        self.put(2, message_id="<b@example.com>", created=NOW + DAY, tenant="acme", tags=("news", "spring"))

        def find(kind: str, value: str, since: int = 0, until: int = NOW + DAY, limit: int = 10) -> list[str]:
            return list(self.store.trace(kind, value, since, until, limit))

        self.assertEqual(find("message-id", "<a@EXAMPLE.com>"), [queue_id(1)])
        self.assertEqual(find("recipient", "r2@example.org"), [f"{queue_id(1)}.002"])
        self.assertEqual(find("sender", "a@example.com"), [queue_id(2), queue_id(1)])
        self.assertEqual(find("sender", "a@example.com", limit=1), [queue_id(2)])
        self.assertEqual(find("sender", "a@example.com", until=NOW), [queue_id(1)])
        self.assertEqual(find("sender", "a@example.com", since=NOW + DAY), [queue_id(2)])
        for kind, value in (("tenant", "acme"), ("tag", "news"), ("tag", "spring")):
            self.assertEqual(find(kind, value), [queue_id(2)])
        self.assertEqual(find("sender", "nobody@example.com"), [])
        self.assertEqual(find("sender", ""), [])

    def test_many_are_found_a_page_at_a_time(self) -> None:
        self.put(1, *(delivery(1, seq, recipient="to@example.org") for seq in range(1, 1203)))
        names = [f"{queue_id(1)}.{seq:03x}" for seq in range(1, 1203)]
        for limit in (2000, 1202, 1001, 1000, 1):
            found = self.store.trace("recipient", "to@example.org", 0, NOW, limit)
            self.assertEqual(list(found), names[:limit])

    # -- shelves

    def test_a_shelf_is_an_ordered_map_apart_from_others(self) -> None:
        shelf, other = self.store.shelf("one"), self.store.shelf("one more")
        self.done(shelf.write({b"a": b"1", b"c": b"3", b"\xff": b"4"}))
        self.done(other.write({b"b": b"2"}))
        self.assertEqual(shelf.get(b"a"), b"1")
        self.assertIsNone(shelf.get(b"b"))
        self.assertEqual(shelf.scan(b"", b"", 10), [(b"a", b"1"), (b"c", b"3"), (b"\xff", b"4")])
        self.assertEqual(shelf.scan(b"b", b"d", 10), [(b"c", b"3")])
        self.assertEqual(shelf.scan(b"", b"", 1), [(b"a", b"1")])
        self.done(shelf.write({b"a": b"9"}, [b"c", b"nothing"]))
        self.assertEqual(self.store.shelf("one").scan(b"", b"\xff", 10), [(b"a", b"9")])
        self.assertEqual(other.scan(b"", b"", 10), [(b"b", b"2")])


class InMemory(Conformance, SynchronousTestCase):
    def setUp(self) -> None:
        self.store = MemoryStore()

    def done(self, deferred: Deferred[Any]) -> None:
        self.successResultOf(deferred)


class OnLevelDb(Conformance, OnDisk):
    done = OnDisk.done
    events = Events(keep=2 * 86_400.0)

    def test_all_of_it_is_there_after_a_restart(self) -> None:
        mail, (row,) = self.put(1, message_id="<a@example.com>")
        self.done(self.store.shelf("one").write({b"a": b"1"}))
        self.restart()
        self.assertEqual(self.store.event_bounds(), Bounds(1, 1))
        self.done(self.store.finish(mail, row, [event("delivered")]))
        self.assertEqual(self.kinds(), ["queued", "delivered"])
        self.assertEqual(len(list(self.store.trace("message-id", "<a@example.com>", 0, NOW, 10))), 1)
        self.assertEqual(self.store.shelf("one").get(b"a"), b"1")

    def test_what_is_too_old_goes_with_all_that_leads_to_it(self) -> None:
        mail, (row,) = self.put(1, message_id="<a@example.com>")
        self.done(self.store.finish(mail, row, [event("bounced")], dialogue=Dialogue(NOW, "0.1 < 550 no")))
        self.put(2, created=NOW + 3 * DAY)
        self.reactor.advance(3 * 86_400 + PERIOD)
        settle(self.reactor, self.worker)
        self.assertEqual(self.store.event_bounds(), Bounds(3, 3))
        self.assertEqual(self.kinds(), ["queued"])
        self.assertEqual(self.store.history(queue_id(1), None, 10), [])
        self.assertEqual(list(self.store.trace("message-id", "<a@example.com>", 0, NOW + 9 * DAY, 10)), [])
        self.done(self.store.finish(message(2), delivery(2)))
        self.reactor.advance(9 * 86_400)
        settle(self.reactor, self.worker)
        self.assertEqual(self.store._engine.keys(b"", b"\xff", 100), [b"#format", b"#state", b"#traced"])
        self.restart()
        self.assertEqual(self.store.event_bounds(), Bounds(4, 3))
        self.done(self.store.tell([Event("decision", NOW)]))
        self.assertEqual([one.number for one in self.store.events(0, 10)], [4])

    def test_a_reactor_whose_time_is_no_time_of_day(self) -> None:
        """As the relay's is, which never jumps: what is old is told by the time of day."""
        self.stop()
        self.reactor = HandReactor(5.0)
        self.store = LevelStore(
            f"{self.path}/other", self.config, self.reactor, self.events, worker=self.worker,
            now=lambda: NOW - 5000 + int(self.reactor.seconds() * 1000),
        )  # fmt: skip
        self.store.open()
        settle(self.reactor, self.worker)
        self.assertEqual(self.store.labelled_since(), NOW)
        self.put(1)
        self.reactor.advance(86_400)
        settle(self.reactor, self.worker)
        self.assertEqual(self.kinds(), ["queued"])
        self.reactor.advance(2 * 86_400)
        settle(self.reactor, self.worker)
        self.assertEqual(self.kinds(), [])

    def test_a_damaged_event_is_left_out_and_swept(self) -> None:
        """Q21."""
        self.put(1)
        self.put(2)
        batch = self.store._engine.batch()
        batch.put(keys.event(1), b"\x01\0\0\0\0damaged")
        self.store._engine.write(batch)
        self.assertEqual([one.number for one in self.store.events(0, 10)], [2])
        self.assertEqual(len(self.flushLoggedErrors()), 0)
        self.reactor.advance(3 * 86_400)
        settle(self.reactor, self.worker)
        self.assertEqual(self.store.event_bounds(), Bounds(3, 2))

    def test_a_damaged_event_is_no_end(self) -> None:
        """Q21. Its neighbour is, and nothing between them is read."""
        mail, rows = self.put(1, *(delivery(1, seq) for seq in range(1, 9)))
        for row in rows:
            self.done(self.store.finish(mail, row, [event("delivered", seq=row.seq)]))
        engine = self.store._engine
        batch = engine.batch()
        for number in (1, 9):
            batch.put(keys.event(number), b"\x01\0\0\0\0damaged")
        engine.write(batch)
        read: list[bytes] = []

        def get(key: bytes) -> bytes | None:
            read.append(key)
            return engine.get(key)

        found = ends(cast(Engine, SimpleNamespace(keys=engine.keys, get=get)), queue_id(1), None, 100)
        assert found is not None
        self.assertEqual([one.number for one in found], [2, 8])
        self.assertEqual(read, [keys.event(number) for number in (1, 2, 9, 8)])

    def test_a_shelf_has_bounds(self) -> None:
        shelf = self.store.shelf("one")
        for put in ({bytes(1025): b""}, {b"a": bytes(65_537)}, {bytes([n // 256, n % 256]): b"" for n in range(1001)}):
            self.assertRaises(ValueError, shelf.write, put)


class TooMuch(OnDisk):
    events = Events(max_size=1_000_000)

    def fill(self) -> None:
        for number in range(1, 101):
            mail = replace(
                message(number, recipients=2), message_id=f"<{number}@example.com>", tenant="acme", tags=("news",)
            )
            rows = [delivery(number, 1), delivery(number, 2)]
            to = tuple(row.recipient for row in rows)
            self.store.append(mail, rows, b"body", b"", [event("queued", number, 0, sender=mail.sender, to=to,
                                                               message_id=mail.message_id, tenant=mail.tenant,
                                                               tags=mail.tags)])  # fmt: skip
        for number in range(101, 3001):
            told = self.store.tell([event("deferred", number, reply="x" * 500)])
        self.done(told)
        # What is in a table counts: nothing is when it has just come.
        self.store._engine._db.compact_range()  # type: ignore[attr-defined]

    def sweep(self) -> None:
        """Until nothing more goes."""
        self.reactor.advance(PERIOD)
        settle(self.reactor, self.worker)
        for _ in range(3000 // SLICE):
            self.reactor.advance(PAUSE)
            settle(self.reactor, self.worker)

    def test_the_oldest_go_when_there_is_too_much_and_no_more_than_that(self) -> None:
        self.fill()
        self.sweep()
        oldest, newest = self.store.event_bounds()
        self.assertTrue(1000 < oldest < 2000, oldest)
        self.assertEqual(newest, 3000)
        self.assertEqual([one.number for one in self.store.events(0, 2)], [oldest, oldest + 1])

    def test_with_them_goes_what_they_are_found_by(self) -> None:
        """Also where others of that day stay."""
        self.fill()
        self.assertEqual(len(self.store._engine.keys(b"f", b"g", 9999)), 600)
        self.sweep()
        self.assertEqual(self.store._engine.keys(b"f", b"g", 9999), [])
        self.assertEqual(self.store._engine.keys(b"a", keys.step(queue_id(1000), 1, 1000), 9999), [])


class LittleRoom(TooMuch):
    """They go where there is no room for new mail, most of all."""

    def fill(self) -> None:
        super().fill()
        self.store._writer._space = lambda: False
        self.reactor.advance(2)
        self.assertFalse(self.store.accepting())
