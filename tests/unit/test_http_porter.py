"""Who asks the API: a key, a session, a program of this machine, or nobody who is let in."""

from __future__ import annotations

import base64
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from relay.access.caller import Caller, Scope
from relay.access.session import csrf
from relay.access.tenant import OWN, Role, Tenant
from relay.http.credentials import key_of, token_of
from relay.http.frame import Call
from relay.http.operation import operation
from tests.unit.api_rig import NOW, Answer, Rig

FOREIGN = "192.0.2.1"
WRONG = "zr_" + "0" * 12 + "_" + "A" * 43


class CallersApi:
    """Says who asks."""

    def __init__(self) -> None:
        self.asked: list[Caller] = []

    @operation("GET", "/v1/things", scope=Scope.READ, tag="things", status=204, by_tenant=True)
    def see(self, call: Call) -> None:
        """For all who may read."""
        self.asked.append(call.caller)

    @operation("POST", "/v1/things", scope=Scope.OPERATE, tag="things", status=204, audit="thing.changed")
    def change(self, call: Call) -> None:
        """For the relay's own."""
        self.asked.append(call.caller)
        call.about = "thing\n1"

    @operation("POST", "/v1/broken", scope=Scope.OPERATE, tag="things", status=204, audit="thing.changed")
    def fail(self, call: Call) -> None:
        """Comes to nothing."""
        raise ValueError("a fault of ours")


class PorterCase(SynchronousTestCase):
    def made(self, peer: str = FOREIGN, **options: Any) -> Rig:
        self.api = CallersApi()
        return Rig(peer=peer, more=[self.api], **options)

    def see(self, rig: Rig, **headers: str) -> int:
        return rig.request("GET", "/v1/things", **headers).status

    def change(self, rig: Rig, **headers: str) -> int:
        return rig.request("POST", "/v1/things", **headers).status

    def bearer(self, text: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {text}"}


class Keys(PorterCase):
    def test_in_each_way(self) -> None:
        rig = self.made(insecure_auth=True)
        text = rig.key(Scope.READ, name="shop")
        basic = base64.b64encode(f"whoever:{text}".encode()).decode()
        for given in (f"Bearer {text}", f"bearer  {text} ", f"Basic {basic}", f"BASIC {basic}"):
            self.assertEqual(self.see(rig, Authorization=given), 204, given)
        [key] = rig.roll.keys
        self.assertEqual(set(self.api.asked), {Caller("shop", frozenset({Scope.READ}), by=f"key {key.id}")})
        self.assertEqual(rig.get(f"/v1/things?key={text}").status, 401, "never in the query")
        self.assertEqual(self.see(rig, X_API_Key=text), 401)

    def test_a_key_that_is_shown_decides(self) -> None:
        """From this machine too."""
        rig = self.made("127.0.0.1")
        self.assertEqual(self.see(rig), 204)
        for given in ("Bearer " + WRONG, "Bearer x", "Basic x", "Basic " + base64.b64encode(b"a:b").decode(), "Digest"):
            answer = rig.request("GET", "/v1/things", Authorization=given)
            self.assertEqual((answer.status, answer.problem["detail"]), (401, "Wrong key"), given)
            self.assertEqual(answer.headers["www-authenticate"], 'bearer realm="zonerelay"')
            rig.clock.advance(1000)
        self.assertEqual(self.change(rig, **self.bearer(rig.key(Scope.READ))), 403)
        answer = rig.request("GET", "/zones", Authorization="Bearer " + WRONG)
        self.assertEqual((answer.status, answer.json["code"]), (401, "Unauthorized"), "in the original's shape")

    def test_two_of_them(self) -> None:
        rig = self.made("127.0.0.1")
        client = rig.connect()
        field = f"Authorization: Bearer {rig.key(Scope.READ)}\r\n".encode()
        client.send(b"GET /v1/things HTTP/1.1\r\nHost: localhost\r\n" + field * 2 + b"\r\n")
        self.assertEqual(client.answer().status, 400)

    def test_over_tls_or_from_this_machine_only(self) -> None:
        rig = self.made()
        for text in (rig.key(Scope.READ), WRONG):
            answer = rig.request("GET", "/v1/things", **self.bearer(text))
            self.assertEqual((answer.status, answer.problem["code"]), (403, "TlsRequired"))
        self.assertEqual(self.see(self.made("127.0.0.1", open_loopback=False), **self.bearer(WRONG)), 401)
        rig = self.made("127.0.0.1", open_loopback=False)
        self.assertEqual(self.see(rig, **self.bearer(rig.key(Scope.READ))), 204)

    def test_too_often(self) -> None:
        rig = self.made(insecure_auth=True)
        shown = self.bearer(rig.key(Scope.READ, rates=("1/m",)))
        self.assertEqual(self.see(rig, **shown), 204)
        answer = rig.request("GET", "/v1/things", **shown)
        self.assertEqual((answer.status, answer.headers["retry-after"]), (429, "60"))
        rig.clock.advance(60)
        self.assertEqual(self.see(rig, **shown), 204)

    def test_guessing(self) -> None:
        rig = self.made(insecure_auth=True)
        statuses = [self.see(rig, **self.bearer(WRONG)) for _ in range(6)]
        self.assertEqual(statuses, [401] * 5 + [429])
        answer = rig.request("GET", "/v1/things", **self.bearer(WRONG))
        self.assertEqual(answer.headers["retry-after"], "900")

    def test_from_where_and_until_when(self) -> None:
        rig = self.made(insecure_auth=True)
        self.assertEqual(self.see(rig, **self.bearer(rig.key(Scope.READ, networks=("198.51.100.0/24",)))), 403)
        self.assertEqual(self.see(rig, **self.bearer(rig.key(Scope.READ, networks=("192.0.2.0/24",)))), 204)
        self.assertEqual(self.see(rig, **self.bearer(rig.key(Scope.READ, expires=NOW))), 401)
        self.assertEqual(self.see(rig, **self.bearer(rig.key(Scope.READ, expires=NOW + 1))), 204)

    def test_scopes(self) -> None:
        rig = self.made(insecure_auth=True)
        for scope in Scope:
            shown = self.bearer(rig.key(scope))
            self.assertEqual(self.see(rig, **shown), 204 if scope is Scope.READ else 403, scope)
            self.assertEqual(self.change(rig, **shown), 204 if scope is Scope.OPERATE else 403, scope)
            mail = rig.request("POST", "/send-raw?from=a@b.test&to=c@d.test", b"x", **shown).status
            self.assertEqual(mail, 200 if scope is Scope.SUBMIT else 403, scope)
            self.assertEqual(rig.request("GET", "/zones", **shown).status, 200 if scope is Scope.READ else 403, scope)
            self.assertEqual(rig.request("GET", "/nothing", **shown).status, 404, scope)

    def test_refused_before_the_body(self) -> None:
        rig = self.made()
        client = rig.connect()
        client.head("POST", "/send-raw", 10_000_000)
        self.assertEqual(client.answer().status, 401)
        self.assertEqual(rig.intake.submissions, [])

    def test_of_an_organisation(self) -> None:
        """What doesn't say that it sees to whose things these are is not for them."""
        rig = self.made(insecure_auth=True)
        rig.roll.add_tenant(Tenant("acme", "Acme"))
        shown = self.bearer(rig.key(Scope.READ, Scope.OPERATE, Scope.SUBMIT, tenant="acme"))
        self.assertEqual(self.see(rig, **shown), 204)
        self.assertEqual(self.api.asked[-1].tenant, "acme")
        self.assertEqual(self.change(rig, **shown), 403)
        self.assertEqual(rig.request("GET", "/zones", **shown).status, 403)
        self.assertEqual(rig.request("POST", "/send-raw?from=a@b.test&to=c@d.test", b"x", **shown).status, 200)

    def test_revoked(self) -> None:
        rig = self.made(insecure_auth=True)
        shown = self.bearer(rig.key(Scope.READ))
        self.assertEqual(self.see(rig, **shown), 204)
        [key] = rig.roll.keys
        rig.roll.revoke(key.id)
        self.assertEqual(self.see(rig, **shown), 401)


    def test_revoked_while_the_body_comes(self) -> None:
        rig = self.made(insecure_auth=True)
        client = rig.connect()
        client.head("POST", "/send-raw?from=a@b.test&to=c@d.test", 5, **self.bearer(rig.key(Scope.SUBMIT)))
        client.send(b"Subj")
        [key] = rig.roll.keys
        rig.roll.revoke(key.id)
        client.send(b":")
        self.assertEqual(client.answer().status, 401)
        [submission] = rig.intake.submissions
        self.assertEqual((submission.finished, submission.abandoned), (None, True))


class Strangers(PorterCase):
    PATHS = (
        "/v1/things", "/v1//things", "/V1/things", "/v1/things/", "/v1/./things", "/v1/x/../things", "/v1/%74hings",
        "/v1/things;a=b", "//v1/things", "/v1/things%00", "/zones", "/none", "/openapi.json", "/docs", "/metrics",
        "/unsubscribe/../v1/things", "/unsubscribe/%2e%2e/v1/things", "http://127.0.0.1/v1/things", "*",
    )  # fmt: skip
    TRICKS = (
        {}, {"X_Forwarded_For": "127.0.0.1"}, {"X_Real_IP": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"},
        {"X_Originating_IP": "127.0.0.1"}, {"X_Original_URL": "/unsubscribe/x"}, {"X_Rewrite_URL": "/unsubscribe/x"},
        {"X_HTTP_Method_Override": "OPTIONS"}, {"Host": "localhost"}, {"Host": "127.0.0.1"},
        {"X_Authenticated_User": "admin"}, {"Cookie": "zonerelay=x"}, {"Authorization": "Bearer"},
        {"Authorization": "Bearer " + WRONG}, {"Authorization": "Basic " + "=" * 5000}, {"X_API_Key": WRONG},
        {"Sec_Fetch_Site": "none"}, {"Client_IP": "127.0.0.1"}, {"X_CSRF_Token": "x"}, {"Via": "1.1 localhost"},
    )  # fmt: skip

    def test_H19_nobody_is_let_in(self) -> None:
        for options in ({}, {"insecure_auth": True}, {"open_loopback": False}):
            rig = self.made(max_connections=10_000, **options)
            for path in self.PATHS:
                for headers in self.TRICKS:
                    for method in ("GET", "POST", "TRACE"):
                        client = rig.connect()
                        client.head(method, path, 0 if method == "POST" else None, **headers)
                        status = int(client.transport.value().split(b" ")[1])
                        self.assertIn(status, (400, 401, 403, 404, 405, 429), (method, path, headers))
                rig.clock.advance(1000)
            self.assertEqual((self.api.asked, rig.intake.submissions, rig.operator.asked), ([], [], []))

    def test_nothing_tells_which_paths_there_are(self) -> None:
        rig = self.made()

        def told(method: str, path: str) -> tuple[int, Any]:
            answer = rig.request(method, path)
            return answer.status, answer.json

        for own in ("/v1/things", "/v1/none", "/v1/keys/x"):
            self.assertEqual(told("GET", own), told("POST", "/v1/x"))
        for other in ("/zones", "/none", "/openapi.json", "/fetch/1"):
            self.assertEqual(told("GET", other), told("PUT", "/x"))

    def test_behind_a_proxy_of_this_machine(self) -> None:
        """It asks for somebody else."""
        rig = self.made("127.0.0.1")
        for headers in ({"X_Forwarded_For": "192.0.2.1"}, {"Forwarded": "for=x"}, {"X_Real_IP": "x"}, {"Via": "1.1 x"}):
            self.assertEqual(self.see(rig, **headers), 401, headers)
            self.assertEqual(self.see(rig, **headers, **self.bearer(rig.key(Scope.READ))), 204)

    def test_H24_hostile_hosts(self) -> None:
        rig = self.made("127.0.0.1")
        for host in ("evil.example", "[::1", "a b", "127.0.0.1:8080:1"):
            answer = rig.request("GET", "/v1/things", Host=host)
            self.assertEqual(answer.status, 403)
            self.assertNotIn("location", answer.headers)
        shown = self.bearer(rig.key(Scope.READ))
        self.assertEqual(self.see(rig, Host="api.example.org", **shown), 204, "whoever has a key may call us anything")


class Pages(PorterCase):
    def setUp(self) -> None:
        self.rig = self.made(insecure_auth=True)
        member = self.successResultOf(self.rig.roll.add_member("ann", OWN, Role.OPERATOR, "hash"))
        self.token = self.successResultOf(self.rig.roll.begin(member))
        self.cookie = {"Cookie": f"other=1; zonerelay={self.token}"}
        self.proof = {"X_CSRF_Token": csrf(self.token)}

    def test_a_session(self) -> None:
        self.assertEqual(self.see(self.rig, **self.cookie), 204)
        self.assertEqual(self.change(self.rig, **self.cookie, **self.proof), 204)
        self.assertEqual({caller.name for caller in self.api.asked}, {"ann"})
        self.assertEqual(self.see(self.rig, Cookie="zonerelay=" + self.token[:-1]), 401)
        self.rig.roll.end(self.token)
        self.assertEqual(self.see(self.rig, **self.cookie), 401)

    def test_H21_what_changes_something_needs_the_other_word(self) -> None:
        for proof in ({}, {"X_CSRF_Token": "x"}, {"X_CSRF_Token": self.token}, {"X_CSRF_Token": "\x80"}):
            self.assertEqual(self.change(self.rig, **self.cookie, **proof), 403, proof)
        self.assertEqual(self.api.asked, [])

    def test_H21_pages_of_others(self) -> None:
        basic = base64.b64encode(f"x:{self.rig.key(Scope.OPERATE)}".encode()).decode()
        for who in ({**self.cookie, **self.proof}, {"Authorization": f"Basic {basic}"}):
            for page in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}):
                self.assertEqual(self.change(self.rig, Content_Type="text/plain", **who, **page), 403, page)
            ours = {"Origin": "https://127.0.0.1:8080", "Sec_Fetch_Site": "same-origin"}
            self.assertEqual(self.change(self.rig, **who, **ours), 204)
        self.assertEqual(len(self.api.asked), 2)

    def test_a_session_decides_on_this_machine_too(self) -> None:
        rig = self.made("127.0.0.1")
        member = self.successResultOf(rig.roll.add_member("ann", OWN, Role.VIEWER, "hash"))
        token = self.successResultOf(rig.roll.begin(member))
        proof = {"X_CSRF_Token": csrf(token)}
        self.assertEqual(self.change(rig, Cookie=f"zonerelay={token}", **proof), 403)
        rig.roll.end(token)
        self.assertEqual(self.change(rig, Cookie=f"zonerelay={token}", **proof), 204, "as if it were not there")

    def test_not_in_the_clear(self) -> None:
        rig = self.made()
        member = self.successResultOf(rig.roll.add_member("ann", OWN, Role.OWNER, "hash"))
        token = self.successResultOf(rig.roll.begin(member))
        self.assertEqual(self.see(rig, Cookie=f"zonerelay={token}"), 403)


class WhoSends(PorterCase):
    """compat.md: X-Authenticated-User, X-Originating-IP."""

    SPEAKS = {"X_Authenticated_User": "alice", "X_Originating_IP": "198.51.100.7"}

    def sent(self, rig: Rig, **headers: str) -> tuple[str, str]:
        answer: Answer = rig.request("POST", "/send-raw?from=a@b.test&to=c@d.test", b"x", **headers)
        self.assertEqual(answer.status, 200)
        origin, _ = rig.intake.opened[-1]
        return origin.user, origin.address

    def test_believed(self) -> None:
        rig = self.made("127.0.0.1")
        self.assertEqual(self.sent(rig, **self.SPEAKS), ("alice", "198.51.100.7"))
        self.assertEqual(self.sent(rig), ("", "127.0.0.1"))
        self.assertIsNone(rig.intake.users[-1])
        rig = self.made(insecure_auth=True)
        shown = self.bearer(rig.key(Scope.SUBMIT, Scope.IMPERSONATE, name="shop", domains=("b.test",)))
        self.assertEqual(self.sent(rig, **shown, **self.SPEAKS), ("alice", "198.51.100.7"))
        user = rig.intake.users[-1]
        assert user is not None
        self.assertEqual((user.name, user.senders, user.from_domains), ("alice", ("@b.test",), ("b.test",)))
        self.assertEqual(self.sent(rig, **shown), ("shop", FOREIGN))

    def test_ignored(self) -> None:
        rig = self.made(insecure_auth=True)
        shown = self.bearer(rig.key(Scope.SUBMIT, name="shop"))
        self.assertEqual(self.sent(rig, **shown, **self.SPEAKS), ("shop", FOREIGN))
        nonsense = {"X_Authenticated_User": "x" * 5000, "X_Originating_IP": "nonsense"}
        self.assertEqual(self.sent(rig, **shown, **nonsense), ("shop", FOREIGN))
        rig.roll.add_tenant(Tenant("acme", "Acme"))
        shown = self.bearer(rig.key(Scope.SUBMIT, Scope.IMPERSONATE, name="shop", tenant="acme"))
        self.assertEqual(self.sent(rig, **shown, **self.SPEAKS), ("acme/shop", FOREIGN))
        user = rig.intake.users[-1]
        assert user is not None
        self.assertEqual(user.tenant, "acme")


class Audited(PorterCase):
    def test_who_has_changed_what(self) -> None:
        rig = self.made(insecure_auth=True)
        shown = self.bearer(rig.key(Scope.OPERATE, Scope.READ, name="ops"))
        self.change(rig, **shown)
        self.see(rig, **shown)
        rig.request("POST", "/v1/broken", **shown)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        [event] = rig.audited
        [key] = rig.roll.keys
        self.assertEqual((event.kind, event.time, event.user, event.client), ("audit", NOW, "ops", FOREIGN))
        self.assertEqual((event.what, event.about, event.reason), ("thing.changed", "thing?1", f"by key {key.id}"))

    def test_what_is_in_there(self) -> None:
        """All that changes something, whether or not somebody has thought of it."""

        class ThingsApi:
            @operation("DELETE", "/v1/things/{id}", scope=Scope.OPERATE, tag="things", status=204)
            def end(self, call: Call, id: str) -> None:
                """Ends one."""

            @operation("POST", "/v1/mail", scope=Scope.SUBMIT, tag="things", status=204)
            def send(self, call: Call) -> None:
                """Hands over mail."""

        rig = Rig(more=[ThingsApi()])
        rig.request("DELETE", "/v1/things/x%0Ay")
        rig.request("POST", "/v1/mail")
        self.assertEqual([(event.what, event.about) for event in rig.audited], [("things.end", "x?y")])

    def test_a_program_of_this_machine(self) -> None:
        rig = self.made("127.0.0.1")
        self.change(rig)
        [event] = rig.audited
        self.assertEqual((event.user, event.reason), ("local", "from this machine, without a key"))


class Fields(SynchronousTestCase):
    def test_authorization(self) -> None:
        for field, key in (
            (b"Bearer x", "x"), (b"bearer \t x ", "x"), (b"Basic YTpi", "b"), (b"Basic YTpiOmM=", "b:c"),
            (b"Basic YQ==", ""), (b"Basic !", ""), (b"Digest x", ""), (b"", ""), (b"Bearer", ""),
            (b"Bearer \xff", "\ufffd"),
        ):  # fmt: skip
            self.assertEqual(key_of(field), key, field)

    def test_cookies(self) -> None:
        for fields, token in (
            ([b"zonerelay=x"], "x"), ([b"a=b; zonerelay=x; c=d"], "x"), ([b"a=b", b"zonerelay=x"], "x"),
            ([b"a=b"], ""), ([], ""), ([b"zonerelay"], ""), ([b"\xff=\x00"], ""), ([b"zonerelay=" + b"x" * 9000], ""),
        ):  # fmt: skip
            self.assertEqual(token_of(fields), token, fields)
