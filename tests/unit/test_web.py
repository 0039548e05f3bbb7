"""The guarded client, on real sockets: whom it calls, how much it hears, how long it waits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from relay.config import urls
from relay.net import exchange as module
from relay.net.client_tls import ClientTls
from relay.net.exchange import LINGER, LONGEST, Answer, Exchange, NoAnswer
from relay.net.web import Web

reactor: Any = _reactor


class Server(Factory):
    """Says all of `words` when it has heard the end of a header, and hangs up if told so."""

    noisy = False

    def __init__(self, words: Iterable[bytes], close: bool = True) -> None:
        self.heard: list[bytes] = []
        self.gone: list[Deferred[None]] = []
        self.sent = 0
        self._words = words
        self._close = close

    def buildProtocol(self, addr: Any) -> Protocol:
        server, number = self, len(self.heard)
        self.heard.append(b"")
        gone: Deferred[None] = Deferred()
        self.gone.append(gone)

        class Talk(Protocol):
            said = False

            def dataReceived(self, data: bytes) -> None:
                server.heard[number] += data
                if self.said or b"\r\n\r\n" not in server.heard[number]:
                    return
                self.said = True
                transport: Any = self.transport
                words = iter(server._words)

                class Producer:
                    def resumeProducing(self) -> None:
                        word = next(words, None)
                        if word is None:
                            transport.unregisterProducer()
                            if server._close:
                                transport.loseConnection()
                        else:
                            server.sent += len(word)
                            transport.write(word)

                    def stopProducing(self) -> None: ...

                transport.registerProducer(Producer(), False)

            def connectionLost(self, reason: Any = None) -> None:
                gone.callback(None)

        return Talk()


class Names:
    """Answers the first time with the first list, and so on."""

    def __init__(self, *answers: list[str]) -> None:
        self.asked = 0
        self._answers = answers

    async def addresses(self, host: str, families: Any) -> list[str]:
        self.asked += 1
        return self._answers[min(self.asked, len(self._answers)) - 1]


class WebTests(TestCase):
    timeout = 20

    def serve(self, words: Iterable[bytes], close: bool = True) -> str:
        self.server = server = Server(words, close)
        port = reactor.listenTCP(0, server, interface="127.0.0.1")

        async def end() -> None:
            await maybeDeferred(port.stopListening)
            for gone in server.gone:
                await gone

        self.addCleanup(end)
        return f"http://hooks.test:{port.getHost().port}/in?x=1"

    async def post(
        self, url: str, names: Names | None = None, timeout: float = 10.0, allow_private: bool = True
    ) -> Answer:
        web = Web(reactor, names or Names(["127.0.0.1"]), ClientTls())
        return await web.post(urls.read(url), {"X-Mine": "1"}, b"body", timeout, allow_private)

    async def refused(self, *args: Any, **settings: Any) -> NoAnswer:
        try:
            answer = await self.post(*args, **settings)
        except NoAnswer as error:
            return error
        raise AssertionError(f"answered: {answer}")

    async def test_one_request(self) -> None:
        url = self.serve([b"HTTP/1.1 204 No Content\r\nRetry-After: 7\r\n\r\n"])
        answer = await self.post(url.replace("http://", "http://me:secret@"))
        self.assertEqual(answer, Answer(204, 7.0))
        [heard] = self.server.heard
        head, _, body = heard.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        self.assertEqual((lines[0], body), (b"POST /in?x=1 HTTP/1.1", b"body"))
        self.assertIn(b"Host: " + url.split("/")[2].encode(), lines)
        self.assertIn(b"Authorization: Basic bWU6c2VjcmV0", lines)
        self.assertLess({b"X-Mine: 1", b"Content-Length: 4", b"Connection: close"}, set(lines))

    async def test_H11_no_address_of_our_own_network(self) -> None:
        url = self.serve([b"HTTP/1.1 200 OK\r\n\r\n"])
        port = url.split(":")[2]
        for addresses in (["127.0.0.1"], ["10.1.2.3", "::1"], ["::ffff:127.0.0.1"], ["169.254.169.254"], ["224.0.0.1"]):
            error = await self.refused(url, Names(addresses), allow_private=False)
            self.assertIn("no public address", str(error))
        for host in ("127.0.0.1", "[::1]", "192.168.0.1", "[::ffff:127.0.0.1]"):
            self.assertTrue((await self.refused(f"http://{host}:{port}", allow_private=False)).final)
        self.assertEqual(self.server.heard, [])

    def test_H11_the_second_look_up_says_something_else(self) -> None:
        """What was judged is what is called, and nobody is asked again."""
        memory, names = MemoryReactorClock(), Names(["8.8.8.8", "127.0.0.1"], ["127.0.0.1"])
        web = Web(memory, names, ClientTls())
        posting = Deferred.fromCoroutine(web.post(urls.read("http://hooks.test/"), {}, b"", 10.0, False))
        [(host, port, factory, *_)] = memory.tcpClients
        self.assertEqual((host, port), ("8.8.8.8", 80))
        factory.clientConnectionFailed(memory.connectors[0], Failure(ConnectionRefusedError()))
        self.assertEqual(str(self.failureResultOf(posting, NoAnswer).value), "8.8.8.8: Connection refused")
        self.assertEqual((len(memory.tcpClients), names.asked), (1, 1))

    async def test_H11_no_redirect(self) -> None:
        words = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"
        url = self.serve([words], close=False)
        self.assertEqual((await self.post(url)).status, 302)
        self.assertEqual(len(self.server.heard), 1)

    async def test_H12_an_answer_of_a_gigabyte(self) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"

        def words() -> Iterable[bytes]:
            yield head
            for _ in range(100_000):
                yield b"x" * 10_000

        self.assertEqual((await self.post(self.serve(words()))).status, 200)
        await self.server.gone[0]
        # What is in the buffers of the system is sent, and not read.
        self.assertLess(self.server.sent, 100_000_000)

    async def test_H12_a_header_without_end(self) -> None:
        error = await self.refused(self.serve([b"HTTP/1.1 200 OK\r\n", *[b"A: b\r\n" * 1000] * 50]))
        self.assertIn("no web server", str(error))

    async def test_H12_silence(self) -> None:
        error = await self.refused(self.serve([], close=False), timeout=0.2)
        self.assertEqual(str(error), "no answer from hooks.test within 0.2 s")

    async def test_H12_a_body_that_never_ends_counts_by_its_status(self) -> None:
        self.patch(module, "LINGER", 0.1)
        url = self.serve([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"], close=False)
        self.assertEqual((await self.post(url)).status, 200)

    async def test_nobody_there(self) -> None:
        port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        number = port.getHost().port
        await maybeDeferred(port.stopListening)
        error = await self.refused(f"http://127.0.0.1:{number}/")
        self.assertEqual((str(error), error.final), ("127.0.0.1: Connection refused", False))


class ExchangeTests(SynchronousTestCase):
    def begun(self) -> Exchange:
        self.clock = Clock()
        exchange = Exchange(self.clock, b"request", None)
        exchange.makeConnection(StringTransport())
        return exchange

    def test_the_end_of_an_answer_is_waited_for(self) -> None:
        for head, end in (
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", b"de"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"0\r\n\r\n"),
            (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * (LONGEST + 1)),
        ):
            exchange = self.begun()
            exchange.dataReceived(head)
            self.assertNoResult(exchange.answer)
            exchange.dataReceived(end)
            self.assertEqual(self.successResultOf(exchange.answer).status, 200)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_but_not_for_long(self) -> None:
        exchange = self.begun()
        exchange.dataReceived(b"HTTP/1.1 503 Busy\r\nretry-after:  30 \r\n\r\n")
        self.clock.advance(LINGER)
        self.assertEqual(self.successResultOf(exchange.answer), Answer(503, 30.0))

    def test_how_the_text_begins(self) -> None:
        head = b"HTTP/1.1 401 Unauthorized\r\n"
        chunks = b"c\r\nwrong \x1b[31m s\r\n6\r\necret\xff\r\n0\r\n\r\n"
        for words, text in (
            (b"Content-Length: 13\r\n\r\nbad\r\nsuch\tkey", "bad such key"),
            (b"Transfer-Encoding: chunked\r\n\r\n" + chunks, "wrong [31m secret\ufffd"),
            (b"Content-Length: 300\r\n\r\n" + b"x" * 300, "x" * 200),
            (b"Content-Length: 0\r\n\r\n", ""),
        ):
            for size in (1, 7, 1000):
                exchange = self.begun()
                whole = head + words
                for start in range(0, len(whole), size):
                    exchange.dataReceived(whole[start : start + size])
                self.clock.advance(LINGER)
                self.assertEqual(self.successResultOf(exchange.answer), Answer(401, 0.0, text))

    def test_retry_after(self) -> None:
        for value, seconds in ((b"120", 120.0), (b"-5", 0.0), (b"9" * 400, 999_999_999.0), (b"soon", 0.0),
                               (b"Fri, 31 Dec 1999 23:59:59 GMT", 0.0)):  # fmt: skip
            exchange = self.begun()
            exchange.dataReceived(b"HTTP/1.1 429 No\r\nRetry-After: " + value + b"\r\nContent-Length: 0\r\n\r\n")
            self.assertEqual(self.successResultOf(exchange.answer), Answer(429, seconds))
        exchange = self.begun()
        date = b"Thu, 31 Dec 2099 23:59:59 GMT"
        exchange.dataReceived(b"HTTP/1.1 429 No\r\nRetry-After: " + date + b"\r\nContent-Length: 0\r\n\r\n")
        self.assertGreater(self.successResultOf(exchange.answer).retry_after, 1e8)
