"""Two organisations on one relay: whatever the one asks for, it gets nothing of the other's, and changes nothing of it.

Each operation that callers of a tenant may ask has its row here, with what a hostile one would try. An answer about
what is another's has to be the one about what there isn't.
"""

from __future__ import annotations

import json
import socket
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from tests.scenario.harness import Relay, Scenario, deferToThread, post

SCOPES = ["submit", "read", "operate", "admin"]
#: Stands in all that is the victim's, and nowhere else.
MARK = "victimsown"
NOBODY = "0000000000"
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat()
LOGIN = {"password": "long enough", "role": "viewer"}


class Try(NamedTuple):
    """A request of the hostile tenant, and what may be answered. `echoes`: the answer may say what the request said."""

    path: str
    status: int = 404
    body: Any = None
    headers: dict[str, str] = {}
    echoes: bool = False


class Mine(NamedTuple):
    """What one organisation has: its key and the ids of the rest."""

    key: str
    key_id: str
    message: str
    job: str
    entry: str
    user: str


def mail(mark: str, **more: Any) -> dict[str, Any]:
    return {
        "from": f"{mark}@{mark}.test", "to": f"{mark}@{mark}.test", "subject": mark, "text": mark, "send_at": TOMORROW,
        "tags": [mark], "metadata": {"of": mark}, **more,
    }  # fmt: skip


class Tenants(Scenario):
    def ask(self, method: str, path: str, body: Any = None, key: str = "", **headers: str) -> tuple[int, str]:
        if key:
            headers["Authorization"] = f"Bearer {key}"
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **headers}
        status, answer = post(self.it.api, path, data, method, headers)
        return status, answer.decode()

    def good(self, method: str, path: str, body: Any = None, key: str = "", **headers: str) -> Any:
        status, answer = self.ask(method, path, body, key, **headers)
        self.assertIn(status, (200, 201, 202), (method, path, answer))
        return json.loads(answer)

    def queue(self, key: str) -> list[Any]:
        """All of it that a key shows."""
        items, cursor = [], ""
        while cursor is not None:
            page = self.good("GET", f"/v1/queue?cursor={cursor}", key=key)
            items += page["items"]
            cursor = page["next"]
        return items

    def settled(self, tenant: str, mark: str) -> Mine:
        """An organisation with something of everything."""
        self.good("POST", "/v1/tenants", {"id": tenant, "name": mark})
        made = self.good("POST", "/v1/keys", {"name": f"{mark}-key", "scopes": SCOPES, "tenant": tenant})
        key, user = made["key"], f"{mark}-ann"
        self.good("POST", f"/v1/tenants/{tenant}/members", {"user": user, **LOGIN}, key)
        message = self.good("POST", "/v1/messages", mail(mark), key)["id"]
        hold = {"action": "hold", "reason": mark, "names": [f"{message}.001"]}
        job = self.good("POST", "/v1/queue/actions", hold, key)["id"]
        entry = self.good("POST", "/v1/suppressions", {"address": f"{mark}@to.test", "reason": mark}, key)["id"]
        return Mine(key, made["id"], message, job, entry, user)

    def rows(self, victim: Mine, cursors: dict[str, str]) -> dict[str, list[Try]]:
        id, name, address = victim.message, f"{victim.message}.001", f"{MARK}%40{MARK}.test"
        newest = json.dumps(["tenant", [1, id, 0]]).encode()
        forged = [
            urlsafe_b64encode(text).decode().rstrip("=")
            for text in (newest, newest.replace(b"tenant", b"age"), b'["zone",[0,["default","","",0,"",0]]]')
        ]
        act = {"action": "delete"}
        member = f"/v1/tenants/acme/members/{victim.user}"
        posted = mail("mine")
        body = json.dumps({"from": "mine@mine.test", "to": "ok+mine@evil.test", "text": "mine"}).encode()
        as_victim = {"X-Authenticated-User": f"acme/{MARK}-key", "X-Originating-IP": "192.0.2.1"}
        return {
            "GET /v1/queue": [
                Try("/v1/queue", 200), Try(f"/v1/queue?id={id}", 200), Try("/v1/queue?tenant=acme", 403),
                Try(f"/v1/queue?recipient={address}", 200), Try(f"/v1/queue?sender={address}", 200),
                Try(f"/v1/queue?domain={MARK}.test&limit=1", 200), Try(f"/v1/queue?tag={MARK}", 200),
                Try("/v1/queue?state=held&limit=1", 200), Try("/v1/queue?zone=default&limit=1", 200),
                Try(f"/v1/queue?site={MARK}.test", 200), Try(f"/v1/queue?cursor={cursors['queue']}", 400),
                *(Try(f"/v1/queue?cursor={one}", 400) for one in forged),
                *(Try(f"/v1/queue?zone=default&cursor={one}", 400) for one in forged),
            ],
            "POST /v1/deliveries/{name}/actions": [
                Try(f"/v1/deliveries/{name}/actions", 404, {"action": verb})
                for verb in ("delete", "hold", "release", "send-now", "bounce")
            ] + [Try(f"/v1/deliveries/{name}/actions", 403, {"action": "move", "zone": "default"})],
            "POST /v1/queue/actions": [
                Try("/v1/queue/actions", 202, {**act, "names": [name]}),
                Try("/v1/queue/actions", 202, {**act, "dry_run": True, "filter": {"id": id}}),
                Try("/v1/queue/actions", 202, {**act, "filter": {"everything": True}}),
                Try("/v1/queue/actions", 403, {**act, "filter": {"tenant": "acme"}}),
            ],
            "GET /v1/jobs": [Try("/v1/jobs", 200)],
            "GET /v1/jobs/{id}": [Try(f"/v1/jobs/{victim.job}")],
            "DELETE /v1/jobs/{id}": [Try(f"/v1/jobs/{victim.job}")],
            "GET /v1/messages/{queue_id}": [Try(f"/v1/messages/{id}")],
            "GET /v1/messages/{queue_id}/headers": [Try(f"/v1/messages/{id}/headers")],
            "GET /v1/messages/{queue_id}/body": [
                Try(f"/v1/messages/{id}/body"),
                Try(f"/v1/messages/{id}/body", headers={"Range": "bytes=0-3"}),
                Try(f"/v1/messages/{id}/body", headers={"Range": "bytes=99999-"}),
            ],
            "GET /v1/deliveries/{name}": [Try(f"/v1/deliveries/{name}"), Try(f"/v1/deliveries/{id}.002")],
            "GET /v1/deliveries/{name}/why": [Try(f"/v1/deliveries/{name}/why"), Try(f"/v1/deliveries/{id}/why")],
            "GET /v1/events": [
                Try("/v1/events", 200), Try("/v1/events?after=0&limit=1000", 200),
                Try("/v1/events?after=0&kind=audit,queued,held,decision", 200),
            ],
            "GET /v1/history/{name}": [Try(f"/v1/history/{id}"), Try(f"/v1/history/{name}")],
            "GET /v1/history": [
                Try(f"/v1/history?recipient={address}", 200), Try(f"/v1/history?sender={address}", 200),
                Try(f"/v1/history?message_id={cursors['message_id']}", 200), Try("/v1/history?since=1", 200),
                Try(f"/v1/history?recipient={address}&sender={address}&limit=1", 200),
            ],
            "GET /v1/stream": [Try("/v1/stream?counters=1", 403)],  # What it tells: see `streamed`.
            "GET /v1/keys": [
                Try("/v1/keys", 200), Try(f"/v1/keys?limit=1&cursor={victim.key_id}", 200),
                Try("/v1/keys?cursor=0", 200),
            ],
            "GET /v1/keys/{id}": [Try(f"/v1/keys/{victim.key_id}")],
            "POST /v1/keys": [
                Try("/v1/keys", 400, {"name": "x", "scopes": ["read"], "tenant": "acme"}),
                Try("/v1/keys", 400, {"name": "x", "scopes": ["read"], "tenant": "relay"}),
                Try("/v1/keys", 400, {"name": "x", "scopes": ["impersonate"]}),
            ],
            "DELETE /v1/keys/{id}": [Try(f"/v1/keys/{victim.key_id}")],
            "GET /v1/users": [
                Try("/v1/users", 200), Try("/v1/users?tenant=acme", 200), Try("/v1/users?cursor=a&limit=1", 200)
            ],
            "GET /v1/users/{user}": [
                Try(f"/v1/users/{MARK}%40x.test", echoes=True), Try("/v1/users/plain%40x.test")
            ],
            "GET /v1/tenants": [Try("/v1/tenants", 200), Try("/v1/tenants?cursor=a&limit=1", 200)],
            "GET /v1/tenants/{id}": [Try("/v1/tenants/acme"), Try("/v1/tenants/relay")],
            "GET /v1/tenants/{id}/members": [
                Try("/v1/tenants/acme/members"), Try("/v1/tenants/relay/members"),
                Try("/v1/tenants/rival/members?cursor=0", 200),
            ],
            "POST /v1/tenants/{id}/members": [
                Try("/v1/tenants/acme/members", 404, {"user": "x", **LOGIN}),
                Try("/v1/tenants/relay/members", 404, {"user": "x", **LOGIN}),
            ],
            "PATCH /v1/tenants/{id}/members/{user}": [
                Try(member, 404, {"role": "owner"}, echoes=True),
                Try(member.replace("acme", "rival"), 404, {"password": "mine from now on"}, echoes=True),
            ],
            "DELETE /v1/tenants/{id}/members/{user}": [
                Try(member, echoes=True), Try(member.replace("acme", "rival"), echoes=True)
            ],
            "GET /v1/suppressions": [
                Try("/v1/suppressions", 200), Try("/v1/suppressions?tenant=acme", 403),
                Try("/v1/suppressions?domain=to.test", 200), Try(f"/v1/suppressions?cursor={victim.entry}", 400),
                Try(f"/v1/suppressions?cursor={cursors['entries']}", 400),
                Try(f"/v1/suppressions?address={MARK}%40to.test", 200, echoes=True),
                Try(f"/v1/suppressions?address={MARK}%40to.test&tenant=Acme", 403),
                Try("/v1/suppressions?address=all%40stopped.test", 200),
            ],
            "GET /v1/suppressions/{id}": [Try(f"/v1/suppressions/{victim.entry}")],
            "GET /v1/suppressions/export": [
                Try("/v1/suppressions/export", 200), Try("/v1/suppressions/export?tenant=acme", 403)
            ],
            "POST /v1/suppressions": [
                Try("/v1/suppressions", 403, {"address": "x@to.test", "tenant": "acme"}),
                Try("/v1/suppressions", 200, [{"address": "x@to.test", "tenant": "ACME"}]),
            ],
            "POST /v1/suppressions/import": [
                Try("/v1/suppressions/import?tenant=acme", 403, b"x@to.test\r\n"),
                Try("/v1/suppressions/import", 200, b"x@to.test,acme\r\ny@to.test\r\n"),
            ],
            "DELETE /v1/suppressions": [
                Try(f"/v1/suppressions?address={MARK}%40to.test", echoes=True),
                Try(f"/v1/suppressions?address={MARK}%40to.test&tenant=acme", 403),
                Try("/v1/suppressions?address=all%40stopped.test"),
            ],
            "DELETE /v1/suppressions/{id}": [Try(f"/v1/suppressions/{victim.entry}")],
            "POST /v1/messages": [
                Try("/v1/messages", 403, {**posted, "tenant": "acme"}), Try("/v1/messages", 403, {"messages": [
                    posted, {**posted, "tenant": "acme"},
                ]}),
                Try("/v1/messages", 403, {**posted, "zone": "default"}), Try("/v1/messages", 202, posted, as_victim),
            ],
            "POST /send": [Try("/send", 200, body, as_victim)],
            "POST /sendemail": [Try("/sendemail", 200, body, as_victim)],
            "POST /sendmultiemails": [Try("/sendmultiemails", 200, body, as_victim)],
            "POST /sendmultimails": [Try("/sendmultimails", 200, b"[%b]" % body, as_victim)],
            "POST /send-raw": [
                Try("/send-raw?to=ok%2Bmine%40evil.test", 200, b"From: mine@mine.test\r\n\r\nmine\r\n", as_victim)
            ],
        }  # fmt: skip

    def attempt(self, method: str, one: Try, victim: Mine, key: str) -> None:
        """Tries it, and if the answer is a refusal, also the same for what there isn't."""
        status, said = self.ask(method, one.path, one.body, key, **one.headers)
        self.assertEqual(status, one.status, (method, one, said))
        while one.path.startswith("/v1/queue") and method == "GET" and (cursor := json.loads(said).get("next")):
            mark = "&" if "?" in one.path else "?"
            self.assertNotIn(MARK, said + _opened(said), one)
            said = self.ask(method, f"{one.path}{mark}cursor={cursor}", key=key)[1]
        told = said + _opened(said)
        self.assertTrue(one.echoes or MARK not in told, (method, one, told))
        body = one.body if isinstance(one.body, bytes) else json.dumps(one.body)
        for known in (victim.key_id, victim.message, victim.job, victim.entry, victim.user):
            nothing = known[:-10] + NOBODY
            if status >= 400 and known in one.path and not isinstance(body, bytes):
                twin = one._replace(path=one.path.replace(known, nothing))
                other = self.ask(method, twin.path, twin.body, key, **twin.headers)
                self.assertEqual(other, (status, said.replace(known, nothing)), (method, one))

    def streamed(self, key: str, until: int) -> bytes:
        """What a stream tells from the first event on, up to that number."""
        with socket.create_connection(("127.0.0.1", self.it.api), 20) as client:
            lines = ("GET /v1/stream?after=0 HTTP/1.1", "Host: localhost", f"Authorization: Bearer {key}")
            client.sendall("\r\n".join((*lines, "Last-Event-ID: 0", "", "")).encode())
            said = b""
            while b"id: %d\n" % until not in said:
                data = client.recv(65536)
                self.assertTrue(data, said)
                said += data
        return said

    def kept(self, victim: Mine) -> Any:
        """All that the victim has."""
        key = victim.key
        lists = ("/v1/jobs", f"/v1/messages/{victim.message}", "/v1/suppressions")
        found = [self.good("GET", path, key=key) for path in (*lists, "/v1/tenants/acme/members")]
        keys = self.good("GET", "/v1/keys", key=key)["items"]
        told = self.good("GET", "/v1/events", key=key)["events"]
        found += [self.good("GET", "/v1/tenants/acme", key=key), [one["id"] for one in keys]]
        return [*found, told, self.queue(key)]

    def hostile(self) -> None:
        # What is everybody's, or somebody's who is in no organisation.
        self.good("POST", "/v1/suppressions", {"address": "all@stopped.test", "reason": MARK})
        self.good("POST", "/v1/messages", mail(MARK))
        victim, rival = self.settled("acme", MARK), self.settled("rival", "mine")
        self.good("POST", "/v1/messages", mail(MARK), victim.key)
        self.good("POST", "/v1/suppressions", {"address": f"{MARK}2@to.test"}, victim.key)
        cursors = {
            "queue": self.good("GET", "/v1/queue?limit=1", key=victim.key)["next"],
            "message_id": self.queue(victim.key)[0]["message_id"].replace("@", "%40"),
            "entries": self.good("GET", "/v1/suppressions?limit=1", key=victim.key)["cursor"],
        }  # fmt: skip
        before = self.kept(victim)
        rows = self.rows(victim, cursors)

        offered = [
            (f"{method.upper()} {path}", one)
            for path, methods in json.loads(self.ask("GET", "/openapi.json")[1])["paths"].items()
            for method, one in methods.items()
        ]
        self.assertEqual({name for name, one in offered if one.get("x-tenants")}, set(rows))
        for name, one in offered:
            method, _, path = name.partition(" ")
            if one.get("x-scope") and not one.get("x-tenants") and path != "/test-auth":
                self.assertEqual(self.ask(method, path.replace("{", "").replace("}", ""), key=rival.key)[0], 403, name)
        for name, tries in rows.items():
            for each in tries:
                self.attempt(name.partition(" ")[0], each, victim, rival.key)
        told = self.good("GET", "/v1/events", key=rival.key)
        self.assertEqual({one["tenant"] for one in told["events"]}, {"rival"})
        stream = self.streamed(rival.key, told["events"][-1]["number"])
        self.assertIn(b"mine@mine.test", stream)
        self.assertNotIn(MARK.encode(), stream)

        self.assertEqual(self.kept(victim), before)
        # It was there all the time: for its own, and for those who look after the relay.
        for name, tries in rows.items():
            method, _, path = name.partition(" ")
            if method == "GET" and path != "/v1/stream" and path != "/v1/tenants/{id}":
                for key in (victim.key, ""):
                    said = str(self.queue(key)) if path == "/v1/queue" else self.ask("GET", tries[0].path, key=key)[1]
                    self.assertIn(MARK, said, name)

        # What both do under one key is done for both.
        plain = {"from": "x@x.test", "to": "ok+both@evil.test", "text": "x"}
        raw = b"From: x@x.test\r\nTo: ok+both@evil.test\r\nX-Idempotency-Key: k\r\n\r\nx\r\n"
        for path, one, headers in (
            ("/v1/messages", plain, {"Idempotency-Key": "k"}), ("/send", plain, {"Idempotency-Key": "s"}),
            ("/send-raw", raw, {}),
        ):  # fmt: skip
            ids = [self.good("POST", path, one, key, **headers)["id"] for key in (victim.key, rival.key) * 2]
            self.assertEqual((ids[0], ids[1]), (ids[2], ids[3]), path)
            self.assertNotEqual(ids[0], ids[1], path)

    async def test_one_gets_nothing_of_the_other(self) -> None:
        users = Path(self.directory, "users.toml")
        theirs = f'[users."{MARK}@x.test"]\ntenant = "acme"\n'
        users.write_text(f'{theirs}[users."plain@x.test"]\nsenders = ["{MARK}@x.test"]\n')
        users.chmod(0o600)
        self.it: Relay = self.relay(extra=f'[access]\nusers = "{users}"')
        await self.up(self.it)
        await deferToThread(self.hostile)


def _opened(said: str) -> str:
    """What the cursors in an answer hold, for those who look."""
    try:
        told = json.loads(said)
    except ValueError:
        return ""
    cursors = [told.get(name) for name in ("next", "cursor")] if isinstance(told, dict) else []
    texts = [one for one in cursors if isinstance(one, str)]
    return " ".join(urlsafe_b64decode(one + "=" * (-len(one) % 4)).decode("latin-1") for one in texts)
