"""The API on a real socket: what a string transport can't show of flow and refusal."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientCreator, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.unit.api_rig import ID, NOW, Rig, row, stored

reactor: Any = _reactor
MIB = 1024 * 1024


class Talker(Protocol):
    """Writes what it is told, as fast as it is taken, and keeps what it hears."""

    def __init__(self) -> None:
        self.heard = b""
        self.sent = 0
        self.ended: Deferred[bytes] = Deferred()
        self._block = b""
        self._left = 0

    def stream(self, block: bytes, count: int) -> None:
        self._block, self._left = block, count
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        if not self._left:
            self.transport.unregisterProducer()
            return
        self._left -= 1
        self.sent += len(self._block)
        self.transport.write(self._block)

    def stopProducing(self) -> None:
        self._left = 0

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: object) -> None:
        self.ended.callback(self.heard)


class LoopbackTests(TestCase):
    async def talk(self, **options: Any) -> Talker:
        self.rig = Rig(clock=reactor, **options)
        port = reactor.listenTCP(0, self.rig.site, interface="127.0.0.1")
        talker = await ClientCreator(reactor, Talker).connectTCP("127.0.0.1", port.getHost().port)

        async def stop() -> None:
            talker.transport.abortConnection()
            await port.stopListening()

        self.addCleanup(lambda: Deferred.fromCoroutine(stop()))
        return talker

    async def until(self, condition: Any) -> None:
        while not condition():
            await deferLater(reactor, 0)

    async def test_h13_refused_long_before_the_end(self) -> None:
        talker = await self.talk()
        talker.transport.write(
            b"POST /send-raw HTTP/1.1\r\nHost: localhost\r\nContent-Length: 104857600\r\n\r\n"
        )
        talker.stream(b"x" * 65536, 1600)
        await self.until(lambda: b"\r\n\r\n" in talker.heard)
        self.assertTrue(talker.heard.startswith(b"HTTP/1.1 413 "), talker.heard)
        self.assertLess(talker.sent, 20 * MIB)

    async def test_q17_the_client_is_held_back(self) -> None:
        talker = await self.talk(max_size=64 * MIB)
        talker.transport.write(
            b"POST /send-raw HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            % (32 * MIB)
        )
        await self.until(lambda: self.rig.intake.submissions)
        submission = self.rig.intake.submissions[0]
        submission.keep = False
        waiting = submission.waiting = Deferred()
        talker.stream(b"x\r\n" + b"y" * 65533, 32 * 16)
        await self.until(lambda: submission.size)
        seen = -1
        while seen != talker.sent:
            seen = talker.sent
            for _ in range(20):
                await deferLater(reactor, 0)
        self.assertLess(submission.size, MIB)
        self.assertIsNone(submission.finished)
        submission.waiting = None
        waiting.callback(None)
        heard = await talker.ended
        self.assertTrue(heard.startswith(b"HTTP/1.1 200 "), heard)
        self.assertEqual(submission.size, 32 * MIB)

    async def test_fetch_of_many_chunks(self) -> None:
        talker = await self.talk()
        chunks = [b"%d\r\n" % number * 20_000 for number in range(100)]
        self.rig.store.add(stored("s@example.com", b"a: b\r\n", *chunks), [row(1, "r@b", NOW)], *chunks)
        talker.transport.write(
            f"GET /fetch/{ID}?body=yes HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        heard = await talker.ended
        self.assertEqual(heard.partition(b"\r\n\r\n")[2], b"".join(chunks))
