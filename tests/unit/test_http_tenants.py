"""What callers of a tenant see and change of what is kept for all: events, the list of who gets no mail, reasons."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.access.caller import Scope
from relay.access.tenant import Tenant
from relay.http import events, suppressions
from relay.http.events import EventsApi
from relay.http.seal import Broken, Seal
from relay.http.suppression_import import ImportApi
from relay.http.suppressions import SuppressionsApi
from relay.http.why import WhyApi
from relay.message.dialogue import Dialogue
from relay.message.event import Event
from relay.queue.memory import MemoryStore
from relay.suppression.entry import Entry
from tests.unit.api_rig import ID, NOW, Answer, Rig, row, stored
from tests.unit.store_rig import delivery, message, queue_id
from tests.unit.suppression_rig import FakeShelf, a_list
from tests.unit.test_http_why import Knows


class Case(SynchronousTestCase):
    rig: Rig

    def be(self, tenant: str) -> None:
        """From now on the one who asks is of that tenant."""
        self.rig.roll.add_tenant(Tenant(tenant, tenant))
        self.shown = f"Bearer {self.rig.key(Scope.READ, Scope.OPERATE, Scope.SUBMIT, tenant=tenant)}"

    def ask(self, method: str, path: str, fields: Any = None, **headers: str) -> Answer:
        body = fields if isinstance(fields, bytes) else b"" if fields is None else json.dumps(fields).encode()
        return self.rig.request(method, path, body, Authorization=self.shown, **headers)

    def get(self, path: str, status: int = 200) -> Any:
        answer = self.ask("GET", path)
        self.assertEqual(answer.status, status, answer)
        return answer.json

    def forbidden(self, answer: Answer, field: str) -> None:
        self.assertEqual((answer.status, answer.json.get("field")), (403, field), answer)


class Events(Case):
    def setUp(self) -> None:
        self.store = MemoryStore()
        clock = Clock()
        self.rig = Rig(clock=clock, more=[EventsApi(self.store, clock, lambda: NOW, 30 * 86_400.0)])
        self.be("acme")

    def put(self, number: int, tenant: str) -> None:
        mail = replace(message(number), created=NOW - 1000, tenant=tenant)
        queued = Event("queued", NOW - 1000, mail.id, sender=mail.sender, recipients=1, tenant=tenant)
        row = delivery(number)
        self.store.append(mail, [row], b"body", b"", [queued])
        said = Dialogue(NOW, "0.5 < 220 hi")
        deferred = Event("deferred", NOW, mail.id, 1, tenant=tenant)
        self.store.change(row, replace(row, attempts=1), [deferred], dialogue=said)

    def numbers(self, path: str) -> list[int]:
        return [one["number"] for one in self.get(path)["events"]]

    def test_the_latest_of_its_own(self) -> None:
        for number, tenant in enumerate(["acme", "acme", "acme", "Acme", "", "other"] + [""] * 20):
            self.store.tell([Event("queued", NOW + number, tenant=tenant)])
        self.assertEqual(self.numbers("/v1/events?limit=2"), [2, 3])
        self.assertEqual(self.numbers("/v1/events?after=0&limit=2"), [1, 2])
        self.assertEqual(self.get("/v1/events?after=3"), {"events": [], "next": 26, "missed": False})
        self.patch(events, "_LOOKED", 24)
        self.assertEqual(self.numbers("/v1/events"), [3])

    def test_histories(self) -> None:
        self.put(1, "acme")
        self.put(2, "other")
        mine, other = queue_id(1), queue_id(2)
        self.assertEqual([one["kind"] for one in self.get(f"/v1/history/{mine}.001")["events"]], ["queued", "deferred"])
        self.assertEqual(len(self.get(f"/v1/history/{mine}.001")["dialogue"]), 1)
        for name in (other, f"{other}.001"):
            nothing = self.get(f"/v1/history/{name.replace(other, queue_id(9))}", 404)
            self.assertEqual(self.get(f"/v1/history/{name}", 404), nothing)

    def test_a_history_that_is_longer_than_is_shown_says_so(self) -> None:
        """Also where something in it is not theirs to see."""
        for kind, tenant in (("queued", "acme"), ("deferred", ""), ("delivered", "acme")):
            self.store.tell([Event(kind, NOW, queue_id(1), 1, tenant=tenant)])
        self.assertFalse(self.get(f"/v1/history/{queue_id(1)}")["more"])
        self.patch(events, "_STEPS", 2)
        told = self.get(f"/v1/history/{queue_id(1)}")
        self.assertEqual(([one["kind"] for one in told["events"]], told["more"]), (["queued"], True))

    def test_what_is_anothers_is_not_found_and_does_not_count(self) -> None:
        for number, tenant in enumerate(["acme", "other", "acme", "other"], 1):
            self.put(number, tenant)
        found = self.get(f"/v1/history?sender={message(1).sender}")
        self.assertEqual([one["name"] for one in found["found"]], [queue_id(1), queue_id(3)])
        self.assertFalse(found["more"])
        found = self.get(f"/v1/history?sender={message(1).sender}&limit=1")
        self.assertEqual(([one["name"] for one in found["found"]], found["more"]), ([queue_id(1)], True))
        self.assertFalse(self.get(f"/v1/history?sender={message(1).sender}&limit=2")["more"])
        self.patch(events, "_LOOKED", 3)
        found = self.get(f"/v1/history?sender={message(1).sender}")
        self.assertEqual(([one["name"] for one in found["found"]], found["more"]), ([queue_id(1), queue_id(3)], True))


class NoMail(Case):
    def setUp(self) -> None:
        clock = Clock()
        clock.rightNow = NOW / 1000
        self.list = a_list(FakeShelf(), clock)
        self.rig = Rig(
            clock=clock, more=(SuppressionsApi(self.list, clock, lambda: NOW, 60.0), ImportApi(self.list, lambda: NOW))
        )
        self.be("Acme")
        self.all = self.on_list("all@to.test", reason="550 said to somebody")
        self.other = self.on_list("x@to.test", "other")
        self.mine = self.on_list("me@to.test", "acme", reason="mine")

    def on_list(self, whom: str, tenant: str = "", **more: Any) -> Entry:
        return self.successResultOf(self.list.add(Entry(whom, tenant, **more))).entry

    def whom(self, tenant: str) -> list[str]:
        """Those on the list of somebody."""
        return sorted(entry.whom for entry in self.list.listed("") if entry.tenant == tenant)

    def test_looked_up(self) -> None:
        path = "/v1/suppressions?address="
        everybodys = {"address": "all@to.test", "suppressed": True, "suppression": None}
        self.assertEqual(self.get(f"{path}all@to.test"), everybodys)
        self.assertFalse(self.get(f"{path}x@to.test")["suppressed"])
        for tenant in ("", "&tenant=acme", "&tenant=Acme", "&tenant="):
            self.assertEqual(self.get(f"{path}me@to.test{tenant}")["suppression"]["reason"], "mine")
        self.forbidden(self.ask("GET", f"{path}x@to.test&tenant=other"), "tenant")

    def test_listed(self) -> None:
        more = self.on_list("more@to.test", "acme")
        self.on_list("y@to.test", "other")
        told = self.get("/v1/suppressions")
        self.assertEqual([one["id"] for one in told["suppressions"]], [more.id, self.mine.id])
        self.assertNotIn("count", told)
        first = self.get("/v1/suppressions?limit=1")
        self.assertEqual([one["id"] for one in first["suppressions"]], [more.id])
        second = self.get(f"/v1/suppressions?cursor={first['cursor']}")
        self.assertEqual([one["id"] for one in second["suppressions"]], [self.mine.id])
        self.get(f"/v1/suppressions?cursor={more.id}", 400)
        self.patch(suppressions, "_SEEN", 1)
        short = self.get("/v1/suppressions?domain=none.test")
        self.assertEqual(short["suppressions"], [])
        self.be("other")
        self.get(f"/v1/suppressions?cursor={first['cursor']}", 400)
        self.forbidden(self.ask("GET", "/v1/suppressions?tenant=acme"), "tenant")

    def test_one_by_its_id(self) -> None:
        self.assertEqual(self.get(f"/v1/suppressions/{self.mine.id}")["address"], "me@to.test")
        for method in ("GET", "DELETE"):
            for entry in (self.all, self.other):
                self.assertEqual(self.ask(method, f"/v1/suppressions/{entry.id}").status, 404)
        self.assertEqual(self.ask("DELETE", f"/v1/suppressions/{self.mine.id}").status, 200)
        self.assertEqual((self.whom(""), self.whom("other"), self.whom("acme")), (["all@to.test"], ["x@to.test"], []))
        [event] = self.rig.audited
        self.assertEqual((event.what, event.about), ("suppression.removed", "me@to.test of acme"))
        self.assertEqual(event.tenant, "Acme")

    def test_taken_off(self) -> None:
        path = "/v1/suppressions?address="
        for address in ("all@to.test", "x@to.test"):
            self.assertEqual(self.ask("DELETE", path + address).status, 404)
        self.forbidden(self.ask("DELETE", path + "x@to.test&tenant=other"), "tenant")
        self.assertEqual(self.ask("DELETE", path + "me@to.test").json["tenant"], "acme")

    def test_put_on(self) -> None:
        self.assertEqual(self.ask("POST", "/v1/suppressions", {"address": "all@to.test"}).json["tenant"], "acme")
        self.forbidden(self.ask("POST", "/v1/suppressions", {"address": "z@to.test", "tenant": "other"}), "tenant")
        own, others = {"domain": "c.test", "tenant": "ACME"}, {"domain": "b.test", "tenant": "other"}
        several = [{"domain": "a.test"}, others, own]
        told = self.ask("POST", "/v1/suppressions", several).json
        self.assertEqual((told["added"], told["bad"], told["faults"][0]["entry"]), (2, 1, 2))
        self.assertIn("tenant: expected your own", told["faults"][0]["message"])
        self.assertEqual(self.whom("acme"), ["a.test", "all@to.test", "c.test", "me@to.test"])
        self.assertEqual((self.whom(""), self.whom("other")), (["all@to.test"], ["x@to.test"]))
        said = [(one.what, one.about) for one in self.rig.audited]
        self.assertEqual(said, [("suppression.added", "all@to.test of acme"), ("suppression.added", "2 of 3")])

    def test_files(self) -> None:
        self.forbidden(self.ask("POST", "/v1/suppressions/import?tenant=other", b"z@to.test\n"), "tenant")
        told = self.ask("POST", "/v1/suppressions/import", b"a@to.test\nb@to.test,other\nc@to.test,acme\n").json
        self.assertEqual((told["added"], [one["line"] for one in told["faults"]]), (2, [2]))
        self.assertEqual((self.whom(""), self.whom("other")), (["all@to.test"], ["x@to.test"]))
        answer = self.ask("GET", "/v1/suppressions/export")
        for one in (b"me@to.test", b"a@to.test", b"c@to.test"):
            self.assertIn(one, answer.body)
        self.assertEqual(answer.body.count(b"@to.test"), 3)


class Ways(Case):
    """Which way mail goes."""

    def setUp(self) -> None:
        self.rig = Rig()
        self.be("acme")

    def believed(self) -> bool:
        return self.rig.intake.opened[-1][1]

    def post(self, **more: str) -> Answer:
        mail = {"from": "a@example.com", "to": "b@example.net", "text": "x", **more}
        return self.ask("POST", "/v1/messages", mail, Content_Type="application/json")

    def test_it_is_not_for_tenants_to_say(self) -> None:
        self.forbidden(self.post(zone="default"), "zone")
        self.forbidden(self.post(zone="nonsense"), "zone")
        self.assertEqual(self.post().status, 202)
        self.assertFalse(self.believed())
        self.ask("POST", "/send-raw?from=a@example.com&to=b@example.net", b"Subject: x\r\n\r\nx")
        self.assertFalse(self.believed())
        self.rig.request("POST", "/send-raw?from=a@example.com&to=b@example.net", b"Subject: x\r\n\r\nx")
        self.assertTrue(self.believed())

    def test_unless_it_is(self) -> None:
        self.rig = Rig(allow_routing_headers=True)
        self.be("acme")
        self.assertEqual(self.post(zone="default").status, 202)
        self.assertTrue(self.believed())
        self.ask("POST", "/send-raw?from=a@example.com&to=b@example.net", b"Subject: x\r\n\r\nx")
        self.assertTrue(self.believed())

    def test_whose_mail_another_tenant_names(self) -> None:
        self.forbidden(self.post(tenant="other"), "tenant")
        self.assertEqual(self.post(tenant="acme").status, 202)


class Reasons(Case):
    def test_of_its_own_mail(self) -> None:
        self.rig = Rig(more=lambda rig: [WhyApi(Knows(), rig.store)])
        self.rig.store.add(replace(stored("a@src.test", b"", b""), tenant="acme"), [row(26, "b@d.test")])
        self.be("acme")
        [_, told] = self.get(f"/v1/deliveries/{ID}/why")["deliveries"]
        self.assertEqual(self.get(f"/v1/deliveries/{ID}.01a/why"), told)
        # Why there is a hold, or what a host has said of somebody's mail, isn't its own.
        self.assertEqual(told["waits_for"]["limit"], "hold (domain d.test)")
        self.be("other")
        for name in (ID, f"{ID}.01a", f"{ID}.01b"):
            self.get(f"/v1/deliveries/{name}/why", 404)


class Seals(SynchronousTestCase):
    @settings(max_examples=50, deadline=None)
    @given(st.binary(max_size=100), st.sampled_from(["", "acme", "Acme"]))
    def test_there_and_back(self, text: bytes, tenant: str) -> None:
        seal = Seal()
        shut = seal.shut(text, tenant)
        self.assertRegex(shut, r"\A[A-Za-z0-9_-]*\Z")
        self.assertEqual(seal.open(shut, tenant), text)

    def test_only_by_whom_it_was_made_for(self) -> None:
        seal = Seal()
        shut = seal.shut(b"a place", "acme")
        for one, tenant in (
            (shut, "Acme"), (shut, "other"), (shut[:-2], "acme"), ("A" + shut[1:], "acme"), ("", "acme"),
            (Seal().shut(b"a place", "acme"), "acme"), (seal.shut(b"a place", ""), "acme"), ("\u00e4", "acme"),
            (urlsafe_b64encode(b"x" * 40).decode(), "acme"),
        ):  # fmt: skip
            with self.assertRaises(Broken):
                seal.open(one, tenant)
