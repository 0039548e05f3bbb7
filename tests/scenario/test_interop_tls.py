"""Mail servers that others wrote, whose TLS proves nothing or doesn't work: what comes of mail by what it asks for."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.trial.unittest import SkipTest

from tests.peers.mailserver import Exim, MailServer, Postfix
from tests.scenario.harness import Relay, deferToThread, post
from tests.scenario.interop import Interop, absent
from tests.unit.certificates import Authority, Pair

#: Encrypted, with a certificate that proves nothing.
ANY_WILL_DO = r' delivered .* tls="TLSv1\.2 \S+ untrusted"'
#: A zone for each server.
ZONE = '[zones.{name}]\npool = "default"\nhost = "localhost"\nport = {port}\nignore_ipv6 = true\n'


class Case(NamedTuple):
    """A server with this certificate, maybe one that no handshake succeeds with; and what the mail log tells of mail
    that asks for nothing (`may`), or for more, by that (patterns)."""

    shown: Pair
    broken: bool
    told: dict[str, str]


def cases(authority: Authority) -> dict[str, Case]:
    key = rsa.generate_private_key(65537, 2048)
    return {
        "alone": Case(Authority("localhost"), False, {"may": ANY_WILL_DO, "verify": " deferred .*self-signed"}),
        "old": Case(
            authority.server("localhost", key=key, days=-1),
            False,
            {"may": ANY_WILL_DO, "must": ANY_WILL_DO, "verify": " deferred .*expired"},
        ),
        "broken": Case(
            authority.server("localhost", key=key),
            True,
            {"may": " delivered (?!.* tls=)", "must": " deferred .*TLS handshake failed"},
        ),
    }


class BadTls(Interop):
    async def into(self, kind: type[MailServer]) -> None:
        if kind.missing():
            raise absent(kind.missing())
        if kind.forbidden():
            raise SkipTest(f"{kind.forbidden()}: {kind.name} NOT TESTED")
        os.chmod(self.directory, 0o711)  # the servers deliver as other users
        authority = Authority()
        trusted = Path(self.directory) / "ca.pem"
        trusted.write_bytes(authority.chain_pem)
        zones, servers, expected = "", {}, {}
        for name, case in cases(authority).items():
            certificate = case.shown.write(f"{self.directory}/{name}.pem")
            os.chmod(certificate, 0o644)
            server = servers[name] = kind(f"{self.directory}/{name}", certificate, "1.2", broken=case.broken)
            server.start()
            self.addCleanup(server.stop)
            zones += ZONE.format(name=name, port=server.port)
            expected |= {(name, asked): pattern for asked, pattern in case.told.items()}
        for server in servers.values():
            await self.until(lambda server=server: server.greets, 20, f"{kind.name}'s greeting", server)  # type: ignore[misc]
        relay = self.relay(extra=f'{zones}[tls]\nauthorities = "{trusted}"\n')
        await self.up(relay)
        for name, asked in expected:
            await deferToThread(self.submit, relay, name, asked)

        def told() -> dict[tuple[str, str], str]:
            lines = re.findall(r"(?m)^.* (?:delivered|deferred|bounced) id=.*$", relay.said())
            return {
                (name, asked): next((line for line in lines if f" to=<{asked}@{name}.test>" in line), "")
                for name, asked in expected
            }

        await self.until(lambda: all(told().values()), 20, "all outcomes", relay)
        for one, line in told().items():
            self.assertRegex(line, expected[one])
        for name, server in servers.items():
            wanted = sum(" delivered " in line for (zone, _), line in told().items() if zone == name)

            def arrived(server: MailServer = server, wanted: int = wanted) -> bool:
                return len(server.inbox()) == wanted

            await self.until(arrived, 10, f"{name}'s inbox", server)

    def submit(self, relay: Relay, zone: str, asked: str) -> None:
        text = f"From: <a@src.test>\r\nTo: <{asked}@{zone}.test>\r\nX-Sending-Zone: {zone}\r\n"
        text += f"X-Sending-TLS: {asked}\r\n\r\nhello\r\n"
        status, body = post(relay.api, "/send-raw", text.encode(), headers={"Content-Type": "message/rfc822"})
        assert status in (200, 202), (zone, asked, status, body)

    async def test_D23_D25_postfix(self) -> None:
        await self.into(Postfix)

    async def test_D23_D25_exim(self) -> None:
        await self.into(Exim)
