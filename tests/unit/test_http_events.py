"""What the API tells of events and of histories."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from relay.http import events
from relay.http.events import EventsApi
from relay.message.dialogue import Dialogue
from relay.message.event import Event
from relay.queue.memory import MemoryStore
from tests.unit.api_rig import NOW, Rig
from tests.unit.store_rig import delivery, message, queue_id


class EventsApiTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = MemoryStore()
        rig = Rig()
        rig = Rig(clock=rig.clock, more=[EventsApi(self.store, rig.clock, lambda: NOW, 30 * 86_400.0)])
        self.get = rig.get

    def tell(self, *kinds: str, **fields: Any) -> None:
        self.store.tell([Event(kind, NOW, **fields) for kind in kinds])

    def put(self, number: int, time: int = NOW - 1000, **fields: Any) -> None:
        mail = replace(message(number, **fields), created=time, message_id=f"<{number}@example.com>")
        queued = Event("queued", time, mail.id, sender=mail.sender, message_id=mail.message_id, to=("r1@example.org",))
        self.store.append(mail, [delivery(number)], b"body", b"", [queued])

    def numbers(self, path: str) -> list[int]:
        return [one["number"] for one in self.get(path).json["events"]]

    def test_none(self) -> None:
        self.assertEqual(self.get("/v1/events").json, {"events": [], "next": 0, "missed": False})

    def test_the_latest_and_those_behind_a_number(self) -> None:
        self.tell(*["queued"] * 5)
        self.assertEqual(self.numbers("/v1/events?limit=2"), [4, 5])
        self.assertEqual(self.numbers("/v1/events?after=1&limit=2"), [2, 3])
        self.assertEqual(self.get("/v1/events?after=1&limit=2").json["next"], 3)
        self.assertEqual(self.get("/v1/events?after=5").json, {"events": [], "next": 5, "missed": False})

    def test_a_number_from_before_the_queue_was_made_anew(self) -> None:
        self.tell("queued")
        self.assertEqual(self.get("/v1/events?after=500").json["next"], 1)

    def test_only_what_is_known_is_shown(self) -> None:
        self.tell("decision", what="suspended", about="all", reason="421 slow")
        self.assertEqual(
            self.get("/v1/events").json["events"],
            [{"number": 1, "kind": "decision", "time": NOW, "reason": "421 slow", "about": "all", "what": "suspended"}],
        )

    def test_some_kinds(self) -> None:
        self.tell("queued", "bounced", "queued", "expired", "queued")
        self.assertEqual(self.numbers("/v1/events?after=0&kind=bounced,expired"), [2, 4])
        told = self.get("/v1/events?after=0&kind=bounced&limit=1").json
        self.assertEqual((len(told["events"]), told["next"]), (1, 2))
        answer = self.get("/v1/events?kind=nonsense")
        self.assertEqual((answer.status, answer.json["field"]), (400, "kind"))

    def test_a_history_that_is_longer_than_is_shown_says_so(self) -> None:
        self.tell("queued", "deferred", "deferred", id=queue_id(1), seq=1)
        self.assertFalse(self.get(f"/v1/history/{queue_id(1)}").json["more"])
        self.patch(events, "_STEPS", 2)
        for name in (queue_id(1), f"{queue_id(1)}.001"):
            told = self.get(f"/v1/history/{name}").json
            self.assertEqual(([one["kind"] for one in told["events"]], told["more"]), (["queued", "deferred"], True))

    def test_the_history_of_a_delivery(self) -> None:
        self.put(1)
        self.tell("delivered", id=queue_id(1), seq=1, reply="250 ok")
        told = self.get(f"/v1/history/{queue_id(1)}.001").json
        self.assertEqual([one["kind"] for one in told["events"]], ["queued", "delivered"])
        self.assertEqual(told["events"][1]["reply"], "250 ok")
        self.assertEqual(self.get(f"/v1/history/{queue_id(1)}").json["events"], told["events"])

    def test_the_dialogue_of_the_last_failure(self) -> None:
        self.put(1)
        row = delivery(1)
        said = Dialogue(NOW, "0.5 < 220 hi\n1.5 - Connection lost")
        self.store.change(row, replace(row, attempts=1), [Event("deferred", NOW, queue_id(1), 1)], dialogue=said)
        self.assertEqual(
            self.get(f"/v1/history/{queue_id(1)}.001").json["dialogue"],
            [
                {"time": NOW - 1000, "who": "host", "text": "220 hi"},
                {"time": NOW, "who": "", "text": "Connection lost"},
            ],
        )
        self.assertNotIn("dialogue", self.get(f"/v1/history/{queue_id(1)}").json)

    def test_nothing_is_known(self) -> None:
        for name in (queue_id(7), f"{queue_id(7)}.001", "nonsense"):
            self.assertEqual(self.get(f"/v1/history/{name}").status, 404)

    def test_it_is_found(self) -> None:
        self.put(1)
        self.put(2, sender="b@example.com")
        self.tell("delivered", id=queue_id(1), seq=1)
        for query, names in (
            ("recipient=R1@example.org", [f"{queue_id(1)}.001", f"{queue_id(2)}.001"]),
            ("sender=b@example.com", [queue_id(2)]),
            ("message_id=%3C1@example.com%3E", [queue_id(1)]),
            (f"sender=a@example.com&since={NOW}", []),
            (f"sender=a@example.com&until={NOW - 2000}", []),
        ):
            self.assertEqual([one["name"] for one in self.get(f"/v1/history?{query}").json["found"]], names)
        found = self.get("/v1/history?sender=a@example.com").json["found"][0]
        self.assertEqual((found["first"]["kind"], found["last"]["kind"]), ("queued", "delivered"))
        for limit, more in ((1, True), (2, False), (3, False)):
            told = self.get(f"/v1/history?recipient=r1@example.org&limit={limit}").json
            self.assertEqual((len(told["found"]), told["more"]), (min(limit, 2), more))

    def test_those_of_a_time_are_found_behind_any_number_of_others(self) -> None:
        """What was queued earlier on the same day takes no place among `limit`, only of what may be looked through."""
        for number in range(1, 9):
            self.put(number, time=NOW + number)
        sought = f"/v1/history?sender=a@example.com&since={NOW + 6}&until={NOW + 7}&limit=2"
        told = self.get(sought).json
        self.assertEqual([one["name"] for one in told["found"]], [queue_id(6), queue_id(7)])
        self.patch(events, "_LOOKED", 6)
        told = self.get(sought).json
        self.assertEqual(([one["name"] for one in told["found"]], told["more"]), ([queue_id(6)], True))

    def test_by_several(self) -> None:
        self.put(1)
        self.put(2, sender="b@example.com")
        for query, names in (
            ("recipient=r1@example.org&sender=B@example.com", [f"{queue_id(2)}.001"]),
            ("sender=a@example.com&message_id=%3C1@EXAMPLE.com%3E", [queue_id(1)]),
            ("sender=b@example.com&message_id=%3C1@example.com%3E", []),
            (f"recipient=r1@example.org&sender=a@example.com&since={NOW}", []),
        ):
            self.assertEqual([one["name"] for one in self.get(f"/v1/history?{query}").json["found"]], names, query)

    def test_by_time_alone(self) -> None:
        for number in range(1, 9):
            self.put(number, time=NOW + number)
            self.tell("delivered", id=queue_id(number), seq=1)
        told = self.get(f"/v1/history?since={NOW + 3}&until={NOW + 5}").json
        self.assertEqual([one["name"] for one in told["found"]], [queue_id(number) for number in (5, 4, 3)])
        self.assertFalse(told["more"])
        self.assertTrue(self.get(f"/v1/history?since={NOW + 1}&until={NOW + 8}&limit=2").json["more"])
        self.patch(events, "_LOOKED", 4)
        told = self.get(f"/v1/history?until={NOW + 8}").json
        self.assertEqual(([one["name"] for one in told["found"]], told["more"]), ([queue_id(8), queue_id(7)], True))

    def test_something_is_sought(self) -> None:
        self.assertEqual(self.get("/v1/history").problem["field"], "recipient")

