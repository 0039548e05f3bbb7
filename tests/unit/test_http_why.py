"""GET /v1/deliveries/<name>/why, and `zonerelay why` on its answers."""

from __future__ import annotations

import argparse
import io
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from relay.bounce.diagnosis import Diagnosis
from relay.cli import why as command
from relay.cli.api import ApiError
from relay.dispatch.why import Wait, Why
from relay.http.why import WhyApi
from relay.message.values import Delivery
from relay.queue.store import StoreError
from relay.zone.decision import Scope
from tests.unit.api_rig import ID, NOW, FakeStore, Rig

HELD = Wait(
    kind="hold", limit="on hold (domain d.test): \x1b[31mno", freed_by="its end", since=NOW - 1000, until=NOW + 60_000,
    scope=Scope(domain="d.test"),
)  # fmt: skip
ROW = Delivery(ID, 26, "default", "d.test", "b@d.test", NOW, 2, NOW - 5000, NOW - 5000, "451 later", "other")
WAITING = Why(
    delivery=ROW, state="waiting", next_try=0, waits_for=HELD, user="me", priority="high", site="big", before=3,
    diagnosis=Diagnosis("defer", "other", "host", "The host is not ready", 451),
)  # fmt: skip
RETRY = Wait(kind="retry", limit="attempt 1 failed: 451 later", freed_by="time", until=NOW + 5000)
DEFERRED = Why(
    delivery=Delivery(ID, 1, "default", "e.test", "c@e.test", NOW + 5000),
    state="deferred", next_try=NOW + 5000, waits_for=RETRY, user="", priority="normal",
)  # fmt: skip


class Knows:
    broken = False

    def why(self, queue_id: str, seq: int) -> Why | None:
        if self.broken:
            raise StoreError("reopening")
        return WAITING if (queue_id, seq) == (ID, 26) else None

    def whys(self, queue_id: str, most: int) -> list[Why]:
        return [DEFERRED, WAITING][:most] if queue_id == ID else []


class WhyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reasons = Knows()
        self.rig = Rig(more=[WhyApi(self.reasons, FakeStore())])

    def test_a_delivery(self) -> None:
        self.assertEqual(
            self.rig.get(f"/v1/deliveries/{ID}.01a/why").json,
            {
                "id": ID,
                "seq": "01a",
                "recipient": "b@d.test",
                "zone": "default",
                "domain": "d.test",
                "site": "big",
                "user": "me",
                "priority": "high",
                "state": "waiting",
                "due": "2026-11-22T03:58:10.123Z",
                "next_try": None,
                "attempts": 2,
                "last_reply": "451 later",
                "category": "other",
                "meaning": "The host is not ready",
                "fault": "host",
                "before": 3,
                "waits_for": {
                    "kind": "hold",
                    "limit": "on hold (domain d.test): \x1b[31mno",
                    "scope": {"domain": "d.test"},
                    "since": "2026-11-22T03:58:09.123Z",
                    "until": "2026-11-22T03:59:10.123Z",
                    "freed_by": "its end",
                },
            },
        )

    def test_a_message(self) -> None:
        found = self.rig.get(f"/v1/deliveries/{ID}/why").json["deliveries"]
        self.assertEqual([(one["seq"], one["state"], one["before"]) for one in found],
                         [("001", "deferred", None), ("01a", "waiting", 3)])  # fmt: skip
        self.assertEqual((found[0]["last_reply"], found[0]["waits_for"]["since"]), (None, None))
        self.assertEqual([found[0][key] for key in ("category", "meaning", "fault")], [None] * 3)

    def test_what_there_is_not(self) -> None:
        for name in (f"{ID}.002", "0" * 18):
            answer = self.rig.get(f"/v1/deliveries/{name}/why")
            self.assertEqual((answer.status, answer.json["detail"][:16]), (404, "Not in the queue"))
        for name in ("x", f"{ID}.", f"{ID}.xyz", ID + "0"):
            self.assertEqual(self.rig.get(f"/v1/deliveries/{name}/why").status, 400)
        self.reasons.broken = True
        self.assertEqual(self.rig.get(f"/v1/deliveries/{ID}.01a/why").status, 503)

    def said(self, name: str, json: bool = False, asked: Any = None) -> list[str]:
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        self.patch(command, "asking", lambda arguments, ask: ask(self))
        self.asked = asked
        command.run(argparse.Namespace(name=name, json=json), None)  # type: ignore[arg-type]
        return out.getvalue().splitlines()

    def ask(self, method: str, path: str) -> Any:
        if self.asked is not None:
            return self.asked
        return self.rig.request(method, path).json

    def test_in_words(self) -> None:
        lines = self.said(f"{ID}.01a")
        self.assertEqual(lines[0], f"{ID}.01a to b@d.test: waiting")
        self.assertNotIn("\x1b", "".join(lines))
        self.assertEqual(lines[2:5], [
            "  since      2026-11-22T03:58:09.123Z",
            "  ends with  its end, at 2026-11-22T03:59:10.123Z",
            "  last reply 451 later",
        ])  # fmt: skip
        self.assertEqual(lines[5:], [
            "  means      The host is not ready (other)",
            "  before it  3 of the same user to the same domain",
            "  goes by    zone default, domain d.test, site big, user me, priority high",
        ])  # fmt: skip
        self.assertEqual(len(self.said(ID)), 14)
        self.assertIn('"state": "waiting",', "".join(self.said(f"{ID}.01a", json=True)))

    def test_who_is_no_relay(self) -> None:
        for answer in ([], {"deliveries": [{}]}, {}):
            self.assertRaises(ApiError, self.said, ID, asked=answer)
