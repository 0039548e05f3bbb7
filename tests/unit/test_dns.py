"""The resolver against name servers of every kind, over a transport that is only pretended."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from relay.config.schema import Dns
from relay.net import dns as our
from relay.net.dns import Resolver
from relay.net.dns_cache import Cache
from relay.net.dns_exchange import Server
from relay.net.dns_message import MAX_RECORDS, Kind, Question
from relay.net.nameservers import parse_server

Say = Callable[[dns.message.Message, bool], "dns.message.Message | bytes | None"]


class Socket:
    """A UDP socket of the pretended reactor; also its port object."""

    def __init__(self, net: Net, protocol: Any) -> None:
        self.net = net
        self.protocol = protocol
        self.server = ("", 0)
        self.closed = False

    def connect(self, address: str, port: int) -> None:
        self.server = (address, port)
        if self.net.unreachable:
            raise OSError(101, "Network is unreachable")

    def write(self, data: bytes, addr: object = None) -> None:
        self.net.asked(self, data)

    def stopListening(self) -> None:
        self.closed = True


class Net(MemoryReactorClock):
    """Name servers that answer what `say` returns, at once; None is silence."""

    def __init__(self, say: Say) -> None:
        super().__init__()
        self.say = say
        self.sockets: list[Socket] = []
        self.questions: list[tuple[str, str, str]] = []
        self.unreachable = False
        self.down: set[str] = set()

    def listenUDP(self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 0) -> Socket:
        assert port == 0
        socket = Socket(self, protocol)
        self.sockets.append(socket)
        protocol.transport = socket
        protocol.startProtocol()
        return socket

    def asked(self, socket: Socket, data: bytes) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        self.questions.append((question.name.to_text(True), question.rdtype.name, socket.server[0]))
        if socket.server[0] in self.down:
            return
        answer = self.say(query, False)
        if answer is not None:
            wire = answer if isinstance(answer, bytes) else answer.to_wire(max_size=65535)
            # Never within the call that asks.
            self.callLater(0, socket.protocol.datagramReceived, wire, socket.server)


def answer(
    query: dns.message.Message, *records: str, code: int = 0, soa: int | None = None
) -> dns.message.Message:
    """`records` like "to.test 60 MX 10 mx.to.test"; `soa`: minimum TTL in the authority section."""
    response = dns.message.make_response(query)
    response.set_rcode(dns.rcode.Rcode(code))
    for record in records:
        name, ttl, kind, data = record.split(" ", 3)
        text = data.replace("@", "")
        rrset = dns.rrset.from_text(name + ".", int(ttl), "IN", kind, text)
        found = response.get_rrset(response.answer, rrset.name, rrset.rdclass, rrset.rdtype)
        if found is not None:
            found.update(rrset)
        else:
            response.answer.append(rrset)
    if soa is not None:
        rrset = dns.rrset.from_text("test.", 3600, "IN", "SOA", f"ns.test. root.test. 1 2 3 4 {soa}")
        response.authority.append(rrset)
    return response


class Case(TestCase):
    def resolver(self, say: Say, **options: Any) -> tuple[Net, Resolver]:
        net = Net(say)
        options.setdefault("nameservers", ("192.0.2.53",))
        return net, Resolver(net, Dns(**options))

    def wait(self, net: Net, asking: Any, patience: float) -> Deferred[Any]:
        """A question, `patience` seconds later."""
        deferred: Deferred[Any] = Deferred.fromCoroutine(asking)
        for _ in range(40):
            net.advance(0)
        for _ in range(int(patience)):
            net.advance(1)
            net.advance(0)
        return deferred

    def ask(self, net: Net, asking: Any, patience: float = 0) -> Any:
        return self.successResultOf(self.wait(net, asking, patience))

    def fails(self, kind: type[our.DnsError], net: Net, asking: Any, patience: float = 0) -> our.DnsError:
        problem = self.failureResultOf(self.wait(net, asking, patience)).value
        assert type(problem) is kind, problem
        self.assertTrue(all(socket.closed for socket in net.sockets))
        return problem


class Answers(Case):
    def test_mx(self) -> None:
        net, resolver = self.resolver(
            lambda query, tcp: answer(query, "to.test 60 MX 20 b.test.", "to.test 60 MX 10 A.Test.")
        )
        self.assertEqual(self.ask(net, resolver.mx("To.Test.")), [(10, "a.test"), (20, "b.test")])
        self.assertEqual(net.questions, [("to.test", "MX", "192.0.2.53")])
        self.assertTrue(net.sockets[0].closed)
        self.assertEqual(net.getDelayedCalls(), [])

    def test_txt(self) -> None:
        """Strings of a record are one text; what isn't ASCII can't be mistaken for it."""
        records = ('to.test 60 TXT "v=DKIM1; " "p=x"', r'to.test 60 TXT "\228\010"')
        net, resolver = self.resolver(lambda query, tcp: answer(query, *records))
        self.assertEqual(sorted(self.ask(net, resolver.txt("to.test"))), ["v=DKIM1; p=x", "\ufffd\n"])

    def test_query(self) -> None:
        """EDNS with a payload that passes everywhere, and recursion."""
        seen = []

        def say(query: dns.message.Message, tcp: bool) -> dns.message.Message:
            seen.append(query)
            return answer(query, "to.test 60 MX 20 b.test.")

        net, resolver = self.resolver(say, caching=False)
        for _ in range(20):
            self.ask(net, resolver.mx("to.test"))
        self.assertEqual({query.payload for query in seen}, {1232})
        self.assertTrue(all(query.flags & dns.flags.RD for query in seen))
        self.assertGreater(len({query.id for query in seen}), 15)
        self.assertEqual(len(net.sockets), 20)

    def test_addresses(self) -> None:
        def say(query: dns.message.Message, tcp: bool) -> dns.message.Message:
            if query.question[0].rdtype.name == "A":
                return answer(query, "mx.test 60 A 192.0.2.1", "mx.test 60 A 192.0.2.2")
            return answer(query, "mx.test 60 AAAA 2001:db8::1")

        net, resolver = self.resolver(say)
        four = ["192.0.2.1", "192.0.2.2"]
        self.assertEqual(self.ask(net, resolver.addresses("mx.test")), [*four, "2001:db8::1"])
        self.assertEqual(self.ask(net, resolver.addresses("mx.test", (6, 4))), ["2001:db8::1", *four])
        self.assertEqual(self.ask(net, resolver.addresses("mx.test", (4,))), four)

    def test_one_family_in_trouble(self) -> None:
        def say(query: dns.message.Message, tcp: bool) -> dns.message.Message:
            if query.question[0].rdtype.name == "A":
                return answer(query, *found)
            return answer(query, code=2)

        found = ["mx.test 60 A 192.0.2.1"]
        net, resolver = self.resolver(say, caching=False)
        self.assertEqual(self.ask(net, resolver.addresses("mx.test")), ["192.0.2.1"])
        # It has none of one kind, and nobody knows about the other.
        found.clear()
        self.fails(our.ServerFailure, net, resolver.addresses("mx.test"))

    def test_alias(self) -> None:
        net, resolver = self.resolver(
            lambda query, tcp: answer(query, "mx.test 60 CNAME a.test.", "a.test 60 A 192.0.2.1")
        )
        self.assertEqual(self.ask(net, resolver.addresses("mx.test", (4,))), ["192.0.2.1"])

    def test_alias_asked_again(self) -> None:
        def say(query: dns.message.Message, tcp: bool) -> dns.message.Message:
            if query.question[0].name.to_text() == "mx.test.":
                return answer(query, "mx.test 60 CNAME a.test.")
            return answer(query, "a.test 60 A 192.0.2.1")

        net, resolver = self.resolver(say)
        self.assertEqual(self.ask(net, resolver.addresses("mx.test", (4,))), ["192.0.2.1"])

    def test_d35_hostile_name(self) -> None:
        def say(query: dns.message.Message, tcp: bool) -> bytes:
            wire = answer(query).to_wire()
            name = b'\x09a"\r\n\x1b[31m\x04test\0'
            record = b"\xc0\x0c" + struct.pack(">HHIHH", 15, 1, 60, 2 + len(name), 10) + name
            head = query.to_wire()
            end = 12 + len(query.question[0].name.to_wire()) + 4
            return wire[:6] + struct.pack(">HHH", 1, 0, 0) + head[12:end] + record

        net, resolver = self.resolver(say)
        ((_, host),) = self.ask(net, resolver.mx("to.test"))
        self.assertTrue(host.isprintable() and host.isascii(), host)
        self.assertEqual(host, 'a\\"\\013\\010\\027[31m.test')

    def test_d35_hostile_question(self) -> None:
        net, resolver = self.resolver(lambda query, tcp: answer(query, code=3))
        for name in (
            "a\r\nb.test",
            "\x1b[31m.test",
            "x" * 64 + ".test",
            "a..test",
            "x." * 200,
            "\\999.test",
            ".",
        ):
            problem = self.fails(our.NoSuchDomain, net, resolver.mx(name))
            self.assertTrue(str(problem).isprintable())


class Denials(Case):
    """D29: there is none, and that is certain."""

    def test_nxdomain(self) -> None:
        net, resolver = self.resolver(lambda query, tcp: answer(query, code=3, soa=60))
        problem = self.fails(our.NoSuchDomain, net, resolver.mx("to.test"))
        self.assertFalse(problem.temporary)
        self.fails(our.NoSuchDomain, net, resolver.addresses("to.test"))

    def test_nodata(self) -> None:
        net, resolver = self.resolver(lambda query, tcp: answer(query, soa=60))
        self.assertFalse(self.fails(our.NoData, net, resolver.mx("to.test")).temporary)
        self.fails(our.NoData, net, resolver.addresses("to.test"))

    def test_null_mx(self) -> None:
        net, resolver = self.resolver(lambda query, tcp: answer(query, "to.test 60 MX 0 ."))
        self.assertFalse(self.fails(our.NullMX, net, resolver.mx("to.test")).temporary)

    def test_null_mx_among_others_is_none(self) -> None:
        net, resolver = self.resolver(
            lambda query, tcp: answer(query, "to.test 60 MX 0 .", "to.test 60 MX 1 a.test.")
        )
        self.assertEqual(self.ask(net, resolver.mx("to.test")), [(1, "a.test")])


class Doubts(Case):
    """D28: nobody could tell; never taken for a denial."""

    def test_codes(self) -> None:
        for code in (1, 2, 4, 5, 9):
            net, resolver = self.resolver(lambda query, tcp, code=code: answer(query, code=code))
            problem = self.fails(our.ServerFailure, net, resolver.mx("to.test"))
            self.assertTrue(problem.temporary)
            # It isn't asked the same again at once.
            self.assertEqual(len(net.questions), 1)

    def test_one_that_does_not_understand_edns(self) -> None:
        """Is asked once more without (RFC 6891 7); its refusal may not even repeat the question."""

        def say(query: dns.message.Message, code: int, bare: bool) -> dns.message.Message:
            if query.edns < 0:
                return answer(query, "to.test 60 MX 10 a.test.")
            refusal = answer(query, code=code)
            refusal.use_edns(False)
            if bare:
                refusal.question.clear()
            return refusal

        for code in (dns.rcode.FORMERR, dns.rcode.NOTIMP):
            for bare in (False, True):
                net, resolver = self.resolver(lambda query, tcp, code=code, bare=bare: say(query, code, bare), tries=1)
                self.assertEqual(self.ask(net, resolver.mx("to.test")), [(10, "a.test")])
                self.assertEqual(len(net.questions), 2)

    def test_silence(self) -> None:
        net, resolver = self.resolver(lambda query, tcp: None, timeout=5.0, tries=3)
        self.assertTrue(self.fails(our.TimedOut, net, resolver.mx("to.test"), 15).temporary)
        self.assertEqual(len(net.questions), 3)
        self.assertEqual(net.seconds(), 15)

    def test_what_does_not_fit(self) -> None:
        """garbage, short, wrong-id, wrong-question, pointer-loop: as if it had never come."""

        def wrong_id(query: dns.message.Message) -> bytes:
            wire = answer(query, "to.test 60 MX 1 evil.test.").to_wire()
            return bytes([wire[0] ^ 255]) + wire[1:]

        def wrong_question(query: dns.message.Message) -> bytes:
            other = dns.message.make_query("other.test.", "MX", id=query.id)
            return answer(other, "other.test 60 MX 1 evil.test.").to_wire()

        def wrong_type(query: dns.message.Message) -> bytes:
            other = dns.message.make_query("to.test.", "A", id=query.id)
            return answer(other, "to.test 60 A 192.0.2.66").to_wire()

        def pointer_loop(query: dns.message.Message) -> bytes:
            head = struct.pack(">HHHHHH", query.id, 0x8400, 1, 1, 0, 0)
            question = b"\2to\4test\0" + struct.pack(">HH", 15, 1)
            at = 12 + len(question)
            record = struct.pack(">BBHHIHHBB", 0xC0, at, 15, 1, 60, 4, 10, 0xC0, at)
            return head + question + record

        def short(query: dns.message.Message) -> bytes:
            return query.to_wire()[:3]

        def garbage(query: dns.message.Message) -> bytes:
            return query.to_wire()[:2] + bytes(range(200))

        def question_only(query: dns.message.Message) -> bytes:
            return query.to_wire()

        for bad in (wrong_id, wrong_question, wrong_type, pointer_loop, short, garbage, question_only):
            net, resolver = self.resolver(lambda query, tcp, bad=bad: bad(query), timeout=2.0, tries=2)
            self.fails(our.TimedOut, net, resolver.mx("to.test"), 4)

    def test_the_true_answer_after_a_forged_one(self) -> None:
        """A guessed id is no use from another address or port."""
        seen: list[dns.message.Message] = []
        net, resolver = self.resolver(lambda query, tcp: seen.append(query))
        deferred = Deferred.fromCoroutine(resolver.mx("to.test"))
        receive = net.sockets[0].protocol.datagramReceived
        forged = answer(seen[0], "to.test 60 MX 1 evil.test.").to_wire()
        receive(forged, ("198.51.100.1", 53))
        receive(forged, ("192.0.2.53", 54))
        self.assertNoResult(deferred)
        receive(answer(seen[0], "to.test 60 MX 1 true.test.").to_wire(), ("192.0.2.53", 53))
        self.assertEqual(self.successResultOf(deferred), [(1, "true.test")])

    @given(st.binary(max_size=100))
    def test_any_bytes(self, data: bytes) -> None:
        question = Question("to.test", Kind.MX)
        self.assertFalse(question.fits(data))
        self.assertFalse(question.fits(question.wire[:2] + data))

    def test_unreachable(self) -> None:
        """D43: no network is no reason to bounce."""
        net, resolver = self.resolver(lambda query, tcp: None)
        net.unreachable = True
        self.fails(our.TimedOut, net, resolver.mx("to.test"))

    def test_refused_port(self) -> None:
        net, resolver = self.resolver(lambda query, tcp: None, tries=1)
        deferred = Deferred.fromCoroutine(resolver.mx("to.test"))
        net.sockets[0].protocol.connectionRefused()
        self.failureResultOf(deferred, our.TimedOut)

    def test_no_socket(self) -> None:
        net, resolver = self.resolver(lambda query, tcp: None)
        self.patch(net, "listenUDP", lambda *_: (_ for _ in ()).throw(OSError("too many open files")))
        self.fails(our.TimedOut, net, resolver.mx("to.test"))

    def test_d31_endless_alias(self) -> None:
        count = iter(range(1000))

        def chain(query: dns.message.Message, tcp: bool) -> dns.message.Message:
            name = query.question[0].name.to_text(True)
            return answer(query, f"{name} 60 CNAME c{next(count)}.test.")

        net, resolver = self.resolver(chain)
        self.fails(our.ServerFailure, net, resolver.mx("to.test"))
        self.assertLessEqual(len(net.questions), our.MAX_CHAIN)

    def test_d31_alias_of_itself(self) -> None:
        net, resolver = self.resolver(
            lambda query, tcp: answer(query, "a.test 60 CNAME b.test.", "b.test 60 CNAME a.test.")
        )
        self.fails(our.ServerFailure, net, resolver.mx("a.test"))
        self.assertEqual(len(net.questions), 1)

    def test_d31_many_addresses(self) -> None:
        records = [f"mx.test 60 A 192.0.{n // 250}.{n % 250}" for n in range(400)]
        net, resolver = self.resolver(lambda query, tcp: answer(query, *records))
        self.assertEqual(len(self.ask(net, resolver.addresses("mx.test", (4,)))), MAX_RECORDS)


class Servers(Case):
    def test_in_turn(self) -> None:
        net, resolver = self.resolver(
            lambda query, tcp: answer(query, "to.test 0 MX 1 a.test."), nameservers=("192.0.2.1", "192.0.2.2")
        )
        net.down.add("192.0.2.1")
        self.assertEqual(self.ask(net, resolver.mx("to.test"), 5), [(1, "a.test")])
        self.ask(net, resolver.mx("to.test"))
        # The one that failed is no longer asked first.
        self.assertEqual([server for _, _, server in net.questions], ["192.0.2.1", "192.0.2.2", "192.0.2.2"])

    def test_one_that_can_not_tell(self) -> None:
        net, resolver = self.resolver(
            lambda query, tcp: answer(query, *["to.test 60 MX 1 a.test."] * (len(net.questions) > 1),
                                      code=2 * (len(net.questions) == 1)),
            nameservers=("192.0.2.1", "192.0.2.2"),
        )  # fmt: skip
        self.assertEqual(self.ask(net, resolver.mx("to.test")), [(1, "a.test")])

    def test_d34_flap(self) -> None:
        """A failure isn't kept."""
        net, resolver = self.resolver(
            lambda query, tcp: answer(query, "to.test 60 MX 1 a.test.", code=2 * (len(net.questions) % 2))
        )
        self.fails(our.ServerFailure, net, resolver.mx("to.test"))
        self.assertEqual(self.ask(net, resolver.mx("to.test")), [(1, "a.test")])

    def test_parse(self) -> None:
        for text, server in (
            ("192.0.2.1", Server("192.0.2.1", 53)),
            ("192.0.2.1:5353", Server("192.0.2.1", 5353)),
            ("2001:db8::1", Server("2001:db8::1", 53)),
            ("[2001:db8::1]:5353", Server("2001:db8::1", 5353)),
            ("[2001:db8::1]", Server("2001:db8::1", 53)),
        ):
            self.assertEqual(parse_server(text), server)
        for bad in ("ns.test", "192.0.2.1:x", "192.0.2.1:0", "192.0.2.1:70000", "[::1", "", "1.2.3"):
            with self.assertRaises(ValueError, msg=bad):
                parse_server(bad)

    def test_resolv_conf(self) -> None:
        path = Path(self.mktemp())
        path.write_text(
            "# x\nsearch a.test\nnameserver 192.0.2.7\nnameserver nonsense\nnameserver ::1 \nnameserver\n"
        )
        resolver = Resolver(Net(lambda query, tcp: None), Dns(), path)
        self.assertEqual(resolver._servers, [Server("192.0.2.7"), Server("::1")])
        resolver = Resolver(Net(lambda query, tcp: None), Dns(), Path(self.mktemp()))
        self.assertEqual(resolver._servers, [Server("127.0.0.1")])


class Truncated(Case):
    """D34: what doesn't fit is asked for again over TCP."""

    def ask_until_tcp(self) -> tuple[Net, Deferred[Any]]:
        def say(query: dns.message.Message, tcp: bool) -> dns.message.Message:
            response = answer(query)
            response.flags |= dns.flags.TC
            return response

        net, resolver = self.resolver(say, tries=1)
        deferred = Deferred.fromCoroutine(resolver.mx("to.test"))
        net.advance(0)
        self.assertEqual(len(net.tcpClients), 1)
        return net, deferred

    def connect(self, net: Net) -> tuple[Any, StringTransport]:
        protocol = net.tcpClients[0][2].buildProtocol(None)
        line = StringTransport()
        protocol.makeConnection(line)
        return protocol, line

    def test_over_tcp(self) -> None:
        for step in (1, 7, 10_000):
            net, deferred = self.ask_until_tcp()
            protocol, line = self.connect(net)
            self.assertEqual(net.tcpClients[0][:2], ("192.0.2.53", 53))
            length = int.from_bytes(line.value()[:2], "big")
            query = dns.message.from_wire(line.value()[2:])
            self.assertEqual(length, len(line.value()) - 2)
            wire = answer(query, *(f"to.test 60 MX {n} mx{n}.test." for n in range(50))).to_wire()
            data = len(wire).to_bytes(2, "big") + wire
            for at in range(0, len(data), step):
                protocol.dataReceived(data[at : at + step])
            self.assertEqual(len(self.successResultOf(deferred)), 50)
            self.assertEqual(net.getDelayedCalls(), [])

    def test_d28_tcp_is_dead(self) -> None:
        net, deferred = self.ask_until_tcp()
        protocol, _ = self.connect(net)
        protocol.connectionLost(Failure(error.ConnectionDone()))
        self.failureResultOf(deferred, our.TimedOut)
        net, deferred = self.ask_until_tcp()
        net.tcpClients[0][2].clientConnectionFailed(None, Failure(error.ConnectionRefusedError()))
        self.failureResultOf(deferred, our.TimedOut)
        net, deferred = self.ask_until_tcp()
        net.advance(5)
        self.failureResultOf(deferred, our.TimedOut)

    def test_cut_over_tcp_too(self) -> None:
        """Nobody knows what was in the rest: it is no answer, and least of all "there is none"."""
        net, deferred = self.ask_until_tcp()
        protocol, line = self.connect(net)
        response = answer(dns.message.from_wire(line.value()[2:]))
        response.flags |= dns.flags.TC
        wire = response.to_wire()
        protocol.dataReceived(len(wire).to_bytes(2, "big") + wire)
        self.failureResultOf(deferred, our.TimedOut)

    def test_forged_over_tcp(self) -> None:
        net, deferred = self.ask_until_tcp()
        protocol, _ = self.connect(net)
        protocol.dataReceived(b"\0\5hello")
        self.failureResultOf(deferred, our.TimedOut)


class Memory(Case):
    def say(self, ttl: int) -> tuple[Net, Resolver]:
        return self.resolver(lambda query, tcp: answer(query, f"to.test {ttl} MX 1 a.test."), max_ttl=3600.0)

    def test_by_ttl(self) -> None:
        net, resolver = self.say(60)
        self.ask(net, resolver.mx("to.test"))
        net.advance(59)
        self.ask(net, resolver.mx("TO.test."))
        self.assertEqual(len(net.questions), 1)
        net.advance(2)
        self.ask(net, resolver.mx("to.test"))
        self.assertEqual(len(net.questions), 2)

    def test_d34_huge_ttl_is_capped(self) -> None:
        net, resolver = self.say(0x7FFFFFFF)
        self.ask(net, resolver.mx("to.test"))
        net.advance(3599)
        self.ask(net, resolver.mx("to.test"))
        self.assertEqual(len(net.questions), 1)
        net.advance(2)
        self.ask(net, resolver.mx("to.test"))
        self.assertEqual(len(net.questions), 2)

    def test_what_is_too_long_is_not_kept(self) -> None:
        for size, asked in ((200, 1), (250, 2)):
            texts = " ".join(['"' + "x" * size + '"'] * 36)
            net, resolver = self.resolver(lambda query, tcp, texts=texts: answer(query, f"to.test 60 TXT {texts}"))
            for _ in range(2):
                self.assertEqual([len(text) for text in self.ask(net, resolver.txt("to.test"))], [36 * size])
            self.assertEqual(len(net.questions), asked)

    def test_d34_ttl_0(self) -> None:
        net, resolver = self.say(0)
        for _ in range(2):
            self.assertEqual(self.ask(net, resolver.mx("to.test")), [(1, "a.test")])
        self.assertEqual(len(net.questions), 2)

    def test_same_question_is_joined(self) -> None:
        net, resolver = self.say(0)
        askers = [Deferred.fromCoroutine(resolver.mx("to.test")) for _ in range(10)]
        # One that gives up doesn't take the others' answer along.
        askers[0].addErrback(lambda _: None)
        askers[0].cancel()
        net.advance(0)
        for asker in askers[1:]:
            self.assertEqual(self.successResultOf(asker), [(1, "a.test")])
        self.assertEqual(len(net.questions), 1)

    def test_denials(self) -> None:
        for soa, holds in ((60, 60), (86400, our.MAX_NEGATIVE_TTL)):
            net, resolver = self.resolver(lambda query, tcp, soa=soa: answer(query, code=3, soa=soa))
            self.fails(our.NoSuchDomain, net, resolver.mx("to.test"))
            net.advance(holds - 1)
            self.fails(our.NoSuchDomain, net, resolver.mx("to.test"))
            self.assertEqual(len(net.questions), 1)
            net.advance(2)
            self.fails(our.NoSuchDomain, net, resolver.mx("to.test"))
            self.assertEqual(len(net.questions), 2)

    def test_off(self) -> None:
        net, resolver = self.resolver(
            lambda query, tcp: answer(query, "to.test 60 MX 1 a.test."), caching=False
        )
        for _ in range(3):
            self.ask(net, resolver.mx("to.test"))
        self.assertEqual(len(net.questions), 3)

    def test_bounded(self) -> None:
        now = [0.0]
        cache: Cache[int, str] = Cache(lambda: now[0], 3)
        for number in range(10):
            cache.put(number, "x", 10)
        self.assertEqual(len(cache), 3)
        self.assertEqual([cache.get(number) for number in (6, 7, 9)], [None, "x", "x"])
        cache.put(9, "y", 10)
        self.assertEqual((len(cache), cache.get(9)), (3, "y"))
        now[0] = 10.0
        self.assertIsNone(cache.get(9))
        self.assertEqual(len(cache), 2)


class Validated(Case):
    """RFC 6840 5.7, 5.8: the name server is asked whether it has validated, where it is believed."""

    def signed(self, *records: str, **options: Any) -> tuple[Net, Resolver]:
        """All that is said is said to be validated."""

        def say(query: dns.message.Message, tcp: bool) -> dns.message.Message:
            self.asked = query
            name = query.question[0].name.to_text(True)
            kind = query.question[0].rdtype.name
            mine = [one for one in records if one.split(" ")[0] == name and one.split(" ")[2] in (kind, "CNAME")]
            response = answer(query, *mine, code=3 * (name == "gone.test"))
            if not name.startswith("plain."):
                response.flags |= dns.flags.AD
            return response

        return self.resolver(say, **{"dnssec": True, **options})

    def test_only_where_it_is_configured(self) -> None:
        for dnssec in (True, False):
            net, resolver = self.signed("to.test 60 MX 10 mx.test.", "mx.test 60 A 192.0.2.1", dnssec=dnssec)
            self.assertEqual(self.ask(net, resolver.exchangers("to.test")), our.Found([(10, "mx.test")], dnssec))
            self.assertEqual(bool(self.asked.flags & dns.flags.AD), dnssec)
            self.assertEqual(self.ask(net, resolver.locate("mx.test", (4,))), our.Found(["192.0.2.1"], dnssec))
            # And as it is remembered.
            self.assertEqual(self.ask(net, resolver.locate("mx.test", (4,))).secure, dnssec)

    def test_denials(self) -> None:
        for dnssec in (True, False):
            net, resolver = self.signed(dnssec=dnssec)
            for _ in range(2):
                self.assertEqual(self.fails(our.NoData, net, resolver.exchangers("to.test")).secure, dnssec)
                self.assertEqual(self.fails(our.NoSuchDomain, net, resolver.exchangers("gone.test")).secure, dnssec)

    def test_a_chain_is_as_good_as_its_weakest_link(self) -> None:
        net, resolver = self.signed(
            "mx.test 60 CNAME real.test.", "real.test 60 A 192.0.2.1",
            "half.test 60 CNAME plain.test.", "plain.test 60 A 192.0.2.2",
            "other.test 60 CNAME plain.other.test.", "plain.other.test 60 A 192.0.2.3",
        )  # fmt: skip
        found = self.ask(net, resolver.locate("mx.test", (4,)))
        self.assertEqual(found, our.Found(["192.0.2.1"], True, "real.test"))
        found = self.ask(net, resolver.locate("other.test", (4,)))
        self.assertEqual(found, our.Found(["192.0.2.3"], False, "plain.other.test"))
        self.assertEqual(self.ask(net, resolver.alias("other.test")), ["plain.other.test"])
        self.assertEqual(self.ask(net, resolver.alias("real.test")), [])

    def test_one_family_is_not_validated(self) -> None:
        def say(query: dns.message.Message, tcp: bool) -> dns.message.Message:
            four = query.question[0].rdtype.name == "A"
            response = answer(query, "mx.test 60 A 192.0.2.1" if four else "mx.test 60 AAAA 2001:db8::1")
            response.flags |= dns.flags.AD * four
            return response

        net, resolver = self.resolver(say, dnssec=True)
        self.assertFalse(self.ask(net, resolver.locate("mx.test")).secure)

    def test_tlsa(self) -> None:
        record = f"3 1 1 {'0F' * 32}"
        for name, dnssec, found in (
            ("_25._tcp.mx.test", True, [record.lower()]),
            ("_25._tcp.mx.test", False, []),
            ("plain._tcp.mx.test", True, []),
            ("_25._tcp.none.test", True, []),
            ("gone.test", True, []),
            ("x" * 64 + ".test", True, []),
        ):
            net, resolver = self.signed(
                f"_25._tcp.mx.test 60 TLSA {record}", f"plain._tcp.mx.test 60 TLSA {record}", dnssec=dnssec
            )
            for _ in range(2):
                self.assertEqual(self.ask(net, resolver.tlsa(name)), found, name)
            self.assertLessEqual(len(net.questions), 1 if "x" * 64 not in name else 0)

    def test_tlsa_that_nobody_can_tell(self) -> None:
        """A validator says SERVFAIL to what is bogus. That is not "there is none"."""
        net, resolver = self.resolver(lambda query, tcp: answer(query, code=2), dnssec=True)
        self.fails(our.ServerFailure, net, resolver.tlsa("_25._tcp.mx.test"))
        net, resolver = self.resolver(lambda query, tcp: None, dnssec=True)
        self.fails(our.TimedOut, net, resolver.tlsa("_25._tcp.mx.test"), 15)
