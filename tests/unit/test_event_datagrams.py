"""Events by UDP and GELF: ZoneMTA's maps, Graylog's records and chunks, and what is taken."""

from __future__ import annotations

import json
import random
import zlib
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from relay.config.schema import Sink
from relay.events import gelf
from relay.events.datagrams import BELIEVED, gelf_maker, zonemta_maker
from relay.events.gelf import CHUNK, datagrams, record
from relay.events.reader import NotTaken
from relay.events.zonemta import datagram
from relay.net.dns import NoSuchDomain
from tests.unit.sink_rig import NOW, means, numbered

reactor: Any = _reactor
ID = "1a20169d1ea0007acc"
ATTEMPT = {
    "zone": "default", "host": "mx.to.test", "host_address": "192.0.2.1", "local_address": "192.0.2.9", "seconds": 1.5,
    "size": 900, "message_id": "<1@src.test>", "tls": "TLSv1.3 TLS_AES_256_GCM_SHA384 verified (sts)",
}  # fmt: skip
TOLD = {
    "id": ID, "seq": "001", "zone": "default", "from": "me@src.test", "returnPath": "me@src.test", "to": "you@to.test",
    "mx": "mx.to.test", "host": "192.0.2.1", "ip": "192.0.2.9", "size": 900, "timer": 1500, "start": NOW - 1500,
    "messageId": "<1@src.test>", "secure": True, "tls": True, "tlsVersion": "TLSv1.3",
    "tlsCipher": "TLS_AES_256_GCM_SHA384", "tlsAuthorized": True,
}  # fmt: skip


class ZoneMtaTests(SynchronousTestCase):
    def told(self, kind: str, **fields: Any) -> Any:
        return msgspec.msgpack.decode(datagram(numbered(1, kind, **fields)))

    def test_queued(self) -> None:
        told = self.told("queued", seq=0, to=("a@to.test", "b@to.test"), message_id="<1@x>", size=9, user="u")
        self.assertEqual(
            told,
            {"id": ID, "action": "QUEUED", "message-id": "<1@x>", "from": "me@src.test", "to": "a@to.test,b@to.test",
             "body": 9, "user": "u"},
        )  # fmt: skip

    def test_attempts(self) -> None:
        self.assertEqual(
            self.told("delivered", reply="250 " + "x" * 400, **ATTEMPT),
            {**TOLD, "action": "ACCEPTED", "response": "250 " + "x" * 308},
        )
        self.assertEqual(
            self.told("deferred", reply="450 later", category="greylist", attempts=2, due=NOW + 5, **ATTEMPT),
            {**TOLD, "action": "DEFERRED", "response": "450 later", "category": "greylist", "defcount": 2,
             "nextattempt": NOW + 5},
        )  # fmt: skip
        for kind in ("bounced", "expired"):
            self.assertEqual(
                self.told(kind, reply="550 no", **ATTEMPT),
                {**TOLD, "action": "REJECTED", "response": "550 no", "category": "other"},
            )
        clear = self.told("delivered", **ATTEMPT | {"tls": ""})
        self.assertEqual((clear["tls"], clear["secure"], "tlsVersion" in clear), (False, False, False))

    def test_other_ends(self) -> None:
        for kind in ("dropped", "suppressed"):
            told = self.told(kind, reason="on the list")
            self.assertEqual((told["action"], told["description"]), ("DROP", "on the list"))
        told = self.told("deleted", reason="by hand")
        self.assertEqual((told["action"], told["reason"]), ("DELETED", "by hand"))
        told = self.told("notified", what="delay", about="1a2")
        self.assertEqual((told["action"], told["queued"], told["bounceType"], told["bounceId"]),
                         ("QUEUE_BOUNCE", "yes", "delayed", "1a2"))  # fmt: skip
        self.assertEqual(self.told("bounce-returned")["action"], "BOUNCE_RETURNED")


class GelfTests(SynchronousTestCase):
    def test_a_record(self) -> None:
        told = json.loads(record(numbered(7, "bounced", reply="550 5.1.1 no\u2713", to=("a", "b")), "relay.test"))
        self.assertEqual((told["version"], told["host"], told["level"]), ("1.1", "relay.test", 4))
        self.assertEqual(told["timestamp"], NOW / 1000)
        self.assertEqual(told["short_message"], f"MTA [BOUNCED] {ID}.001 550 5.1.1 no\u2713")
        self.assertEqual((told["_number"], told["_queue_id"], told["_seq"], told["_to"]), (7, ID, 1, "a,b"))
        # Graylog refuses this one.
        self.assertNotIn("_id", told)

    @given(st.integers(0, 900_000))
    def test_chunks_make_the_message(self, size: int) -> None:
        message = random.Random(size).randbytes(size)
        parts = list(datagrams(message, b"12345678"))
        self.assertTrue(all(len(part) <= CHUNK for part in parts))
        if size <= CHUNK:
            self.assertEqual(parts, [message])
            return
        self.assertTrue(all(part[:10] == b"\x1e\x0f12345678" and part[11] == len(parts) for part in parts))
        self.assertEqual([part[10] for part in parts], list(range(len(parts))))
        self.assertEqual(zlib.decompress(b"".join(part[12:] for part in parts)), message)

    def test_what_is_too_long_even_so(self) -> None:
        self.assertEqual(list(datagrams(random.Random(1).randbytes(CHUNK * gelf.MOST), b"12345678")), [])


class Sending(TestCase):
    timeout = 20

    async def heard(self, maker: Any, **options: Any) -> tuple[list[bytes], Any]:
        """What two events come to at a port of this machine."""
        got: list[bytes] = []
        both: Deferred[None] = Deferred()

        class Hear(DatagramProtocol):
            def datagramReceived(self, data: bytes, addr: Any) -> None:
                got.append(data)
                if len(got) == 2:
                    both.callback(None)

        port = reactor.listenUDP(0, Hear(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        section = Sink(host="log.test", port=port.getHost().port, **options)
        taker = maker("log", section, means(reactor, addresses=lambda host: succeed(["127.0.0.1"])))
        self.addCleanup(taker.stop)
        await taker.take([numbered(1), numbered(2)])
        await both
        return got, taker

    async def test_udp(self) -> None:
        got, _ = await self.heard(zonemta_maker, kind="udp")
        self.assertEqual(got, [datagram(numbered(1)), datagram(numbered(2))])

    async def test_gelf(self) -> None:
        got, _ = await self.heard(gelf_maker, kind="gelf")
        self.assertEqual(got, [record(numbered(number), "relay.test") for number in (1, 2)])

    async def gelf_tcp(self, end: str) -> tuple[Any, list[bytes]]:
        got: list[bytes] = []

        class Hear(Protocol):
            def connectionMade(self) -> None:
                if end == "at once":
                    self.transport.abortConnection()  # type: ignore[union-attr]

            def dataReceived(self, data: bytes) -> None:
                got.append(data)

        factory = Factory.forProtocol(Hear)
        factory.noisy = False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(lambda: maybeDeferred(port.stopListening))
        section = Sink(kind="gelf", transport="tcp", host="127.0.0.1", port=port.getHost().port, timeout=5)
        return gelf_maker("log", section, means(reactor)), got

    async def test_gelf_by_tcp(self) -> None:
        taker, got = await self.gelf_tcp("")
        await taker.take([numbered(1), numbered(2)])
        expected = b"".join(record(numbered(number), "relay.test") + b"\0" for number in (1, 2))
        self.assertEqual(b"".join(got), expected)

    async def test_gelf_by_tcp_lost(self) -> None:
        taker, _ = await self.gelf_tcp("at once")
        with self.assertRaises(NotTaken):
            await taker.take([numbered(number, reply="x" * 2000) for number in range(1, 1000)])


class Finding(SynchronousTestCase):
    def test_a_host_that_is_not_found_takes_nothing(self) -> None:
        nowhere = means(Clock(), addresses=lambda host: fail(NoSuchDomain("no")))
        taker = zonemta_maker("log", Sink(host="log.test"), nowhere)
        self.assertEqual(taker.where, "udp:log.test:31239")
        self.failureResultOf(taker.take([numbered(1)]), NoSuchDomain)
        taker.stop()

    def test_it_is_looked_up_once_in_a_while(self) -> None:
        sent: list[Any] = []

        class Port:
            def write(self, data: bytes, addr: Any) -> None:
                sent.append(addr)

            def stopListening(self) -> None: ...

        class Reactor(Clock):
            listening: list[str] = []

            def listenUDP(self, port: int, protocol: Any, interface: str) -> Port:
                self.listening.append(interface)
                return Port()

        clock, answers = Reactor(), [["192.0.2.1"], ["2001:db8::1"]]
        taker = gelf_maker("log", Sink(host="log.test"), means(clock, addresses=lambda host: succeed(answers.pop(0))))
        for _ in range(2):
            self.successResultOf(taker.take([numbered(1)]))
        clock.advance(BELIEVED)
        self.successResultOf(taker.take([numbered(1)]))
        self.assertEqual(sent, [("192.0.2.1", 12201)] * 2 + [("2001:db8::1", 12201)])
        self.assertEqual(clock.listening, ["", "::"])

    def test_what_the_system_refuses_comes_again(self) -> None:
        class Port:
            def write(self, data: bytes, addr: Any) -> None:
                raise OSError(11, "Resource temporarily unavailable")

            def stopListening(self) -> None: ...

        class Reactor(Clock):
            def listenUDP(self, port: int, protocol: Any, interface: str) -> Port:
                return Port()

        taker = zonemta_maker("log", Sink(host="192.0.2.1"), means(Reactor()))
        problem = self.failureResultOf(taker.take([numbered(1)]), NotTaken).value
        self.assertEqual(str(problem), "udp:192.0.2.1:31239: Resource temporarily unavailable")
