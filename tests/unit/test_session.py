"""One outgoing connection: hosts in turn, time-outs, reuse, and the dot that needs leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from relay.channel.frames import Addressee, Offer
from relay.config.schema import Timeouts
from relay.delivery.attempt import MAX_RESPONSE
from relay.delivery.avoided import Avoided
from relay.delivery.dialling import PATIENCE, SOON
from relay.delivery.exchangers import Host, Unroutable
from relay.delivery.security import Approach, Policy
from relay.delivery.session import LAST_WORDS, Session
from relay.delivery.watcher import Outcomes
from relay.delivery.ways import Way
from relay.message.tls import TlsPolicy, TlsResult
from relay.message.values import Origin, Outcome, Result
from relay.net.dane import Dane, Doubt
from relay.net.tlsa import Record

EHLO = b"250-mx.test\r\n250-PIPELINING\r\n250 SIZE 0\r\n"
BODY = b"hello\r\n.dot\r\n"
BOTH = {"local_address": "192.0.2.9", "local_address6": "2001:db8::9", "local_name6": "six.test"}
STAGES = Timeouts(connect=10, banner=20, tls=25, ehlo=30, mail=40, rcpt=50, data=60, body=70, dot=80, quit=5)


def offer(**changes: Any) -> Offer:
    values: dict[str, Any] = {
        "connection": 1,
        "lease": 7,
        "id": "0123456789abcdef01",
        "seq": 1,
        "sender": "a@from.test",
        "recipient": "b@to.test",
        "domain": "to.test",
        "local_address": "0.0.0.0",
        "local_name": "relay.test",
        "local_address6": "",
        "local_name6": "",
        "origin": Origin("feeder", "192.0.2.1"),
        "created": 1_700_000_000_000,
        "headers": b"Subject: x\r\n",
        "body_size": len(BODY),
        "chunks": 1,
        "eight_bit": False,
        "body": BODY,
    }
    return Offer(**values | changes)


class Network(MemoryReactorClock):
    """As in Twisted: who is called no more fails at once."""

    def connectTCP(self, *args: Any, **more: Any) -> Any:
        connector, factory = super().connectTCP(*args, **more), args[2]
        stop = connector.stopConnecting

        def stopped() -> None:
            stop()
            factory.clientConnectionFailed(connector, Failure(error.UserError()))

        connector.stopConnecting = stopped
        return connector


class Line(StringTransport):
    """What the far end of a connection sees."""

    aborted = False
    handshake: Any = None

    def __init__(self, aborted: Callable[[], None]) -> None:
        super().__init__()
        self._aborted = aborted

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def startTLS(self, handshake: Any) -> None:
        self.handshake = handshake

    def abortConnection(self) -> None:
        self.aborted = True
        self._aborted()

    def read(self) -> bytes:
        data = self.value()
        self.clear()
        return bytes(data)


class Peer:
    """A host: what connected to it, and what it says."""

    def __init__(self, reactor: Network, number: int) -> None:
        self.address, self.port, self.factory, _, self.bind = reactor.tcpClients[number]
        self.connector = reactor.connectors[number]
        self.line = Line(lambda: reactor.callLater(0, self.close, error.ConnectionAborted()) and None)

    def connect(self) -> None:
        self.protocol = self.factory.buildProtocol(None)
        self.protocol.makeConnection(self.line)

    def fail(self, problem: Exception) -> None:
        self.factory.clientConnectionFailed(self.connector, Failure(problem))

    def say(self, data: bytes) -> bytes:
        """Say something; what comes in answer."""
        self.protocol.dataReceived(data)
        return self.line.read()

    def shake(self) -> bytes:
        """The handshake is done; what is said over TLS first."""
        self.protocol.handshakeCompleted()
        return self.line.read()

    def close(self, reason: Exception | None = None) -> None:
        self.protocol.connectionLost(Failure(reason or error.ConnectionDone()))


class Book:
    """A watcher that writes everything down."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.outcomes: list[Outcome] = []
        self.kept: list[bool] = []
        self.accept: list[Outcome] = []
        self.taken: list[list[int]] = []
        self.behind: list[int] = []
        self.apart: list[int] = []
        self.fates: dict[int, tuple[str, str, int]] = {}
        self.allow = True
        self.redials = 0
        self.may_redial = True
        self.asked: list[tuple[int, Deferred[bytes]]] = []
        self.results: list[TlsResult] = []

    def tls(self, result: TlsResult) -> None:
        self.results.append(result)

    def answered(self, session: Session) -> None:
        self.told.append("answered")

    def redial(self, session: Session) -> None:
        self.redials += 1
        if self.may_redial:
            session.dial()

    def quiet(self, session: Session) -> None:
        self.told.append("quiet")

    def active(self, session: Session) -> None:
        self.told.append("active")

    def closed(self, session: Session) -> None:
        self.told.append("closed")

    def accepted(self, session: Session, offer: Offer, outcomes: Outcomes) -> None:
        self.told.append("accepted")
        self.accept += [outcome for _, outcome in outcomes]
        self.taken.append([one.seq for one, _ in outcomes])

    def left(self, session: Session, behind: Sequence[Addressee], apart: bool = False) -> None:
        self.behind += [one.seq for one in behind]
        if apart:
            self.apart += [one.seq for one in behind]

    def done(self, session: Session, offer: Offer, outcomes: Outcomes, kept: bool) -> None:
        self.told.append("done")
        self.outcomes += [outcome for _, outcome in outcomes]
        self.fates = {one.seq: (outcome.result.value, outcome.stage, outcome.code) for one, outcome in outcomes}
        self.kept.append(kept)

    def may_end(self) -> bool:
        return self.allow

    def chunk(self, offer: Offer, number: int) -> Deferred[bytes]:
        came: Deferred[bytes] = Deferred()
        self.asked.append((number, came))
        return came


class FakeHandshake:
    """One that was asked for."""

    def __init__(self, host: str, permissive: bool) -> None:
        self.host, self.permissive = host, permissive
        self.error, self.doubt = 0, ""
        self.mismatched: Doubt | None = None

    def description(self) -> str:
        return "TLSv1.3 X"

    def mismatch(self, records: Dane) -> Doubt | None:
        return self.mismatched

    def distrust(self) -> str:
        return self.doubt


class FakeTls:
    """Hands out handshakes; `doubt` is what is wrong with all certificates, `mismatched` what TLSA records find."""

    def __init__(self) -> None:
        self.asked: list[FakeHandshake] = []
        self.error, self.doubt = 0, ""
        self.mismatched: Doubt | None = None

    def to(self, host: str, permissive: bool = False) -> FakeHandshake:
        self.asked.append(FakeHandshake(host, permissive))
        self.asked[-1].error, self.asked[-1].doubt = self.error, self.doubt
        self.asked[-1].mismatched = self.mismatched
        return self.asked[-1]


class Case(TestCase):
    hosts: tuple[Host, ...] = (Host("mx1.test", "192.0.2.10", 10), Host("mx2.test", "192.0.2.20", 20))

    policy = Policy.MAY
    implicit = False
    reported: TlsPolicy | None = None
    flaw = ""
    dane: Dane | None = None

    def setUp(self) -> None:
        self.reactor = Network()
        self.book = Book()
        self.tls = FakeTls()
        self.lookups = 0
        self.problem: Exception | None = None
        self.avoided = Avoided(self.reactor.seconds, 120.0, 900.0)
        self.session = self.make()

    def make(self, **changes: Any) -> Session:
        options: dict[str, Any] = {
            "reactor": self.reactor,
            "hosts": self.find,
            "timeouts": STAGES,
            "port": 25,
            "watcher": self.book,
            "avoided": self.avoided,
            "need": lambda offer, host: Approach(self.policy, dane=self.dane),
            "also": self.also,
            "client_tls": self.tls,
            "reuse": 3,
            "idle": 5.0,
        }
        return Session(1, **options | changes)

    async def find(self, offer: Offer) -> list[Way]:
        self.lookups += 1
        if self.problem is not None:
            raise self.problem
        return [Way(host, self.approach) for host in self.hosts]

    async def also(self, offer: Offer, host: Host) -> Approach | None:
        raise AssertionError("nobody of another domain is here")

    @property
    def approach(self) -> Approach:
        return Approach(self.policy, self.implicit, reported=self.reported, flaw=self.flaw, dane=self.dane)

    def peer(self, number: int = -1) -> Peer:
        self.reactor.advance(0)
        return Peer(self.reactor, number)

    def pass_time(self, seconds: float) -> None:
        self.reactor.advance(seconds)
        self.session.sweep(self.reactor.seconds())
        self.reactor.advance(0)

    def open(self, ehlo: bytes = EHLO, **changes: Any) -> Peer:
        """An attempt up to `answered`."""
        self.session.deliver(offer(**changes))
        peer = self.peer()
        peer.connect()
        self.assertEqual(peer.say(b"220 hi\r\n"), b"EHLO relay.test\r\n")
        self.assertEqual(peer.say(ehlo), b"")
        return peer

    def to_dot(self, **changes: Any) -> Peer:
        peer = self.open(**changes)
        self.session.go()
        peer.line.read()
        peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
        return peer

    @property
    def outcome(self) -> Outcome:
        (only,) = self.book.outcomes
        return only

    def check(self, result: Result, stage: str, category: str, doubtful: bool = False) -> None:
        outcome = self.outcome
        self.assertEqual(
            (outcome.result, outcome.stage, outcome.category, outcome.doubtful),
            (result, stage, category, doubtful),
            outcome,
        )


class Delivering(Case):
    def test_one_message(self) -> None:
        peer = self.open()
        self.assertEqual((peer.address, peer.port, peer.bind), ("192.0.2.10", 25, None))
        self.assertTrue(peer.line.no_delay)
        self.assertEqual(self.book.told, ["answered"])
        self.session.go()
        mail = peer.line.read()
        text = peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
        self.assertTrue(text.startswith(b"Received: from "))
        self.assertIn(b" id 0123456789abcdef01.001\r\n for <b@to.test>;\r\n", text)
        self.assertTrue(text.endswith(b"\r\nSubject: x\r\n\r\nhello\r\n..dot\r\n.\r\n"))
        size = len(text) - len(b".") - len(b".\r\n")
        self.assertEqual(mail, b"MAIL FROM:<a@from.test> SIZE=%d\r\nRCPT TO:<b@to.test>\r\nDATA\r\n" % size)
        self.assertTrue(self.session.in_dot)
        peer.say(b"250 2.0.0 queued\r\n")
        self.assertEqual(self.book.told, ["answered", "accepted", "done"])
        self.assertEqual(self.book.kept, [True])
        self.assertEqual(self.book.accept, self.book.outcomes)
        self.assertTrue(self.session.idle)
        self.assertFalse(self.session.in_dot)
        self.assertEqual(
            self.outcome,
            Outcome(
                Result.DELIVERED, "250 2.0.0 queued", 250, "", "dot", "mx1.test", "192.0.2.10", "10.0.0.1",
                return_path="a@from.test",
            ),
        )

    def test_waits_for_go(self) -> None:
        peer = self.open()
        self.pass_time(10_000)
        self.assertEqual(peer.line.read(), b"")
        self.assertEqual(self.book.told, ["answered"])
        self.session.go()
        self.assertTrue(peer.line.read().startswith(b"MAIL"))
        self.session.go()
        self.assertEqual(peer.line.read(), b"")

    def test_local_address(self) -> None:
        self.session.deliver(offer(local_address="127.0.0.9"))
        self.assertEqual(self.peer().bind, ("127.0.0.9", 0))

    def test_address_literal_without_a_name(self) -> None:
        self.session.deliver(offer(local_name=""))
        peer = self.peer()
        peer.connect()
        self.assertEqual(peer.say(b"220 hi\r\n"), b"EHLO [10.0.0.1]\r\n")

    def test_outcome_is_printable_and_bounded(self) -> None:
        """D16: what a host says can't break a line of a log."""
        peer = self.to_dot()
        peer.say(b"550 \x1b[31m\x85" + b"a" * 1000 + b"\r\n")
        self.assertTrue(self.outcome.response.isprintable())
        self.assertEqual(len(self.outcome.response), MAX_RESPONSE)

    def test_wrong_length_is_never_ended(self) -> None:
        peer = self.open(body_size=999)
        self.session.go()
        peer.line.read()
        self.assertEqual(peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n"), b"")
        self.check(Result.DEFERRED, "body", "ours")
        self.assertTrue(peer.line.aborted)


DANE = Dane("real.test", ("real.test", "to.test"), (Record(3, 1, 1, b"x" * 32),))


class Secure(Case):
    OFFER = b"250-mx.test\r\n250-STARTTLS\r\n250 PIPELINING\r\n"
    hosts = (Host("mx1.test", "192.0.2.10", 10),)

    def starting(self, **changes: Any) -> Peer:
        """An attempt up to the handshake."""
        self.session.deliver(offer(**changes))
        return self.shaking()

    def shaking(self) -> Peer:
        peer = self.peer()
        peer.connect()
        peer.say(b"220 hi\r\n")
        self.assertEqual(peer.say(self.OFFER), b"STARTTLS\r\n")
        self.assertEqual(peer.say(b"220 go ahead\r\n"), b"")
        self.assertIsNotNone(peer.line.handshake)
        return peer

    def taken(self, peer: Peer) -> None:
        self.session.go()
        self.assertTrue(peer.line.read().startswith(b"MAIL FROM:"))
        peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
        peer.say(b"250 2.0.0 queued\r\n")

    def in_the_clear(self) -> None:
        """The next connection does without."""
        peer = self.peer()
        peer.connect()
        peer.say(b"220 hi\r\n")
        self.assertEqual(peer.say(self.OFFER), b"")
        self.taken(peer)
        self.assertEqual((self.outcome.result, self.outcome.tls), (Result.DELIVERED, ""))
        self.assertEqual(self.book.kept, [False], "for this delivery alone")

    def test_where_it_is_offered(self) -> None:
        peer = self.starting()
        self.assertEqual(self.tls.asked[0].host, "mx1.test")
        self.assertEqual(peer.shake(), b"EHLO relay.test\r\n")
        self.assertEqual(self.book.told, [])
        peer.say(self.OFFER)
        self.assertEqual(self.book.told, ["answered"])
        self.taken(peer)
        self.assertEqual((self.outcome.tls, self.book.kept), ("TLSv1.3 X trusted", [True]))

    def test_what_tls_came_to_is_told_once_for_each_connection(self) -> None:
        """In the words of RFC 8460 4.3, before the connection is used; nothing of those called in the clear."""
        kinds = (
            ("fine", Policy.MAY, ["", ""]),
            ("fails", Policy.MAY, ["validation-failure", "validation-failure"]),
            ("fails", Policy.MUST, ["validation-failure"]),
            ("hangs", Policy.MAY, ["validation-failure"]),
            ("absent", Policy.MAY, ["starttls-not-supported"]),
            ("absent", Policy.MUST, ["starttls-not-supported"]),
            ("refused", Policy.MAY, ["starttls-not-supported"]),
            ("refused", Policy.VERIFY, ["starttls-not-supported"]),
            ("leaves", Policy.MAY, ["validation-failure"]),
            ("another", Policy.VERIFY, ["certificate-host-mismatch"]),
            ("expired", Policy.VERIFY, ["certificate-expired"]),
            ("self-signed", Policy.VERIFY, ["certificate-not-trusted"]),
            ("self-signed", Policy.MUST, [""]),
            ("absent", Policy.NONE, []),
        )
        wrong = {"another": (0, "another host"), "expired": (10, "it is expired"), "self-signed": (18, "self-signed")}
        said = {"absent": EHLO}
        asked_of = TlsPolicy("to.test")
        for how, policy, failures in kinds:
            self.setUp()
            self.policy = policy
            self.reported = asked_of
            self.tls.error, self.tls.doubt = wrong.get(how, (0, ""))
            self.session.deliver(offer())
            for _ in range(2 if how in ("fine", "fails") and policy is Policy.MAY else 1):
                peer = self.peer()
                peer.connect()
                peer.say(b"220 hi\r\n")
                peer.say(said.get(how, self.OFFER))
                if how == "absent":
                    break
                peer.say({"refused": b"454 no\r\n", "leaves": b"421 later\r\n"}.get(how, b"220 go ahead\r\n"))
                if how == "fails":
                    peer.close(SSL.Error([("", "", "handshake failure")]))
                elif how == "hangs":
                    self.pass_time(STAGES.tls)
                elif peer.line.handshake is not None:
                    peer.shake()
                    peer.say(self.OFFER)
                if how == "fine":
                    # A second transaction on the same connection tells nothing more, another connection does.
                    self.taken(peer)
                    self.session.deliver(offer())
                    peer.close()
            self.assertEqual([result.failure for result in self.book.results], failures, (how, policy))
            for result in self.book.results:
                self.assertEqual(result.policy, asked_of)
                self.assertEqual((result.mx_host, result.receiving), ("mx1.test", "192.0.2.10"))
                self.assertEqual(result.sending, "10.0.0.1")
            if how in ("fails", "another", "leaves"):
                words = {"fails": "handshake failure", "another": "another host", "leaves": "421 later"}[how]
                self.assertIn(words, self.book.results[0].text)

    def test_D26_what_a_policy_asks_for(self) -> None:
        """Enforced, nothing goes but to a host that has proven who it is, and it is told for whose sake; where it is
        only tested, mail goes as it would without, and what would have failed is reported."""
        policy, asked_for = TlsPolicy("to.test", "sts"), "asked for by the domain's MTA-STS policy"
        for mode, how, delivered, failure in (
            (Policy.STS, "fine", "TLSv1.3 X verified (sts)", ""),
            (Policy.STS, "expired", None, "certificate-expired"),
            (Policy.STS, "absent", None, "starttls-not-supported"),
            (Policy.STS, "fails", None, "validation-failure"),
            (Policy.MAY, "fine", "TLSv1.3 X trusted", ""),
            (Policy.MAY, "expired", "TLSv1.3 X untrusted", "certificate-expired"),
            (Policy.MAY, "absent", "", "starttls-not-supported"),
            (Policy.MAY, "another", "TLSv1.3 X trusted", "validation-failure"),
        ):
            self.setUp()
            self.policy, self.reported = mode, policy
            self.flaw = "the host is another" if how == "another" else ""
            self.tls.error, self.tls.doubt = (10, "it is expired") if how == "expired" else (0, "")
            self.session.deliver(offer())
            peer = self.peer()
            peer.connect()
            peer.say(b"220 hi\r\n")
            peer.say(EHLO if how == "absent" else self.OFFER)
            if how != "absent":
                peer.say(b"220 go ahead\r\n")
                if how == "fails":
                    peer.close(SSL.Error([("", "", "handshake failure")]))
                else:
                    peer.shake()
                    peer.say(self.OFFER)
            if delivered is None:
                self.reactor.advance(0)
                self.assertEqual(len(self.reactor.tcpClients), 1)
                self.check(Result.DEFERRED, "tls", "tls")
                self.assertRegex(self.outcome.response, rf"^4\.7\.5 .*\({asked_for}\)$")
            else:
                self.taken(peer)
                self.assertEqual((self.outcome.result, self.outcome.tls), (Result.DELIVERED, delivered))
            told = [(result.policy, result.failure) for result in self.book.results]
            self.assertEqual(told, [(policy, failure)], (mode, how))

    def test_D23_a_handshake_that_fails(self) -> None:
        """Once more with all there is, then in the clear; each on a connection of its own."""
        self.starting().close(SSL.Error([("", "", "wrong version number")]))
        self.shaking().close(error.ConnectionLost())
        self.assertEqual([one.permissive for one in self.tls.asked], [False, True])
        self.in_the_clear()
        self.assertEqual(self.book.redials, 2)

    def test_D23_a_handshake_that_hangs(self) -> None:
        self.starting()
        self.pass_time(STAGES.tls)
        self.in_the_clear()
        self.assertEqual(len(self.tls.asked), 1)

    def test_D23_old_tls_is_better_than_none(self) -> None:
        self.starting().close(SSL.Error([]))
        peer = self.shaking()
        peer.shake()
        peer.say(self.OFFER)
        self.taken(peer)
        self.assertEqual(self.book.kept, [True])
        self.assertTrue(self.session.fits(offer()))
        self.policy = Policy.MUST
        self.assertFalse(self.session.fits(offer()), "but where TLS has to be there is no such try")

    def test_a_host_that_leaves_before_the_handshake_is_not_called_in_the_clear(self) -> None:
        self.session.deliver(offer())
        peer = self.peer()
        peer.connect()
        peer.say(b"220 hi\r\n")
        peer.say(self.OFFER)
        peer.say(b"421 later\r\n")
        peer.close()
        self.assertEqual(len(self.reactor.tcpClients), 1)
        self.check(Result.DEFERRED, "tls", "reply")

    def enforced(self, policy: Policy) -> None:
        self.policy = policy
        self.session = self.make()

    def test_D23_where_it_is_enforced_there_is_no_second_try(self) -> None:
        for policy in (Policy.MUST, Policy.VERIFY, Policy.STS):
            for how in ("fails", "hangs", "refused", "absent"):
                self.setUp()
                self.enforced(policy)
                if how in ("fails", "hangs"):
                    peer = self.starting()
                    if how == "fails":
                        peer.close(SSL.Error([("", "", "handshake failure")]))
                    else:
                        self.pass_time(STAGES.tls)
                else:
                    self.session.deliver(offer())
                    peer = self.peer()
                    peer.connect()
                    peer.say(b"220 hi\r\n")
                    peer.say(self.OFFER if how == "refused" else EHLO)
                    if how == "refused":
                        peer.say(b"454 no\r\n")
                    peer.close()
                self.reactor.advance(0)
                self.assertEqual(len(self.reactor.tcpClients), 1, how)
                self.assertEqual((self.outcome.result, self.outcome.stage), (Result.DEFERRED, "tls"), how)

    def test_D25_a_certificate_that_proves_nothing(self) -> None:
        for policy, delivered in ((Policy.MAY, True), (Policy.MUST, True), (Policy.VERIFY, False)):
            self.setUp()
            self.enforced(policy)
            self.tls.error, self.tls.doubt = 18, "the certificate is not trusted: self-signed"
            peer = self.starting()
            said = peer.shake()
            self.assertEqual(bool(said), delivered)
            if delivered:
                peer.say(self.OFFER)
                self.taken(peer)
                self.assertEqual(self.outcome.tls, "TLSv1.3 X untrusted")
            else:
                self.reactor.advance(0)
                self.assertIn("self-signed", self.outcome.response)
                self.check(Result.DEFERRED, "tls", "tls")
                self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_a_kept_connection_has_to_be_as_safe_as_the_next_asks_for(self) -> None:
        peer = self.starting()
        peer.shake()
        peer.say(self.OFFER)
        self.taken(peer)
        self.assertTrue(self.session.fits(offer()))
        asked = ((Policy.NONE, True), (Policy.MUST, True), (Policy.VERIFY, False), (Policy.STS, False))
        for policy, fits in asked:
            self.policy = policy
            self.assertEqual(self.session.fits(offer()), fits)

    def test_D27_tlsa_records(self) -> None:
        """They are told the name they stand under, and stand in for other authorities."""
        self.tls.doubt = "nobody has certified it"
        for policy in (Policy.MAY, Policy.MUST, Policy.VERIFY, Policy.STS, Policy.DANE):
            self.setUp()
            self.tls.error, self.tls.doubt = 18, "self-signed"
            self.policy, self.dane, self.reported = policy, DANE, TlsPolicy("to.test", "tlsa")
            peer = self.starting()
            self.assertEqual(self.tls.asked[0].host, "real.test")
            peer.shake()
            peer.say(self.OFFER)
            self.taken(peer)
            self.assertEqual((self.outcome.tls, self.book.kept), ("TLSv1.3 X dane", [True]))
            self.assertEqual([result.failure for result in self.book.results], [""])

    def test_D27_a_host_that_does_not_do_as_its_records_ask(self) -> None:
        """Deferred, whatever it is: no second try, and nothing in the clear."""
        useless = DANE._replace(records=())
        for dane, how in (
            (DANE, "mismatch"), (DANE, "fails"), (DANE, "absent"), (useless, "fails"), (useless, "absent"),
            (None, "mismatch"),
        ):  # fmt: skip
            self.setUp()
            self.policy, self.dane, self.reported = Policy.MAY if dane else Policy.DANE, dane, TlsPolicy("to.test")
            self.tls.mismatched = Doubt("certificate-not-trusted", "it is another")
            if how == "absent":
                self.session.deliver(offer())
                peer = self.peer()
                peer.connect()
                peer.say(b"220 hi\r\n")
                self.assertNotIn(b"MAIL", peer.say(EHLO))
                failure = "starttls-not-supported"
            elif how == "fails":
                self.starting().close(SSL.Error([("", "", "handshake failure")]))
                failure = "validation-failure"
            else:
                self.assertEqual(self.starting().shake(), b"")
                self.assertEqual(self.outcome.response, "4.7.5 DANE with mx1.test: it is another")
                failure = "certificate-not-trusted"
            self.reactor.advance(0)
            self.assertEqual(len(self.reactor.tcpClients), 1, how)
            self.check(Result.DEFERRED, "tls", "tls")
            self.assertEqual([result.failure for result in self.book.results], [failure])

    def test_D27_records_of_no_use_take_any_certificate(self) -> None:
        self.dane = DANE._replace(records=())
        self.tls.error, self.tls.mismatched = 18, Doubt("certificate-not-trusted", "not asked")
        peer = self.starting()
        self.assertEqual(self.tls.asked[0].host, "mx1.test")
        peer.shake()
        peer.say(self.OFFER)
        self.taken(peer)
        self.assertEqual(self.outcome.tls, "TLSv1.3 X untrusted")

    def test_one_that_is_verified_is_safe_enough_for_all(self) -> None:
        for called in (Policy.VERIFY, Policy.STS):
            self.setUp()
            self.policy = called
            peer = self.starting()
            peer.shake()
            peer.say(self.OFFER)
            self.taken(peer)
            for policy in (Policy.NONE, Policy.MAY, Policy.MUST, Policy.VERIFY, Policy.STS):
                self.policy = policy
                self.assertTrue(self.session.fits(offer()), (called, policy))

    def test_one_that_is_not_for_it(self) -> None:
        peer = self.starting()
        peer.shake()
        peer.say(self.OFFER)
        self.taken(peer)
        self.session._need = lambda offer, host: None
        self.assertFalse(self.session.fits(offer()))

    def test_D27_one_that_was_called_without_asking_for_records(self) -> None:
        """Others can't go by what is remembered of these: there may be some by now."""
        ways = [Way(host, Approach(heedless=True)) for host in self.hosts]
        self.session = self.make(hosts=lambda offer: succeed(ways))
        peer = self.starting()
        peer.shake()
        peer.say(self.OFFER)
        self.taken(peer)
        for heedless, policy, fits in (
            (True, Policy.MAY, True), (True, Policy.MUST, True), (False, Policy.NONE, True), (False, Policy.MAY, False),
        ):  # fmt: skip
            need = Approach(policy, heedless=heedless)
            self.session._need = lambda offer, host, need=need: need
            self.assertEqual(self.session.fits(offer()), fits, (heedless, policy))

    def test_D27_a_kept_connection_is_for_what_the_same_records_ask(self) -> None:
        others = DANE._replace(records=(Record(3, 1, 1, b"y" * 32),))
        useless = DANE._replace(records=())
        for made, asked, policy, fits in (
            (DANE, DANE, Policy.MAY, True),
            (DANE, DANE, Policy.VERIFY, True),
            (DANE, DANE, Policy.STS, True),
            (DANE, DANE, Policy.DANE, True),
            (DANE, None, Policy.NONE, True),
            (DANE, others, Policy.MAY, False),
            (DANE, None, Policy.MAY, False),
            (None, DANE, Policy.MAY, False),
            (None, None, Policy.DANE, False),
            (useless, DANE, Policy.MAY, False),
            (useless, useless, Policy.MUST, True),
            (useless, useless, Policy.STS, False),
        ):
            self.setUp()
            self.policy, self.dane = Policy.MAY, made
            peer = self.starting()
            peer.shake()
            peer.say(self.OFFER)
            self.taken(peer)
            self.policy, self.dane = policy, asked
            self.assertEqual(self.session.fits(offer()), fits, (made, asked, policy))

    def test_none(self) -> None:
        self.enforced(Policy.NONE)
        self.session.deliver(offer())
        peer = self.peer()
        peer.connect()
        peer.say(b"220 hi\r\n")
        self.assertEqual(peer.say(self.OFFER), b"")
        self.assertEqual(self.book.told, ["answered"])

    def test_from_the_first_byte(self) -> None:
        self.implicit = True
        self.session.deliver(offer())
        peer = self.peer()
        peer.connect()
        self.assertIsNotNone(peer.line.handshake)
        self.assertEqual(peer.shake(), b"")
        self.assertEqual(peer.say(b"220 hi\r\n"), b"EHLO relay.test\r\n")
        peer.say(self.OFFER)
        self.taken(peer)
        self.assertEqual(self.outcome.tls, "TLSv1.3 X trusted")

    def test_nor_in_the_clear_then(self) -> None:
        self.implicit = True
        self.session.deliver(offer())
        peer = self.peer()
        peer.connect()
        peer.close(SSL.Error([]))
        self.reactor.advance(0)
        self.check(Result.DEFERRED, "tls", "tls")
        self.assertEqual(len(self.reactor.tcpClients), 1)


class Hosts(Case):
    def test_d33_next_host(self) -> None:
        """D09, D33: what fails before MAIL leads to the next host in the same attempt."""
        refused = error.ConnectionRefusedError()
        for fault in (
            "refused",
            "timeout",
            "554",
            "421",
            "garbage",
            "close",
            "reset",
            "ehlo",
            "quiet banner",
        ):
            self.setUp()
            self.session.deliver(offer())
            peer = self.peer()
            if fault == "refused":
                peer.fail(refused)
            elif fault == "timeout":
                self.pass_time(STAGES.connect)
                self.assertTrue(peer.connector.stoppedConnecting)
            else:
                peer.connect()
            match fault:
                case "554" | "421":
                    self.assertEqual(peer.say(fault.encode() + b" go away\r\n"), b"QUIT\r\n")
                    self.assertEqual(len(self.reactor.tcpClients), 1, "one at a time")
                    peer.say(b"221 bye\r\n")
                    peer.close()
                case "garbage":
                    peer.say(b"\0\xff\r\n")
                case "close":
                    peer.close()
                case "reset":
                    peer.close(error.ConnectionLost())
                case "ehlo":
                    peer.say(b"220 hi\r\n")
                    peer.close()
                case "quiet banner":
                    self.pass_time(STAGES.banner)
            second = self.peer()
            self.assertEqual(len(self.reactor.tcpClients), 2, fault)
            self.assertEqual(second.address, "192.0.2.20")
            second.connect()
            second.say(b"220 hi\r\n")
            second.say(EHLO)
            self.session.go()
            second.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
            second.say(b"250 ok\r\n")
            self.assertEqual((self.outcome.result, self.outcome.host), (Result.DELIVERED, "mx2.test"), fault)

    def first_called(self) -> str:
        """Which host the next attempt calls first; it has the message."""
        self.session = self.make()
        peer = self.open()
        self.session.go()
        peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
        peer.say(b"250 ok\r\n")
        peer.close()
        return str(peer.address)

    def test_D33_a_dead_address_is_called_last_for_a_while(self) -> None:
        for waits, seconds in ((False, 120.0), (True, 900.0)):
            self.setUp()
            self.session.deliver(offer())
            dead = self.peer()
            if waits:
                self.pass_time(STAGES.connect)
            else:
                dead.fail(error.ConnectionRefusedError())
            self.assertEqual(self.first_called(), "192.0.2.20")
            self.reactor.advance(seconds - 1.0)
            self.assertEqual(self.first_called(), "192.0.2.20")
            self.reactor.advance(1.0)
            self.assertEqual(self.first_called(), "192.0.2.10")

    def test_D33_when_all_are_dead_they_are_called_all_the_same(self) -> None:
        """In the order of their preference, and the attempt ends as ever."""
        for _ in range(2):
            self.book = Book()
            self.session = self.make()
            self.session.deliver(offer())
            for address in ("192.0.2.10", "192.0.2.20"):
                peer = self.peer()
                self.assertEqual(peer.address, address)
                peer.fail(error.ConnectionRefusedError())
            self.assertEqual((self.outcome.result, self.outcome.category), (Result.DEFERRED, "network"))

    def test_D33_one_that_answers_is_no_longer_dead(self) -> None:
        """Whatever it says then; and one that had answered, and hangs up, was not."""
        self.session.deliver(offer())
        self.peer().fail(error.ConnectionRefusedError())
        second = self.peer()
        second.connect()
        second.say(b"421 not now\r\n")
        second.close()
        self.assertEqual(self.first_called(), "192.0.2.20")
        self.avoided.failed("192.0.2.20", waited=False)
        self.assertEqual(self.first_called(), "192.0.2.10")
        self.assertEqual(len(self.avoided), 1)

    def test_D33_our_own_address_is_no_fault_of_the_host(self) -> None:
        self.session.deliver(offer())
        self.peer().fail(error.ConnectBindError())
        self.assertEqual(len(self.avoided), 0)

    def test_d09_all_hosts_fail(self) -> None:
        """What a host said counts for more than that another couldn't be reached."""
        self.session.deliver(offer())
        peer = self.peer()
        peer.connect()
        peer.say(b"554 no service\r\n")
        peer.close()
        self.peer().fail(error.ConnectionRefusedError())
        self.check(Result.DEFERRED, "banner", "reply")
        self.assertEqual((self.outcome.host, self.outcome.response), ("mx1.test", "554 no service"))
        self.assertEqual(self.book.kept, [False])
        self.assertEqual(self.book.told, ["done", "closed"])

    def test_each_call_but_the_first_needs_leave(self) -> None:
        self.book.may_redial = False
        self.session.dial()
        self.session.deliver(offer())
        self.session.dial()
        self.peer().fail(error.ConnectionRefusedError())
        self.assertEqual((len(self.reactor.tcpClients), self.book.redials), (1, 1))
        self.session.go()
        self.pass_time(1)
        self.assertEqual(self.book.told, ["quiet"])
        self.session.dial()
        self.session.dial()
        self.assertEqual(len(self.reactor.tcpClients), 2)
        self.peer().fail(error.ConnectionRefusedError())
        self.check(Result.DEFERRED, "connect", "network")

    def test_hosts_that_are_found_late_are_called_with_leave_of_their_own(self) -> None:
        for takes, redials in ((SOON, 0), (SOON + 0.5, 1)):
            self.setUp()
            self.book.may_redial = False
            found: Deferred[list[Way]] = Deferred()
            self.session = self.make(hosts=lambda offer, found=found: found)
            self.session.deliver(offer())
            self.pass_time(takes)
            found.callback([Way(host, Approach()) for host in self.hosts])
            self.assertEqual((self.book.redials, len(self.reactor.tcpClients)), (redials, 1 - redials))
            self.session.dial()
            self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_leave_that_does_not_come(self) -> None:
        """It isn't waited for longer than an attempt may last; whether all hosts are down isn't known."""
        for says, category in ((b"", "ours"), (b"554 no service\r\n", "reply")):
            self.setUp()
            self.book.may_redial = False
            self.session.deliver(offer())
            peer = self.peer()
            peer.connect()
            peer.say(says)
            peer.close()
            self.pass_time(PATIENCE - 2)
            self.assertEqual(self.book.outcomes, [])
            self.pass_time(3)
            self.check(Result.DEFERRED, self.outcome.stage, category)
            self.assertIn(says.decode().strip() or "no leave to call another host", self.outcome.response)
            self.assertEqual(self.book.told[-2:], ["done", "closed"])
            self.session.dial()
            self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_leave_is_asked_for_when_the_connection_before_is_gone(self) -> None:
        self.session.deliver(offer())
        peer = self.peer()
        peer.connect()
        peer.say(b"554 no service\r\n")
        self.assertEqual(self.book.redials, 0)
        self.session.dial()
        peer.close()
        self.assertEqual((len(self.reactor.tcpClients), self.book.redials), (2, 1))

    def test_leave_comes_when_nobody_wants_it_any_more(self) -> None:
        self.book.may_redial = False
        self.session.deliver(offer())
        self.peer().fail(error.ConnectionRefusedError())
        self.session.abort()
        self.session.dial()
        self.assertEqual((len(self.reactor.tcpClients), self.book.told), (1, []))

    def test_a_number_that_was_called_before(self) -> None:
        """Its end has crossed the offer: the first call under it was long ago."""
        self.book.may_redial = False
        self.session = self.make(fresh=False)
        self.session.deliver(offer())
        self.assertEqual((len(self.reactor.tcpClients), self.book.redials), (0, 1))
        self.session.dial()
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_d09_refused_and_then_silent(self) -> None:
        """Who counts most is told of, whoever is called last."""
        self.session.deliver(offer())
        peer = self.peer()
        peer.connect()
        peer.say(b"554 no service\r\n")
        self.pass_time(STAGES.quit)
        self.assertTrue(peer.line.aborted)
        self.pass_time(STAGES.connect)
        self.assertTrue(self.peer().connector.stoppedConnecting)
        self.check(Result.DEFERRED, "banner", "reply")
        self.assertEqual(self.book.told[-2:], ["done", "closed"])

    def test_unreachable(self) -> None:
        for problem, words in (
            (error.ConnectionRefusedError(), "Connection refused"),
            (error.TCPTimedOutError(), "Connecting timed out"),
            (error.NoRouteError(), "No route to host"),
        ):
            self.setUp()
            self.session.deliver(offer())
            self.peer().fail(problem)
            self.peer().fail(problem)
            self.check(Result.DEFERRED, "connect", "network")
            self.assertEqual(self.outcome.response, words)

    def test_bounded_in_time(self) -> None:
        self.hosts = tuple(Host("mx", f"192.0.2.{n}") for n in range(1, 21))
        self.session = self.make(timeouts=Timeouts(connect=PATIENCE / 2))
        self.session.deliver(offer())
        for _ in range(10):
            self.pass_time(PATIENCE / 2 + 1)
        self.assertEqual(len(self.reactor.tcpClients), 2)
        self.check(Result.DEFERRED, "connect", "network")

    def test_d42_local_address_gone(self) -> None:
        self.session.deliver(offer(local_address="127.0.0.9"))
        self.peer().fail(error.ConnectBindError())
        self.check(Result.DEFERRED, "connect", "ours")
        self.assertIn("127.0.0.9", self.outcome.response)
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_unroutable(self) -> None:
        for result in (Result.BOUNCED, Result.DEFERRED):
            self.setUp()
            self.problem = Unroutable(result, "5.1.2 to.test does not exist")
            self.session.deliver(offer())
            self.check(result, "connect", "dns")
            self.assertEqual(self.book.told, ["done", "closed"])
            self.assertEqual(self.outcome.response, "5.1.2 to.test does not exist")

    def test_finding_fails(self) -> None:
        self.problem = ZeroDivisionError()
        self.session.deliver(offer())
        self.check(Result.DEFERRED, "connect", "ours")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_families(self) -> None:
        self.hosts = (Host("mx", "2001:db8::1"), Host("mx", "192.0.2.1"))
        self.session.deliver(offer())
        self.assertEqual(self.peer().address, "192.0.2.1")
        self.session = self.make()
        self.session.deliver(offer(local_address="", local_address6="2001:db8::9"))
        self.assertEqual((self.peer().address, self.peer().bind), ("2001:db8::1", ("2001:db8::9", 0)))
        self.session = self.make()
        self.session.deliver(offer(local_address="", local_address6="::"))
        self.assertEqual((self.peer().address, self.peer().bind), ("2001:db8::1", None))
        self.assertEqual(self.book.outcomes, [])

    def test_no_host_of_our_kind(self) -> None:
        for host, changes, ours in (
            ("2001:db8::1", {}, "0.0.0.0"),
            ("192.0.2.1", {"local_address": "", "local_address6": "::"}, "::"),
        ):
            self.setUp()
            self.hosts = (Host("mx", host),)
            self.session.deliver(offer(**changes))
            self.check(Result.DEFERRED, "connect", "ours")
            self.assertTrue(self.outcome.response.endswith(f" of the kind of {ours}"), self.outcome)
            self.assertEqual(self.reactor.tcpClients, [])

    def test_both_families(self) -> None:
        """Each host is called from the address of its kind, by the name that belongs to it."""
        self.hosts = (Host("mx", "2001:db8::1"), Host("mx", "192.0.2.1"))
        self.session.deliver(offer(**BOTH))
        six = self.peer()
        self.assertEqual((six.address, six.bind), ("2001:db8::1", ("2001:db8::9", 0)))
        six.connect()
        self.assertEqual(six.say(b"220 hi\r\n"), b"EHLO six.test\r\n")
        six.close()
        four = self.peer()
        self.assertEqual((four.address, four.bind), ("192.0.2.1", ("192.0.2.9", 0)))
        four.connect()
        self.assertEqual(four.say(b"220 hi\r\n"), b"EHLO relay.test\r\n")

    def test_d42_one_of_two_local_addresses_gone(self) -> None:
        """Hosts of that kind are passed over; when none is left, that is what is told."""
        self.hosts = (Host("a", "2001:db8::1"), Host("b", "2001:db8::2"), Host("c", "192.0.2.1"))
        self.session.deliver(offer(**BOTH))
        self.peer().fail(error.ConnectBindError())
        self.assertEqual([client[0] for client in self.reactor.tcpClients], ["2001:db8::1", "192.0.2.1"])
        self.peer().fail(error.ConnectionRefusedError())
        self.check(Result.DEFERRED, "connect", "ours")
        self.assertIn("2001:db8::9", self.outcome.response)

    def test_lost_while_waiting_for_go(self) -> None:
        peer = self.open()
        peer.close()
        second = self.peer()
        second.connect()
        self.session.go()
        self.assertEqual(second.line.read(), b"")
        second.say(b"220 hi\r\n")
        second.say(EHLO)
        self.assertEqual(self.book.told, ["answered", "answered"])


class TimeOuts(Case):
    """D01, D02: patience to the second at each stage, and no longer."""

    hosts = (Host("mx1.test", "192.0.2.10", 10),)

    def hang(self, seconds: float) -> None:
        self.pass_time(seconds - 0.1)
        self.assertEqual(self.book.outcomes, [])
        self.pass_time(0.1)

    def test_connect(self) -> None:
        self.session.deliver(offer())
        self.hang(STAGES.connect)
        self.check(Result.DEFERRED, "connect", "network")

    def test_banner(self) -> None:
        self.session.deliver(offer())
        self.peer().connect()
        self.hang(STAGES.banner)
        self.check(Result.DEFERRED, "banner", "network")

    def test_ehlo(self) -> None:
        self.session.deliver(offer())
        peer = self.peer()
        peer.connect()
        peer.say(b"220 hi\r\n")
        self.hang(STAGES.ehlo)
        self.check(Result.DEFERRED, "ehlo", "network")

    def test_transaction(self) -> None:
        for ehlo in (EHLO, b"250 mx.test\r\n"):
            for number, stage in enumerate(("mail", "rcpt", "data")):
                self.setUp()
                peer = self.open(ehlo)
                self.session.go()
                for _ in range(number):
                    self.pass_time(1)
                    peer.say(b"250 ok\r\n")
                self.hang(getattr(STAGES, stage))
                self.check(Result.DEFERRED, stage, "network")
                self.assertTrue(peer.line.aborted)
                self.assertEqual(self.book.kept, [False])

    def test_dot(self) -> None:
        self.to_dot()
        self.hang(STAGES.dot)
        self.check(Result.DEFERRED, "dot", "network", doubtful=True)

    def test_body(self) -> None:
        """stall-body: the host takes nothing of a long text."""
        self.to_dot(body=None, chunks=2, body_size=20)
        self.session._call._wire.transport.producer.resumeProducing()
        self.book.asked[0][1].callback(b"a" * 10)
        self.hang(STAGES.body)
        self.check(Result.DEFERRED, "body", "network")

    def test_dripping_reply_wins_no_time(self) -> None:
        peer = self.to_dot()
        for _ in range(int(STAGES.dot)):
            self.assertEqual(self.book.outcomes, [])
            peer.say(b"250-x\r\n")
            self.pass_time(1)
        self.check(Result.DEFERRED, "dot", "network", doubtful=True)

    def test_d02_slow_is_not_dead(self) -> None:
        self.session.deliver(offer())
        peer = self.peer()
        peer.connect()
        for reply in (b"220 hi\r\n", EHLO, b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"250 ok\r\n"):
            self.pass_time(19)
            for number in range(len(reply)):
                peer.say(reply[number : number + 1])
            self.session.go()
        self.assertEqual(self.outcome.result, Result.DELIVERED)

    def test_quiet_and_active(self) -> None:
        self.session.deliver(offer())
        self.pass_time(0.4)
        self.assertEqual(self.book.told, [])
        self.pass_time(0.2)
        self.pass_time(5)
        self.assertEqual(self.book.told, ["quiet"])
        peer = self.peer()
        peer.connect()
        self.assertEqual(self.book.told, ["quiet"])
        peer.say(b"220 hi\r\n")
        self.assertEqual(self.book.told, ["quiet", "active"])
        self.pass_time(0.4)
        peer.say(EHLO)
        self.session.go()
        self.pass_time(0.6)
        self.assertEqual(self.book.told, ["quiet", "active", "answered", "quiet"])

    def test_a_host_that_drips_is_quiet_until_its_reply_is_whole(self) -> None:
        for drops in (b"2", b"5", b"0", b" ", b"o"), (b"250-x\r\n",) * 5:
            self.setUp()
            peer = self.open()
            self.session.go()
            for drop in drops:
                self.pass_time(0.4)
                peer.say(drop)
            self.assertEqual(self.book.told, ["answered", "quiet"])
            peer.say(b"\r\n" if drop == b"o" else b"250 ok\r\n")
            self.assertEqual(self.book.told, ["answered", "quiet", "active"])

    def test_each_whole_reply_is_heard(self) -> None:
        """Pipelined or not, whatever comes of it."""
        for ehlo, replies in (
            (EHLO, (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"250 ok\r\n")),
            (EHLO, (b"250 ok\r\n", b"550 no\r\n", b"554 no\r\n")),
            (b"250 mx.test\r\n", (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"451 no\r\n")),
        ):
            self.setUp()
            peer = self.open(ehlo)
            self.session.go()
            for reply in replies:
                self.pass_time(0.6)
                peer.say(reply[:3])
                self.assertEqual(self.book.told[-1], "quiet")
                peer.say(reply[3:])
            told = [word for word in self.book.told if word in ("quiet", "active")]
            self.assertEqual(told, ["quiet", "active"] * len(replies))

    def test_a_host_that_sips_the_text_is_quiet_until_it_has_taken_a_chunk(self) -> None:
        peer = self.to_dot(body=None, chunks=3, body_size=30)
        producer = peer.line.producer
        producer.resumeProducing()
        self.book.asked[0][1].callback(b"a" * 10)
        self.pass_time(30)
        self.assertEqual(self.book.told, ["answered", "quiet"])
        producer.resumeProducing()
        self.assertEqual(self.book.told, ["answered", "quiet", "active"])
        self.pass_time(30)
        self.assertEqual(self.book.told[3:], [], "the next chunk is ours to fetch")

    def test_quiet_while_looking(self) -> None:
        forever: Deferred[list[Host]] = Deferred()
        self.session = self.make(hosts=lambda offer: forever)
        self.session.deliver(offer())
        self.pass_time(0.6)
        self.assertEqual(self.book.told, ["quiet"])
        self.session.abort()
        self.assertTrue(forever.called)
        self.assertEqual(self.book.told, ["quiet"])


class Reuse(Case):
    def test_next_message_at_once(self) -> None:
        peer = self.to_dot()
        peer.say(b"250 ok\r\n")
        self.assertTrue(self.session.fits(offer()))
        self.session.deliver(offer(recipient="c@to.test"))
        self.assertIn(b"RCPT TO:<c@to.test>", peer.line.read())
        self.assertFalse(self.session.idle)

    def test_what_fits(self) -> None:
        self.assertFalse(self.session.fits(offer()))
        peer = self.to_dot()
        self.assertFalse(self.session.fits(offer()))
        peer.say(b"250 ok\r\n")
        self.assertTrue(self.session.fits(offer()))
        for changes in (
            {"domain": "other.test"},
            {"local_address": "127.0.0.9"},
            {"local_name": "other.test"},
        ):
            self.assertFalse(self.session.fits(offer(**changes)), changes)

    def test_what_fits_the_family(self) -> None:
        """The addresses of the other kind don't matter to a connection that stands."""
        for address, other, same in (
            ("192.0.2.10", {"local_address6": "::2", "local_name6": "x"}, "local_address"),
            ("2001:db8::1", {"local_address": "192.0.2.2", "local_name": "x"}, "local_address6"),
        ):
            self.setUp()
            self.hosts = (Host("mx", address),)
            names = {"local_name6": "relay.test"}
            self.to_dot(**BOTH | names).say(b"250 ok\r\n")
            self.assertTrue(self.session.fits(offer(**BOTH | names | other)))
            self.assertFalse(self.session.fits(offer(**BOTH | names | {same: "::7"})))
            self.assertFalse(self.session.fits(offer(**BOTH | names | {same: ""})))

    def test_serves_other_domains(self) -> None:
        asked = []
        self.session = self.make(serves=lambda domain, host: not asked.append((domain, host.name)))
        self.to_dot().say(b"250 ok\r\n")
        self.assertTrue(self.session.fits(offer(domain="other.test")))
        self.assertEqual(asked, [("other.test", "mx1.test")])

    def test_what_does_not_fit_goes_elsewhere(self) -> None:
        peer = self.to_dot()
        peer.say(b"250 ok\r\n")
        self.session.deliver(offer(domain="other.test"))
        self.assertEqual(peer.line.read(), b"QUIT\r\n")
        self.assertEqual(len(self.reactor.tcpClients), 1)
        peer.close()
        self.assertEqual(len(self.reactor.tcpClients), 2)
        self.assertNotIn("closed", self.book.told)

    def test_an_offer_while_it_is_given_back(self) -> None:
        """The two crossed: nothing is told of the old connection, and the new one comes after it."""
        peer = self.to_dot()
        peer.say(b"250 ok\r\n")
        self.session.release()
        self.session.deliver(offer())
        self.assertEqual(len(self.reactor.tcpClients), 1)
        peer.say(b"221 bye\r\n")
        peer.close()
        self.assertNotIn("closed", self.book.told)
        self.assertEqual(self.lookups, 2)
        self.peer(1).fail(error.ConnectionRefusedError())
        self.peer(2).fail(error.ConnectionRefusedError())
        self.assertEqual(self.book.told[-2:], ["done", "closed"])

    def test_an_offer_that_fails_while_it_is_given_back(self) -> None:
        peer = self.to_dot()
        peer.say(b"250 ok\r\n")
        self.session.release()
        self.problem = Unroutable(Result.BOUNCED, "5.1.2 to.test does not exist")
        self.session.deliver(offer())
        self.assertEqual(self.book.told[-1], "done")
        peer.close()
        self.assertEqual(self.book.told[-1], "closed")

    def test_limit(self) -> None:
        peer = self.to_dot()
        for _ in range(2):
            peer.say(b"250 ok\r\n")
            self.session.deliver(offer())
            peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
        self.assertEqual(peer.say(b"250 ok\r\n"), b"QUIT\r\n")
        self.assertEqual(self.book.kept, [True, True, False])
        self.assertFalse(self.session.idle)
        peer.say(b"221 bye\r\n")
        self.assertTrue(peer.line.disconnecting)
        self.assertEqual(self.book.told[-1], "done")
        peer.close()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.book.told[-1], "closed", "when it is gone")

    def test_d18_quit_hang(self) -> None:
        peer = self.to_dot()
        peer.say(b"250 ok\r\n")
        self.session.release()
        self.assertEqual(peer.line.read(), b"QUIT\r\n")
        self.assertEqual(self.book.told[-1], "done")
        self.pass_time(STAGES.quit)
        self.assertTrue(peer.line.aborted)
        self.assertEqual(self.book.told[-1], "closed")

    def test_idle_too_long(self) -> None:
        peer = self.to_dot()
        peer.say(b"250 ok\r\n")
        self.pass_time(4.9)
        self.assertTrue(self.session.idle)
        self.pass_time(0.2)
        self.assertEqual(peer.line.read(), b"QUIT\r\n")
        peer.close()
        self.assertEqual(self.book.told, ["answered", "accepted", "done", "closed"])

    def test_d18_closed_while_idle(self) -> None:
        """close-after-ok, rst-after-ok, half-close-ok: counted once, the session is over."""
        for how in (error.ConnectionDone(), error.ConnectionLost()):
            self.setUp()
            peer = self.to_dot()
            peer.say(b"250 ok\r\n")
            peer.close(how)
            self.assertEqual(self.book.told, ["answered", "accepted", "done", "closed"])
            self.assertFalse(self.session.idle)

    def test_d06_talks_while_idle(self) -> None:
        peer = self.to_dot()
        peer.say(b"250 ok\r\n")
        peer.say(b"250 ok again\r\n")
        self.assertTrue(peer.line.aborted)
        self.reactor.advance(0)
        self.assertEqual(self.book.told[-1], "closed")

    def test_d18_dead_when_used_again(self) -> None:
        """No failure: the attempt goes on over a new connection, which needs leave again."""
        peer = self.to_dot()
        peer.say(b"250 ok\r\n")
        self.session.deliver(offer())
        self.assertEqual(self.book.redials, 0)
        peer.close(error.ConnectionLost())
        self.assertEqual((len(self.book.outcomes), self.book.redials), (1, 1))
        second = self.peer()
        second.connect()
        second.say(b"220 hi\r\n")
        self.assertEqual(second.say(EHLO), b"")
        self.assertEqual(self.book.told[-1], "answered")
        self.session.go()
        second.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
        second.say(b"250 ok\r\n")
        self.assertEqual([outcome.result for outcome in self.book.outcomes], [Result.DELIVERED] * 2)

    def test_d17_lost_after_mail_is_answered(self) -> None:
        peer = self.to_dot()
        peer.say(b"250 ok\r\n")
        self.session.deliver(offer())
        peer.say(b"250 ok\r\n")
        peer.close()
        self.assertEqual(self.book.outcomes[1].result, Result.DEFERRED)
        self.assertEqual(self.book.kept, [True, False])

    def test_d19_after_a_refusal(self) -> None:
        peer = self.open()
        self.session.go()
        peer.line.read()
        peer.say(b"250 ok\r\n550 no\r\n554 no\r\n")
        self.check(Result.BOUNCED, "rcpt", "reply")
        self.assertEqual(self.book.kept, [True])
        self.session.deliver(offer(sender="x@from.test", recipient="y@to.test"))
        sent = peer.line.read()
        self.assertTrue(sent.startswith(b"RSET\r\nMAIL FROM:<x@from.test>"))
        self.assertIn(b"RCPT TO:<y@to.test>", sent)

    def test_d18_rset_fails(self) -> None:
        peer = self.open()
        self.session.go()
        peer.say(b"250 ok\r\n550 no\r\n554 no\r\n")
        self.session.deliver(offer())
        peer.say(b"421 4.3.0 rset failed\r\n")
        self.reactor.advance(0)
        self.assertEqual(len(self.book.outcomes), 1)
        self.assertEqual(len(self.reactor.tcpClients), 2)

    def test_whether_a_host_has_heard_of_the_message_before_another_is_called(self) -> None:
        for says in (b"421 enough for one connection\r\n", b""):
            self.setUp()
            peer = self.to_dot()
            peer.say(b"250 ok\r\n")
            self.session.deliver(offer())
            self.book.may_redial = False
            peer.say(says)
            peer.close()
            self.reactor.advance(0)
            self.assertEqual((self.book.redials, self.session.begun), (1, bool(says)))
            self.session.dial()
            self.assertFalse(self.session.begun)

    def test_d20_d21_not_for_this_host(self) -> None:
        """The connection is good for the next message."""
        peer = self.open(eight_bit=True)
        self.session.go()
        self.check(Result.BOUNCED, "mail", "message")
        self.assertEqual(self.book.kept, [True])
        self.session.deliver(offer())
        self.assertTrue(peer.line.read().startswith(b"MAIL"))

    def test_what_the_client_asked_for(self) -> None:
        """S18, S24: SMTPUTF8 only for what is beyond ASCII; REQUIRETLS not in the clear."""
        able = b"250-mx.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-DSN\r\n250 SMTPUTF8\r\n"
        asked = {"ret": "FULL", "envid": "e", "notify": "NEVER", "orcpt": "rfc822;o@x", "smtputf8": True}
        peer = self.open(ehlo=able, **asked)
        self.session.go()
        mail, rcpt = peer.line.read().split(b"\r\n")[:2]
        self.assertEqual(mail, b"MAIL FROM:<a@from.test> RET=FULL ENVID=e")
        self.assertEqual(rcpt, b"RCPT TO:<b@to.test> NOTIFY=NEVER ORCPT=rfc822;o@x")
        peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
        peer.say(b"250 2.0.0 queued\r\n")
        self.assertTrue(self.book.outcomes[-1].dsn, "the host sees to it")
        self.session.deliver(offer(require_tls=True))
        self.assertEqual(peer.line.read(), b"")
        last = self.book.outcomes[-1]
        self.assertEqual((last.result, last.response[:7]), (Result.BOUNCED, "5.7.10 "))
        header = "Subject: \u00e9\r\n".encode()
        self.session.deliver(offer(headers=header, eight_bit=True, smtputf8=True))
        self.assertIn(b" BODY=8BITMIME SMTPUTF8\r\n", peer.line.read())
        peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
        peer.say(b"250 2.0.0 queued\r\n")
        self.session.deliver(offer(headers=header, eight_bit=True))  # nobody said it was UTF-8
        self.assertNotIn(b"SMTPUTF8", peer.line.read())


class Dot(Case):
    """The final dot: not without leave, and not forgotten once sent."""

    def test_held(self) -> None:
        self.book.allow = False
        peer = self.to_dot()
        self.assertEqual(peer.line.read(), b"")
        self.assertFalse(self.session.in_dot)
        self.session.resume()
        self.assertFalse(self.session.in_dot)
        self.book.allow = True
        self.session.resume()
        self.assertTrue(peer.line.read().endswith(b"\r\n.\r\n"))
        self.assertTrue(self.session.in_dot)
        self.session.resume()
        self.assertEqual(peer.line.read(), b"")

    def test_refused_while_held(self) -> None:
        self.book.allow = False
        peer = self.to_dot()
        peer.say(b"552 5.3.4 too big\r\n")
        self.check(Result.BOUNCED, "body", "reply")
        self.book.allow = True
        self.session.resume()
        self.assertEqual((peer.line.read(), peer.line.aborted), (b"", True))

    def test_lost_while_held(self) -> None:
        self.book.allow = False
        self.to_dot().close()
        self.check(Result.DEFERRED, "body", "network")
        self.session.resume()

    def test_held_for_too_long(self) -> None:
        self.book.allow = False
        peer = self.to_dot()
        self.pass_time(STAGES.body)
        self.check(Result.DEFERRED, "body", "ours")
        self.assertTrue(peer.line.aborted)

    def test_d03_drop_after_dot(self) -> None:
        self.to_dot().close()
        self.check(Result.DEFERRED, "dot", "network", doubtful=True)

    def test_abort_before_the_dot(self) -> None:
        self.book.allow = False
        peer = self.to_dot()
        self.session.abort()
        self.assertTrue(peer.line.aborted)
        peer.close()
        self.session.resume()
        self.session.go()
        self.pass_time(1000)
        self.assertEqual(self.book.told, ["answered"])

    def test_abort_while_connecting(self) -> None:
        self.session.deliver(offer())
        self.session.abort()
        self.assertTrue(self.peer().connector.stoppedConnecting)
        self.peer().fail(error.UserError())
        self.assertEqual(self.book.told, [])

    def test_abort_in_dot_waits(self) -> None:
        peer = self.to_dot()
        self.session.abort()
        self.assertTrue(self.session.in_dot)
        peer.say(b"250 queued\r\n")
        self.assertEqual(self.book.told, ["answered", "accepted", "closed"])
        self.assertEqual(self.book.accept[0].response, "250 queued")

    def test_abort_in_dot_not_for_ever(self) -> None:
        for how in ("silence", "close", "refusal"):
            self.setUp()
            peer = self.to_dot()
            self.session.abort()
            self.pass_time(LAST_WORDS - 0.1)
            self.assertEqual(self.book.told, ["answered"])
            match how:
                case "silence":
                    self.pass_time(0.1)
                case "close":
                    peer.close()
                case _:
                    peer.say(b"550 no\r\n")
            self.assertEqual(self.book.told, ["answered", "closed"])
            self.assertFalse(self.session.in_dot)


class Streaming(Case):
    """A long body: one chunk at a time, the last with the dot."""

    def begin(self) -> tuple[Peer, Any]:
        peer = self.open(body=None, chunks=3, body_size=9)
        self.session.go()
        peer.line.read()
        head = peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
        self.assertTrue(head.endswith(b"Subject: x\r\n\r\n"))
        return peer, peer.line.producer

    def test_chunk_by_chunk(self) -> None:
        peer, producer = self.begin()
        self.assertFalse(peer.line.streaming)
        written = []
        for number, data in enumerate((b".ab", b"c\r\n", b".d\n")):
            self.assertEqual(len(self.book.asked), number)
            producer.resumeProducing()
            producer.resumeProducing()
            self.assertEqual([asked for asked, _ in self.book.asked], list(range(number + 1)))
            self.book.asked[number][1].callback(data)
            written.append(peer.line.read())
        self.assertEqual(written, [b"..ab", b"c\r\n", b"..d\n\r\n.\r\n"])
        self.assertIsNone(peer.line.producer)
        self.assertTrue(self.session.in_dot)
        peer.say(b"250 ok\r\n")
        self.assertEqual(self.outcome.result, Result.DELIVERED)

    def test_held(self) -> None:
        peer, producer = self.begin()
        self.book.allow = False
        for number in range(3):
            producer.resumeProducing()
            self.book.asked[number][1].callback(b"abc")
        self.assertEqual(peer.line.read(), b"abcabc")
        producer.resumeProducing()
        self.book.allow = True
        self.session.resume()
        self.assertEqual(peer.line.read(), b"abc\r\n.\r\n")
        self.assertEqual(len(self.book.asked), 3)

    def test_chunk_can_not_be_read(self) -> None:
        peer, producer = self.begin()
        producer.resumeProducing()
        self.book.asked[0][1].errback(OSError("damaged"))
        self.check(Result.DEFERRED, "body", "ours")
        self.assertTrue(peer.line.aborted)
        self.assertNotIn(b"\r\n.\r\n", peer.line.read())

    def test_too_short(self) -> None:
        peer, producer = self.begin()
        for number in range(3):
            producer.resumeProducing()
            self.book.asked[number][1].callback(b"ab")
        self.check(Result.DEFERRED, "body", "ours")
        self.assertEqual(peer.line.read(), b"abab")

    def test_chunk_never_comes(self) -> None:
        _, producer = self.begin()
        producer.resumeProducing()
        self.pass_time(STAGES.body)
        self.check(Result.DEFERRED, "body", "ours")

    def test_the_dialogue_comes_with_a_failure_alone(self) -> None:
        peer = self.to_dot()
        peer.say(b"451 later\r\n")
        told = self.outcome.dialogue.split("\n")
        self.assertTrue(told[0].endswith(" < 220 hi"))
        self.assertTrue(told[-2].endswith(" - [text]"))
        self.assertTrue(told[-1].endswith(" < 451 later"))
        self.setUp()
        self.to_dot().say(b"250 ok\r\n")
        self.assertEqual(self.outcome.dialogue, "")

    def test_the_dialogue_ends_with_what_nobody_said(self) -> None:
        self.to_dot()
        self.pass_time(STAGES.dot)
        self.assertEqual(self.outcome.dialogue.rsplit("\n", 1)[1], "80.000 - No reply within 80 s")

    def test_d17_drop_mid_body(self) -> None:
        peer, producer = self.begin()
        producer.resumeProducing()
        peer.close()
        self.check(Result.DEFERRED, "body", "network")
        self.assertEqual(self.book.asked[0][1].called, True)
        self.assertEqual(len(self.book.outcomes), 1)

    def test_refused_mid_body(self) -> None:
        """The refusal counts; nothing more is sent, not even QUIT, which would be text."""
        for reply, result in ((b"452 4.3.1 full", Result.DEFERRED), (b"552 5.3.4 too big", Result.BOUNCED)):
            for cut in (1, 7, len(reply)):
                self.setUp()
                peer, producer = self.begin()
                producer.resumeProducing()
                self.book.asked[0][1].callback(b"abc")
                producer.resumeProducing()
                self.assertEqual(peer.say(reply[:cut]), b"abc")
                self.assertEqual(peer.say(reply[cut:] + b"\r\n"), b"")
                self.check(result, "body", "reply")
                self.assertEqual(self.outcome.response, reply.decode())
                self.assertEqual(self.book.kept, [False])
                self.assertTrue(peer.line.aborted)
                producer.resumeProducing()
                peer.close()
                self.assertEqual((peer.line.read(), len(self.book.asked)), (b"", 2))
                self.assertTrue(self.book.asked[1][1].called)
                self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_talks_mid_body(self) -> None:
        peer, producer = self.begin()
        producer.resumeProducing()
        peer.say(b"250 ok\r\n")
        self.check(Result.DEFERRED, "body", "protocol")
        self.assertTrue(peer.line.aborted)

    def test_empty_body(self) -> None:
        peer = self.open(body=None, chunks=0, body_size=0)
        self.session.go()
        peer.line.read()
        self.assertTrue(peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n").endswith(b"Subject: x\r\n\r\n.\r\n"))
