"""Holds and decisions by API: what is asked, what is refused, and what is said when the disk can't."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.dispatch import holds as holds_module
from relay.dispatch.decisions import Decisions
from relay.dispatch.holds import Holds
from relay.http.decisions import DecisionsApi
from relay.http.holds import HoldsApi
from relay.logs.maillog import MailLog
from relay.zone.decision import Decision, Scope
from tests.unit.api_rig import NOW, Answer, Rig

ISO = "2026-11-22T03:58:10.123Z"


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        folder = Path(self.mktemp())
        folder.mkdir()
        self.broken = False
        self.now = NOW
        self.decisions = Decisions(MailLog(self.clock, lambda: self.now), lambda: self.now)
        ids = (f"a{n}" for n in range(100_000))
        self.holds = Holds(
            folder / "holds.json", self.clock, lambda: self.now, self.thread, self.decisions, lambda: None,
            lambda: next(ids),
        )  # fmt: skip
        self.holds.start()
        zones = ("bulk", "default")
        api = HoldsApi(self.holds, lambda: zones, self.clock, lambda: self.now)
        self.rig = Rig(more=(api, DecisionsApi(self.decisions)))

    def thread(self, function: Any, *arguments: Any) -> Deferred[None]:
        def fails() -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        return execute(fails) if self.broken else execute(function, *arguments)

    def hold(self, **fields: Any) -> Answer:
        return self.rig.request("POST", "/v1/holds", json.dumps(fields).encode())

    def refused(self, answer: Answer, field: str, *words: str) -> None:
        self.assertEqual((answer.status, answer.json["code"]), (400, "InvalidArgument"), answer.body)
        self.assertEqual(answer.json["field"], field)
        self.assertTrue(answer.problem["detail"].startswith(f"{field}: "), answer.json)
        for word in words:
            self.assertIn(word, answer.problem["detail"])
        self.assertEqual(self.holds.listed(), [])


class HoldsTests(Case):
    def test_the_whole_way(self) -> None:
        self.assertEqual(self.rig.get("/v1/holds").json, {"holds": []})
        answer = self.hold(domain="Example.com", user="al", reason="complaints", duration="2h")
        expected = {
            "id": "a0",
            "domain": "example.com",
            "user": "al",
            "reason": "complaints",
            "since": ISO,
            "until": "2026-11-22T05:58:10.123Z",
        }
        self.assertEqual((answer.status, answer.json), (201, expected))
        self.assertEqual(answer.headers["location"], "/v1/holds/a0")
        self.assertEqual(self.rig.get("/v1/holds").json, {"holds": [expected]})
        self.assertIsNotNone(self.holds.matching("default", "example.com", "", "al"))
        answer = self.rig.request("DELETE", "/v1/holds/a0")
        self.assertEqual((answer.status, answer.json), (200, expected))
        self.assertEqual(self.rig.get("/v1/holds").json, {"holds": []})
        answer = self.rig.request("DELETE", "/v1/holds/a0")
        self.assertEqual(answer.status, 404)
        self.assertEqual(answer.problem, {"code": "ResourceNotFound", "detail": 'There is no hold "a0"'})

    def test_until(self) -> None:
        for text, expected in (
            ("2026-11-22T05:58:10.123Z", "2026-11-22T05:58:10.123Z"),
            ("2026-11-22T05:58:10.123+01:00", "2026-11-22T04:58:10.123Z"),
            ("2026-12-01T08:00Z", "2026-12-01T08:00:00.000Z"),
        ):
            self.assertEqual(self.hold(zone="Bulk", reason="x", until=text).json["until"], expected)
        self.assertIsNone(self.hold(zone="bulk", reason="x").json["until"])

    def test_everything(self) -> None:
        answer = self.hold(everything=True, reason="maintenance").json
        self.assertEqual(answer, {"id": "a0", "everything": True, "reason": "maintenance", "since": ISO, "until": None})

    def test_refused(self) -> None:
        for fields, field, word in (
            ({}, "everything", "expected true, or one of zone"),
            ({"everything": False}, "everything", "expected true, or one of zone"),
            ({"everything": True, "zone": "bulk"}, "everything", "beside it, got zone"),
            ({"everything": "true"}, "everything", "expected true or false, got a string"),
            ({"domian": "x.test"}, "domian", 'unknown field; did you mean "domain"?'),
            ({"zzzzzzz": 1}, "zzzzzzz", "expected one of zone, domain"),
            ({"x" * 1000: 1}, "x" * 57 + "...", "unknown field"),
            ({"zone": "bluk"}, "zone", 'there is no zone "bluk"; did you mean "bulk"?'),
            ({"zone": "z"}, "zone", "expected one of bulk, default"),
            ({"zone": 5}, "zone", "expected a string, got a whole number"),
            ({"zone": None}, "zone", "expected a string, got null"),
            ({"domain": "a b"}, "domain", 'such as "example.com", got "a b"'),
            ({"domain": ["x.test"]}, "domain", "got a list"),
            ({"address": "1.2.3"}, "address", "expected an IP address"),
            ({"user": "a\nb"}, "user", "printable"),
            ({"domain": "x.test", "reason": ""}, "reason", "1 to 500 characters"),
            ({"domain": "x.test", "reason": "x" * 501}, "reason", "1 to 500 characters"),
            ({"domain": "x.test", "duration": "2 hours"}, "duration", 'a duration such as "4h"'),
            ({"domain": "x.test", "duration": "0h"}, "duration", "above 0"),
            ({"domain": "x.test", "duration": "3651d"}, "duration", "at most 3650d"),
            ({"domain": "x.test", "duration": 7200}, "duration", "expected a string, got a whole number"),
            ({"domain": "x.test", "until": "tomorrow"}, "until", "2026-12-01T08:00:00Z"),
            ({"domain": "x.test", "until": "2026-12-01T08:00:00"}, "until", "with its offset"),
            ({"domain": "x.test", "until": ISO}, "until", "a time to come"),
            ({"domain": "x.test", "until": "9999-12-31T23:59:59Z"}, "until", "within 3650 days"),
            ({"domain": "x.test", "until": "0001-01-01T00:00:00+23:59"}, "until", ""),
            ({"domain": "x.test", "until": "2027-01-01T00:00Z", "duration": "1h"}, "until", "got both"),
        ):  # fmt: skip
            self.refused(self.hold(**{"reason": "why"} | fields), field, word)
        self.refused(self.hold(domain="x.test"), "reason", 'got ""')

    def test_no_object(self) -> None:
        for body in (b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"domain=x.test", b"[" * 10_000):
            answer = self.rig.request("POST", "/v1/holds", body)
            self.assertEqual((answer.status, answer.json["code"]), (400, "InvalidContent"), body)

    @given(st.dictionaries(st.sampled_from(("zone", "domain", "address", "user", "reason", "until", "duration",
                                            "everything", "x")),
                           st.none() | st.booleans() | st.integers() | st.text()))  # fmt: skip
    def test_whatever_is_asked(self, fields: dict[str, object]) -> None:
        answer = self.rig.request("POST", "/v1/holds", json.dumps(fields).encode())
        self.assertIn(answer.status, (201, 400), answer.body)
        self.assertEqual(self.rig.get("/v1/holds").status, 200)

    def test_a_full_disk(self) -> None:
        self.hold(zone="bulk", reason="old")
        self.broken = True
        answer = self.hold(domain="x.test", reason="why")
        self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "30"))
        self.assertEqual(answer.problem["detail"], "Nothing was put on hold: No space left on device")
        self.assertIsNone(self.holds.matching("default", "x.test", "", ""))
        answer = self.rig.request("DELETE", "/v1/holds/a0")
        self.assertEqual((answer.status, answer.problem["detail"]), (503, "The hold goes on: No space left on device"))
        self.assertEqual(len(self.rig.get("/v1/holds").json["holds"]), 1)

    def test_no_answer_before_the_disk(self) -> None:
        """A client that leaves meanwhile doesn't undo it."""
        writing: list[Deferred[None]] = []

        def thread(*_: Any) -> Deferred[None]:
            writing.append(Deferred())
            return writing[-1]

        self.holds._in_thread = thread
        client = self.rig.connect()
        body = b'{"domain": "x.test", "reason": "why"}'
        client.head("POST", "/v1/holds", len(body))
        client.send(body)
        self.assertEqual(client.transport.value(), b"")
        other = self.rig.connect()
        other.head("POST", "/v1/holds", len(body))
        other.send(body)
        other.lose()
        writing[0].callback(None)
        self.assertEqual(client.answer().status, 201)
        writing[1].callback(None)
        self.assertEqual(len(self.holds.listed()), 2)

    def test_too_many(self) -> None:
        self.patch(holds_module, "MOST", 1)
        self.hold(zone="bulk", reason="why")
        answer = self.hold(zone="bulk", reason="why")
        self.assertEqual((answer.status, answer.json["code"]), (409, "TooManyHolds"))

    def test_ids_that_are_none(self) -> None:
        for id in ("x", "%00", "a" * 1000, "%E2%80%AE", "."):
            answer = self.rig.request("DELETE", f"/v1/holds/{id}")
            self.assertEqual(answer.status, 404, id)
            self.assertLess(len(answer.body), 400)
        self.assertEqual(self.rig.request("DELETE", "/v1/holds").status, 405)


class DecisionsTests(Case):
    def decide(self, kind: str, reason: str = "421 slow", **scope: str) -> None:
        self.decisions(Decision(kind, Scope(**scope), reason, self.now, self.now + 1000 if scope else 0))

    def test_a_decision(self) -> None:
        self.decide("suspended", zone="bulk", site="gmail")
        answer = self.rig.get("/v1/decisions").json
        expected = {
            "number": NOW + 1,
            "kind": "suspended",
            "zone": "bulk",
            "site": "gmail",
            "reason": "421 slow",
            "time": ISO,
            "until": "2026-11-22T03:58:11.123Z",
            "count": 1,
            "last": ISO,
        }
        self.assertEqual(answer, {"decisions": [expected], "next": NOW + 1, "missed": False})
        self.decide("recovered")
        answer = self.rig.get(f"/v1/decisions?after={answer['next']}").json
        self.assertEqual([(one["kind"], one["until"]) for one in answer["decisions"]], [("recovered", None)])

    def test_a_hold_is_one(self) -> None:
        self.hold(domain="x.test", reason="why")
        self.rig.request("DELETE", "/v1/holds/a0")
        reasons = [(one["kind"], one["reason"]) for one in self.rig.get("/v1/decisions").json["decisions"]]
        self.assertEqual(reasons, [("held", "hold a0: why"), ("released", "hold a0 ended by hand: why")])

    def test_pages_and_kinds(self) -> None:
        for number in range(250):
            self.decide(("odd", "even")[number % 2], str(number))
        self.assertEqual(len(self.rig.get("/v1/decisions").json["decisions"]), 100)
        after, read = 0, []
        while page := self.rig.get(f"/v1/decisions?kind=even&limit=50&after={after}").json["decisions"]:
            read += [one["reason"] for one in page]
            after = page[-1]["number"]
        self.assertEqual(read, [str(number) for number in range(1, 250, 2)])

    def test_refused(self) -> None:
        for query, field, word in (
            ("after=x", "after", "a whole number"),
            ("after=-1", "after", "a whole number >= 0, got "),
            ("after=" + "9" * 5000, "after", "out of range"),
            ("after=%D9%A3", "after", "a whole number"),
            ("limit=0", "limit", "a whole number >= 1, got "),
            ("limit=1001", "limit", "a whole number <= 1000, got "),
            ("limt=5", "limt", 'did you mean "limit"?'),
            ("kind=a&kind=b", "kind", "once"),
            ("kind=%ff", "kind", "UTF-8"),
        ):
            self.refused(self.rig.get(f"/v1/decisions?{query}"), field, word)
