"""API keys from their making to their end: by SMTP and HTTP, over TLS, revoked under an open session, after a kill."""

from __future__ import annotations

import json
import smtplib
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

from bench.peers import environment
from tests.scenario.harness import Relay, Scenario, deferToThread
from tests.unit.certificates import Authority

TEXT = "From: <a@src.test>\r\nTo: <ok+{id}@evil.test>\r\nX-Audit-Id: {id}\r\n\r\nhello\r\n"


class Keys(Scenario):
    async def said(self, relay: Relay, *words: str) -> str:
        """What a command prints, asking the API where the configuration puts it."""
        done = await deferToThread(
            subprocess.run, [sys.executable, "-m", "relay", *words, "-c", relay.config], cwd=self.directory,
            env=environment(), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def serving(self, receivers: int = 0) -> Relay:
        self.authority = Authority()
        self.authority.server("relay.test", "127.0.0.1").write(f"{self.directory}/api.pem")
        listener = "auth = true\ninsecure_auth = true\nallow_networks = []"
        return self.relay(http=f'certificate = "{self.directory}/api.pem"', listener=listener, receivers=receivers)

    def ask(self, relay: Relay, method: str, path: str, body: bytes = b"", key: str = "") -> tuple[int, bytes]:
        """One request, which is one of a program of this machine where it shows no key."""
        trust = ssl.create_default_context(cadata=self.authority.chain_pem.decode())
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        request = urllib.request.Request(f"https://127.0.0.1:{relay.api}{path}", body or None, headers, method=method)
        try:
            with urllib.request.urlopen(request, context=trust, timeout=20) as answer:
                return int(answer.status), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    async def done(self, relay: Relay, method: str, path: str, fields: Any = None) -> Any:
        body = b"" if fields is None else json.dumps(fields).encode()
        status, answer = await deferToThread(self.ask, relay, method, path, body)
        self.assertIn(status, (200, 201), answer)
        return json.loads(answer)

    async def post(self, relay: Relay, key: str, name: str, sender: str) -> int:
        """Hands one over by HTTP: the status."""
        path, text = f"/send-raw?from={sender}", TEXT.format(id=name).encode()
        return (await deferToThread(self.ask, relay, "POST", path, text, key))[0]

    def session(self, relay: Relay, key: str) -> smtplib.SMTP:
        client = smtplib.SMTP("127.0.0.1", relay.smtp, "client.test", timeout=20)
        self.addCleanup(client.close)
        client.login("shop", key)
        return client

    def mail(self, client: smtplib.SMTP, name: str, sender: str = "a@src.test") -> list[int]:
        """What is answered, up to the first refusal."""
        codes = [client.mail(sender)[0]]
        if codes[-1] == 250:
            codes.append(client.rcpt(f"ok+{name}@evil.test")[0])
            codes.append(client.docmd("DATA")[0])
        if codes[-1] == 354:
            client.send(TEXT.format(id=name).encode() + b".\r\n")
            codes.append(client.getreply()[0])
        client.rset()
        return codes

    async def test_from_its_making_to_its_end(self) -> None:
        relay = self.serving()
        await self.up(relay)
        await self.done(relay, "POST", "/v1/tenants", {"id": "acme", "domains": ["src.test"]})
        scopes = ("--scope", "submit", "--scope", "read")
        key = await self.said(relay, "key", "add", "shop", *scopes, "--tenant", "acme", "--for", "1h")
        client = await deferToThread(self.session, relay, key)
        self.assertEqual(await deferToThread(self.mail, client, "one"), [250, 250, 354, 250])
        self.assertEqual(await deferToThread(self.mail, client, "no", "a@other.test"), [553])
        self.assertEqual(await self.post(relay, key, "two", "a@src.test"), 200)
        self.assertEqual(await self.post(relay, key, "no", "a@other.test"), 403)
        await self.until(lambda: len(self.mx.accepted()) == 2, 20, "both", relay)
        told = (await self.done(relay, "GET", "/v1/events"))["events"]
        queued = [(one["user"], one["tenant"]) for one in told if one["kind"] == "queued"]
        self.assertEqual(queued, [("acme/shop", "acme")] * 2)
        id = key[3:15]
        await self.done(relay, "DELETE", f"/v1/keys/{id}")
        self.assertEqual(await deferToThread(self.mail, client, "late"), [250, 250, 535])
        self.assertEqual(await self.post(relay, key, "late", "a@src.test"), 401)
        relay.kill()
        await self.up(relay)
        with self.assertRaises(smtplib.SMTPAuthenticationError):
            await deferToThread(self.session, relay, key)
        told = (await self.done(relay, "GET", "/v1/events?kind=audit"))["events"]
        self.assertEqual(
            [(one["what"], one["about"], one["user"], one["client"]) for one in told],
            [
                ("tenant.created", "acme", "local", "127.0.0.1"),
                ("key.created", f"{id} acme/shop", "local", "127.0.0.1"),
                ("key.revoked", f"{id} acme/shop", "local", "127.0.0.1"),
            ],
        )
        self.assertNotIn(key[16:], str(told) + relay.said())

    async def test_where_receivers_listen(self) -> None:
        relay = self.serving(receivers=1)
        await self.up(relay)
        fields = {"name": "shop", "scopes": ["submit"], "domains": ["src.test"]}
        key = (await self.done(relay, "POST", "/v1/keys", fields))["key"]
        client = await deferToThread(self.session, relay, key)
        self.assertEqual(await deferToThread(self.mail, client, "one"), [250, 250, 354, 250])
        self.assertEqual(await deferToThread(self.mail, client, "no", "a@other.test"), [553])
        await self.done(relay, "DELETE", f"/v1/keys/{key[3:15]}")
        self.assertEqual(await deferToThread(self.mail, client, "late"), [250, 250, 535])
        await self.until(lambda: len(self.mx.accepted()) == 1, 20, "the one", relay)
