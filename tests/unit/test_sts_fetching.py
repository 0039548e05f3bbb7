"""A policy from a policy host, over real TLS on the loopback: what is believed, and what is refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from OpenSSL import crypto
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.trial.unittest import TestCase

from relay.config.egress import Egress
from relay.delivery.sts import https
from relay.delivery.sts.fetching import Fetching, Unfetched
from relay.delivery.sts.policy import Mode, StsPolicy
from relay.net.client_tls import ClientTls
from relay.net.dns import TimedOut
from relay.net.proxied import Proxied
from tests.unit.certificates import Authority, Pair

TEXT = b"version: STSv1\nmode: enforce\nmx: mx.a.test\nmax_age: 86400\n"
POLICY = StsPolicy(Mode.ENFORCE, ("mx.a.test",), 86400)


PLAIN = "text/plain; charset=utf-8"


def answer(body: bytes = TEXT, status: str = "200 OK", kind: str = PLAIN, more: str = "") -> bytes:
    length = "" if "\n" in more else f"Content-Length: {len(body)}\r\n"
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{length}{more}\r\n".encode() + body


class PolicyHost(Protocol):
    def dataReceived(self, data: bytes) -> None:
        factory: Any = self.factory
        factory.heard.append(data)
        if data.endswith(b"\r\n\r\n"):
            self.transport.write(factory.says)  # type: ignore[union-attr]
            if factory.closes:
                self.transport.loseConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: Any = None) -> None:
        factory: Any = self.factory
        factory.left.append(reason)


class Redirected:
    """The reactor, but that all calls lead to one port; some addresses are dead."""

    def __init__(self, port: int, dead: Iterable[str] = ()) -> None:
        self.port, self.dead = port, tuple(dead)
        self.called: list[tuple[str, int]] = []

    def connectTCP(self, host: str, port: int, *arguments: Any, **more: Any) -> Any:
        self.called.append((host, port))
        return reactor.connectTCP(  # type: ignore[attr-defined]
            "127.0.0.1", 1 if host in self.dead else self.port, *arguments, **more
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class Socks(Protocol):
    """A SOCKS5 server that lets everybody in: wherever one wants to go, it leads to one port; addresses that are dead
    are never reached."""

    def __init__(self) -> None:
        self.beyond: Any = None

    def dataReceived(self, data: bytes) -> None:
        factory: Any = self.factory
        transport: Any = self.transport
        if self.beyond is not None:
            self.beyond.transport.write(data)
        elif len(data) == 3:
            transport.write(b"\x05\x00")
        else:
            address = ".".join(map(str, data[4:8]))
            factory.asked.append((address, int.from_bytes(data[8:10], "big")))
            if address not in factory.dead:
                factory.there.connect(Factory.forProtocol(Protocol)).addCallback(self._through)

    def _through(self, beyond: Any) -> None:
        transport: Any = self.transport
        self.beyond = beyond
        beyond.dataReceived = transport.write
        transport.write(b"\x05\x00\x00\x01" + bytes(6))

    def connectionLost(self, reason: Any = None) -> None:
        if self.beyond is not None:
            self.beyond.transport.abortConnection()


class FakeResolver:
    def __init__(self, *addresses: str) -> None:
        self.found: list[str] | Exception = list(addresses)
        self.asked: list[tuple[str, tuple[int, ...]]] = []

    async def addresses(self, host: str, families: tuple[int, ...]) -> list[str]:
        self.asked.append((host, families))
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


class Fetched(TestCase):
    authority = Authority()

    def setUp(self) -> None:
        self.file = self.mktemp()
        with open(self.file, "wb") as file:
            file.write(self.authority.chain_pem)
        self.resolver = FakeResolver("9.9.9.9")
        self.host()

    def host(self, says: bytes | None = None, shown: Pair | None = None, closes: bool = False, **more: Any) -> None:
        """A policy host that says this, and shows that."""
        shown = shown or self.authority.server("mta-sts.a.test")
        options = CertificateOptions(
            privateKey=crypto.PKey.from_cryptography_key(shown.key),
            certificate=crypto.X509.from_cryptography(shown.certificate),
            **more,
        )
        factory: Any = Factory.forProtocol(PolicyHost)
        factory.heard, factory.left, factory.says, factory.closes = [], [], says or answer(), closes
        port: Any = reactor.listenSSL(0, factory, options, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        self.heard, self.left = factory.heard, factory.left
        self.net = Redirected(port.getHost().port)

    def fetching(self, timeout: float = 10.0, **more: Any) -> Fetching:
        return Fetching(self.net, self.resolver, ClientTls(self.file), timeout, **more)  # type: ignore[arg-type]

    async def fetch(self, **more: Any) -> StsPolicy:
        return await self.fetching(**more)("a.test")

    async def refused(self, **more: Any) -> str:
        """Why there is no policy."""
        try:
            await self.fetch(**more)
        except Unfetched as error:
            self.failure = error.failure
            return str(error)
        return "it was believed"

    async def test_one(self) -> None:
        self.assertEqual(await self.fetch(), POLICY)
        self.assertEqual(self.net.called, [("9.9.9.9", 443)])
        self.assertEqual(self.resolver.asked, [("mta-sts.a.test", (4, 6))])
        said = b"".join(self.heard)
        self.assertTrue(said.startswith(b"GET /.well-known/mta-sts.txt HTTP/1.1\r\n"))
        self.assertIn(b"\r\nHost: mta-sts.a.test\r\n", said)

    async def test_in_chunks(self) -> None:
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(TEXT), TEXT)
        self.host(answer(chunks, more="Transfer-Encoding: chunked\r\n"))
        self.assertEqual(await self.fetch(), POLICY)

    async def test_D26_a_host_that_does_not_prove_who_it_is(self) -> None:
        """It isn't even asked."""
        for shown, words in (
            (self.authority.server("mta-sts.b.test"), "for another host than mta-sts.a.test"),
            (self.authority.server("mta-sts.a.test", days=-1), "expired"),
            (Authority("Somebody").server("mta-sts.a.test"), "not trusted"),
            (Authority("mta-sts.a.test"), "not trusted"),
            (self.authority.client("mta-sts.a.test", hosts=["mta-sts.a.test"]), "not made for servers"),
        ):
            self.host(shown=shown)
            self.assertIn(words, await self.refused())
            self.assertEqual((self.heard, self.failure), ([], "sts-webpki-invalid"), words)

    async def test_a_certificate_for_all_names_below(self) -> None:
        self.host(shown=self.authority.server("*.a.test"))
        self.assertEqual(await self.fetch(), POLICY)

    async def test_tls_that_is_too_old(self) -> None:
        self.host(insecurelyLowerMinimumTo=TLSVersion.TLSv1_0, lowerMaximumSecurityTo=TLSVersion.TLSv1_1)
        self.assertNotEqual(await self.refused(), "it was believed")
        self.assertEqual(self.heard, [])

    async def test_answers_that_are_none(self) -> None:
        for says, words in (
            (answer(status="404 Not Found"), "status 404"),
            (answer(status="301 Moved", more="Location: https://mta-sts.a.test/else\r\nX: y\r\n"), "status 301"),
            (answer(status="204 No Content"), "status 204"),
            (answer(kind="text/html"), "no text/plain"),
            (answer(kind="text/plainest"), "no text/plain"),
            (answer(b"rubbish"), "line 1"),
            (answer(b"x" * 70_000), "longer than"),
            (answer(b"x" * 200_000), "more than"),
            (b"HTTP/1.1 200 OK\r\n" + b"X: %b\r\n" % (b"y" * 1000) * 200, "more than"),
            (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 90_000, ""),
            (b"\x00\xff\r\n\r\n" * 10, ""),
        ):
            self.host(says)
            told = await self.refused()
            self.assertIn(words, told)
            self.assertNotEqual(told, "it was believed")
            self.assertTrue(told.isprintable())
            invalid = words in ("line 1", "longer than")
            self.assertEqual(self.failure, "sts-policy-invalid" if invalid else "sts-policy-fetch-error")

    async def test_one_that_may_have_been_cut_short(self) -> None:
        for says in (
            answer()[:-5],
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + TEXT,
            b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + TEXT,
        ):
            self.host(says, closes=True)
            self.assertIn("mta-sts.a.test: ", await self.refused(), says)

    async def test_it_hangs_up(self) -> None:
        for says in (answer(), answer(status="404 Not Found"), answer(b"x" * 200_000)):
            self.host(says)
            gone: Deferred[None] = Deferred()
            self.patch(PolicyHost, "connectionLost", lambda host, reason, gone=gone: gone.called or gone.callback(None))
            try:
                await self.fetch()
            except Unfetched:
                pass
            await gone.addTimeout(5, reactor)  # type: ignore[arg-type]

    async def test_the_next_address(self) -> None:
        self.resolver.found = ["9.9.9.1", "2001:4860::1", "9.9.9.2", "9.9.9.3", "9.9.9.4"]
        self.net.dead = ("9.9.9.1", "2001:4860::1")
        self.assertEqual(await self.fetch(families=(6, 4)), POLICY)
        self.assertEqual([host for host, _ in self.net.called], ["9.9.9.1", "2001:4860::1", "9.9.9.2"])
        self.assertEqual(self.resolver.asked, [("mta-sts.a.test", (6, 4))])
        self.net.dead = tuple(self.resolver.found)
        self.net.called.clear()
        self.assertIn("refused", await self.refused())
        self.assertEqual(len(self.net.called), 4)

    def socks(self) -> Any:
        """From now on the way leads through a proxy."""
        server: Any = Factory.forProtocol(Socks)
        server.asked, server.dead = [], ()
        server.there = TCP4ClientEndpoint(reactor, "127.0.0.1", self.net.port)
        port: Any = reactor.listenTCP(0, server, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        server.egress = Egress("socks5", "127.0.0.1", port.getHost().port)
        self.net = Proxied(reactor, server.egress)  # type: ignore[arg-type, assignment]
        return server

    async def test_by_a_proxy(self) -> None:
        server = self.socks()
        self.assertEqual(await self.fetch(), POLICY)
        self.assertEqual(server.asked, [("9.9.9.9", 443)])

    async def test_an_address_that_a_proxy_does_not_get_to(self) -> None:
        """The proxy has answered, and the far host never does: the next address is tried in time."""
        self.patch(https, "CONNECT", 0.3)
        server = self.socks()
        server.dead, self.resolver.found = ("9.9.9.1",), ["9.9.9.1", "9.9.9.2"]
        self.assertEqual(await self.fetch(), POLICY)
        server.dead = ("9.9.9.1", "9.9.9.2")
        self.assertIn("timeout", await self.refused())
        self.assertEqual([host for host, _ in server.asked], ["9.9.9.1", "9.9.9.2"] * 2)

    async def test_a_proxy_that_is_not_there(self) -> None:
        self.net = Proxied(reactor, Egress("socks5", "127.0.0.1", 1))  # type: ignore[arg-type, assignment]
        told = "mta-sts.a.test: Proxy socks5://127.0.0.1:1: Connection refused"
        self.assertEqual(await self.refused(), told)

    async def test_addresses_of_our_own_network(self) -> None:
        """Nobody has us call what only we can reach."""
        self.resolver.found = ["127.0.0.1", "10.1.2.3", "::1", "169.254.169.254", "::ffff:192.168.0.1"]
        self.assertIn("no public address (127.0.0.1, 10.1.2.3, ::1)", await self.refused())
        self.assertEqual(self.net.called, [])
        self.resolver.found.append("9.9.9.9")
        self.assertEqual(await self.fetch(), POLICY)
        self.assertEqual(await self.fetch(block_local=False), POLICY)
        self.assertEqual([host for host, _ in self.net.called], ["9.9.9.9", "127.0.0.1"])
        self.resolver.found = ["0.0.0.0", "::", "224.0.0.1"]
        self.assertIn("no public address", await self.refused(block_local=False))

    async def test_names_that_are_not_to_be_had(self) -> None:
        self.resolver.found = TimedOut("mta-sts.a.test: nobody answers")
        self.assertEqual(await self.refused(), "mta-sts.a.test: nobody answers")

    async def test_one_that_says_nothing_costs_no_more_than_its_time(self) -> None:
        self.host(b" ")
        self.assertEqual(await self.refused(timeout=0.3), "mta-sts.a.test: not within 0.3 s")

    async def test_who_gives_up(self) -> None:
        self.host(b" ")
        fetching = self.fetching()
        fetched = Deferred.fromCoroutine(fetching("a.test"))
        fetched.cancel()
        try:
            await fetched
        except CancelledError:
            pass
        self.assertEqual(fetching._turns.tokens, fetching._turns.limit)

    async def test_authorities_that_can_not_be_used(self) -> None:
        self.file = self.mktemp()
        self.assertIn("tls.authorities", await self.refused())
