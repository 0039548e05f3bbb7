"""`zonerelay key`, `tenant` and `member`, asking a site that listens, in the clear and over TLS."""

from __future__ import annotations

import io
import os
import ssl
import sys
import urllib.error
import urllib.request
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from relay.access.caller import Scope
from relay.access.tenant import OWN, Role
from relay.cli.main import main
from relay.config.schema import Api as Section
from relay.http.apikeys import ApiKeysApi
from relay.http.sessions import SessionsApi
from relay.http.tenants import MembersApi, TenantsApi
from relay.net.tls import TlsUnusable, api_tls
from tests.unit.api_rig import NOW, Rig
from tests.unit.certificates import Authority
from tests.unit.test_cli_holds import never, streams

reactor: Any = _reactor


class Asking(TestCase):
    out: io.StringIO
    err: io.StringIO

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        streams(self)

    def listening(self, certificate: str = "", **options: Any) -> int:
        self.rig = Rig(
            clock=reactor,
            more=lambda rig: (
                ApiKeysApi(rig.roll, lambda: NOW),
                TenantsApi(rig.roll),
                MembersApi(rig.roll, rig.access),
                SessionsApi(rig.roll, rig.access),
            ),
            **options,
        )
        tls = api_tls(Section(certificate=certificate), reactor.seconds)
        factory = self.rig.site if tls is None else tls.before(self.rig.site, reactor)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.addCleanup(self.gone)
        return int(port.getHost().port)

    async def gone(self) -> None:
        """All clients are."""
        while self.rig.site._open:
            await deferLater(reactor, 0.001)

    async def run_it(self, *words: str, key: str = "") -> tuple[int, str, str]:
        """Exit code, and what was printed."""
        self.patch(os, "environ", {**os.environ, "ZONERELAY_KEY": key})
        code = await deferToThread(main, list(words), never)
        said = self.out.getvalue(), self.err.getvalue()
        for stream in (self.out, self.err):
            stream.seek(0)
            stream.truncate()
        return (code, *said)


class InTheClear(Asking):
    def setUp(self) -> None:
        super().setUp()
        self.where = ("--api", f"http://127.0.0.1:{self.listening()}")

    async def test_keys(self) -> None:
        code, text, _ = await self.run_it(
            "key", "add", "shop", "--scope", "submit", "--scope", "read", "--domain", "example.com",
            "--network", "127.0.0.0/8", "--rate", "10/s", "--for", "90d", *self.where,
        )  # fmt: skip
        self.assertEqual((code, text[:3], len(text)), (0, "zr_", 60))
        [key] = self.rig.roll.keys
        line = (
            f"{key.id}: shop: submit,read, from example.com, at 127.0.0.0/8, up to 10/s, "
            "until 2027-02-20T03:58:10.123Z, not used yet\n"
        )
        self.assertEqual(await self.run_it("key", "list", *self.where), (0, line, ""))
        code, _, err = await self.run_it("key", "list", *self.where, key=text.strip())
        self.assertEqual((code, err), (1, "zonerelay: This needs the scope admin\n"), "a key that is shown decides")
        gone = await self.run_it("key", "revoke", key.id, *self.where)
        self.assertEqual(gone, (0, f"{key.id}: shop: revoked\n", ""))
        code, _, err = await self.run_it("key", "revoke", key.id, *self.where)
        self.assertEqual((code, err), (1, f'zonerelay: There is no key "{key.id}"\n'))
        code, _, err = await self.run_it("key", "list", *self.where, key="a\nb")
        self.assertEqual((code, err), (1, "zonerelay: ZONERELAY_KEY, or --key-file: expected an API key\n"))

    async def test_more_than_a_part(self) -> None:
        for _ in range(1003):
            self.rig.key(Scope.READ)
        _, out, _ = await self.run_it("key", "list", *self.where)
        self.assertEqual(len(out.splitlines()), 1003)

    async def test_organisations(self) -> None:
        line = "acme: Acme Ltd: mail from example.com\n"
        made = await self.run_it(
            "tenant", "add", "acme", "--name", "Acme Ltd", "--domain", "example.com", *self.where
        )
        self.assertEqual(made, (0, line, ""))
        self.assertEqual(await self.run_it("tenant", "list", *self.where), (0, line, ""))
        for words, input, out in (
            (("add", "ann", "--tenant", "acme", "--role", "owner"), "a password", "ann: owner of acme\n"),
            (("passwd", "ann", "--tenant", "acme"), "another one", "ann: owner of acme\n"),
            (("list", "--tenant", "acme"), "", "ann: owner of acme\n"),
            (("remove", "ann", "--tenant", "acme"), "", "ann: owner of acme: removed\n"),
            (("add", "bob", "--role", "viewer"), "a password", "bob: viewer of relay\n"),
        ):
            self.patch(sys, "stdin", io.StringIO(f"{input}\n"))
            self.assertEqual(await self.run_it("member", *words, *self.where), (0, out, ""))
        self.patch(sys, "stdin", io.StringIO("short\n"))
        code, _, err = await self.run_it("member", "passwd", "bob", *self.where)
        self.assertEqual((code, err), (1, "zonerelay: the password is shorter than 8 characters\n"))
        self.assertEqual(await self.run_it("tenant", "remove", "acme", *self.where), (0, f"{line[:-1]}: removed\n", ""))


class OverTls(Asking):
    def setUp(self) -> None:
        super().setUp()
        self.authority = Authority()
        self.certificate = self.authority.server("relay.example.com", "127.0.0.1").write(self.folder / "api.pem")
        self.port = self.listening(self.certificate, open_loopback=False)
        self.key = self.rig.key(Scope.ADMIN, Scope.READ, name="ops")

    def ask(self, path: str, data: bytes | None = None, **headers: str) -> HTTPResponse:
        url = f"https://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, data, {name.replace("_", "-"): text for name, text in headers.items()})
        trust = ssl.create_default_context(cadata=self.authority.chain_pem.decode())
        answer: HTTPResponse = urllib.request.urlopen(request, context=trust, timeout=20)
        answer.body = answer.read()  # type: ignore[attr-defined]
        return answer

    async def test_commands(self) -> None:
        """The certificate is the one that the configuration names, whatever the host is called."""
        config = self.folder / "relay.toml"
        config.write_text(
            f'hostname = "relay.example.com"\n[api]\nendpoint = "tcp:{self.port}:interface=127.0.0.1"\n'
            f'certificate = "{self.certificate}"\n'
        )
        code, out, err = await self.run_it("key", "list", "-c", str(config), key=self.key)
        self.assertEqual((code, len(out.splitlines()), err), (0, 1, ""))
        code, _, err = await self.run_it("key", "list", "-c", str(config))
        self.assertEqual((code, err), (1, "zonerelay: This needs an API key\n"))
        self.authority.server("relay.example.com").write(self.folder / "other.pem")
        config.write_text(config.read_text().replace("api.pem", "other.pem"))
        code, _, err = await self.run_it("key", "list", "-c", str(config), key=self.key)
        self.assertEqual((code, "verify failed" in err), (1, True), err)
        code, _, err = await self.run_it("key", "list", "--api", f"https://127.0.0.1:{self.port}", key=self.key)
        self.assertEqual((code, "verify failed" in err), (1, True), err)

    async def test_a_session_has_a_cookie_for_tls_alone(self) -> None:
        self.rig.roll.add_member("ann", OWN, Role.OWNER, "hash of a password")
        body = b'{"user": "ann", "password": "a password"}'
        answer = await deferToThread(self.ask, "/v1/sessions", body, Origin=f"https://127.0.0.1:{self.port}")
        field = answer.headers["Set-Cookie"]
        self.assertTrue(field.endswith("; Secure"), field)
        shown = await deferToThread(self.ask, "/v1/sessions/current", Cookie=field.partition(";")[0])
        self.assertEqual(shown.status, 200)
        with self.assertRaises(urllib.error.HTTPError) as refused:
            await deferToThread(self.ask, "/v1/sessions", body, Origin=f"http://127.0.0.1:{self.port}")
        refused.exception.close()
        self.assertEqual(refused.exception.code, 403, "a page that came without TLS is no page of ours")

    async def test_a_large_mail(self) -> None:
        key = self.rig.key(Scope.SUBMIT)
        body = b"Subject: x\r\n\r\n" + b"hello\r\n" * 300_000
        answer = await deferToThread(
            self.ask, "/send-raw?from=a@b.test&to=c@d.test", body, Authorization=f"Bearer {key}",
        )
        self.assertEqual((answer.status, self.rig.intake.submissions[0].size), (200, len(body)))

    async def test_another_certificate_without_a_restart(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}"}
        self.assertEqual((await deferToThread(self.ask, "/zones", **headers)).status, 200)
        self.authority = Authority()
        self.authority.server("127.0.0.1").write(self.certificate)
        self.patch(sys.modules["relay.net.tls"], "LOOK", 0.0)
        self.assertEqual((await deferToThread(self.ask, "/zones", **headers)).status, 200)

    def test_one_that_can_not_be_used(self) -> None:
        section = Section(certificate=str(self.folder / "none.pem"))
        self.assertRaises(TlsUnusable, api_tls, section, reactor.seconds)
