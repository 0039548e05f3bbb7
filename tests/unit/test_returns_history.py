"""What is remembered of a delivery that something comes back for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec.structs
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from relay.message.event import Event, Numbered
from relay.queue.store import StoreError
from relay.returns.history import History
from relay.returns.past import Known

ID, NEWER = "18f0a1b2c3d4e5f607", "18f0a1b2c3d4e60000"
NOW = 1795319890_123


class FakeBook:
    def __init__(self, *events: Event) -> None:
        self.events = list(events)
        self.asked: list[Any] = []
        self.room = True

    def accepting(self) -> bool:
        return self.room

    def tell(self, events: Sequence[Event]) -> Deferred[None]:
        self.events += events
        return succeed(None)

    def history(self, queue_id: str, seq: int | None, limit: int) -> list[Numbered]:
        fits = (one for one in self.events if one.id == queue_id and (seq is None or one.seq in (0, seq)))
        return [Numbered(number, one) for number, one in enumerate(fits)][:limit]

    def trace(self, kind: str, value: str, since: int, until: int, limit: int) -> list[str]:
        self.asked.append((kind, value, until - since))
        return [one.name for one in self.events if one.message_id == value] + ["gone"]


def queued(id: str, *to: str, count: int = 0) -> Event:
    return Event(
        "queued", NOW, id, zone="first", sender="ann@example.org", message_id="<m1>", user="ann", fbl="spring",
        recipients=count or len(to), to=to, tenant="acme",
    )  # fmt: skip


def known(id: str, seq: int, recipient: str, zone: str = "first") -> Known:
    return Known(id, seq, zone, "ann@example.org", recipient, "ann", "<m1>", "spring", tenant="acme")


def delivered(id: str, seq: int, recipient: str) -> Event:
    return Event(
        "delivered", NOW, id, seq, "other", "ann@example.org", recipient, message_id="<m1>", user="ann", fbl="spring",
        tenant="acme",
    )  # fmt: skip


class HistoryTests(SynchronousTestCase):
    def of(self, *events: Event) -> History:
        self.book = FakeBook(*events)
        return History(self.book, lambda: NOW)

    def test_no_room(self) -> None:
        history = self.of()
        self.successResultOf(history.tell(Event("complaint", NOW, ID, 1)))
        self.book.room = False
        self.failureResultOf(history.tell(Event("complaint", NOW, ID, 1)), StoreError)
        self.assertEqual(len(self.book.events), 1)

    def test_what_came_back_is_counted_behind_many_attempts(self) -> None:
        tries = [msgspec.structs.replace(delivered(ID, 1, "rob@a.test"), kind="deferred")] * 500
        history = self.of(queued(ID, "rob@a.test"), *tries, *[Event("complaint", NOW, ID, 1)] * 3)
        found = history.delivery(ID, 1)
        assert found is not None
        self.assertEqual(found.returned, 3)

    def test_a_delivery(self) -> None:
        history = self.of(queued(ID, "rob@a.test", "bob@a.test"), delivered(ID, 2, "bob@a.test"))
        self.assertEqual(history.delivery(ID, 1), known(ID, 1, "rob@a.test"))
        self.assertEqual(history.delivery(ID, 2), known(ID, 2, "bob@a.test", "other"))
        self.assertIsNone(history.delivery(ID, 3))
        self.assertIsNone(history.delivery(NEWER, 1))

    def test_one_of_very_many(self) -> None:
        history = self.of(queued(ID, "rob@a.test", count=500), delivered(ID, 300, "bob@a.test"))
        self.assertEqual(history.delivery(ID, 300), known(ID, 300, "bob@a.test", "other"))
        self.assertEqual(history.delivery(ID, 301), known(ID, 301, ""))

    def test_by_message_id(self) -> None:
        history = self.of(
            queued(ID, "rob@a.test", "bob@a.test"), queued(NEWER, "rob@a.test"), delivered(ID, 2, "bob@a.test")
        )
        self.assertEqual(history.sent("<m1>", "ROB@a.test"), known(NEWER, 1, "rob@a.test"))
        self.assertEqual(history.sent("<m1>", "bob@a.test"), known(ID, 2, "bob@a.test", "other"))
        self.assertIsNone(history.sent("<m1>", "eve@a.test"))
        self.assertIsNone(history.sent("<m2>", "rob@a.test"))
        self.assertEqual(self.book.asked[0], ("message-id", "<m1>", 90 * 86_400_000))

    def test_what_came_back_is_part_of_it(self) -> None:
        history = self.of()
        event = Event("complaint", NOW, ID, 1, recipient="rob@a.test")
        self.successResultOf(history.tell(event))
        self.assertEqual(self.book.events, [event])
        self.assertEqual(history.delivery(ID, 1), Known(ID, 1, recipient="rob@a.test", returned=1))

    def test_how_often(self) -> None:
        unknown = Event("bounce-returned", NOW, ID, 2)
        history = self.of(unknown, unknown, Event("bounce-returned", NOW, ID, 3))
        self.assertEqual(history.delivery(ID, 2), Known(ID, 2, returned=2))
        history = self.of(queued(ID, "rob@a.test"), Event("complaint", NOW, ID, 1), delivered(ID, 1, "rob@a.test"))
        self.assertEqual(history.delivery(ID, 1), known(ID, 1, "rob@a.test", "other")._replace(returned=1))
