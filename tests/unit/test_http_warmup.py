"""What the API shows of warm-up."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from relay.http.warmup import WarmupApi
from relay.zone.standing import SiteCount, Standing
from tests.unit.api_rig import NOW, Answer, Rig

COLD = Standing("192.0.2.1", "slow", "2026-11-20", 3, 15, 200, False, 1, [SiteCount("gmail", 150, 50)])
WARM = Standing("192.0.2.2", "slow", "2026-01-01", 326, 15, None, False, 0, [])


class FakeWarmth:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def listed(self, address: str, site: str) -> Sequence[Standing]:
        self.asked.append((address, site))
        return [one for one in (COLD, WARM) if address in ("", one.address)]

    def next_change(self) -> int:
        return 1795392000_000


class WarmupApiTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.warmth = FakeWarmth()
        rig = Rig(more=[WarmupApi(self.warmth, lambda: NOW)])
        self.get = rig.get

    def test_all(self) -> None:
        self.assertEqual(
            self.get("/v1/warmup").json,
            {
                "time": "2026-11-22T03:58:10.123Z",
                "until": "2026-11-23T00:00:00.000Z",
                "addresses": [
                    {
                        "address": "192.0.2.1",
                        "plan": "slow",
                        "since": "2026-11-20",
                        "day": 3,
                        "days": 15,
                        "amount": 200,
                        "warm": False,
                        "closed": False,
                        "counted": 1,
                        "sites": [{"site": "gmail", "sent": 150, "left": 50}],
                    },
                    {
                        "address": "192.0.2.2",
                        "plan": "slow",
                        "since": "2026-01-01",
                        "day": 326,
                        "days": 15,
                        "amount": None,
                        "warm": True,
                        "closed": False,
                        "counted": 0,
                        "sites": [],
                    },
                ],
            },
        )

    def test_one_address_and_one_site(self) -> None:
        shown = self.get("/v1/warmup?address=192.0.2.2&site=%28a%7Cb%29.example.net").json["addresses"]
        self.assertEqual([one["address"] for one in shown], ["192.0.2.2"])
        self.assertEqual(self.warmth.asked, [("192.0.2.2", "(a|b).example.net")])

    def refused(self, answer: Answer, status: int, text: str) -> None:
        self.assertEqual(answer.status, status)
        self.assertIn(text, answer.json["detail"])

    def test_what_is_wrong_is_named(self) -> None:
        self.refused(self.get("/v1/warmup?address=192.0.2.7"), 404, "192.0.2.7")
        self.refused(self.get("/v1/warmup?adress=192.0.2.1"), 400, 'adress: unknown field; did you mean "address"?')
        self.refused(self.get("/v1/warmup?site=%ff"), 400, "site: expected UTF-8")
        self.refused(self.get("/v1/warmup?site=" + "x" * 301), 400, "site: expected a string of length <= 300")

    def test_where_it_is_not_plugged_in(self) -> None:
        self.assertEqual(Rig().get("/v1/warmup").status, 404)
