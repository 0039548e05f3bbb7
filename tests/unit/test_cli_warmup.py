"""`zonerelay warmup`, against answers of the API."""

from __future__ import annotations

import http.client
import io
import json
import sys
from typing import Any

from twisted.application.service import IService
from twisted.trial.unittest import TestCase

from relay.cli.main import main


def never(config: str) -> IService:
    raise AssertionError("nothing was to be started")


def told(**more: Any) -> dict[str, Any]:
    one = {
        "address": "192.0.2.1", "plan": "slow", "since": "2026-12-01", "day": 3, "days": 15, "amount": 200,
        "warm": False, "closed": False, "counted": 2,
        "sites": [{"site": "gmail", "sent": 150, "left": 50}, {"site": "yahoo\x1b[2J", "sent": 9, "left": 191}],
    }  # fmt: skip
    return {**one, **more}


class Told:
    """An API that says one thing."""

    asked: list[tuple[str, int | None, str]] = []

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body

    def __call__(self, host: str, port: int | None, timeout: float) -> Told:
        self.where = (host, port)
        return self

    def request(self, method: str, path: str, body: object, headers: object) -> None:
        self.asked.append((*self.where, path))

    def getresponse(self) -> Told:
        return self

    def read(self, most: int) -> bytes:
        return self.body[:most]

    def close(self) -> None:
        pass


class WarmupCommandTests(TestCase):
    def setUp(self) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)
        self.patch(Told, "asked", [])

    def ran(self, *words: str, status: int = 200, body: object = None) -> int:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.patch(http.client, "HTTPConnection", Told(status, data))
        return main(["warmup", *words], never)

    def shown(self, *addresses: dict[str, Any]) -> list[str]:
        body = {"time": "x", "until": "2026-12-04T00:00:00.000Z", "addresses": addresses}
        self.assertEqual(0, self.ran("--api", "http://127.0.0.1:8080", body=body), self.err.getvalue())
        return self.out.getvalue().splitlines()

    def test_table(self) -> None:
        warm = told(address="192.0.2.22", amount=None, warm=True, sites=[], counted=0)
        new = told(address="192.0.2.3", day=0, amount=0, sites=[], counted=0)
        self.assertEqual(
            self.shown(told(), warm, new),
            [
                "ADDRESS     PLAN  SINCE       DAY   SITE       SENT  LEFT",
                "192.0.2.1   slow  2026-12-01  3/15  gmail       150    50",
                "                                    yahoo?[2J     9   191",
                "192.0.2.22  slow  2026-12-01  warm  -",
                "192.0.2.3   slow  2026-12-01  0/15  -             0     0",
                "The amounts change at 2026-12-04T00:00:00.000Z.",
            ],
        )

    def test_what_has_to_be_said(self) -> None:
        lines = self.shown(told(counted=7), told(address="192.0.2.5", closed=True, sites=[], counted=0))
        self.assertIn("192.0.2.1: 5 more sites; --address shows the first 1,000, --site any", lines)
        self.assertIn("  ...", self.shown(told(sites=[]))[-3])
        self.assertIn("192.0.2.5: nothing more today, for it isn't known what was sent", lines)

    def test_nothing_in_warm_up(self) -> None:
        self.assertEqual(self.shown(), ["No address has a warm-up plan."])

    def test_json(self) -> None:
        body = {"until": "x", "addresses": []}
        self.assertEqual(0, self.ran("--api", "http://127.0.0.1:8080", "--json", body=body))
        self.assertEqual(json.loads(self.out.getvalue()), body)

    def test_what_it_asks(self) -> None:
        nothing = {"until": "", "addresses": []}
        self.assertEqual(0, self.ran("--api", "http://127.0.0.1:8080", "--site", "a b", body=nothing))
        self.assertEqual(Told.asked, [("127.0.0.1", 8080, "/v1/warmup?site=a+b")])

    def test_what_goes_wrong(self) -> None:
        api = ("--api", "http://127.0.0.1:8080")
        for answer, expected in (
            ({"status": 404, "body": {"message": "address: no plan"}}, "address: no plan"),
            ({"body": {}}, "what answers is no relay that knows warm-up"),
            ({"body": []}, "what answers is no relay that knows warm-up"),
        ):
            self.err.truncate(0)
            self.assertEqual(1, self.ran(*api, **answer), expected)
            self.assertIn(expected, self.err.getvalue())
        self.assertEqual("", self.out.getvalue())
