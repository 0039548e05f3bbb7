"""REQUIRETLS at the hosts: each is called until one will see to the rest of the way (RFC 8689 4.2.1)."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.defer import succeed

from relay.delivery.security import Approach, Policy
from relay.delivery.ways import Way
from relay.message.values import Result
from tests.unit.test_session import Case, Peer, offer

PLAIN = b"250-mx.test\r\n250-STARTTLS\r\n250 PIPELINING\r\n"
KEEPS = b"250-mx.test\r\n250-REQUIRETLS\r\n250 PIPELINING\r\n"
LACKS = b"250-mx.test\r\n250 PIPELINING\r\n"


class Required(Case):
    policy = Policy.VERIFY
    asked = True

    def setUp(self) -> None:
        super().setUp()
        self.session = self.make(need=lambda offer, host: Approach(self.policy, required=offer.require_tls))

    @property
    def approach(self) -> Approach:
        return Approach(self.policy, required=self.asked)

    def begin(self) -> None:
        self.session.deliver(offer(require_tls=True))

    def up_to_tls(self) -> Peer:
        peer = self.peer()
        peer.connect()
        peer.say(b"220 hi\r\n")
        peer.say(PLAIN)
        peer.say(b"220 go ahead\r\n")
        return peer

    def secure(self, then: bytes) -> tuple[Peer, bytes]:
        peer = self.up_to_tls()
        peer.shake()
        return peer, peer.say(then)

    def taken(self, peer: Peer) -> bytes:
        self.session.go()
        mail = peer.line.read().split(b"\r\n")[0]
        peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
        peer.say(b"250 2.0.0 queued\r\n")
        return mail

    def test_the_next_host_when_one_does_not_offer_it(self) -> None:
        """The first is told goodbye; nothing of the message was said to it."""
        self.begin()
        peer, said = self.secure(LACKS)
        self.assertEqual(said, b"QUIT\r\n")
        self.assertEqual(self.book.told, [])
        peer.close()
        peer, said = self.secure(KEEPS)
        self.assertEqual(peer.address, "192.0.2.20")
        self.assertEqual(self.taken(peer), b"MAIL FROM:<a@from.test> REQUIRETLS")
        self.assertEqual((self.outcome.result, self.outcome.tls), (Result.DELIVERED, "TLSv1.3 X verified"))

    def test_none_offers_it(self) -> None:
        self.begin()
        for _ in self.hosts:
            peer, _said = self.secure(LACKS)
            peer.close()
        self.assertEqual((self.outcome.result, self.outcome.category), (Result.BOUNCED, "message"))
        self.assertEqual(self.outcome.response[:7], "5.7.30 ")

    def test_no_tls_that_is_safe(self) -> None:
        """None at all, one that is refused or fails, and a certificate that proves nothing."""
        for how in ("absent", "refused", "fails", "untrusted"):
            self.setUp()
            self.tls.doubt = "the certificate has expired" if how == "untrusted" else ""
            self.begin()
            for _ in self.hosts:
                if how in ("fails", "untrusted"):
                    peer = self.up_to_tls()
                    if how == "untrusted":
                        peer.shake()
                    else:
                        peer.close(SSL.Error([("", "", "handshake failure")]))
                        continue
                else:
                    peer = self.peer()
                    peer.connect()
                    peer.say(b"220 hi\r\n")
                    peer.say(PLAIN if how == "refused" else LACKS)
                    if how == "refused":
                        peer.say(b"502 no\r\n")
                peer.close()
            self.check(Result.BOUNCED, "tls", "tls")
            self.assertRegex(self.outcome.response, r"^5\.7\.10 .*\(the message requires TLS all the way\)$")
            self.assertNotIn("4.7.5", self.outcome.response)

    def test_what_may_be_otherwise_the_next_time(self) -> None:
        """A host that can't be reached, has no TLS for now, or lets us wait outweighs any that would never do."""
        for how in ("unreached", "454", "hangs"):
            for first in (True, False):
                self.setUp()
                self.begin()
                for number in range(2):
                    if (number == 0) is not first:
                        peer, _ = self.secure(LACKS)
                    elif how == "unreached":
                        self.peer().fail(error.ConnectionRefusedError())
                        continue
                    elif how == "hangs":
                        peer = self.up_to_tls()
                        self.pass_time(31)
                    else:
                        peer = self.peer()
                        peer.connect()
                        peer.say(b"220 hi\r\n")
                        peer.say(PLAIN)
                        peer.say(b"454 later\r\n")
                    peer.close()
                self.assertEqual(self.outcome.result, Result.DEFERRED, (how, first))

    def test_hosts_that_nobody_has_the_patience_to_call(self) -> None:
        self.book.may_redial = False
        self.begin()
        peer, _ = self.secure(LACKS)
        peer.close()
        self.assertEqual(self.book.redials, 1)
        self.pass_time(601)
        self.assertEqual((self.outcome.result, self.outcome.response[:3]), (Result.DEFERRED, "4.7"))

    def test_kept_connections(self) -> None:
        """One is for it if its host keeps to TLS; other mail goes on either."""
        for ehlo, fits in ((KEEPS, True), (LACKS, False)):
            self.asked = False
            self.setUp()
            self.session.deliver(offer())
            peer, _ = self.secure(ehlo)
            self.taken(peer)
            self.assertEqual(self.book.kept, [True])
            self.assertTrue(self.session.fits(offer()))
            self.assertEqual(self.session.fits(offer(require_tls=True)), fits)
            if fits:
                self.begin()
                self.assertTrue(self.taken(peer).endswith(b"REQUIRETLS"))

    def test_a_bounce_goes_without_where_it_has_to(self) -> None:
        """It says REQUIRETLS to a host that was called for it alone: the other call has looked at no certificate."""
        for last in (LACKS, KEEPS):
            self.setUp()
            ways = [Way(host, approach) for approach in (self.approach, Approach()) for host in self.hosts]
            self.session = self.make(hosts=lambda offer, ways=ways: succeed(ways), need=lambda offer, host: None)
            self.session.deliver(offer(require_tls=True, sender=""))
            for _ in self.hosts:
                peer, said = self.secure(LACKS)
                self.assertEqual(said, b"QUIT\r\n")
                peer.close()
            peer, _ = self.secure(last)
            self.assertEqual(self.taken(peer), b"MAIL FROM:<>")
            self.assertEqual(self.outcome.result, Result.DELIVERED)
        self.setUp()
        self.session.deliver(offer(require_tls=True, sender=""))
        peer, _ = self.secure(KEEPS)
        self.assertEqual(self.taken(peer), b"MAIL FROM:<> REQUIRETLS")
