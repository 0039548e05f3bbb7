"""The network goes away, with name servers and hosts, and comes back (D43)."""

from __future__ import annotations

import os
import subprocess
import sys

from bench.network import greets
from tests.scenario.harness import Load, Mx, Scenario, deferToThread, needs, needs_root
from tests.scenario.told import attempts

#: The two ends of a link, in networks of their own.
OUTSIDE, INSIDE = "10.213.9.1", "10.213.9.2"
#: Sends so many messages to the relay at a port, from where it runs.
SEND = """
import smtplib, sys
client = smtplib.SMTP("127.0.0.1", int(sys.argv[1]))
for number in range(int(sys.argv[2])):
    to = f"ok+gone{number}@gone{number % 3}.evil.test"
    client.sendmail("a@src.test", [to], f"X-Audit-Id: gone{number}\\r\\n\\r\\nx\\r\\n")
"""


class NetworkGone(Scenario):
    timeout = 90

    def ip(self, *words: str) -> None:
        done = subprocess.run(["ip", *words], capture_output=True, text=True)
        if done.returncode:
            self.skipTest(f"ip {' '.join(words)}: {done.stderr.strip()}: NOT TESTED")

    async def test_D43_no_bounces_and_on_it_goes(self) -> None:
        """Mail that waits, and mail that comes meanwhile: none of it bounces, and all arrives afterwards, once."""
        needs_root("a network that is gone")
        needs("ip", "a network that is gone")
        name = f"zn{os.getpid() % 10000}"
        self.addCleanup(lambda: subprocess.run(["ip", "netns", "del", name], capture_output=True))
        self.ip("netns", "add", name)
        self.ip("link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name)
        self.ip("addr", "add", f"{OUTSIDE}/24", "dev", f"{name}a")
        self.ip("link", "set", f"{name}a", "up")
        self.ip("-n", name, "addr", "add", f"{INSIDE}/24", "dev", f"{name}b")
        self.ip("-n", name, "link", "set", f"{name}b", "up")
        self.ip("-n", name, "link", "set", "lo", "up")
        port = await self.names("--host", OUTSIDE, "--good", OUTSIDE)
        self.mx = Mx(self.directory, self.mx.port, OUTSIDE)
        self.addCleanup(self.mx.stop)
        self.mx.start()
        relay = self.relay(
            hop="block_local_addresses = false",
            extra=f"""[dns]\nnameservers = ["{OUTSIDE}:{port}"]\ntimeout = "1s"\nmax_ttl = "1s"
[backoff]\nunreachable = ["1s"]\n[timeouts]\nconnect = "1s"\nmail = "2s" """,
        )
        with open(relay.config) as file:
            text = file.read().replace(f"tcp:{relay.smtp}:interface=127.0.0.1", f"tcp:{relay.smtp}")
        text = text.replace("[listeners.feeder]", '[listeners.feeder]\nallow_networks = ["10.213.9.0/24", "127.0.0.1"]')
        with open(relay.config, "w") as file:
            file.write(text)
        relay.start(["ip", "netns", "exec", name])
        await self.until(lambda: greets(relay.smtp, INSIDE), 20, "the greeting", relay)
        load = Load(relay.smtp, ["tempfail-rcpt-1+{id}@evil.test", "ok+{id}@{id}.evil.test"], host=INSIDE)
        await deferToThread(load.send, 20, 2)
        await self.until(lambda: len(self.mx.accepted()) >= 10, 10, "the mail that needs no second try", relay)
        self.ip("-n", name, "link", "set", f"{name}b", "down")
        before = len(self.mx.accepted())
        inside = ["ip", "netns", "exec", name, sys.executable, "-c", SEND, str(relay.smtp), "10"]
        sent = await deferToThread(subprocess.run, inside, capture_output=True, text=True)
        self.assertEqual(sent.returncode, 0, sent.stderr)
        await self.remains(lambda: len(self.mx.accepted()) == before, 3.0, "the network is not gone")
        categories = {one["category"] for one in attempts(relay.said()) if one["result"] == "deferred"}
        self.ip("-n", name, "link", "set", f"{name}b", "up")
        expected = {f"gone{number}" for number in range(10)} | set(load.accepted())
        took = await self.until(
            lambda: {line["id"] for line in self.mx.accepted()} >= expected, 15, "all mail, afterwards", relay
        )
        print(f"D43: all mail has left {took:.1f} s after the network was back")
        self.assertEqual(len(expected), 30)
        self.assertEqual(len(self.mx.accepted()), 30)
        self.assertIn("dns", categories)
        self.assertEqual([one for one in attempts(relay.said()) if one["result"] == "bounced"], [])
