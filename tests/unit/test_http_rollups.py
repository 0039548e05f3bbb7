"""What the API tells of counts over time."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from relay.events.rollups import Rollups
from relay.http.rollups import RollupsApi
from relay.message.event import Event
from relay.queue.memory import MemoryShelf, MemoryStore
from tests.unit.api_rig import NOW, Rig

MINUTE = 60_000
FIRST = NOW // MINUTE * MINUTE


class RollupsApiTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = MemoryStore()
        shelf = MemoryShelf()
        clock = self.clock = Rig().clock
        rollups = Rollups(self.store, lambda: shelf, clock, lambda: NOW, 86_400.0)
        self.get = Rig(clock=clock, more=[RollupsApi(rollups, clock, lambda: NOW)]).get
        rollups.start()
        self.tell("queued", "delivered", "delivered", zone="a")
        self.tell("bounced", zone="b", category="spam")
        self.clock.advance(1)

    def tell(self, *kinds: str, **fields: Any) -> None:
        self.store.tell([Event(kind, NOW, **fields) for kind in kinds])

    def ask(self, query: str = "") -> Any:
        return self.get(f"/v1/rollups?since={FIRST}&until={FIRST + 2 * MINUTE}&step=60{query}").json

    def test_by_kind_unless_asked_otherwise(self) -> None:
        self.assertEqual(
            self.ask(),
            {
                "since": FIRST,
                "step": 60,
                "points": 2,
                "series": [
                    {"kind": "delivered", "total": 2, "counts": [2, 0]},
                    {"kind": "bounced", "total": 1, "counts": [1, 0]},
                    {"kind": "queued", "total": 1, "counts": [1, 0]},
                ],
                "other": None,
                "behind": 0,
            },
        )

    def test_some(self) -> None:
        spam = {"zone": "b", "reason": "spam", "total": 1, "counts": [1, 0]}
        self.assertEqual(self.ask("&zone=b,c&by=zone,reason")["series"], [spam])
        self.assertEqual([one["kind"] for one in self.ask("&kind=queued,bounced")["series"]], ["bounced", "queued"])
        self.assertEqual(self.ask("&reason=policy")["series"], [])

    def test_the_last_day_in_steps_that_fit(self) -> None:
        told = self.get("/v1/rollups").json
        self.assertEqual((told["step"], sum(told["series"][0]["counts"])), (300, 2))
        self.assertIn(told["points"], (288, 289))
        self.assertEqual(self.get(f"/v1/rollups?since={NOW - 30 * 86_400_000}").json["step"], 3 * 3600)

    def test_questions_that_make_no_sense(self) -> None:
        for query, field in (
            ("step=59", "step"),
            ("step=90", "step"),
            ("step=5400", "step"),
            (f"since={NOW - 3 * 86_400_000}&step=60", "step"),
            (f"since={NOW + 1}", "since"),
            ("by=recipient", "by"),
            ("until=x", "until"),
            ("user=bob", "user"),
        ):
            answer = self.get(f"/v1/rollups?{query}")
            self.assertEqual((answer.status, answer.json["field"]), (400, field), query)

    def test_off(self) -> None:
        get = Rig(clock=self.clock, more=[RollupsApi(None, self.clock, lambda: NOW)]).get
        answer = get("/v1/rollups")
        self.assertEqual((answer.status, answer.json["code"]), (404, "RollupsOff"))
