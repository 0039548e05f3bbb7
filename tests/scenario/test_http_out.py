"""Mail that goes by HTTP, on real processes: a web server beside the relay, which takes it, refuses it, or worse."""

from __future__ import annotations

import os
import re
import signal
from typing import Any

from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.protocols.policies import WrappingFactory

from tests.peers.web import Collecting
from tests.scenario.harness import Relay, Scenario, deferToThread, post
from tests.scenario.test_headers import submit
from tests.unit.certificates import Authority
from tests.unit.dkim_rig import RSA, put, records, verdicts

TEXT = b"From: A <a@example.test>\r\nTo: b@x.test\r\nSubject: s\r\n\r\nbody\r\n.dot\r\n"


class ByHttp(Scenario):
    timeout = 120

    async def begun(self, more: str = "", timeouts: str = "", scheme: str = "http", **settings: Any) -> Relay:
        """A relay whose mail all goes to a server of this test."""
        from twisted.internet import reactor

        self.web = Collecting(reactor)
        self.site = site = WrappingFactory(self.web.site())
        if scheme == "https":
            authority = Authority()
            path = authority.server("localhost").write(f"{self.directory}/web.pem")
            with open(f"{self.directory}/ca.pem", "wb") as file:
                file.write(authority.chain_pem)
            more += f'[tls]\nauthorities = "{self.directory}/ca.pem"\n'
            port = reactor.listenSSL(0, site, DefaultOpenSSLContextFactory(path, path), interface="127.0.0.1")  # type: ignore[attr-defined]
        else:
            port = reactor.listenTCP(0, site, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        self.addCleanup(self.left)
        self.addCleanup(self.web.stop)
        self.port = port.getHost().port
        url = f'url = "{scheme}://user:secret@localhost:{self.port}/in?key=hidden"\nignore_ipv6 = true'
        # Nothing here is about leases or idle connections: neither may end because the machine is slow.
        patient = {"heartbeat": "2s", "lease": "30s", "zone": 'idle = "30s"'}
        relay = self.relay(hop=url, extra=f"[timeouts]\n{timeouts}\n{more}", **patient, **settings)
        await self.up(relay)
        return relay

    async def left(self) -> None:
        """The server has seen that the relay is gone, with all its connections."""
        await self.until(lambda: not self.site.protocols, 20, "the end of all connections")

    async def sent(self, relay: Relay, *words: str, text: bytes = TEXT) -> None:
        for word in words:
            code, said = await deferToThread(submit, relay, text, f"{word}@to.test")
            self.assertEqual(code, 250, said)

    def lines(self, relay: Relay, word: str) -> list[str]:
        """What became of a recipient's mail, from the mail log."""
        kinds = re.compile(r" (delivered|deferred|bounced) id=").search
        return [line for line in relay.said().splitlines() if kinds(line) and f"to=<{word}@to.test>" in line]

    async def told(self, relay: Relay, word: str, count: int = 1) -> str:
        await self.until(lambda: len(self.lines(relay, word)) >= count, 60, f"the end of {word}", relay)
        return self.lines(relay, word)[count - 1]

    async def test_what_answers_mean(self) -> None:
        relay = await self.begun(timeouts='dot = "4s"', retry='["60s"]')
        words = {
            "ok": " delivered ", "404": " bounced ", "503": " deferred ", "429": " deferred ", "redirect": " deferred ",
            "garbage": " deferred ", "close": " deferred ", "hang": " deferred ", "endless": " delivered ",
            "drip": " delivered ",
        }  # fmt: skip
        await self.sent(relay, *words)
        for word, result in words.items():
            line = await self.told(relay, word)
            self.assertIn(result, line)
            self.assertEqual("doubtful=" in line, word in ("garbage", "close", "hang"), line)
        self.assertIn('reply="404 Not Found: said the server', await self.told(relay, "404"))
        self.assertIn("(Retry-After: 30)", await self.told(relay, "429"))
        status, body = await deferToThread(post, relay.api, "/v1/backoff", b"", "GET")
        self.assertEqual(status, 200)
        self.assertIn(f"localhost:{self.port}", body.decode(), "429 slows down")
        self.assertEqual(len(self.web.posted), len(words), "each was posted once, and no redirect followed")
        self.assertEqual({posted.path for posted in self.web.posted}, {"/in?key=hidden"})
        self.assertEqual({posted.header["Authorization"] for posted in self.web.posted}, {"Basic dXNlcjpzZWNyZXQ="})
        for secret in ("secret", "hidden", "dXNlc"):
            self.assertNotIn(secret, relay.said())

    async def test_what_arrives(self) -> None:
        """The text that SMTP would send, signed; several on one connection."""
        os.makedirs(f"{self.directory}/keys")
        put(f"{self.directory}/keys", "example.test.s1.pem", RSA)
        relay = await self.begun(f'[dkim]\nkeys = "{self.directory}/keys"\n', "", "https")
        for number in range(3):
            await self.sent(relay, f"ok+{number}")
            line = await self.told(relay, f"ok+{number}")
            self.assertRegex(line, r" delivered .* tls=\"TLSv1\.3 \S+ verified\"")
        for posted in self.web.posted:
            self.assertEqual(posted.message[-16:], b"\r\n\r\nbody\r\n.dot\r\n")
            self.assertTrue(posted.message.startswith(b"Received: from client.test "))
            self.assertEqual(verdicts(posted.message, records(f"{self.directory}/keys")), [True])
            self.assertEqual(posted.fields["headers[subject]"], '"s"')
            self.assertEqual(posted.fields["from"], "from@sender.test")
            self.assertEqual(posted.header["Host"], f"localhost:{self.port}")
        self.assertEqual(len({posted.peer for posted in self.web.posted}), 1, "one connection")

    async def test_N07_killed_while_the_answer_is_pending(self) -> None:
        """Sent again: nobody knows whether the server has it. The log says so."""
        relay = await self.begun()
        await self.sent(relay, "hang-once")
        await self.until(lambda: self.web.posted, 20, "the request", relay)
        [child] = relay.children()
        os.kill(child, signal.SIGKILL)
        line = await self.told(relay, "hang-once")
        self.assertIn(" delivered ", line)
        first, second = self.web.posted
        self.assertEqual(first.fields["id"], second.fields["id"])
        self.assertEqual(first.message, second.message)
        doubts = [said for said in relay.said().splitlines() if 'doubtful="may be sent more than once"' in said]
        self.assertEqual([doubt.split()[1] for doubt in doubts], ["lost"])

    async def test_large_and_flat(self) -> None:
        """25 MB go through a child that holds a few pieces of them."""
        relay = await self.begun()
        await self.sent(relay, "ok")
        await self.told(relay, "ok")
        [child] = relay.children()
        before = peak(child)
        text = b"From: a@src.test\r\nSubject: large\r\n\r\n" + (b"x" * 998 + b"\r\n") * 25_000
        await self.sent(relay, "ok+large", text=text)
        self.assertIn(" delivered ", await self.told(relay, "ok+large"))
        last = self.web.posted[-1]
        self.assertEqual(last.fields["mail_to_http[real_length]"], str(len(last.message)))
        self.assertTrue(last.message.endswith(text.partition(b"\r\n\r\n")[2]))
        self.assertLess(peak(child) - before, 8_000, "kB")


def peak(pid: int) -> int:
    """The most memory it has had (kB)."""
    with open(f"/proc/{pid}/status") as file:
        return int(next(line for line in file if line.startswith("VmHWM:")).split()[1])
