"""The list over HTTP: in ZoneMTA's shapes, and in our own."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.http import suppression_import, suppressions
from relay.http.suppression_import import ImportApi
from relay.http.suppressionlist import SuppressionListApi
from relay.http.suppressions import SuppressionsApi
from relay.queue.store import StoreError
from relay.suppression.entry import Entry
from tests.unit.api_rig import NOW, Answer, Rig
from tests.unit.suppression_rig import FakeShelf, a_list

ISO = "2026-11-22T03:58:10.123Z"
DAY = 86_400_000


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.rightNow = NOW / 1000
        self.shelf = FakeShelf()
        self.list = a_list(self.shelf, self.clock)
        more = (
            SuppressionsApi(self.list, self.clock, lambda: NOW, 60.0),
            ImportApi(self.list, lambda: NOW),
            SuppressionListApi(self.list, self.clock),
        )
        self.rig = Rig(clock=self.clock, more=more)

    def add(self, whom: str, tenant: str = "", **more: Any) -> Entry:
        return self.successResultOf(self.list.add(Entry(whom, tenant, **more))).entry

    def send(self, method: str, path: str, fields: object = None, **headers: str) -> Answer:
        body = b"" if fields is None else fields if isinstance(fields, bytes) else json.dumps(fields).encode()
        return self.rig.request(method, path, body, **headers)

    def refused(self, answer: Answer, status: int, text: str) -> None:
        self.assertEqual(answer.status, status, answer.body)
        said = answer.json
        self.assertIn(text, said.get("detail") or said.get("message") or said["error"])


class AsTheOriginal(Case):
    def test_add_list_delete(self) -> None:
        answer = self.send("POST", "/suppressionlist", {"address": "User@B\u00fccher.example"})
        first = answer.json["suppressed"]["id"]
        self.assertRegex(first, "^[0-9a-f]{24}$")
        self.assertEqual(
            answer.json, {"suppressed": {"id": first, "address": "user@xn--bcher-kva.example"}}
        )
        self.clock.advance(1)
        second = self.send("POST", "/suppressionlist", {"domain": "Gone.example"}).json["suppressed"]["id"]
        self.assertEqual(
            self.rig.get("/suppressionlist").json,
            {
                "suppressed": [
                    {"id": second, "created": "2026-11-22T03:58:11.123Z", "domain": "gone.example"},
                    {"id": first, "created": ISO, "address": "user@xn--bcher-kva.example"},
                ]
            },
        )
        self.assertEqual(self.send("DELETE", "/suppressionlist", {"id": first}).json, {"deleted": first})
        self.assertEqual(self.send("DELETE", f"/suppressionlist?id={second}").json, {"deleted": second})
        self.assertEqual(self.send("DELETE", f"/suppressionlist?id={second}").json, {"deleted": second})
        self.assertEqual(self.rig.get("/suppressionlist").json, {"suppressed": []})

    def test_forms(self) -> None:
        form = "application/x-www-form-urlencoded"
        made = self.send("POST", "/suppressionlist", b"address=x%40to.test&domain=to.test", Content_Type=form).json
        self.assertEqual((made["suppressed"]["address"], made["suppressed"]["domain"]), ("x@to.test", "to.test"))
        self.assertEqual(self.list.count, 2)
        self.assertEqual(made["suppressed"]["id"], self.list.listed("")[1].id)

    def test_errors_with_200(self) -> None:
        for fields in (None, {}, {"address": ""}, {"address": 5}):
            answer = self.send("POST", "/suppressionlist", fields)
            self.assertEqual((answer.status, answer.json), (200, {"error": "No address or domain defined"}))
        for id in ("", "1" * 23, "x" * 24, "1" * 25, "../" * 8):
            answer = self.send("DELETE", "/suppressionlist", {"id": id})
            self.assertEqual((answer.status, answer.json), (200, {"error": "Invalid entry ID"}))

    def test_errors(self) -> None:
        self.refused(self.send("POST", "/suppressionlist", {"address": "a b@c"}), 400, "Bad address: bad local part")
        self.refused(self.send("POST", "/suppressionlist", {"domain": "a b"}), 400, "Bad domain: bad domain")
        self.refused(self.send("POST", "/suppressionlist", b"{"), 400, "Invalid JSON")
        self.refused(self.send("PUT", "/suppressionlist"), 405, "PUT is not allowed")
        self.assertEqual(self.list.count, 0)

    def test_a_long_list_comes_in_pages(self) -> None:
        self.successResultOf(self.list.add_all([Entry(f"x{n}@to.test") for n in range(1003)]))
        self.add("late.test", "ann", expires=NOW + 1)
        self.clock.advance(1)
        first = self.rig.get("/suppressionlist").json
        self.assertEqual((len(first["suppressed"]), first["suppressed"][0]["address"]), (1000, "x1002@to.test"))
        rest = self.rig.get(f"/suppressionlist?cursor={first['cursor']}").json
        self.assertEqual([one["address"] for one in rest["suppressed"]], ["x2@to.test", "x1@to.test", "x0@to.test"])
        self.assertNotIn("cursor", rest)
        self.refused(self.rig.get("/suppressionlist?cursor=odd"), 400, "cursor is none of ours")

    def test_one_tenants_says_so(self) -> None:
        self.add("x@to.test", "ann")
        [one] = self.rig.get("/suppressionlist").json["suppressed"]
        self.assertEqual(one["tenant"], "ann")

    def test_nothing_is_said_before_it_is_on_disk(self) -> None:
        self.shelf.at_once = False
        client = self.rig.connect()
        body = b'{"address": "x@to.test"}'
        client.head("POST", "/suppressionlist", len(body))
        client.send(body)
        self.assertEqual(client.transport.value(), b"")
        self.shelf.tell()
        self.assertEqual(client.answer().status, 200)

    def test_a_full_disk(self) -> None:
        self.shelf.error = StoreError("no space")
        self.refused(self.send("POST", "/suppressionlist", {"address": "x@to.test"}), 503, "no space")


class Ours(Case):
    def test_one_entry(self) -> None:
        fields = {"address": "X@to.test", "tenant": "Ann", "reason": "he asked\n", "duration": "1d"}
        answer = self.send("POST", "/v1/suppressions", fields)
        id = answer.json["id"]
        wanted = {
            "id": id,
            "address": "x@to.test",
            "tenant": "ann",
            "reason": "he asked",
            "source": "manual",
            "created": ISO,
            "expires": "2026-11-23T03:58:10.123Z",
        }
        self.assertEqual((answer.status, answer.json), (201, wanted))
        self.assertEqual(answer.headers["location"], f"/v1/suppressions/{id}")
        self.assertEqual(self.send("POST", "/v1/suppressions", fields).status, 200)
        self.assertEqual(self.rig.get(f"/v1/suppressions/{id}").json, wanted)
        self.assertEqual(self.send("DELETE", f"/v1/suppressions/{id}").json, wanted)
        self.refused(self.send("DELETE", f"/v1/suppressions/{id}"), 404, "There is no entry for")
        self.refused(self.rig.get(f"/v1/suppressions/{id}"), 404, "There is no entry for")
        self.refused(self.rig.get("/v1/suppressions/odd"), 404, "There is no entry for")

    def test_look_up(self) -> None:
        entry = self.add("to.test", reason="all of it")
        self.add("x@other.test", "ann")
        told = self.rig.get("/v1/suppressions?address=Who%40To.Test").json
        self.assertEqual((told["address"], told["suppressed"]), ("who@to.test", True))
        self.assertEqual((told["suppression"]["id"], told["suppression"]["domain"]), (entry.id, "to.test"))
        free = {"address": "x@other.test", "suppressed": False, "suppression": None}
        self.assertEqual(self.rig.get("/v1/suppressions?address=x%40other.test").json, free)
        self.assertTrue(self.rig.get("/v1/suppressions?address=x%40other.test&tenant=ANN").json["suppressed"])
        self.refused(self.rig.get("/v1/suppressions?address=x%40y.test&limit=3"), 400, "limit: not with address")
        self.refused(self.rig.get("/v1/suppressions?address=odd"), 400, "address: ")

    def test_delete_by_name(self) -> None:
        self.add("x@to.test")
        self.add("to.test", "ann")
        self.assertEqual(self.send("DELETE", "/v1/suppressions?address=X%40to.test").json["address"], "x@to.test")
        self.refused(self.send("DELETE", "/v1/suppressions?domain=to.test"), 404, "There is no entry for to.test")
        self.assertEqual(self.send("DELETE", "/v1/suppressions?domain=to.test&tenant=ann").status, 200)
        self.refused(self.send("DELETE", "/v1/suppressions"), 400, "address: expected either it or domain")

    def test_pages_and_filters(self) -> None:
        for number in range(7):
            self.add(f"x{number}@d{number % 2}.test", "ann" if number % 3 == 0 else "", source="bounce")
        self.add("d0.test", source="complaint")

        def all_of(query: str) -> list[str]:
            names, cursor = [], ""
            while True:
                told = self.rig.get(f"/v1/suppressions?limit=2{query}{cursor}").json
                self.assertEqual(told["count"], 8)
                names += [one.get("address") or one["domain"] for one in told["suppressions"]]
                if "cursor" not in told:
                    return names
                self.assertLessEqual(len(told["suppressions"]), 2)
                cursor = f"&cursor={told['cursor']}"

        self.assertEqual(all_of(""), ["d0.test", *(f"x{n}@d{n % 2}.test" for n in range(6, -1, -1))])
        self.assertEqual(all_of("&tenant=Ann"), ["x6@d0.test", "x3@d1.test", "x0@d0.test"])
        self.assertEqual(all_of("&tenant=&domain=D0.test"), ["d0.test", "x4@d0.test", "x2@d0.test"])
        self.assertEqual(all_of("&source=complaint"), ["d0.test"])
        self.patch(suppressions, "_SEEN", 100)
        self.assertEqual(all_of("&domain=none.test"), [])

    def test_bad_fields(self) -> None:
        for fields, text in (
            ({}, "address: expected either it or domain"),
            ({"address": "x@to.test", "domain": "to.test"}, "address: expected either it or domain"),
            ({"address": "x"}, "address: no domain"),
            ({"domain": "to test"}, "domain: bad domain"),
            ({"domain": 5}, "domain: expected a string"),
            ({"adress": "x@to.test"}, "adress: unknown field; did you mean"),
            ({"domain": "to.test", "source": "spite"}, "source: expected one of manual"),
            ({"domain": "to.test", "duration": "0s"}, "duration: expected a duration above 0"),
            ({"domain": "to.test", "duration": "soon"}, "duration: expected a duration such as"),
            ({"domain": "to.test", "expires": "2026-12-01"}, "expires: expected a moment"),
            ({"domain": "to.test", "expires": "2001-12-01T00:00Z"}, "expires: expected a time to come"),
            ({"domain": "to.test", "duration": "1d", "expires": "2030-01-01T00:00Z"}, "expires: expected it or dur"),
            ({"domain": "to.test", "tenant": "a\x00b"}, "tenant: expected up to 255 printable characters"),
        ):
            self.refused(self.send("POST", "/v1/suppressions", fields), 400, text)
        for query, text in (
            ("limit=0", "limit: "),
            ("cursor=zz", "cursor is none of ours"),
            ("source=odd", "source: expected one of"),
            ("odd=1", "odd: unknown field"),
        ):
            self.refused(self.rig.get(f"/v1/suppressions?{query}"), 400, text)
        self.assertEqual(self.list.count, 0)

    def test_several_at_once(self) -> None:
        some = [{"address": "x@to.test"}, {"address": "bad"}, {"domain": "to.test", "tenant": "ann"}, 5]
        wanted = {"added": 2, "unchanged": 0, "bad": 2}
        told = self.send("POST", "/v1/suppressions", some).json
        self.assertEqual([one["entry"] for one in told.pop("faults")], [2, 4])
        self.assertEqual(told, wanted)
        lines = b'{"address": "x@to.test"}\n\n{"domain": "new.test"}\n{oops\n'
        told = self.send("POST", "/v1/suppressions", lines, Content_Type="application/x-ndjson").json
        self.assertEqual((told["added"], told["unchanged"], told["bad"]), (1, 1, 1))
        self.refused(self.send("POST", "/v1/suppressions", b"[1,"), 400, "Expected an array")
        self.refused(self.send("POST", "/v1/suppressions", [{}] * 1001), 400, "Expected 1000 entries at most")


class Files(Case):
    path = "/v1/suppressions/import"

    def upload(self, data: bytes, query: str = "", to_come: int = 0) -> Any:
        client = self.rig.connect()
        client.head("POST", self.path + query, len(data) + to_come, Content_Type="text/csv")
        for start in range(0, len(data), 700):
            client.send(data[start : start + 700])
        return client

    def found(self, user: str, recipient: str) -> Entry:
        stop = self.list.find(user, recipient)
        assert stop is not None
        return self.list.told(stop)

    def test_a_file_and_back(self) -> None:
        data = b"recipient,reason\r\n" + b"".join(b"x%d@to.test,number %d\r\n" % (n, n) for n in range(950))
        data += b"odd line\r\nlast.test,\r\n"
        told = self.upload(data, "?tenant=Ann&reason=" + quote("moved here")).answer().json
        self.assertEqual((told["added"], told["unchanged"], told["bad"]), (951, 0, 1))
        self.assertEqual(told["faults"], [{"line": 952, "message": "recipient: bad domain"}])
        entry = self.found("ann", "x7@to.test")
        self.assertEqual((entry.reason, entry.source, entry.tenant), ("number 7", "import", "ann"))
        self.assertEqual(self.found("ann", "a@last.test").reason, "moved here")
        self.assertEqual(self.upload(data, "?tenant=Ann&reason=" + quote("moved here")).answer().json["unchanged"], 951)

        exported = self.exported("")
        self.assertEqual(exported.count(b"\r\n"), 952)
        self.assertIn(b"\r\nx7@to.test,ann,number 7,import,2026-11-22T03:58:10.123+00:00,\r\n", exported)
        self.assertEqual(self.exported("?domain=last.test").count(b"\r\n"), 2)
        other = Files("test_a_file_and_back")
        other.setUp()
        self.assertEqual(other.upload(exported).answer().json["added"], 951)
        self.assertEqual(other.exported("").split(b"\r\n")[1:-1], exported.split(b"\r\n")[-2:0:-1])

    def exported(self, query: str) -> bytes:
        answer = self.rig.get(f"/v1/suppressions/export{query}")
        self.assertEqual(answer.headers["content-type"], "text/csv; charset=utf-8; header=present")
        data, rest = b"", answer.body
        while rest:  # chunks (RFC 9112 7.1)
            size, _, rest = rest.partition(b"\r\n")
            data += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
        return data

    def test_the_client_is_held_back_while_the_disk_is_behind(self) -> None:
        self.shelf.at_once = False
        data = b"".join(b"x%d@to.test,%s\r\n" % (n, b"y" * 200) for n in range(5000))
        client = self.upload(data[:-10], to_come=10)
        self.assertEqual(client.transport.producerState, "paused")
        self.assertLess(self.list.count, 600)
        while client.transport.producerState == "paused":
            self.shelf.tell()
        client.send(data[-10:])
        for _ in range(200):
            self.shelf.tell()
        self.assertEqual(client.answer().json["added"], 5000)

    def test_a_client_that_goes_away(self) -> None:
        self.shelf.at_once = False
        client = self.upload(b"".join(b"x%d@to.test\r\n" % n for n in range(2000)), to_come=9)
        client.lose()
        for _ in range(100):
            self.shelf.tell()
        self.assertLess(self.list.count, 2000)
        self.assertEqual(self.list.count, len(self.list.listed("", 5000)))

    def test_a_disk_that_fails(self) -> None:
        self.shelf.error = StoreError("no space")
        answer = self.upload(b"".join(b"x%d@to.test\r\n" % n for n in range(500))).answer()
        self.refused(answer, 503, "Only a part is on the list: no space")

    def test_only_so_many_faults_are_named(self) -> None:
        self.patch(suppression_import, "_NAMED", 3)
        told = self.upload(b"odd line\n" * 10).answer().json
        self.assertEqual((told["bad"], [one["line"] for one in told["faults"]]), (10, [1, 2, 3]))

    def test_queries(self) -> None:
        for query, words in (
            ("?odd=1", "odd: unknown field"),
            ("?tenant=a&tenant=b", "tenant: expected it once"),
            ("?tenant=%00", "tenant: expected up to 255 printable characters"),
        ):
            client = self.rig.connect()
            client.head("POST", self.path + query, 5)
            self.refused(client.answer(), 400, words)

    def test_damage_is_no_end_of_the_list(self) -> None:
        """Whoever reads an export sees that it is no whole one."""
        self.add("x@to.test")

        def scan(start: bytes, stop: bytes, limit: int) -> Any:
            raise StoreError("damaged")

        self.patch(self.shelf, "scan", scan)
        client = self.rig.connect()
        aborted: list[bool] = []
        client.transport.abortConnection = lambda: aborted.append(True)  # type: ignore[method-assign]
        client.head("GET", "/v1/suppressions/export", None)
        self.assertEqual(aborted, [True])
        self.assertFalse(client.transport.value().endswith(b"0\r\n\r\n"))


