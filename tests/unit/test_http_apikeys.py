"""API keys, organisations, members and sessions, made and ended by the API."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from relay.access.caller import Scope
from relay.access.session import csrf
from relay.access.tenant import OWN, Role, Tenant
from relay.http.apikeys import ApiKeysApi
from relay.http.sessions import SessionsApi
from relay.http.tenants import MembersApi, TenantsApi
from relay.queue.store import StoreError
from tests.unit.api_rig import NOW, Answer, Rig

KEY = {"name": "shop", "scopes": ["submit", "read"]}
ANN = {"user": "Ann", "password": "a password", "role": "owner"}


class AccessCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.rig = self.made()

    def made(self, **options: Any) -> Rig:
        return Rig(
            more=lambda rig: (
                ApiKeysApi(rig.roll, lambda: NOW),
                TenantsApi(rig.roll),
                MembersApi(rig.roll, rig.access),
                SessionsApi(rig.roll, rig.access),
            ),
            **options,
        )

    def ask(self, method: str, path: str, fields: Any = None, key: str = "", **headers: str) -> Answer:
        if key:
            headers["Authorization"] = f"Bearer {key}"
        return self.rig.request(method, path, b"" if fields is None else json.dumps(fields).encode(), **headers)

    def good(self, method: str, path: str, fields: Any = None, key: str = "", status: int = 200) -> Any:
        answer = self.ask(method, path, fields, key)
        self.assertEqual(answer.status, status, answer.body)
        return answer.json

    def bad(self, method: str, path: str, fields: Any, status: int, words: str, key: str = "") -> None:
        answer = self.ask(method, path, fields, key)
        self.assertEqual(answer.status, status, answer.body)
        self.assertIn(words, answer.problem["detail"])


class Keys(AccessCase):
    def test_made_and_used(self) -> None:
        answer = self.ask("POST", "/v1/keys", {
            **KEY, "domains": ["Example.COM"], "networks": ["127.0.0.0/8", "::1"], "rates": ["10/s"], "duration": "90d",
        })  # fmt: skip
        self.assertEqual(answer.status, 201)
        made = answer.json
        self.assertEqual(answer.headers["location"], f"/v1/keys/{made['id']}")
        self.assertEqual(
            (made["domains"], made["networks"], made["tenant"], made["expires"], made["used"]),
            (["example.com"], ["127.0.0.0/8", "::1/128"], None, "2027-02-20T03:58:10.123Z", None),
        )
        text = made.pop("key")
        self.assertEqual(self.ask("GET", "/zones", key=text).status, 200)
        shown = self.good("GET", f"/v1/keys/{made['id']}")
        self.assertEqual(shown, {**made, "used": "2026-11-22T03:58:10.123Z"})
        self.assertNotIn(text[16:], json.dumps(self.good("GET", "/v1/keys")))
        [event] = self.rig.audited
        self.assertEqual((event.what, event.about, event.user), ("key.created", f"{made['id']} shop", "local"))
        self.assertNotIn(text[16:], str(event))

    def test_revoked(self) -> None:
        made = self.good("POST", "/v1/keys", KEY, status=201)
        self.good("DELETE", f"/v1/keys/{made['id']}")
        self.assertEqual(self.ask("GET", "/zones", key=made["key"]).status, 401)
        self.bad("DELETE", f"/v1/keys/{made['id']}", None, 404, "There is no key")
        self.assertEqual([event.what for event in self.rig.audited], ["key.created", "key.revoked"])

    def test_fields_that_can_not_stand(self) -> None:
        for change, field in (
            ({"name": ""}, "name"), ({"name": "a b"}, "name"), ({"name": "x\n"}, "name"), ({"name": "x/y"}, "name"),
            ({"scopes": []}, "scopes"), ({"scopes": ["all"]}, "scopes[0]"), ({"tenant": "none"}, "tenant"),
            ({"tenant": OWN}, "tenant"), ({"domains": ["a b"]}, "domains[0]"), ({"domains": ["x"] * 101}, "domains"),
            ({"networks": ["10.0.0.1/8"]}, "networks[0]"), ({"networks": ["x"]}, "networks[0]"),
            ({"rates": ["1/x"]}, "rates[0]"), ({"rates": ["0/s"]}, "rates[0]"), ({"duration": "0s"}, "duration"),
            ({"expires": "tomorrow"}, "expires"), ({"expires": "2020-01-01T00:00:00Z"}, "expires"),
            ({"expires": "2030-01-01T00:00:00Z", "duration": "1d"}, "expires"), ({"secret": "x"}, "secret"),
        ):  # fmt: skip
            answer = self.ask("POST", "/v1/keys", {**KEY, **change})
            self.assertEqual((answer.status, answer.problem.get("field")), (400, field), answer.body)
        self.assertEqual((len(self.rig.roll.keys), self.rig.audited), (0, []))

    def test_one_name_once(self) -> None:
        self.good("POST", "/v1/keys", KEY, status=201)
        self.bad("POST", "/v1/keys", KEY, 409, "there is a key shop already")

    def test_a_queue_that_can_not_write(self) -> None:
        self.rig.shelf.error = StoreError("The disk is full")
        self.bad("POST", "/v1/keys", KEY, 503, "The disk is full")
        self.assertEqual(len(self.rig.roll.keys), 0)

    def test_pages(self) -> None:
        for number in range(5):
            self.good("POST", "/v1/keys", {**KEY, "name": f"key{number}"}, status=201)
        found, cursor = [], ""
        while True:
            page = self.good("GET", f"/v1/keys?limit=2&cursor={cursor}")
            found += [key["id"] for key in page["items"]]
            if page["next"] is None:
                break
            cursor = page["next"]
        self.assertEqual(found, sorted(key.id for key in self.rig.roll.keys))
        self.assertEqual(self.good("GET", "/v1/keys?limit=5")["next"], None)

    def test_nobody_gives_more_than_they_have(self) -> None:
        admin = self.rig.key(Scope.ADMIN, Scope.READ, domains=("example.com",))
        self.bad("POST", "/v1/keys", KEY, 400, "you have not the scope submit", admin)
        read = {"name": "r", "scopes": ["read"]}
        self.bad("POST", "/v1/keys", read, 400, "expected some of example.com", admin)
        self.bad("POST", "/v1/keys", {**read, "domains": ["example.net"]}, 400, "not among example.com", admin)
        self.good("POST", "/v1/keys", {**read, "domains": ["example.com"]}, admin, status=201)
        self.bad("POST", "/v1/keys", read, 403, "scope admin", self.rig.key(Scope.OPERATE, Scope.READ))

    def test_those_of_an_organisation(self) -> None:
        for tenant in ("acme", "other"):
            self.good("POST", "/v1/tenants", {"id": tenant, "domains": [f"{tenant}.example"]}, status=201)
        every = [scope.value for scope in Scope]
        self.bad("POST", "/v1/keys", {"name": "x", "scopes": every, "tenant": "acme"}, 400, "impersonate")
        theirs = {"name": "owner", "scopes": ["admin", "submit"], "tenant": "acme"}
        owner = self.good("POST", "/v1/keys", theirs, status=201)["key"]
        other = self.good("POST", "/v1/keys", {**theirs, "tenant": "other"}, status=201)
        self.bad("POST", "/v1/keys", {**KEY, "tenant": "other", "scopes": ["submit"]}, 400, "your own", owner)
        send = {"name": "send", "scopes": ["submit"], "domains": ["acme.example"]}
        self.bad("POST", "/v1/keys", {**send, "domains": ["other.example"]}, 400, "not among acme.example", owner)
        self.bad("POST", "/v1/keys", {**send, "domains": []}, 400, "expected some of acme.example", owner)
        self.assertEqual(self.good("POST", "/v1/keys", send, owner, status=201)["tenant"], "acme")
        self.assertEqual({key["tenant"] for key in self.good("GET", "/v1/keys", key=owner)["items"]}, {"acme"})
        self.bad("GET", f"/v1/keys/{other['id']}", None, 404, "There is no key", owner)
        self.bad("DELETE", f"/v1/keys/{other['id']}", None, 404, "There is no key", owner)
        self.assertEqual(self.rig.audited[-1].user, "acme/owner")
        self.assertEqual(self.rig.audited[-1].tenant, "acme")


class Organisations(AccessCase):
    def test_made_changed_ended(self) -> None:
        made = self.good("POST", "/v1/tenants", {"id": "acme", "name": "Acme Ltd"}, status=201)
        self.assertEqual(made["created"], "2026-11-22T03:58:10.123Z")
        self.bad("POST", "/v1/tenants", {"id": "acme"}, 409, "there is an organisation acme already")
        self.bad("POST", "/v1/tenants", {"id": OWN}, 409, "already")
        changed = self.good("PATCH", "/v1/tenants/acme", {"domains": ["example.com"]})
        self.assertEqual(changed, {**made, "domains": ["example.com"]})
        self.assertEqual(self.good("GET", "/v1/tenants"), {"items": [changed], "next": None})
        self.good("POST", "/v1/tenants/acme/members", ANN, status=201)
        key = self.good("POST", "/v1/keys", {**KEY, "tenant": "acme"}, status=201)["key"]
        self.good("DELETE", "/v1/tenants/acme")
        self.bad("GET", "/v1/tenants/acme", None, 404, "There is no organisation")
        self.assertEqual(self.ask("GET", "/v1/tenants", key=key).status, 401)
        self.assertEqual((len(self.rig.roll.keys), len(self.rig.roll.members)), (0, 0))
        whats = ["tenant.created", "tenant.changed", "member.created", "key.created", "tenant.deleted"]
        self.assertEqual([event.what for event in self.rig.audited], whats)

    def test_the_relays_own_stays(self) -> None:
        self.bad("DELETE", f"/v1/tenants/{OWN}", None, 409, "stays as it is")
        self.bad("PATCH", f"/v1/tenants/{OWN}", {"name": "Mine"}, 409, "stays as it is")
        self.assertEqual(self.good("GET", f"/v1/tenants/{OWN}")["id"], OWN)

    def test_fields_that_can_not_stand(self) -> None:
        for fields, field in (
            ({}, "id"), ({"id": "a b"}, "id"), ({"id": "a/b"}, "id"), ({"id": "x" * 65}, "id"), ({"id": "x\n"}, "id"),
            ({"id": "x", "name": "a\nb"}, "name"), ({"id": "x", "domains": [""]}, "domains[0]"),
        ):  # fmt: skip
            answer = self.ask("POST", "/v1/tenants", fields)
            self.assertEqual((answer.status, answer.problem.get("field")), (400, field), answer.body)

    def test_their_own_keys_see_and_touch_their_own(self) -> None:
        self.rig.roll.add_tenant(Tenant("acme", "Acme"))
        self.rig.roll.add_tenant(Tenant("other", "Other"))
        owner = self.rig.key(Scope.ADMIN, tenant="acme")
        self.assertEqual([one["id"] for one in self.good("GET", "/v1/tenants", key=owner)["items"]], ["acme"])
        self.good("GET", "/v1/tenants/acme", key=owner)
        for method, path, status in (
            ("GET", "/v1/tenants/other", 404), ("GET", "/v1/tenants/other/members", 404),
            ("GET", f"/v1/tenants/{OWN}", 404), ("DELETE", "/v1/tenants/acme", 403),
            ("GET", f"/v1/tenants/{OWN}/members", 404),
        ):  # fmt: skip
            self.assertEqual(self.ask(method, path, key=owner).status, status, path)
        self.assertEqual(self.ask("PATCH", "/v1/tenants/acme", {"domains": []}, owner).status, 403)
        self.assertEqual(self.ask("POST", "/v1/tenants/other/members", {**ANN, "role": "viewer"}, owner).status, 403)
        self.bad("POST", "/v1/tenants/acme/members", ANN, 403, "may more than you", owner)


class Members(AccessCase):
    def setUp(self) -> None:
        super().setUp()
        self.rig.roll.add_tenant(Tenant("acme", "Acme"))
        self.path = "/v1/tenants/acme/members"

    def test_made_changed_ended(self) -> None:
        made = self.good("POST", self.path, ANN, status=201)
        self.assertEqual((made["user"], made["role"], made["tenant"]), ("ann", "owner", "acme"))
        self.bad("POST", self.path, {**ANN, "user": "ANN"}, 409, "somebody logs in as ann already")
        self.bad("POST", f"/v1/tenants/{OWN}/members", ANN, 409, "already")
        self.assertEqual(self.good("PATCH", f"{self.path}/Ann", {"role": "viewer"})["role"], "viewer")
        self.assertEqual(self.good("GET", self.path)["items"][0]["role"], "viewer")
        member = self.rig.roll.members.get("ann")
        assert member is not None
        self.assertEqual(member.hash, "hash of a password")
        self.good("DELETE", f"{self.path}/ann")
        self.bad("DELETE", f"{self.path}/ann", None, 404, "There is no member")
        self.assertEqual(self.rig.audited[-1].about, "ann of acme")

    def test_fields_that_can_not_stand(self) -> None:
        for change, field in (
            ({"user": ""}, "user"), ({"user": "a b"}, "user"), ({"user": "a/b"}, "user"), ({"role": "root"}, "role"),
            ({"password": "short"}, "password"), ({"password": "x" * 1025}, "password"),
        ):  # fmt: skip
            answer = self.ask("POST", self.path, {**ANN, **change})
            self.assertEqual((answer.status, answer.problem.get("field")), (400, field), answer.body)

    def test_nobody_takes_from_who_has_more(self) -> None:
        self.good("POST", self.path, ANN, status=201)
        weak = self.rig.key(Scope.ADMIN, Scope.READ, tenant="acme")
        self.bad("PATCH", f"{self.path}/ann", {"password": "another one"}, 403, "may more than you", weak)
        self.bad("DELETE", f"{self.path}/ann", None, 403, "may more than you", weak)
        self.good("POST", self.path, {**ANN, "user": "bob", "role": "viewer"}, weak, status=201)
        self.bad("PATCH", f"{self.path}/bob", {"role": "operator"}, 403, "may more than you", weak)

    def test_who_sends_from_less_makes_nobody_who_sends_from_more(self) -> None:
        bound = self.rig.key(Scope.ADMIN, Scope.READ, tenant="acme", domains=("example.com",))
        self.bad("POST", self.path, {**ANN, "role": "viewer"}, 403, "more domains than you", bound)


class Sessions(AccessCase):
    def setUp(self) -> None:
        super().setUp()
        self.rig = self.made(peer="192.0.2.1", insecure_auth=True)
        self.rig.roll.add_tenant(Tenant("acme", "Acme"))
        self.rig.roll.add_member("ann", "acme", Role.OWNER, "hash of a password")
        self.login = {"user": "Ann", "password": "a password"}

    def begin(self, **headers: str) -> Answer:
        return self.ask("POST", "/v1/sessions", self.login, **headers)

    def cookie(self, answer: Answer) -> dict[str, str]:
        return {"Cookie": self.field(answer).partition(";")[0]}

    def field(self, answer: Answer) -> str:
        return answer.headers["set-cookie"]

    def test_from_beginning_to_end(self) -> None:
        # Names and values of fields are in lower case here, and a token isn't: it is taken from the roll.
        client = self.rig.connect()
        body = json.dumps(self.login).encode()
        client.head("POST", "/v1/sessions", len(body))
        client.send(body)
        head, _, said = client.transport.value().decode().partition("\r\n\r\n")
        self.assertTrue(head.startswith("HTTP/1.1 201 "), head)
        [field] = [line for line in head.split("\r\n") if line.startswith("Set-Cookie: ")]
        cookie, *flags = field.removeprefix("Set-Cookie: ").split("; ")
        self.assertEqual(flags, ["Path=/", "Max-Age=604800", "HttpOnly", "SameSite=Lax"])
        token = cookie.removeprefix("zonerelay=")
        shown = json.loads(said)
        self.assertEqual(shown, {
            "user": "ann", "tenant": "acme", "role": "owner", "scopes": ["admin", "operate", "read", "submit"],
            "expires": "2026-11-22T15:58:10.123Z", "csrf_token": csrf(token),
        })  # fmt: skip
        [event] = self.rig.audited
        told = (event.what, event.about, event.user, event.client)
        self.assertEqual(told, ("session.begun", "ann", "acme/ann", "192.0.2.1"))
        self.assertEqual(self.ask("GET", "/v1/sessions/current", Cookie=cookie).json, shown)
        self.assertEqual(self.ask("GET", "/v1/tenants", Cookie=cookie).json["items"][0]["id"], "acme")
        self.assertEqual(self.ask("DELETE", "/v1/sessions/current", Cookie=cookie).status, 403, "without the word")
        ended = self.ask("DELETE", "/v1/sessions/current", Cookie=cookie, X_CSRF_Token=shown["csrf_token"])
        self.assertEqual((ended.status, "max-age=0" in ended.headers["set-cookie"].lower()), (204, True))
        self.assertEqual(self.ask("GET", "/v1/sessions/current", Cookie=cookie).status, 401)

    def test_wrong(self) -> None:
        told = []
        for change in ({"password": "wrong"}, {"user": "nobody"}, {"user": "a\nb"}):
            client = self.rig.connect()
            body = json.dumps({**self.login, **change}).encode()
            client.head("POST", "/v1/sessions", len(body))
            client.send(body)
            self.rig.clock.advance(5)
            answer = client.answer()
            self.assertEqual(answer.status, 401)
            self.assertNotIn("set-cookie", answer.headers)
            told.append(answer.problem)
        self.assertEqual(told, told[:1] * 3)
        self.assertEqual(len(self.rig.roll.sessions), 0)

    def test_guessing(self) -> None:
        for _ in range(5):
            client = self.rig.connect()
            body = json.dumps({**self.login, "password": "wrong"}).encode()
            client.head("POST", "/v1/sessions", len(body))
            client.send(body)
            self.rig.clock.advance(5)
            self.assertEqual(client.answer().status, 401)
        answer = self.begin()
        self.assertEqual((answer.status, answer.headers["retry-after"]), (429, "895"))

    def test_H21_a_page_of_others_logs_nobody_in(self) -> None:
        self.assertEqual(self.begin(Origin="https://evil.example", Content_Type="text/plain").status, 403)
        self.assertEqual(self.begin(Sec_Fetch_Site="cross-site").status, 403)
        self.assertEqual(len(self.rig.roll.sessions), 0)

    def test_anew_over_an_old_one(self) -> None:
        member = self.rig.roll.members.get("ann")
        assert member is not None
        token = self.successResultOf(self.rig.roll.begin(member))
        self.assertEqual(self.begin(Cookie=f"zonerelay={token}").status, 201)
        self.assertIsNone(self.rig.roll.session(token))
        self.assertEqual(len(self.rig.roll.sessions), 1)

    def test_not_in_the_clear(self) -> None:
        self.rig = self.made(peer="192.0.2.1")
        self.assertEqual(self.begin().problem["code"], "TlsRequired")

    def test_who_has_none(self) -> None:
        key = self.rig.key(Scope.READ)
        self.assertEqual(self.ask("GET", "/v1/sessions/current", key=key).status, 404)
        self.assertEqual(self.ask("DELETE", "/v1/sessions/current", key=key).status, 404)
