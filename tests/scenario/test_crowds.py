"""Crowds at the door: too many, too slow, too greedy, gone in the midst (rows S26, S36-S41, S52).

Each time the question is what an honest client notices, and whether all is as before when they are gone.
"""

from __future__ import annotations

import os
import smtplib
import socket
import time
from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred

from bench.proctree import rss
from tests.peers.crowd import Client, Crowd, addresses
from tests.scenario.harness import Relay, Scenario, deferToThread

MIB = 1 << 20
EHLO = b"EHLO crowd.test\r\n"
ENVELOPE = b"MAIL FROM:<crowd@src.test>\r\nRCPT TO:<ok+half@evil.test>\r\nDATA\r\n"
HEADER = b"From: <crowd@src.test>\r\n"
#: An honest client of another address is served within (seconds).
SERVED = 5.0


class Crowded(Scenario):
    """A scenario with clients in a crowd."""

    def crowd(self, relay: Relay) -> Crowd:
        crowd = Crowd(relay.smtp)
        self.addCleanup(crowd.close)
        return crowd

    async def together(self, crowd: Crowd, work: Coroutine[Any, Any, Any], timeout: float = 120.0) -> Any:
        """Let the crowd do something while the reactor of the test goes on."""
        done: Deferred[Any] = deferToThread(crowd.run, work, timeout)
        return await done

    async def honest(self, relay: Relay, seconds: float = SERVED) -> float:
        """One message of an honest client, from its connection to its 250; seconds it took."""
        begun = time.monotonic()
        load = await self.send(relay, 1)
        took = time.monotonic() - begun
        self.assertEqual(len(load.accepted()), 1, f"refused: {load.replies}; {relay.said()[-1500:]}")
        self.assertLess(took, seconds, "an honest client waited too long")
        return took


class Recipients(Crowded):
    async def test_S26_many_recipients(self) -> None:
        """S26: 1,500, then 100,000 recipients in one transaction: 250 up to the limit, then 452, never a drop."""
        relay = self.relay()
        await self.up(relay)
        crowd = self.crowd(relay)
        before = rss(relay.master())

        async def ask(count: int) -> Client:
            (client,) = await crowd.join(1, words=EHLO, replies=2)
            await client.say(b"MAIL FROM:<crowd@src.test>\r\n")
            client.counts.clear()
            for start in range(0, count, 500):
                some = range(start, min(start + 500, count))
                await client.say(b"".join(b"RCPT TO:<ok+r%d@evil.test>\r\n" % n for n in some), len(some))
            return client

        client = await self.together(crowd, ask(1500))
        self.assertEqual(dict(client.counts), {"250": 1000, "452": 500})
        self.assertEqual(client.kept[-1], "452 4.5.3 Too many recipients")
        self.assertIn("354", await self.together(crowd, client.say(b"DATA\r\n")))
        self.assertIn("250 2.0.0", await self.together(crowd, client.say(HEADER + b"\r\nhello\r\n.\r\n")))
        await self.until(lambda: len(self.mx.accepted()) >= 1000, 60, "a copy for each of the thousand", relay)

        client = await self.together(crowd, ask(100_000))
        self.assertEqual(dict(client.counts), {"250": 1000, "452": 99_000})
        self.assertIn("250", await self.together(crowd, client.say(b"RSET\r\n")))
        self.assertLess(rss(relay.master()) - before, 64 * MIB)
        self.assertEqual(len(self.mx.accepted()), 1000)


class Cut(Crowded):
    async def test_S36_cut_in_the_text(self) -> None:
        """S36: half-closed, closed or reset within the text: no 250, and nothing is delivered."""
        relay = self.relay()
        await self.up(relay)
        answers = await deferToThread(
            lambda: [_cut(relay.smtp, how, b"") for how in ("half-close", "close", "reset") for _ in range(10)]
        )
        self.assertEqual([answer for answer in answers if "250 2.0.0 Message" in answer], [])
        await self.honest(relay)
        await self.until(self.mx.accepted, 10, "the honest message", relay)
        await self.remains(lambda: len(self.mx.accepted()) == 1, 1.0, "half a message was delivered")

    async def test_S37_cut_after_the_dot(self) -> None:
        """S37: RST right after the dot: either outcome, but once; the relay lives."""
        relay = self.relay()
        await self.up(relay)
        ids = [f"cut-{n}" for n in range(40)]
        await deferToThread(
            lambda: [_cut(relay.smtp, "reset", b"X-Audit-Id: %b\r\n\r\n.\r\n" % name.encode()) for name in ids]
        )
        load = await self.send(relay, 1)
        await self.arrival(load, 10, relay)
        await self.remains(lambda: relay.alive, 1.0, "the relay lives")
        arrived = [line["id"] for line in self.mx.accepted() if line["id"] in ids]
        self.assertEqual(len(arrived), len(set(arrived)), "a second copy")
        self.assertNotIn("Traceback", relay.said())


class Floods(Crowded):
    async def test_S38_three_hundred_idle(self) -> None:
        """S38: 300 idle from one address: 250 may stay, 50 hear 421, another address is served at once."""
        relay = self.relay()
        await self.up(relay)
        crowd = self.crowd(relay)
        await self.together(crowd, crowd.join(300, ["127.0.0.2"]))
        self.assertEqual((crowd.told("220"), crowd.told("421")), (250, 50))
        turned = next(client for client in crowd.clients if "421" in client.counts)
        self.assertEqual(turned.kept, ["421 4.7.0 Too many connections from your address, try again later"])
        await self.until(lambda: crowd.gone() == 50, 5, "those are gone", relay)
        await self.honest(relay)
        await self.together(crowd, crowd.cut(crowd.clients))
        await self.until(lambda: self.counted(crowd, "127.0.0.2"), 5, "room for that address again", relay)

    async def test_S38_from_many_addresses(self) -> None:
        """S38: 1,200 idle from 300 addresses: 421 past the limit of the listener, and service once they leave."""
        relay = self.relay()
        await self.up(relay)
        crowd = self.crowd(relay)
        await self.together(crowd, crowd.join(300, addresses(300)))
        self.assertEqual(crowd.told("220"), 300)
        await self.honest(relay)
        await self.together(crowd, crowd.join(900, addresses(300)))
        self.assertEqual((crowd.told("220"), crowd.told("421")), (1000, 200))
        await self.together(crowd, crowd.cut(crowd.clients))
        await self.until(lambda: self.counted(crowd, "127.0.0.1"), 5, "room again", relay)
        await self.honest(relay)

    def counted(self, crowd: Crowd, host: str) -> bool:
        """Whether one more from there is let in."""
        (client,) = crowd.run(crowd.join(1, [host]))
        return "220" in client.counts


class Slow(Crowded):
    async def test_S39_slowloris(self) -> None:
        """S39: 100 clients that give a command a byte a second: closed when their time is over."""
        relay = self.relay(listener='timeout = "4s"')
        await self.up(relay)
        crowd = self.crowd(relay)
        await self.together(crowd, crowd.join(100, addresses(5), EHLO, 2))
        await self.together(crowd, crowd.trickle(crowd.clients, b"N", 1.0))
        await self.honest(relay)
        await self.until(lambda: crowd.gone() == 100, 15, "their end", relay)
        self.assertEqual(crowd.told("421"), 100)
        self.assertEqual(crowd.clients[0].kept[-1], "421 4.4.2 Timeout - closing connection")
        await self.honest(relay)

    async def test_S40_a_text_without_end(self) -> None:
        """S40: 100 clients that give a text a byte at a time: the time for a message ends them."""
        relay = self.relay(listener='data_timeout = "4s"')
        await self.up(relay)
        crowd = self.crowd(relay)
        await self.together(crowd, crowd.join(100, addresses(5), EHLO + ENVELOPE, 5))
        self.assertEqual(crowd.told("354"), 100)
        await self.together(crowd, crowd.trickle(crowd.clients, HEADER, 0.5))
        await self.honest(relay)
        await self.until(lambda: crowd.gone() == 100, 15, "their end", relay)
        self.assertEqual(crowd.told("421"), 100)
        await self.honest(relay)
        await self.until(self.mx.accepted, 10, "the honest messages", relay)
        self.assertEqual({line["id"].rpartition("-")[2] for line in self.mx.accepted()}, {"1"})

    async def test_S41_replies_never_read(self) -> None:
        """S41: 60,000 EHLO from each of 20 clients that read nothing: memory stays, and they are closed."""
        relay = self.relay(listener='timeout = "6s"')
        await self.up(relay)
        crowd = self.crowd(relay)
        await self.honest(relay)
        before = rss(relay.master())
        clients = await self.together(crowd, crowd.join(20, receive_buffer=4096))

        async def talk() -> None:
            for client in clients:
                client.transport.pause_reading()
                client.transport.write(EHLO * 60_000)

        await self.together(crowd, talk())
        await self.honest(relay)
        await self.remains(
            lambda: rss(relay.master()) - before < 20 * MIB // 2, 3.0, "half a megabyte a client at most"
        )
        # What they have sent and we have not read makes a reset of the close, as it should.
        await self.until(lambda: not self.established(relay), 40, "their end", relay)
        await self.honest(relay)

    def established(self, relay: Relay) -> list[str]:
        """Connections of the listener, as the master has them."""
        port = f":{relay.smtp:04X}"
        with open(f"/proc/{relay.master()}/net/tcp") as file:
            rows = [line.split() for line in file][1:]
        return [row[2] for row in rows if row[1].endswith(port) and row[3] == "01"]


class Memory(Crowded):
    async def test_large_headers(self) -> None:
        """Headers that never end, from 60 clients: one step after the other, and recovery."""
        relay = self.relay(listener='max_memory = "16MB"\nmin_rate = 0')
        await self.up(relay)
        await self.honest(relay)
        crowd = self.crowd(relay)
        before = rss(relay.master())
        clients = await self.together(crowd, crowd.join(60, addresses(10), EHLO + ENVELOPE, 5))
        self.assertEqual(crowd.told("354"), 60)

        async def grow(kib: int) -> None:
            for client in clients:
                if not client.lost:
                    client.transport.write(b"X-Filler: " + b"x" * (kib * 1024 - 12) + b"\r\n")

        await self.together(crowd, grow(60))
        await self.together(crowd, grow(60))
        # A little over 7 MB; 8 MB is the first step.
        await self.honest(relay)
        await self.together(crowd, grow(60))
        await self.until(lambda: "new connections are turned away" in relay.said(), 5, "the first step", relay)
        (late,) = await self.together(crowd, crowd.join(1))
        self.assertEqual(late.kept, ["421 4.3.2 Too busy, try again later"])
        for _ in range(10):
            await self.together(crowd, grow(60))
        await self.until(lambda: crowd.told("421") > 3, 10, "the largest are cut off", relay)
        self.assertLess(rss(relay.master()) - before, 64 * MIB)
        await self.together(crowd, crowd.cut(crowd.clients))
        await self.until(lambda: "bytes again" in relay.said(), 10, "recovery", relay)
        await self.honest(relay)
        self.assertNotIn("Traceback", relay.said())


class Sessions(Crowded):
    #: Messages until the caches of the queue are as full as they get, or nearly; then what is measured.
    settled = 500
    sessions = 1000

    async def test_S52_session_after_session(self) -> None:
        """S52: many sessions, each with one message: memory and descriptors stay as they were."""
        relay = self.relay()
        await self.up(relay)
        await self.deliver(relay, self.settled)
        master = relay.master()
        size, files = rss(master), files_of(master)
        await self.deliver(relay, self.sessions)
        await self.until(lambda: files_of(master) <= files + 2, 20, "descriptors as before", relay)
        now = rss(master)
        print(f"S52: {self.sessions} sessions: {size / MIB:.1f}, then {now / MIB:.1f} MiB, {files} descriptors")
        self.assertLess(now, size * 1.1)

    async def deliver(self, relay: Relay, count: int) -> None:
        """So many sessions with a message each, and wait until all has left."""
        crowd = Crowd(relay.smtp)
        seen = len(self.mx.accepted())

        async def one() -> str:
            (client,) = await crowd.join(1, words=EHLO, replies=2)
            answer = await client.message("ok+session@evil.test")
            await client.say(b"QUIT\r\n")
            client.transport.close()
            crowd.clients.remove(client)
            return answer

        async def all_of_them() -> int:
            taken = 0
            for _ in range(count // 20):
                for _ in range(20):
                    taken += (await one()).startswith("250 2.0.0")
            return taken

        try:
            self.assertEqual(await self.together(crowd, all_of_them(), 600), count)
        finally:
            crowd.close()
        await self.until(lambda: len(self.mx.accepted()) >= seen + count, 120, "all delivered", relay)


def files_of(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def _cut(port: int, how: str, text: bytes) -> str:
    """A client that is gone within its text, or right behind `text`; what it heard after its 354."""
    client = smtplib.SMTP("127.0.0.1", port, "cut.test", timeout=10)
    client.ehlo()
    client.mail("crowd@src.test")
    client.rcpt("ok+cut@evil.test")
    client.docmd("DATA")
    assert client.sock is not None
    client.sock.sendall(text or HEADER + b"\r\nhalf a message\r\n")
    if how == "half-close":
        client.sock.shutdown(socket.SHUT_WR)
        return client.sock.recv(1000).decode("latin-1")
    if how == "reset":
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    return ""
