"""Real clients that log in over TLS: by STARTTLS and from the first byte on, by every mechanism they know.

Each message arrives at the next hop once, and its Received line says who sent it and by which TLS. Each client
is refused with a wrong password. The programs come from `make peers`; where one is missing its test is
skipped, and says so; under `CI=true` that is a failure.
"""

from __future__ import annotations

import os
import re
import smtplib
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from twisted.trial.unittest import SkipTest

from bench.network import free_ports
from bench.peers import environment
from tests.peers import clients
from tests.peers.clients import NODEMAILER, Account, EximClient, PostfixClient
from tests.peers.mailserver import ROOT, MailServer
from tests.scenario.harness import Relay, deferToThread
from tests.scenario.interop import Interop, absent, program
from tests.unit.certificates import Authority

ALICE, BOB = "alice@example.com", "bob@example.com"
PASSWORD, WRONG = "correct horse=battery", "wrong horse=battery"
BOTH_TWICE = [f"{mechanism}-{implicit}@dest.test" for mechanism in ("plain", "login") for implicit in ("false", "true")]
TEXT = b"From: <alice@example.com>\nTo: a list of people:;\nSubject: Hello\n\nHello.\n"

LISTENERS = """[listeners.smtps]
endpoint = "tcp:{port}:interface=127.0.0.1"
tls = "implicit"
{listener}
[access]
users = "{users}"
"""
#: Our line of a login over TLS.
RECEIVED = re.compile(
    rb"Received: from \S+ \[127\.0\.0\.1\] \(Authenticated sender: (?P<user>[^)\r\n]+)\)\r\n"
    rb" by relay\.test \(Zonerelay\) with (?P<transport>\w+) id [0-9a-f]{18}\.[0-9a-f]{3}\r\n"
    rb" for <(?P<to>[^>\r\n]+)>\r\n"
    rb" \(version=(?P<version>TLSv1\.[23]) cipher=[A-Z0-9_-]+\);\r\n"
)


class Clients(Interop):
    async def submission(self, **users: bool) -> Relay:
        """A relay with two listeners; users by the first part of their name: whether they have SCRAM keys."""
        os.chmod(self.directory, 0o711)  # Postfix and Exim read the authority's certificate as other users
        authority = Authority()
        Path(self.directory, "ca.pem").write_bytes(authority.chain_pem)
        authority.server("localhost").write(f"{self.directory}/server.pem")
        self.certificate = authority.client(emails=[ALICE]).write(f"{self.directory}/client.pem")
        self.authority = f"{self.directory}/ca.pem"
        for name, scram in (users or {"alice": False}).items():
            await self.add_user(f"{name}@example.com", scram)
        self.smtps = free_ports(1)[0]
        files = f'certificate = "{self.directory}/server.pem"\nclient_ca = "{self.authority}"\nauth = true'
        return await self.begin(
            listener=f'tls = "starttls"\n{files}',
            extra=LISTENERS.format(port=self.smtps, listener=files, users=f"{self.directory}/users.toml"),
        )

    async def add_user(self, name: str, scram: bool) -> None:
        words = [sys.executable, "-m", "relay", "user", "add", name, "--users", f"{self.directory}/users.toml"]
        done = await deferToThread(
            subprocess.run,
            [*words, "--password-stdin", *(["--scram"] if scram else [])],
            input=f"{PASSWORD}\n".encode(),
            capture_output=True,
            env=environment(),
        )
        self.assertEqual(0, done.returncode, done.stderr)

    def account(
        self,
        mechanism: str = "",
        *,
        user: str = ALICE,
        password: str = PASSWORD,
        implicit: bool = False,
        certificate: bool = False,
    ) -> Account:
        port = self.smtps if implicit else self.relayed.smtp
        shown = self.certificate if certificate else ""
        return Account(port, self.authority, user, password, implicit, mechanism, shown)

    async def arrived(self, *recipients: str, users: Sequence[str] = ()) -> list[bytes]:
        """Each of them got one message, of the user at its place (ALICE), and nobody else got any; what stands
        below our Received lines, by recipient."""
        texts = []
        taken = await self.taken(len(recipients))
        senders = dict(zip(recipients, users or [ALICE] * len(recipients), strict=True))
        self.assertEqual([[recipient] for recipient in sorted(senders)], [one.recipients for one in taken])
        for one in taken:
            ours = list(RECEIVED.finditer(one.text))
            self.assertEqual(1, len(ours), one.text[:600])
            said = {name: value.decode() for name, value in ours[0].groupdict().items()}
            (to,) = one.recipients
            self.assertEqual({"user": senders[to], "transport": "ESMTPSA", "to": to, "version": "TLSv1.3"}, said)
            texts.append(one.text[ours[0].end() :])
        return texts


class Swaks(Clients):
    async def swaks(self, account: Account, recipient: str, code: int = 0) -> bytes:
        words = ["--helo", "swaks.test", "--from", ALICE, "--to", recipient, *clients.swaks(account)]
        return await self.run_program(program("swaks"), *words, code=code)

    async def test_swaks(self) -> None:
        """PLAIN and LOGIN, which are all it knows of ours, and a certificate shown beside them."""
        await self.submission()
        for mechanism in ("PLAIN", "LOGIN"):
            for implicit in (False, True):
                account = self.account(mechanism, implicit=implicit, certificate=implicit)
                await self.swaks(account, f"{mechanism}-{implicit}@dest.test".lower())
        said = await self.swaks(self.account("PLAIN", password=WRONG), "wrong@dest.test", code=28)
        self.assertIn(b"535 5.7.8 ", said)
        said = await self.swaks(self.account("LOGIN", password=WRONG, implicit=True), "wrong@dest.test", code=28)
        self.assertIn(b"535 5.7.8 ", said)
        await self.arrived(*BOTH_TWICE)


class Msmtp(Clients):
    async def msmtp(self, account: Account, recipient: str, code: int = 0) -> None:
        config = Path(self.directory, "msmtprc")
        config.touch(0o600)
        config.write_text(clients.msmtp(account))
        words = ["-C", str(config), "-a", "relay", "-f", ALICE, recipient]
        await self.run_program(program("msmtp"), *words, text=TEXT, code=code)

    async def test_msmtp(self) -> None:
        await self.submission()
        await self.msmtp(self.account(), "starttls@dest.test")
        await self.msmtp(self.account(implicit=True), "implicit@dest.test")
        await self.msmtp(self.account("LOGIN"), "login@dest.test")
        for implicit in (False, True):
            by_certificate = self.account("EXTERNAL", password="", certificate=True, implicit=implicit)
            await self.msmtp(by_certificate, f"external-{implicit}@dest.test".lower())
            await self.msmtp(self.account(password=WRONG, implicit=implicit), "wrong@dest.test", code=77)
        # A certificate that is nobody's here, and none.
        await self.msmtp(self.account("EXTERNAL", password=""), "wrong@dest.test", code=69)
        names = ("starttls", "implicit", "login", "external-false", "external-true")
        for text in await self.arrived(*(f"{name}@dest.test" for name in names)):
            self.assertTrue(text.endswith(TEXT.replace(b"\n", b"\r\n")), text)

    async def test_scram(self) -> None:
        """Chosen by the client itself, since it is offered; PLAIN works with the same keys."""
        await self.submission(bob=True)
        for mechanism, recipient in (("SCRAM-SHA-256", "scram"), ("", "automatic"), ("PLAIN", "plain")):
            await self.msmtp(self.account(mechanism, user=BOB), f"{recipient}@dest.test")
        await self.msmtp(self.account("SCRAM-SHA-256", user=BOB, implicit=True), "implicit@dest.test")
        await self.msmtp(self.account("SCRAM-SHA-256", user=BOB, password=WRONG), "wrong@dest.test", code=77)
        names = ("scram", "automatic", "plain", "implicit")
        await self.arrived(*(f"{name}@dest.test" for name in names), users=[BOB] * 4)


class Nodemailer(Clients):
    async def nodemailer(self, account: Account, recipient: str, code: int = 0) -> None:
        if not NODEMAILER.exists():
            raise absent("Nodemailer")
        message = {"from": ALICE, "to": recipient, "subject": "Grüße", "text": "Grüße, 世界\n.\n"}
        script = str(ROOT / "tests/peers/nodemailer.js")
        await self.run_program(program("node"), script, text=clients.nodemailer(account, message), code=code)

    async def test_nodemailer(self) -> None:
        await self.submission()
        for mechanism in ("PLAIN", "LOGIN"):
            for implicit in (False, True):
                account = self.account(mechanism, implicit=implicit)
                await self.nodemailer(account, f"{mechanism}-{implicit}@dest.test".lower())
        for implicit in (False, True):
            await self.nodemailer(self.account(password=WRONG, implicit=implicit), "wrong@dest.test", code=1)
        await self.arrived(*BOTH_TWICE)


class PythonLibrary(Clients):
    def client(self, account: Account) -> smtplib.SMTP:
        """A session with TLS, without a login."""
        context = ssl.create_default_context(cafile=account.authority)
        if account.certificate:
            context.load_cert_chain(account.certificate)
        if account.implicit:
            return smtplib.SMTP_SSL("localhost", account.port, "python.test", timeout=20, context=context)
        client = smtplib.SMTP("localhost", account.port, "python.test", timeout=20)
        client.starttls(context=context)
        return client

    def send(self, account: Account, recipient: str) -> None:
        with self.client(account) as client:
            client.ehlo()
            if account.mechanism == "EXTERNAL":
                client.auth("EXTERNAL", lambda challenge=None: "")
            elif account.mechanism:
                client.user, client.password = account.user, account.password
                methods: dict[str, Callable[..., str]] = {"PLAIN": client.auth_plain, "LOGIN": client.auth_login}
                client.auth(account.mechanism, methods[account.mechanism])
            else:
                client.login(account.user, account.password)
            client.sendmail(ALICE, [recipient], TEXT.decode())

    async def test_smtplib(self) -> None:
        await self.submission()
        recipients = []
        for implicit in (False, True):
            for mechanism in ("", "PLAIN", "LOGIN", "EXTERNAL"):
                account = self.account(mechanism, implicit=implicit, certificate=mechanism == "EXTERNAL")
                recipients.append(f"{mechanism or 'any'}-{implicit}@dest.test".lower())
                await deferToThread(self.send, account, recipients[-1])
            wrong = self.account(password=WRONG, implicit=implicit)
            refused = await self.assertFailure(
                deferToThread(self.send, wrong, "wrong@dest.test"), smtplib.SMTPAuthenticationError
            )
            self.assertEqual(535, refused.smtp_code)
        await self.arrived(*recipients)

    async def test_nothing_without_a_login(self) -> None:
        """S49: neither before TLS nor after it."""
        relay = await self.submission()

        def ask() -> None:
            with smtplib.SMTP("localhost", relay.smtp, timeout=20) as client:
                client.ehlo()
                self.assertFalse(client.has_extn("auth"))
                self.assertEqual(530, client.mail(ALICE)[0])
            for implicit in (False, True):
                with self.client(self.account(implicit=implicit)) as client:
                    client.ehlo()
                    self.assertTrue(client.has_extn("auth"))
                    self.assertEqual(530, client.mail(ALICE)[0])

        await deferToThread(ask)

    async def test_extensions(self) -> None:
        """SMTPUTF8, DSN and CHUNKING by a client that has logged in over TLS."""
        await self.submission()

        def send() -> None:
            with self.client(self.account()) as client:
                client.login(ALICE, PASSWORD)
                options = ["SMTPUTF8", "BODY=8BITMIME", "RET=HDRS", "ENVID=one+2Btwo", f"SIZE={len(TEXT)}"]
                self.assertEqual(250, client.mail(ALICE, options)[0])
                notify = ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;utf8@dest.test"]
                self.assertEqual(250, client.rcpt("utf8@dest.test", notify)[0])
                code, words = client.data("Subject: Grüße\r\n\r\nGrüße.\r\n".encode())
                self.assertEqual(250, code, words)

        def chunks() -> None:
            context = ssl.create_default_context(cafile=self.authority)
            with (
                socket.create_connection(("localhost", self.smtps), 20) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as connection,
            ):
                replies = connection.makefile("rb")

                def said(data: bytes) -> bytes:
                    connection.sendall(data)
                    while (line := replies.readline())[3:4] == b"-":
                        pass
                    return line[:3]

                self.assertEqual(b"220", said(b""))
                self.assertEqual(b"250", said(b"EHLO socket.test\r\n"))
                self.assertEqual(b"334", said(b"AUTH LOGIN YWxpY2VAZXhhbXBsZS5jb20=\r\n"))
                self.assertEqual(b"235", said(b"Y29ycmVjdCBob3JzZT1iYXR0ZXJ5\r\n"))
                self.assertEqual(b"250", said(f"MAIL FROM:<{ALICE}>\r\n".encode()))
                self.assertEqual(b"250", said(b"RCPT TO:<chunks@dest.test>\r\n"))
                self.assertEqual(b"250", said(b"BDAT 19\r\nSubject: x\r\n\r\nAB\r\n."))
                self.assertEqual(b"250", said(b"BDAT 5 LAST\r\n\r\n.\r\n"))
                self.assertEqual(b"221", said(b"QUIT\r\n"))

        await deferToThread(send)
        await self.until(lambda: len(self.hop.taken) == 1, 20, "the first message", self.relayed)
        await deferToThread(chunks)
        taken = await self.taken(2)
        self.assertEqual(["chunks@dest.test", "utf8@dest.test"], [one.recipients[0] for one in taken])
        self.assertTrue(taken[0].text.endswith(b"\r\n\r\nAB\r\n.\r\n.\r\n"), taken[0].text)
        self.assertIn(b" with ESMTPSA id ", taken[0].text)
        self.assertTrue(taken[1].text.endswith("\r\n\r\nGrüße.\r\n".encode()), taken[1].text)
        self.assertIn(b" with UTF8SMTPSA id ", taken[1].text)


class MailServers(Clients):
    def needed(self, kind: type[MailServer]) -> None:
        if kind.missing():
            raise absent(kind.missing())
        if kind.forbidden():
            raise SkipTest(f"{kind.forbidden()}: {kind.name} NOT TESTED")

    async def postfix(self, name: str, account: Account) -> PostfixClient:
        """A Postfix that has taken a message for `name`."""
        server = PostfixClient(f"{self.directory}/{name}", account)
        server.start()
        self.addCleanup(server.stop)
        await self.until(lambda: server.greets, 20, "Postfix's greeting", server)

        def send() -> None:
            with smtplib.SMTP("127.0.0.1", server.port, timeout=20) as client:
                client.sendmail(ALICE, [f"{name}@dest.test"], TEXT.decode())

        await deferToThread(send)
        return server

    async def test_postfix(self) -> None:
        """Where some have SCRAM keys and some have not it would choose SCRAM if it saw it, and fail."""
        self.needed(PostfixClient)
        await self.submission(alice=False, bob=True)
        await self.postfix("starttls", self.account())
        await self.postfix("implicit", self.account("LOGIN", user=BOB, implicit=True))
        server = await self.postfix("wrong", self.account(password=WRONG))
        await self.until(lambda: "535 5.7.8 " in server.said(), 20, "a refusal", server)
        by_bob, by_alice = await self.arrived("implicit@dest.test", "starttls@dest.test", users=[BOB, ALICE])
        for text in (by_bob, by_alice):
            self.assertIn(b" (Postfix) with ESMTP id ", text)
            self.assertTrue(text.endswith(b"\r\n\r\nHello.\r\n"), text)

    async def test_postfix_by_scram(self) -> None:
        """It takes the best of what is offered."""
        self.needed(PostfixClient)
        await self.submission(bob=True)
        await self.postfix("scram", self.account(user=BOB))
        await self.arrived("scram@dest.test", users=[BOB])

    async def exim(self, name: str, account: Account) -> EximClient:
        """An Exim that has tried to send a message to `name`."""
        server = EximClient(f"{self.directory}/{name}", account)
        await self.run_program(*server.prepare(), "-f", ALICE, f"{name}@dest.test", text=TEXT)
        return server

    async def test_exim(self) -> None:
        self.needed(EximClient)
        await self.submission()
        recipients = []
        for implicit in (False, True):
            for mechanism in ("PLAIN", "LOGIN", "EXTERNAL"):
                name = f"{mechanism}-{implicit}".lower()
                account = self.account(mechanism, implicit=implicit, certificate=mechanism == "EXTERNAL")
                await self.exim(name, account)
                recipients.append(f"{name}@dest.test")
            wrong = await self.exim(f"wrong-{implicit}".lower(), self.account(password=WRONG, implicit=implicit))
            self.assertIn("535 5.7.8 ", wrong.said())
        for text in await self.arrived(*recipients):
            self.assertIn(b"\r\nReceived: from root by exim.test ", text)
            self.assertTrue(text.endswith(b"\r\n\r\nHello.\r\n"), text)
