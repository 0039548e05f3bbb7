"""Events by UDP and GELF: ZoneMTA's maps, Graylog's records and chunks, and what is taken."""

from __future__ import annotations

import json
import random
import struct
import zlib
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase

from relay.config.schema import Sink
from relay.events import gelf
from relay.events.datagrams import BELIEVED, gelf_maker, zonemta_maker
from relay.events.gelf import CHUNK, datagrams, record
from relay.events.gelf_tcp import _Batch
from relay.events.oldpack import packed
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
        told = self.told(
            "queued", seq=0, to=("a@to.test", "b@to.test"), message_id="<1@x>", size=900, body_size=9, user="u",
            listener="feeder", client="192.0.2.7", client_host="pc.src.test", helo="pc", transport="ESMTPSA",
            subject="Grüße", header_from="Me <me@src.test>",
        )  # fmt: skip
        self.assertEqual(
            told,
            {"id": ID, "action": "QUEUED", "message-id": "<1@x>", "from": "me@src.test", "to": "a@to.test,b@to.test",
             "src": "192.0.2.7", "subject": "Grüße", "body": 9, "interface": "feeder", "originhost": "pc.src.test",
             "transhost": "pc", "transtype": "ESMTPSA", "user": "u", "headerFrom": "Me <me@src.test>"},
        )  # fmt: skip

    def test_queued_by_http_and_by_the_relay_itself(self) -> None:
        api = self.told("queued", seq=0, listener="api", client="192.0.2.7", transport="HTTP")
        self.assertEqual((api["interface"], api["src"], api["transtype"]), ("api", "192.0.2.7", "HTTP"))
        self.assertFalse({"originhost", "transhost", "user"} & api.keys())
        own = self.told("queued", seq=0, sender="", listener="bounce", client="127.0.0.1", helo="localhost",
                        transport="LOCAL")  # fmt: skip
        self.assertEqual((own["interface"], own["transtype"], own["from"]), ("bounce", "HTTP", "<>"))
        self.assertFalse({"src", "originhost", "transhost"} & own.keys())

    def test_a_client_without_a_name(self) -> None:
        self.assertEqual(self.told("queued", client="192.0.2.7", helo="pc")["originhost"], "[192.0.2.7]")

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
        named = ("tls", "secure", "tlsVersion", "tlsAuthorized")
        self.assertEqual([clear[name] for name in named], [False] * 4)
        weak = self.told("delivered", **ATTEMPT | {"tls": "TLSv1.2 AES128-SHA untrusted"})
        self.assertEqual((weak["tlsAuthorized"], weak["tlsAuthorizationError"]), (False, "untrusted"))

    def test_an_attempt_without_a_host_and_with_another_return_path(self) -> None:
        told = self.told("bounced", sender="", category="dns", protocol="smtp", return_path="b+1@back.test")
        self.assertEqual((told["mx"], told["messageId"], told["from"]), ("to.test", ID, ""))
        self.assertEqual((told["returnPath"], told["protocol"]), ("b+1@back.test", "smtp"))
        self.assertFalse({"host", "ip", "httpResponse"} & told.keys())

    def test_an_attempt_by_http(self) -> None:
        told = self.told("delivered", protocol="http", code=204, reply="204 No Content", **ATTEMPT)
        self.assertEqual((told["protocol"], told["httpResponse"]), ("http", 204))

    def test_other_ends(self) -> None:
        for kind in ("dropped", "suppressed"):
            told = self.told(kind, reason="on the list")
            self.assertEqual((told["action"], told["description"]), ("DROP", "on the list"))
        for about, key in (("you@to.test", "suppressed address"), ("to.test", "suppressed domain")):
            told = self.told("suppressed", about=about)
            self.assertEqual((told[key], told["recipient"]), (about, "you@to.test"))
            self.assertEqual(told["reason"], "Recipient was found from suppression list")
        told = self.told("deleted", reason="by hand")
        self.assertEqual((told["action"], told["reason"]), ("DELETED", "by hand"))
        told = self.told("notified", what="delay", about="1a2")
        self.assertEqual((told["action"], told["queued"], told["bounceType"], told["bounceId"]),
                         ("QUEUE_BOUNCE", "yes", "delayed", "1a2"))  # fmt: skip
        self.assertEqual(self.told("bounce-returned")["action"], "BOUNCE_RETURNED")


_texts = st.text(max_size=300) | st.integers(0, 70_000).map("x".__mul__)
_numbers = st.integers(-(2**31), 2**53) | st.floats(allow_nan=False) | st.booleans()


class Old:
    """Reads msgpack as it was at first: no short strings of a byte's length, no 64-bit numbers."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, size: int) -> bytes:
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def number(self, form: str) -> Any:
        return struct.unpack(f">{form}", self.take(struct.calcsize(form)))[0]

    def value(self) -> Any:
        kind = self.number("B")
        if kind < 0x80:
            return kind
        if kind < 0x90 or kind == 0xDE:
            size = kind & 15 if kind < 0x90 else self.number("H")
            return {self.value(): self.value() for _ in range(size)}
        if 0xA0 <= kind < 0xC0:
            return self.take(kind & 31).decode()
        if kind in (0xDA, 0xDB):
            return self.take(self.number("H" if kind == 0xDA else "I")).decode()
        if kind >= 0xE0:
            return kind - 256
        if kind in (0xC2, 0xC3):
            return kind == 0xC3
        return self.number({0xCB: "d", 0xCC: "B", 0xCD: "H", 0xCE: "I", 0xD0: "b", 0xD1: "h", 0xD2: "i"}[kind])


class OldPackTests(SynchronousTestCase):
    @given(st.dictionaries(st.text(max_size=40), _texts | _numbers, max_size=40))
    def test_old_and_new_readers_read_the_same(self, fields: dict[str, Any]) -> None:
        data = packed(fields)
        self.assertEqual(msgspec.msgpack.decode(data), fields)
        old = Old(data)
        self.assertEqual(old.value(), fields)
        self.assertEqual(old.data, b"")


class GelfTests(SynchronousTestCase):
    def test_a_record(self) -> None:
        told = json.loads(record(numbered(7, "bounced", reply="550 5.1.1 no\u2713", to=("a", "b")), "relay.test"))
        self.assertEqual((told["version"], told["host"], told["level"]), ("1.1", "relay.test", 4))
        self.assertEqual(told["timestamp"], NOW / 1000)
        self.assertEqual(told["short_message"], f"MTA [BOUNCED] {ID}.001 550 5.1.1 no\u2713")
        self.assertEqual((told["_number"], told["_queue_id"], told["_seq"], told["_to"]), (7, ID, 1, "a,b"))
        named = ("_component", "facility", "_delivery_id", "_delivery_seq")
        self.assertEqual([told[name] for name in named], ["mta", "mta", ID, "001"])
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

    async def test_gelf_by_tcp_closed_before_all_was_sent(self) -> None:
        """Whoever closes his side meanwhile hasn't read it to its end."""
        batch = _Batch(b"x")
        transport = StringTransport()
        transport.loseWriteConnection = lambda: None  # type: ignore[attr-defined]
        batch.makeConnection(transport)
        batch.readConnectionLost()
        with self.assertRaises(NotTaken):
            await batch.read

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
