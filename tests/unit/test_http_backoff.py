"""What the API shows of back-off, and how it is ended by hand."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from twisted.trial.unittest import SynchronousTestCase

from relay.zone.decision import Scope
from relay.zone.trouble import Witness
from tests.unit.api_rig import ID, NOW, Rig


class BackoffApiTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.rig = Rig()
        self.rig.backoff.complained("default", "example.net", "192.0.2.7", "rate", "421 slow\r\ndown", NOW)
        witness = Witness(ID, 26, "b.example")
        self.rig.backoff.complained("news", "example.net", "2001:db8::7", "blacklist", "554 listed", NOW, witness)
        self.rig.backoff.unreachable("news", "example.org", "timed out", NOW)

    def zones(self, query: str = "") -> list[tuple[str, str]]:
        return [(one["zone"], one["kind"]) for one in self.rig.get(f"/v1/backoff{query}").json["backoff"]]

    def problem(self, method: str, query: str) -> Any:
        answer = self.rig.request(method, f"/v1/backoff{query}")
        self.assertEqual((answer.status, answer.json["code"]), (400, "InvalidArgument"), query)
        return answer.json["detail"]

    def test_blacklist(self) -> None:
        self.assertEqual(
            self.rig.get("/blacklist").json,
            {
                "list": [
                    {
                        "id": ID,
                        "seq": "01a",
                        "address": "2001:db8::7",
                        "domain": "b.example",
                        "response": "554 listed",
                        "created": NOW,
                    }
                ]
            },
        )

    def test_nothing(self) -> None:
        self.rig.backoff.end(Scope(), NOW)
        self.assertEqual(self.rig.get("/blacklist").json, {"list": []})
        self.assertEqual(self.rig.get("/v1/backoff").json, {"backoff": [], "more": False})

    def test_listed(self) -> None:
        body = self.rig.get("/v1/backoff?zone=Default").json
        self.assertEqual(
            body,
            {
                "backoff": [
                    {
                        "zone": "default",
                        "site": "example.net",
                        "address": "192.0.2.7",
                        "kind": "rate",
                        "reason": "421 slow down",
                        "since": "2026-11-22T03:58:10.123Z",
                        "until": "2026-11-22T03:59:10.123Z",
                        "allowance": 0,
                    }
                ],
                "more": False,
            },
        )
        self.assertEqual(self.zones(), [("news", "blacklist"), ("default", "rate"), ("news", "unreachable")])
        self.assertEqual(self.zones("?site=example.net&zone=news"), [("news", "blacklist")])
        self.assertEqual(self.zones("?address=2001:DB8:0::7"), [("news", "blacklist")])
        self.assertNotIn("address", self.rig.get("/v1/backoff?site=example.org").json["backoff"][0])

    def test_limit(self) -> None:
        for limit, more in ((1, True), (2, True), (3, False)):
            body = self.rig.get(f"/v1/backoff?limit={limit}").json
            self.assertEqual((len(body["backoff"]), body["more"]), (limit, more))

    def test_end(self) -> None:
        answer = self.rig.request("DELETE", "/v1/backoff?zone=news&site=example.net")
        self.assertEqual((answer.status, answer.json), (200, {"success": True, "ended": 1}))
        self.assertEqual(self.zones(), [("default", "rate"), ("news", "unreachable")])
        self.assertEqual(self.rig.decisions[-1].kind, "released")
        again = self.rig.request("DELETE", "/v1/backoff?zone=news&site=example.net")
        self.assertEqual(again.json, {"success": True, "ended": 0})
        self.assertEqual(self.rig.request("DELETE", "/v1/backoff?everything=true").json["ended"], 2)

    def test_what_is_wrong_is_named_and_ends_nothing(self) -> None:
        whole = "expected zone, site or address, or everything=true alone"
        for query, message in (
            ("", whole),
            ("?everything=true&zone=news", whole),
            ("?everything=false", whole),
            ("?everything=yes", 'everything: expected true or false, got "yes"'),
            ("?domain=example.net", "domain: unknown field; expected one of zone, site, address, everything"),
            ("?zone=", 'zone: expected a string of length >= 1, got ""'),
            ("?zone=a&zone=b", "zone: expected it once"),
            ("?zone=%ff", "zone: expected UTF-8"),
            ("?address=here", 'address: expected an IP address, got "here"'),
            (f"?site={'x' * 513}", f'site: expected a string of length <= 512, got "{"x" * 56}...'),
        ):
            self.assertEqual(self.problem("DELETE", query), message)
        for limit in ("0", "10001", "-1", "x", "9" * 400, quote("٣")):
            self.assertRegex(self.problem("GET", f"?limit={limit}"), "^limit: (expected a whole|integer value out)")
        self.assertEqual(len(self.zones()), 3)

    def test_other_methods(self) -> None:
        self.assertEqual(self.rig.request("POST", "/v1/backoff").status, 405)
        self.assertEqual(self.rig.request("DELETE", "/blacklist").status, 405)
