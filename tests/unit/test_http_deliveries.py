"""The queue by API: lists, single messages and deliveries, and what is done to them."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from typing import Any
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from relay.access.caller import Scope
from relay.access.tenant import Tenant
from relay.config.schema import Zone
from relay.dispatch.jobs import RUNNING, Jobs
from relay.dispatch.why import Reasons
from relay.http import queuesearch
from relay.http.actions import ActionsApi
from relay.http.queuesearch import QueueSearchApi
from relay.http.stored import StoredApi
from relay.message.dialogue import Dialogue
from relay.message.values import Message
from relay.queue.search import Search
from tests.unit.api_rig import Answer, Rig
from tests.unit.dispatch_rig import DEFERRED, DELIVERED, DispatchRig

CHUNK = 256 * 1024


class Case(DispatchRig):
    zones = {"default": Zone(connections=2), "other": Zone(connections=2), "off": Zone(disabled=True)}
    events_kept = True

    def setUp(self) -> None:
        super().setUp()
        self.shown: dict[str, str] = {}
        store, clock, now = self.store, self.clock, self.now
        search = Search(store, self.schedule, self.leases.names, lambda zone, domain: f"mx.{domain}", now)
        self.jobs = Jobs(search, self.operator, store, clock, now)
        reasons = Reasons(
            store, self.schedule, self.leases, self.ledger, self.dispatcher.turns, self.diagnoses.of, clock, now
        )
        active = [zone.name for zone in self.zones_.active()]
        self.rig = Rig(
            clock=clock,
            more=(
                QueueSearchApi(search, store, clock, now),
                StoredApi(store, search, reasons, clock, 60.0),
                ActionsApi(self.operator, self.jobs, store, lambda: active, clock, now),
            ),
        )

    def be(self, tenant: str, *scopes: Scope) -> None:
        """From now on the one who asks has a key of that tenant."""
        self.rig.roll.add_tenant(Tenant(tenant, tenant))
        self.shown = {"Authorization": f"Bearer {self.rig.key(*scopes, tenant=tenant)}"}

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        return self.rig.request(method, path, **headers, **self.shown)

    def get(self, path: str) -> Any:
        answer = self.ask(path)
        self.assertEqual(answer.status, 200, answer)
        return answer.json

    def post(self, path: str, **fields: Any) -> Answer:
        client = self.rig.connect()
        body = json.dumps(fields).encode()
        client.head("POST", path, len(body), **self.shown)
        client.send(body)
        for _ in range(50):
            self.clock.advance(0)
            self.tell()
            if client.transport.value():
                return client.answer()
        self.clock.advance(1.0)
        return client.answer()

    def names(self, query: str = "") -> list[str]:
        page = self.get("/v1/queue" + query)
        self.assertIsNone(page["next"])
        return [one["name"] for one in page["items"]]

    def refused(self, answer: Answer, field: str, *words: str) -> None:
        self.assertEqual((answer.status, answer.problem["code"]), (400, "InvalidArgument"), answer)
        self.assertEqual(answer.problem["field"], field)
        for word in words:
            self.assertIn(word, answer.problem["detail"])


class ListTests(Case):
    def test_a_page_and_what_stands_on_it(self) -> None:
        message = self.accept("a.test", tenant="acme", tags=("news",), message_id="<1@s.test>")
        [shown] = self.get("/v1/queue")["items"]
        expected = {
            "name": f"{message.id}.001", "id": message.id, "seq": "001", "state": "queued", "zone": "default",
            "domain": "a.test", "site": "mx.a.test", "sender": "from@sender.test", "recipient": "to1@a.test",
            "attempts": 0, "reason": None, "last_reply": None, "held": None, "size": message.size,
            "message_id": "<1@s.test>", "tenant": "acme", "tags": ["news"],
        }  # fmt: skip
        self.assertEqual({key: value for key, value in shown.items() if key not in ("taken", "due")}, expected)
        self.assertRegex(shown["due"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")

    def test_by_all_that_can_be_named(self) -> None:
        one = self.accept("a.test", "b.test", tenant="acme", tags=("news",), message_id="<1@s.test>")
        two = self.accept("b.test", zone="other", sender="")
        later = self.accept("c.test", due=self.now() + 60_000)
        first, second, third, fourth = f"{one.id}.001", f"{one.id}.002", f"{two.id}.001", f"{later.id}.001"
        for query, names in (
            ("", [first, second, third, fourth]),
            ("?zone=Other", [third]),
            ("?domain=B.test", [second, third]),
            ("?domain=b.test&zone=default", [second]),
            ("?site=mx.c.test", [fourth]),
            ("?sender=FROM@sender.test&domain=a.test", [first]),
            ("?sender=@Sender.test", [first, second, fourth]),
            ("?sender=%3C%3E", [third]),
            ("?recipient=to2@b.test", [second]),
            ("?recipient=@b.test", [second, third]),
            ("?tenant=acme", [first, second]),
            ("?tag=news&recipient=@a.test", [first]),
            ("?message_id=%3C1@s.test%3E", [first, second]),
            ("?state=deferred", [fourth]),
            ("?state=queued", [first, second, third]),
            ("?state=held", []),
            ("?reason=capacity", []),
            (f"?id={two.id}", [third]),
            ("?older=1h", [first, second, third, fourth]),
            ("?younger=1h", []),
        ):
            self.assertEqual(sorted(self.names(query)), sorted(names), query)

    def test_states(self) -> None:
        child = self.join()
        sending = self.accept("a.test")
        [offer] = self.offers(child)
        self.accept("b.test")
        [failing] = self.offers(child)
        self.begin(child, failing)
        self.done(child, failing, DEFERRED)
        self.tell()
        self.assertEqual(self.names("?state=sending"), [f"{sending.id}.001"])
        [shown] = self.get("/v1/queue?state=deferred")["items"]
        self.assertEqual((shown["attempts"], shown["last_reply"]), (1, "451 later"))
        self.assertEqual(self.names(f"?reason={shown['reason']}"), [shown["name"]])
        self.begin(child, offer)
        self.done(child, offer, DELIVERED)
        self.tell()
        self.assertEqual(self.names("?state=sending"), [])

    def test_pages(self) -> None:
        for _ in range(7):
            self.accept("a.test", tags=("news",))
        for query in ("?", "?tag=news&", "?domain=a.test&", "?zone=default&state=queued&"):
            found: list[str] = []
            cursor = ""
            while cursor is not None:
                page = self.get(f"/v1/queue{query}limit=3&cursor={cursor}")
                found += [one["name"] for one in page["items"]]
                cursor = page["next"]
            self.assertEqual((len(found), len(set(found))), (7, 7), query)

    def test_an_answer_is_not_waited_for_long(self) -> None:
        for _ in range(500):
            self.accept("a.test")
        self.patch(queuesearch, "_SECONDS", 0.0)
        page = self.get("/v1/queue?sender=@x.test&recipient=@a.test&reason=&zone=default")
        self.assertEqual(page["items"], [])
        self.assertTrue(page["next"])

    def test_what_is_wrong_is_named(self) -> None:
        for query, field, word in (
            ("?domain=a..b", "domain", "expected a domain"),
            ("?recipient=@", "recipient", "expected a domain"),
            ("?state=lost", "state", ""),
            ("?id=17", "id", "18 hex digits"),
            ("?older=soon", "older", "a duration"),
            ("?limit=0", "limit", ""),
            ("?zone=a%00b", "zone", ""),
            ("?colour=red", "colour", "unknown field"),
            ("?cursor=!", "cursor", "none of ours"),
            ("?cursor=AAAA", "cursor", "none of ours"),
        ):
            self.refused(self.ask("/v1/queue" + query), field, word)
        self.accept("a.test"), self.accept("a.test")
        cursor = self.get("/v1/queue?limit=1")["next"]
        self.refused(self.ask(f"/v1/queue?id={'0' * 18}&cursor={cursor[:-4]}AAAA"), "cursor")

    @settings(max_examples=50, deadline=None)
    @given(st.text(max_size=50))
    def test_no_cursor_is_a_fault(self, cursor: str) -> None:
        answer = self.ask(f"/v1/queue?cursor={quote(cursor)}")
        self.assertIn(answer.status, (200, 400))

    def test_a_tenant_sees_what_is_theirs(self) -> None:
        mine = self.accept("a.test", tenant="acme")
        other = self.accept("a.test", tenant="Acme")
        self.be("acme", Scope.READ, Scope.OPERATE)
        self.assertEqual(self.names(), [f"{mine.id}.001"])
        self.assertEqual(self.names("?domain=a.test"), [f"{mine.id}.001"])
        self.assertEqual(self.names(f"?id={other.id}"), [])
        self.assertEqual(self.ask("/v1/queue?tenant=Acme").status, 403)
        for path in (f"/v1/messages/{other.id}", f"/v1/deliveries/{other.id}.001"):
            self.assertEqual(self.ask(path).status, 404)
        for path in ("headers", "body"):
            self.assertEqual(self.ask(f"/v1/messages/{other.id}/{path}").status, 404)
        self.assertEqual(self.get(f"/v1/messages/{mine.id}")["tenant"], "acme")
        self.assertEqual(self.post(f"/v1/deliveries/{other.id}.001/actions", action="delete").status, 404)
        job = self.post("/v1/queue/actions", action="delete", names=[f"{other.id}.001", f"{mine.id}.001"])
        self.assertEqual((job.status, job.json["total"], job.json["done"]), (202, 1, 1))
        job = self.post("/v1/queue/actions", action="delete", filter={"everything": True})
        self.assertEqual(job.json["total"], 0)
        self.assertEqual(len(self.get("/v1/jobs")["jobs"]), 2)
        moved = self.post(f"/v1/deliveries/{mine.id}.001/actions", action="move", zone="other")
        self.assertEqual((moved.status, moved.problem["field"]), (403, "zone"))
        self.be("others", Scope.READ)
        self.assertEqual(self.get("/v1/jobs")["jobs"], [])
        self.assertEqual(self.ask(f"/v1/jobs/{job.json['id']}").status, 404)
        self.assertEqual(self.post(f"/v1/deliveries/{other.id}.001/actions", action="delete").status, 403)


    def test_a_tenants_cursor_tells_nothing_and_nobody_elses_is_taken(self) -> None:
        for _ in range(3):
            self.accept("a.test", tenant="acme")
            self.accept("a.test", tenant="secret")
        seen = [self.get("/v1/queue?limit=1&zone=default")["next"]]
        self.be("acme", Scope.READ)
        self.assertEqual(self.ask(f"/v1/queue?limit=1&zone=default&cursor={seen[0]}").status, 400)
        names, cursor = [], ""
        while cursor is not None:
            page = self.get(f"/v1/queue?limit=1&zone=default&cursor={cursor}")
            names += [one["name"] for one in page["items"]]
            seen.append(cursor)
            cursor = page["next"]
        self.assertEqual(len(set(names)), 3)
        for shut in filter(None, seen[1:]):
            self.assertNotIn(b"default", urlsafe_b64decode(shut + "=" * (-len(shut) % 4)))
        self.be("others", Scope.READ)
        for shut in filter(None, seen):
            self.assertEqual(self.ask(f"/v1/queue?limit=1&zone=default&cursor={shut}").status, 400)


class StoredTests(Case):
    def test_a_message(self) -> None:
        message = self.accept("a.test", "b.test", tags=("news",), metadata={"order": "17"})
        shown = self.get(f"/v1/messages/{message.id}")
        self.assertEqual((shown["id"], shown["recipients"], shown["more"]), (message.id, 2, False))
        self.assertEqual((shown["tags"], shown["metadata"], shown["tenant"]), (["news"], {"order": "17"}, None))
        self.assertEqual([one["recipient"] for one in shown["deliveries"]], ["to1@a.test", "to2@b.test"])
        self.assertEqual(shown["origin"]["listener"], message.origin.listener)

    def test_of_many_deliveries_some_are_shown(self) -> None:
        message = self.accept(*["a.test"] * 101)
        shown = self.get(f"/v1/messages/{message.id}")
        self.assertEqual((len(shown["deliveries"]), shown["more"]), (100, True))

    def test_its_header(self) -> None:
        lines = b"Subject: x\r\n\t y\r\nX-Odd : \xc3\xa9\xff\r\nReceived: from a\r\n b\r\n"
        message = self.accept("a.test", headers=lines)
        shown = self.get(f"/v1/messages/{message.id}/headers")
        values = [("Subject", "x y"), ("X-Odd", "é\ufffd"), ("Received", "from a b")]
        self.assertEqual([(one["name"], one["value"]) for one in shown["fields"]], values)

    def big(self) -> tuple[Message, bytes]:
        whole = bytes(range(256)) * 1024 * 2 + b"the end"
        message = self.accept("a.test", body=b"")
        chunks = [whole[at : at + CHUNK] for at in range(0, len(whole), CHUNK)]
        message = replace(message, body_size=len(whole), chunks=len(chunks))
        self.store._messages[message.id] = message
        for number, chunk in enumerate(chunks):
            self.store.add_chunk(message.id, number, chunk)
        self.store.let_go()
        return message, whole

    def test_its_body_and_parts_of_it(self) -> None:
        message, whole = self.big()
        path = f"/v1/messages/{message.id}/body"
        answer = self.ask(path)
        self.assertEqual((answer.status, answer.body), (200, whole))
        self.assertEqual(answer.headers["content-type"], "application/octet-stream")
        for header, first, behind in (
            ("bytes=0-4", 0, 5),
            (f"bytes={CHUNK - 2}-{CHUNK + 1}", CHUNK - 2, CHUNK + 2),
            (f"bytes={CHUNK}-", CHUNK, len(whole)),
            ("bytes=-7", len(whole) - 7, len(whole)),
        ):
            answer = self.ask(path, Range=header)
            self.assertEqual((answer.status, answer.body), (206, whole[first:behind]), header)
            self.assertEqual(answer.headers["content-range"], f"bytes {first}-{behind - 1}/{len(whole)}")
        answer = self.ask(path, Range=f"bytes={len(whole)}-")
        self.assertEqual((answer.status, answer.headers["content-range"]), (416, f"bytes */{len(whole)}"))
        self.assertEqual(self.ask(path, Range="bytes=0-1,3-4").status, 200)

    def test_an_empty_body_and_one_that_can_not_be_read(self) -> None:
        empty = self.accept("a.test", body=b"")
        answer = self.ask(f"/v1/messages/{empty.id}/body")
        self.assertEqual((answer.status, answer.body), (200, b""))
        message = self.accept("a.test", due=self.now() + 60_000)
        del self.store._chunks[message.id, 0]
        self.assertEqual(self.ask(f"/v1/messages/{message.id}/body").status, 500)

    def test_all_of_a_delivery(self) -> None:
        child = self.join()
        message = self.accept("a.test")
        [offer] = self.offers(child)
        self.begin(child, offer)
        self.done(child, offer, replace(DEFERRED, dialogue="0.1 < 451 later"))
        self.tell()
        path = f"/v1/deliveries/{message.id}.001"
        shown = self.get(path)
        self.assertEqual((shown["delivery"]["state"], shown["why"]["state"]), ("deferred", "deferred"))
        self.assertEqual([one["kind"] for one in shown["events"]], ["deferred"])
        self.assertEqual([one["text"] for one in shown["dialogue"]], ["451 later"])
        self.post(f"{path}/actions", action="delete")
        shown = self.get(path)
        self.assertEqual((shown["delivery"], shown["why"]), (None, None))
        self.assertEqual([one["kind"] for one in shown["events"]], ["deferred", "deleted"])

    def test_what_there_is_not(self) -> None:
        message = self.accept("a.test")
        for path in (f"messages/{'0' * 18}", "messages/x", f"messages/{'0' * 18}/body", f"deliveries/{message.id}.002"):
            self.assertEqual(self.ask(f"/v1/{path}").status, 404, path)
        self.refused(self.ask(f"/v1/deliveries/{message.id}"), "name")
        self.assertEqual(Dialogue(0, "").lines(), [])


class ActionTests(Case):
    def act(self, name: str, action: str, **fields: str) -> Answer:
        return self.post(f"/v1/deliveries/{name}/actions", action=action, **fields)

    def test_each(self) -> None:
        name = f"{self.accept('a.test', due=self.now() + 60_000).id}.001"
        for action, fields, state in (
            ("hold", {"reason": "ticket 17"}, "held"),
            ("release", {}, "deferred"),
            ("move", {"zone": "Other"}, "deferred"),
            ("send-now", {}, "queued"),
        ):
            answer = self.act(name, action, **fields)
            self.assertEqual((answer.status, answer.json), (200, {"name": name, "result": "done"}), answer)
            [shown] = self.get("/v1/queue")["items"]
            self.assertEqual(shown["state"], state)
            self.assertEqual(self.act(name, action, **fields).json["result"], "unchanged")
        self.assertEqual(shown["zone"], "other")
        self.assertEqual(self.act(name, "bounce", reason="no").json["result"], "done")
        self.assertEqual(self.act(name, "delete").status, 404)

    def test_H29_in_hand_is_said(self) -> None:
        self.join()
        message = self.accept("a.test")
        answer = self.act(f"{message.id}.001", "delete")
        self.assertEqual((answer.status, answer.problem["code"]), (409, "InHand"))

    def test_what_is_wrong_is_named(self) -> None:
        name = f"{self.accept('a.test').id}.001"
        self.refused(self.act(name, "burn"), "action")
        self.refused(self.act(name, "delete", reason="why"), "reason")
        self.refused(self.act(name, "hold", reason="a\r\nb"), "reason")
        self.refused(self.act(name, "move"), "zone")
        self.refused(self.act(name, "hold", zone="other"), "zone")
        self.refused(self.act(name, "move", zone="off"), "zone", "that sends")
        self.refused(self.act(name, "move", zone="othr"), "zone", "other")
        self.refused(self.act(name[:-4], "hold"), "name")
        for fields, field in (
            ({}, "filter"),
            ({"filter": {}}, "filter.everything"),
            ({"filter": {"everything": True, "zone": "other"}}, "filter.everything"),
            ({"filter": {"zone": "other"}, "names": [name]}, "filter"),
            ({"names": ["x"]}, "names[0]"),
            ({"filter": {"colour": "red"}}, "filter.colour"),
            ({"filter": {"state": "lost"}}, "filter.state"),
            ({"filter": {"older": "soon"}}, "filter.older"),
            ({"filter": {"tag": "a\n"}}, "filter.tag"),
            ({"names": [name], "reason": "a\n"}, "reason"),
            ({"filter": {"zone": "other"}, "wait": 31}, "wait"),
        ):
            self.refused(self.post("/v1/queue/actions", action="delete", **fields), field)

    def test_a_job(self) -> None:
        for _ in range(3):
            self.accept("a.test")
        dry = self.post("/v1/queue/actions", action="delete", filter={"domain": "a.test"}, dry_run=True)
        self.assertEqual((dry.status, dry.json["stage"], dry.json["total"], dry.json["done"]), (202, "done", 3, 0))
        job = self.post("/v1/queue/actions", action="hold", reason="why", filter={"domain": "a.test"})
        self.assertEqual((job.json["stage"], job.json["total"], job.json["done"]), ("done", 3, 3))
        self.assertEqual(job.headers["location"], f"/v1/jobs/{job.json['id']}")
        self.assertEqual(self.get(f"/v1/jobs/{job.json['id']}"), job.json)
        self.assertEqual([one["id"] for one in self.get("/v1/jobs")["jobs"]], [dry.json["id"], job.json["id"]])
        again = self.ask(f"/v1/jobs/{job.json['id']}", "DELETE")
        self.assertEqual(again.json["stage"], "done", "it has ended already")
        audited = [(one.what, one.about.partition(" ")[2]) for one in self.rig.audited]
        self.assertEqual(audited[:2], [
            ("job.started", "delete (dry run) domain a.test"), ("job.started", "hold domain a.test")
        ])  # fmt: skip

    def test_a_long_one_is_not_waited_for_and_can_be_cancelled(self) -> None:
        self.accept("a.test")
        self.store.late = True
        body = json.dumps({"action": "hold", "filter": {"everything": True}, "wait": 2}).encode()
        client = self.rig.connect()
        client.head("POST", "/v1/queue/actions", len(body))
        client.send(body)
        self.clock.advance(0), self.clock.advance(0), self.clock.advance(0)
        self.assertEqual(client.transport.value(), b"")
        self.clock.advance(2)
        shown = client.answer().json
        self.assertEqual((shown["stage"], shown["ended"]), ("acting", None))
        shown = self.ask(f"/v1/jobs/{shown['id']}", "DELETE").json
        self.assertEqual(shown["stage"], "cancelled")
        self.tell()
        self.assertEqual(self.get(f"/v1/jobs/{shown['id']}")["done"], 1)

    def test_so_many_at_a_time(self) -> None:
        self.accept("a.test")
        for _ in range(RUNNING):
            self.rig.request("POST", "/v1/queue/actions", b'{"action":"hold","filter":{"everything":true},"wait":0}')
        answer = self.rig.request("POST", "/v1/queue/actions", b'{"action":"hold","filter":{"everything":true}}')
        self.assertEqual((answer.status, answer.problem["code"]), (429, "TooManyJobs"))
        self.assertIn("retry-after", answer.headers)
        self.jobs.stop()

    def test_there_is_no_such_job(self) -> None:
        self.assertEqual(self.ask("/v1/jobs/x").status, 404)
        self.assertEqual(self.ask("/v1/jobs/x", "DELETE").status, 404)
