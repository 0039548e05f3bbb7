"""Reports by HTTPS, on real sockets of this machine: who gets one, and who had better not."""

from __future__ import annotations

import re
from typing import Any

from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import ContextFactory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import TestCase

from relay.net.client_tls import ClientTls
from relay.net.dns import NoSuchDomain, TimedOut
from relay.tlsrpt import post as module
from relay.tlsrpt.post import NotTaken, Post
from relay.tlsrpt.record import Url, destination_of
from tests.unit.certificates import Authority, Pair

reactor: Any = _reactor
PACKED = b"\x1f\x8b" + bytes(range(256)) * 10


class Shown(ContextFactory):
    isClient = False

    def __init__(self, pair: Pair) -> None:
        self._pair = pair

    def getContext(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(X509.from_cryptography(self._pair.certificate))
        context.use_privatekey(self._pair.key)
        return context


class Web(Factory):
    """Answers each request in the same words; "" hangs up at once, None never answers."""

    noisy = False

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.heard: list[bytes] = []
        self.gone: list[Deferred[None]] = []

    def buildProtocol(self, addr: Any) -> Protocol:
        web, number = self, len(self.heard)
        self.heard.append(b"")
        gone: Deferred[None] = Deferred()
        self.gone.append(gone)

        class Talk(Protocol):
            def dataReceived(self, data: bytes) -> None:
                web.heard[number] += data
                head, _, body = web.heard[number].partition(b"\r\n\r\n")
                length = re.search(rb"\r\nContent-Length: (\d+)", head)
                if length is not None and len(body) >= int(length[1]) and web.answer is not None:
                    assert self.transport is not None
                    self.transport.write(web.answer)
                    self.transport.loseConnection()

            def connectionLost(self, reason: Any = None) -> None:
                gone.callback(None)

        return Talk()


class FakeResolver:
    def __init__(self) -> None:
        self.addresses_: list[str] | Exception = ["127.0.0.1"]

    async def addresses(self, host: str, families: Any) -> list[str]:
        if isinstance(self.addresses_, Exception):
            raise self.addresses_
        return self.addresses_


class Posting(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.authority = Authority()
        self.resolver = FakeResolver()
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(self.authority.chain_pem)
        self.tls = ClientTls(path)

    def poster(self, block_local: bool = False) -> Post:
        return Post(reactor, self.resolver, self.tls, block_local)  # type: ignore[arg-type]

    def serve(self, answer: bytes | None, pair: Pair | None = None) -> Url:
        self.web = Web(answer)
        pair = pair or self.authority.server("reports.test")
        self.port = reactor.listenSSL(0, self.web, Shown(pair), interface="127.0.0.1")
        self.addCleanup(self._end, self.port, self.web)
        url = destination_of(f"https://reports.test:{self.port.getHost().port}/v1/tls?x=1")
        assert isinstance(url, Url)
        return url

    async def _end(self, port: Any, web: Web) -> None:
        await maybeDeferred(port.stopListening)
        for gone in web.gone:
            await gone

    async def refused(self, url: Url, block_local: bool = False) -> NotTaken:
        try:
            await self.poster(block_local).post(url, PACKED)
        except NotTaken as error:
            return error
        raise AssertionError("it was taken")

    async def test_taken(self) -> None:
        announced = b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.0 200\r\nA: b\r\n\r\nthanks"
        for answer in (b"HTTP/1.1 201 Created\r\n\r\n", announced):
            url = self.serve(answer)
            await self.poster().post(url, PACKED)
            [request] = self.web.heard
            head, _, body = request.partition(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            self.assertEqual(lines[0], b"POST /v1/tls?x=1 HTTP/1.1")
            self.assertIn(b"Host: reports.test:%d" % url.port, lines)
            self.assertIn(b"Content-Type: application/tlsrpt+gzip", lines)
            self.assertIn(b"Content-Length: %d" % len(PACKED), lines)
            self.assertEqual(body, PACKED)

    async def test_not_taken(self) -> None:
        """No redirect is followed; what may go well another time is told from what won't."""
        for answer, words, final in (
            (b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1/\r\n\r\n", "answers 302", True),
            (b"HTTP/1.1 404 No\r\n\r\n", "answers 404", True),
            (b"HTTP/1.1 429 Slow down\r\n\r\n", "answers 429", False),
            (b"HTTP/1.1 503 Later\r\n\r\n", "answers 503", False),
            (b"SSH-2.0-x\r\n", "no web server", False),
            (b"HTTP/1.1 100 x\r\n" + b"a: b\r\n" * 10_000, "no web server", False),
            (b"", "closed before an answer", False),
        ):
            error = await self.refused(self.serve(answer))
            self.assertIn(words, str(error))
            self.assertEqual(error.final, final, answer)
            self.assertEqual(len(self.web.heard), 1)

    async def test_a_host_that_proves_nothing_gets_nothing(self) -> None:
        for pair, words in (
            (self.authority.server("other.test"), "another host"),
            (self.authority.server("reports.test", days=-1), "expired"),
            (Authority("reports.test"), "self-signed"),
        ):
            error = await self.refused(self.serve(b"HTTP/1.1 200 OK\r\n\r\n", pair))
            self.assertIn(words, str(error))
            self.assertFalse(error.final)
            self.assertEqual(self.web.heard, [b""])

    async def test_a_host_that_is_silent(self) -> None:
        """With as many addresses as it likes it takes no longer."""
        self.patch(module, "PATIENCE", 0.2)
        self.resolver.addresses_ = ["127.0.0.1"] * 3
        error = await self.refused(self.serve(None))
        self.assertIn("within 0.2 s", str(error))
        self.assertFalse(error.final)
        self.assertEqual(len(self.web.heard), 1)

    def test_who_gives_up_calls_no_further_address(self) -> None:
        self.resolver.addresses_ = ["192.0.2.1", "192.0.2.2"]
        for late in (True, False):
            memory = MemoryReactorClock()
            poster = Post(memory, self.resolver, self.tls, block_local=False)  # type: ignore[arg-type]
            url = Url("https://reports.test/", "reports.test", 443, "/")
            posting = Deferred.fromCoroutine(poster.post(url, PACKED))
            failures: list[Any] = []
            posting.addErrback(failures.append)
            if late:
                memory.advance(module.PATIENCE)
            else:
                posting.cancel()
            [failure] = failures
            self.assertIsInstance(failure.value, NotTaken if late else CancelledError)
            self.assertEqual(len(memory.tcpClients), 1)

    async def test_nobody_there(self) -> None:
        url = self.serve(b"")
        await self.port.stopListening()
        error = await self.refused(url)
        self.assertEqual((str(error), error.final), ("127.0.0.1: Connection refused", False))

    async def test_the_next_address(self) -> None:
        self.resolver.addresses_ = ["127.0.0.2", "127.0.0.1"]
        await self.poster().post(self.serve(b"HTTP/1.1 200 OK\r\n\r\n"), PACKED)
        self.assertEqual(len(self.web.heard), 1)

    async def test_no_address_of_our_own_network(self) -> None:
        """Neither by name nor by number; of several only those that are public are called."""
        url = self.serve(b"HTTP/1.1 200 OK\r\n\r\n")
        for addresses in (["127.0.0.1"], ["10.0.0.1", "::1"], ["::ffff:127.0.0.1", "169.254.169.254"]):
            self.resolver.addresses_ = addresses
            error = await self.refused(url, block_local=True)
            self.assertIn("no public address", str(error))
            self.assertTrue(error.final)
        for host in ("127.0.0.1", "::1", "192.168.0.1"):
            error = await self.refused(url._replace(host=host), block_local=True)
            self.assertTrue(error.final)
        self.assertEqual(self.web.heard, [])

    async def test_a_name_that_leads_nowhere(self) -> None:
        url = self.serve(b"")
        for problem, final in ((NoSuchDomain("reports.test does not exist"), True), (TimedOut("no answer"), False)):
            self.resolver.addresses_ = problem
            error = await self.refused(url)
            self.assertEqual((str(error), error.final), (str(problem), final))
