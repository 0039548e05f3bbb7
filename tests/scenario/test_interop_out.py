"""Out of the relay into mail servers that others wrote: each message arrives once, byte by byte.

The servers come from `make peers`. Where one is missing its test is skipped, and says so;
under `CI=true` that is a failure.
"""

from __future__ import annotations

import hashlib
import os
import re
import smtplib
from collections import Counter
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.trial.unittest import SkipTest

from tests.peers.mailserver import Exim, MailServer, OpenSmtpd, Postfix
from tests.scenario.harness import Relay, deferToThread
from tests.scenario.interop import Interop, absent
from tests.scenario.texts import TEXTS, arrived, audit_id
from tests.unit.certificates import Authority

#: What a server may put above the text it was given.
_TRACE = {"Return-Path", "Received", "Delivered-To", "X-Original-To"}


def submit(port: int, recipient: str) -> None:
    """All texts over one session, as independent a client as Python's library has."""
    with smtplib.SMTP("127.0.0.1", port, "client.test", timeout=30) as client:
        client.ehlo()
        for name, text in TEXTS.items():
            client.mail("sender@src.test", [f"SIZE={len(text)}", "BODY=8BITMIME"])
            client.rcpt(recipient)
            code, words = client.data(text)
            assert code == 250, (name, code, words)


class IntoServers(Interop):
    async def into(self, kind: type[MailServer]) -> None:
        """All texts one after the other, then a crowd over several connections."""
        if kind.missing():
            raise absent(kind.missing())
        if kind.forbidden():
            raise SkipTest(f"{kind.forbidden()}: {kind.name} NOT TESTED")
        os.chmod(self.directory, 0o711)  # the servers deliver as other users
        server = kind(str(Path(self.directory) / "peer"))
        server.start()
        self.addCleanup(server.stop)
        await self.until(lambda: server.greets, 20, f"{kind.name}'s greeting", server)
        relay = self.relay(mx=server.port, connections=3, zone='idle = "1s"')
        await self.up(relay)
        await deferToThread(submit, relay.smtp, "inbox@peer.test")
        await self.at_once(relay)
        await self.until(lambda: len(server.inbox()) >= len(TEXTS), 20, "all in the inbox", server)
        self.assert_each_once(server.inbox())
        crowd = await self.send(relay, 100, "inbox@peer.test", sessions=5)
        self.assertEqual(100, len(crowd.accepted()))
        await self.at_once(relay)
        total = len(TEXTS) + 100
        await self.until(lambda: len(server.inbox()) >= total, 20, "the crowd in the inbox", server)
        texts = [text for text in server.inbox() if audit_id(text) not in TEXTS]
        self.assertEqual(dict.fromkeys(crowd.accepted(), 1), dict(Counter(map(audit_id, texts))))
        for text in texts:
            body = arrived(text).text.partition(b"\r\n\r\n")[2]
            self.assertEqual(crowd.hash[audit_id(text)], hashlib.sha256(body).hexdigest())
        self.server = server

    async def over_tls(self, kind: type[MailServer], versions: tuple[str, ...]) -> None:
        """Each version that the server speaks, trusted and verified from 1.2 on."""
        if kind.missing():
            raise absent(kind.missing())
        if kind.forbidden():
            raise SkipTest(f"{kind.forbidden()}: {kind.name} NOT TESTED")
        os.chmod(self.directory, 0o711)
        authority = Authority()
        shown = authority.server("localhost", key=rsa.generate_private_key(65537, 2048))
        certificate, trusted = f"{self.directory}/mx.pem", f"{self.directory}/ca.pem"
        shown.write(certificate)
        os.chmod(certificate, 0o644)
        Path(trusted).write_bytes(authority.chain_pem)
        for number, version in enumerate(versions):
            server = kind(f"{self.directory}/peer{number}", certificate, version)
            server.start()
            self.addCleanup(server.stop)
            await self.until(lambda server=server: server.greets, 20, f"{kind.name}'s greeting", server)  # type: ignore[misc]
            safe = float(version) >= 1.2
            relay = self.relay(
                mx=server.port,
                hop='host = "localhost"\nignore_ipv6 = true',
                zone='tls = "verify"' if safe else "",
                extra=f'[tls]\nauthorities = "{trusted}"',
            )
            await self.up(relay)
            await deferToThread(submit, relay.smtp, "inbox@peer.test")
            await self.at_once(relay)
            await self.until(lambda server=server: len(server.inbox()) >= len(TEXTS), 20, "all in the inbox", server)  # type: ignore[misc]
            self.assert_each_once(server.inbox())
            told = "TLSv1" if version == "1.0" else f"TLSv{version}"

            def spoken(relay: Relay = relay) -> list[str]:
                return [line for line in relay.said().splitlines() if " delivered id=" in line]

            wanted = (number + 1) * len(TEXTS)
            await self.until(lambda wanted=wanted: len(spoken()) == wanted, 5, "the mail log", relay)  # type: ignore[misc]
            for line in spoken()[-len(TEXTS) :]:
                self.assertRegex(line, rf'tls="{told} \S+ {"verified" if safe else "trusted"}"')
            relay.kill()
            server.stop()

    async def test_postfix_over_tls(self) -> None:
        await self.over_tls(Postfix, ("1.0", "1.1", "1.2", "1.3"))

    async def test_exim_over_tls(self) -> None:
        await self.over_tls(Exim, ("1.0", "1.1", "1.2", "1.3"))

    async def at_once(self, relay: Relay) -> None:
        """The relay has nothing left to send, and had no answer but yes."""
        await self.emptied(relay)
        for result in ("deferred", "bounced", "dropped"):
            self.assertNotIn(f" {result} id=", relay.said())

    def assert_each_once(self, texts: list[bytes]) -> None:
        self.assertEqual(dict.fromkeys(TEXTS, 1), dict(Counter(map(audit_id, texts))))
        for text in texts:
            came = arrived(text)
            names = [
                line.partition(b":")[0].decode() for line in came.above.split(b"\r\n") if line[:1].strip()
            ]
            self.assertLessEqual(set(names), _TRACE)
            self.assertEqual("inbox@peer.test", came.received["to"])
            name = audit_id(text)
            self.assertEqual(len(TEXTS[name]), len(came.text), name)
            self.assertTrue(TEXTS[name] == came.text, f"{name} arrived changed")

    async def test_postfix(self) -> None:
        """Which offers CHUNKING, with codes that tell: most of the texts reach it in chunks."""
        await self.into(Postfix)

        def chunks() -> int:
            return sum(map(int, re.findall(r" bdat=(\d+)", self.server.said())))

        await self.until(lambda: chunks() > 100, 10, "its count of chunks", self.server)

    async def test_exim(self) -> None:
        await self.into(Exim)

    async def test_opensmtpd(self) -> None:
        await self.into(OpenSmtpd)

    async def test_aiosmtpd(self) -> None:
        """It also tells what was said: our name, SIZE and 8BITMIME where they belong."""
        relay = await self.begin(connections=3)
        await deferToThread(submit, relay.smtp, "inbox@peer.test")
        await self.at_once(relay)
        self.assert_each_once([taken.text for taken in self.hop.taken])
        for taken in self.hop.taken:
            self.assertEqual(
                ("sender@src.test", ["inbox@peer.test"], "relay.test"),
                (taken.sender, taken.recipients, taken.hello),
            )
            self.assertEqual(taken.text.isascii(), "BODY=8BITMIME" not in taken.options, audit_id(taken.text))
            self.assertIn(f"SIZE={len(taken.text)}", taken.options)

    async def test_nothing_to_blame(self) -> None:
        """The hostile MX, on its good behaviour, finds no fault: line ends, lengths, 8-bit, pipelining."""
        relay = self.relay(connections=3)
        await self.up(relay)
        await deferToThread(submit, relay.smtp, "ok@peer.test")
        await self.at_once(relay)
        accepted = self.mx.accepted()
        self.assertEqual(dict.fromkeys(TEXTS, 1), dict(Counter(line["id"] for line in accepted)))
        self.assertEqual([], [line for line in accepted if line["viol"]])
        for line in accepted:
            body = TEXTS[line["id"]].partition(b"\r\n\r\n")[2]
            self.assertEqual(hashlib.sha256(body).hexdigest(), line["sha256"], line["id"])
