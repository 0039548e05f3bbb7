"""The demo server for bounces: what it takes, remembers and tells."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from twisted.trial.unittest import SynchronousTestCase

from relay.http.bounces import MOST, BouncesApi
from tests.unit.api_rig import Answer, Rig

BOUNCE = {
    "id": "1a20169d1ea0007acc", "to": "you@to.test", "returnPath": "me@src.test", "seq": "001", "category": "recipient",
    "time": "1795319890123", "response": "550 no \u2713",
}  # fmt: skip


class BouncesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.rig = Rig(more=(BouncesApi(),))

    def report(self, body: bytes, kind: str = "application/x-www-form-urlencoded") -> Answer:
        return self.rig.request("POST", "/report-bounce", body, **{"Content-Type": kind})

    def bounces(self) -> Any:
        answer = self.rig.get("/bounces")
        self.assertEqual(answer.status, 200)
        return answer.json["bounces"]

    def test_a_form(self) -> None:
        answer = self.report(urlencode({**BOUNCE, "fbl": "x", "action": "reject"}).encode())
        self.assertEqual((answer.status, answer.json), (202, BOUNCE["id"]))
        self.assertEqual(self.bounces(), [{**BOUNCE, "fbl": "x"}])

    def test_json(self) -> None:
        answer = self.report(json.dumps({**BOUNCE, "time": 1795319890123}).encode(), "application/json; charset=utf-8")
        self.assertEqual((answer.status, answer.json), (202, BOUNCE["id"]))
        self.assertEqual(self.bounces(), [BOUNCE])

    def test_so_many_are_remembered_and_so_much_of_each(self) -> None:
        for number in range(MOST + 5):
            self.report(urlencode({"id": str(number), "response": "x" * 5000}).encode())
        bounces = self.bounces()
        self.assertEqual((len(bounces), bounces[0]["id"], bounces[-1]["id"]), (MOST, "5", str(MOST + 4)))
        self.assertEqual(len(bounces[0]["response"]), 2000)

    def test_what_is_neither(self) -> None:
        for body, kind in ((b"[1]", "application/json"), (b"id=\xff", "text/plain"), (b"a=1&" * 200, "text/plain")):
            self.assertEqual(self.report(body, kind).status, 400)
        self.assertEqual(self.bounces(), [])
