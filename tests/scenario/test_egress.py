"""Mail that leaves by a proxy: microsocks and HAProxy, as they are packaged."""

from __future__ import annotations

import os
import socket
import subprocess

from bench.network import free_ports
from tests.scenario.harness import Mx, Relay, Scenario, deferToThread, needs, needs_root, post
from tests.scenario.told import attempts

#: The address that the proxy connects from.
SOURCE = "127.0.0.5"
SECRET = "s3cret:p%ss"

HAPROXY = """
global
    log {directory}/haproxy.log local0
defaults
    mode tcp
    timeout connect 2s
    timeout client 60s
    timeout server 60s
listen egress
    bind 127.0.0.1:{port} accept-proxy
    source 0.0.0.0 usesrc clientip
    server wherever_the_header_says 0.0.0.0:0
"""


def listens(port: int) -> bool:
    """Whether connections are taken at a port of loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True


class ByProxy(Scenario):
    timeout = 90

    def setUp(self) -> None:
        super().setUp()
        [self.proxy_port] = free_ports(1)
        self.mx = Mx(self.directory, self.mx.port, "127.0.0.1", ("--tls",))
        self.addCleanup(self.mx.stop)

    async def proxy(self, *command: str) -> subprocess.Popen[bytes]:
        """Start one and wait until it listens."""
        null = subprocess.DEVNULL
        process = subprocess.Popen(command, stdin=null, stdout=null, stderr=null)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        await self.until(lambda: listens(self.proxy_port), 10, "the proxy")
        return process

    async def socks(self, password: str = SECRET) -> subprocess.Popen[bytes]:
        command = (needs("microsocks", "a SOCKS5 proxy"), "-i", "127.0.0.1", "-p", str(self.proxy_port))
        return await self.proxy(*command, "-u", "relay", "-P", password, "-b", SOURCE)

    def by(self, kind: str, **settings: str) -> Relay:
        egress = f'egress = "{kind}://127.0.0.1:{self.proxy_port}"'
        if kind == "socks5":
            with open(f"{self.directory}/login", "w") as file:
                file.write(f"{SECRET}\n")
            egress += f'\negress_user = "relay"\negress_password_file = "{self.directory}/login"'
        return self.relay(zone=f'{egress}\nidle = "0s"', extra='[timeouts]\nconnect = "4s"', **settings)

    def backoffs(self, relay: Relay) -> bytes:
        return post(relay.api, "/v1/backoff", method="GET")[1]

    async def test_socks5(self) -> None:
        """Over TLS, and the host sees the proxy's address; the password is in no log."""
        await self.socks()
        relay = self.by("socks5")
        await self.up(relay)
        load = await self.send(relay, 3)
        self.assert_safe(await self.drained(relay, load), relay)
        self.assertEqual({(one["peer"], one["tls"]) for one in self.mx.accepted()}, {(SOURCE, True)})
        self.assertNotIn("s3cret", relay.said())

    async def test_a_socks5_proxy_that_is_not_there_yet(self) -> None:
        """It is our fault: no domain is left alone for it, and the mail goes as soon as the proxy is there."""
        relay = self.by("socks5")
        await self.up(relay)
        load = await self.send(relay, 1)
        await self.until(lambda: attempts(relay.said()), 10, "a failure", relay)
        [told, *_] = attempts(relay.said())
        self.assertEqual((told["result"], told["category"], told["stage"]), ("deferred", "ours", "connect"))
        self.assertEqual(told["reply"], f"Proxy socks5://127.0.0.1:{self.proxy_port}: Connection refused")
        self.assertIn(b'"backoff":[]', await deferToThread(self.backoffs, relay))
        await self.socks()
        self.assert_safe(await self.drained(relay, load), relay)

    async def test_a_login_that_is_refused(self) -> None:
        await self.socks("other")
        relay = self.by("socks5")
        await self.up(relay)
        await self.send(relay, 1)
        await self.until(lambda: attempts(relay.said()), 10, "a failure", relay)
        [told, *_] = attempts(relay.said())
        self.assertEqual((told["result"], told["category"]), ("deferred", "ours"))
        self.assertIn("it refuses the login", told["reply"])
        self.assertNotIn("s3cret", relay.said())

    async def test_a_host_that_can_not_be_reached_from_the_proxy(self) -> None:
        """That is the host's fault, as it would be without a proxy."""
        await self.socks()
        relay = self.by("socks5")
        await self.up(relay)
        self.mx.stop()
        await self.send(relay, 1)
        await self.until(lambda: attempts(relay.said()), 10, "a failure", relay)
        [told, *_] = attempts(relay.said())
        self.assertEqual((told["category"], told["reply"]), ("network", "Connection refused"))
        self.assertIn(b'"kind":"unreachable"', await deferToThread(self.backoffs, relay))

    async def test_haproxy(self) -> None:
        """It connects from the pool's address that the header names, and to where that says; over TLS too."""
        needs_root("HAProxy that connects from any address")
        haproxy = needs("haproxy", "HAProxy as a way out")
        path = os.path.join(self.directory, "haproxy.cfg")
        with open(path, "w") as file:
            file.write(HAPROXY.format(directory=self.directory, port=self.proxy_port))
        for kind in ("haproxy", "haproxy1"):
            process = await self.proxy(haproxy, "-db", "-q", "-f", path)
            relay = self.by(kind, pool='{ address = "127.0.0.7", name = "relay.test" }')
            await self.up(relay)
            load = await self.send(relay, 2)
            self.assert_safe(await self.drained(relay, load), relay)
            self.assertEqual({(one["peer"], one["tls"]) for one in self.mx.accepted()}, {("127.0.0.7", True)})
            process.kill()
            process.wait()
            before = len(attempts(relay.said()))
            await self.send(relay, 1, "ok+late@evil.test")
            await self.until(lambda count=before, one=relay: len(attempts(one.said())) > count, 10, "a failure", relay)
            told = attempts(relay.said())[before]
            self.assertEqual((told["result"], told["category"]), ("deferred", "ours"))
            await deferToThread(relay.kill)
