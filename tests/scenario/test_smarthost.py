"""Next hops that want a login: each mechanism on real processes, and what a wrong password comes to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from bench.peers import environment
from tests.peers.mailserver import Exim
from tests.scenario.harness import Relay, deferToThread, post
from tests.scenario.interop import Interop, absent
from tests.unit.certificates import Authority

USER, PASSWORD, WRONG = "bob@example.com", "tops3cret-horse", "wr0ng-horse"


class SmartHost(Interop):
    timeout = 60

    def password(self, word: str = PASSWORD) -> str:
        path = Path(self.directory, "password")
        path.write_text(f"{word}\n")
        path.chmod(0o600)
        return f'auth_user = "{USER}"\nauth_password_file = "{path}"'

    async def test_exim(self) -> None:
        """CRAM-MD5, PLAIN and LOGIN: a zone for each."""
        if Exim.missing():
            raise absent(Exim.missing())
        os.chmod(self.directory, 0o711)
        server = Exim(f"{self.directory}/peer", login=(USER, PASSWORD))
        server.start()
        self.addCleanup(server.stop)
        await self.until(lambda: server.greets, 20, "Exim's greeting", server)
        zones = "".join(
            f'[zones.{name}]\nhost = "127.0.0.1"\nport = {server.port}\nrecipient_domains = ["{name}.test"]\n'
            f'{self.password()}\nauth_mechanisms = ["{mechanism}"]\ninsecure_auth = {insecure}\n'
            for name, mechanism, insecure in (
                ("cram", "CRAM-MD5", "false"),
                ("plain", "PLAIN", "true"),
                ("login", "LOGIN", "true"),
                ("closed", "PLAIN", "false"),
            )
        )
        relay = self.relay(extra=zones)
        await self.up(relay)
        for name in ("cram", "plain", "login", "closed"):
            await self.send(relay, 3, f"inbox@{name}.test")
        await self.until(lambda: len(server.inbox()) >= 9, 20, "all in the inbox", server)
        for name in ("cram", "plain", "login"):
            self.assertEqual(server.said().count(f"A={name}:{USER}"), 3)
        await self.until(lambda: " deferred id=" in relay.said(), 10, "what can't log in", relay)
        [line, *_] = [line for line in relay.said().splitlines() if " deferred id=" in line]
        self.assertRegex(line, r"stage=auth category=auth .*not told without TLS .*CRAM-MD5 PLAIN LOGIN")
        self.assertNotIn(PASSWORD, relay.said())

    async def hop(self) -> Relay:
        """A relay of ours as the next hop: over TLS, and with a login."""
        authority = Authority()
        Path(self.directory, "ca.pem").write_bytes(authority.chain_pem)
        folder = Path(self.directory, "hop")
        folder.mkdir()
        authority.server("localhost").write(f"{folder}/server.pem")
        words = [sys.executable, "-m", "relay", "user", "add", USER, "--users", f"{folder}/users.toml", "--scram"]
        done = await deferToThread(
            subprocess.run,
            [*words, "--password-stdin"],
            input=f"{PASSWORD}\n".encode(),
            capture_output=True,
            env=environment(),
        )
        self.assertEqual(0, done.returncode, done.stderr)
        hop = Relay(
            str(folder),
            self.mx.port,
            listener=f'auth = true\ntls = "starttls"\ncertificate = "{folder}/server.pem"',
            extra=f'[access]\nusers = "{folder}/users.toml"',
        )
        self.addCleanup(hop.kill)
        await self.up(hop)
        return hop

    def through(self, hop: Relay, more: str, word: str = PASSWORD, **settings: int) -> Relay:
        return self.relay(
            mx=hop.smtp,
            hop='host = "localhost"\nignore_ipv6 = true',
            zone=f'tls = "verify"\n{self.password(word)}\n{more}',
            extra=f'[tls]\nauthorities = "{self.directory}/ca.pem"\n[backoff]\nunreachable = ["2s", "30s"]',
            **settings,
        )

    async def test_our_own_listener(self) -> None:
        """SCRAM, over TLS; mail goes on to where the next hop sends it, and a kept connection logs in once."""
        hop = await self.hop()
        relay = self.through(hop, 'auth_mechanisms = ["SCRAM-SHA-256"]', connections=1)
        await self.up(relay)
        load = await self.send(relay, 10)
        self.assert_safe(await self.drained(relay, load, seconds=20), relay)
        metrics = (await deferToThread(post, hop.api, "/metrics", method="GET"))[1].decode()
        logins = re.findall(r'events_total\{event="login",listener="feeder"\} (\d+)', metrics)
        self.assertIn(int(logins[0]), (1, 2), "once for a connection, of which there may have been a second")
        self.assertNotIn(PASSWORD, relay.said())

    async def test_a_wrong_password(self) -> None:
        """Nothing bounces; the next hop isn't asked for each message; what is wrong is said, and not what was tried."""
        hop = await self.hop()
        relay = self.through(hop, "", WRONG)
        await self.up(relay)
        await self.send(relay, 20)
        await self.until(lambda: " deferred id=" in relay.said(), 10, "the first failure", relay)
        await self.remains(lambda: relay.said().count(" deferred id=") < 20, 1.0, "not tried one by one")
        [line, *_] = [line for line in relay.said().splitlines() if " deferred id=" in line]
        self.assertRegex(line, r"stage=auth category=auth .*Login by SCRAM-SHA-256 failed: 535 5\.7\.8")
        self.assertNotIn(" bounced id=", relay.said())
        trouble = self.asked(relay, "/v1/backoff")
        self.assertIn("Login by SCRAM-SHA-256 failed", str(trouble))
        for secret in (PASSWORD, WRONG):
            self.assertNotIn(secret, relay.said() + hop.said() + str(trouble))
