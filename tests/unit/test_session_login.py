"""A session whose zone logs in to its next hop."""

from __future__ import annotations

import base64
from functools import partial

from relay.access.proving import Credentials
from relay.delivery.call import Call
from relay.delivery.manner import Manner
from relay.delivery.security import Policy
from relay.message.values import Result
from tests.unit.test_session import STAGES, Case, Peer, offer

EHLO = b"250-mx.test\r\n250-PIPELINING\r\n250 AUTH LOGIN\r\n"
NAME, WORD = (base64.b64encode(word) + b"\r\n" for word in (b"bob", b"tops3cret"))


class Login(Case):
    policy = Policy.MUST

    def setUp(self) -> None:
        super().setUp()
        manner = Manner(choose=Credentials("bob", "tops3cret").choose)
        self.session = self.make(contact=partial(Call, manner=manner))

    def asked(self) -> Peer:
        """A connection over TLS on which the login has begun."""
        peer = self.peer()
        peer.connect()
        peer.say(b"220 hi\r\n")
        self.assertEqual(peer.say(b"250-mx.test\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n"), b"STARTTLS\r\n")
        self.assertEqual(peer.say(b"220 go\r\n"), b"")
        self.assertEqual(peer.shake(), b"EHLO relay.test\r\n")
        self.assertEqual(peer.say(EHLO), b"AUTH LOGIN\r\n")
        return peer

    def test_then_mail_and_once_for_a_connection(self) -> None:
        self.session.deliver(offer())
        peer = self.asked()
        self.assertEqual(self.book.told, [], "it isn't ready")
        self.assertEqual(peer.say(b"334 VXNlcm5hbWU6\r\n"), NAME)
        self.assertEqual(peer.say(b"334 UGFzc3dvcmQ6\r\n"), WORD)
        self.assertEqual(peer.say(b"235 2.7.0 welcome\r\n"), b"")
        self.assertEqual(self.book.told, ["answered"])
        self.session.go()
        for _ in range(2):
            self.assertTrue(peer.line.read().startswith(b"MAIL FROM:"))
            peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
            peer.say(b"250 queued\r\n")
            self.session.deliver(offer())

    def test_refused_for_good(self) -> None:
        """The other host isn't tried: it knows us no better. Nothing bounces, and we take leave."""
        self.session.deliver(offer())
        peer = self.asked()
        self.assertEqual(peer.say(b"535 5.7.8 no such user\r\n"), b"QUIT\r\n")
        self.check(Result.DEFERRED, "auth", "auth")
        self.assertEqual(self.outcome.response, "Login by LOGIN failed: 535 5.7.8 no such user")
        self.assertEqual(self.book.told, ["done"])
        self.reactor.advance(0)
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_refused_for_now(self) -> None:
        self.session.deliver(offer())
        peer = self.asked()
        peer.say(b"454 4.7.0 later\r\n")
        peer.close()
        self.assertEqual(self.peer().address, "192.0.2.20")

    def test_each_word_has_its_time(self) -> None:
        self.session.deliver(offer())
        peer = self.asked()
        for word, answer in ((b"VXNlcm5hbWU6", NAME), (b"UGFzc3dvcmQ6", WORD)):
            self.pass_time(STAGES.auth - 1)
            self.assertEqual(peer.say(b"334 " + word + b"\r\n"), answer)
        self.pass_time(STAGES.auth - 1)
        peer.say(b"235 2.7.0 welcome\r\n")
        self.assertEqual(self.book.told, ["quiet", "active", "quiet", "active", "quiet", "active", "answered"])

    def test_a_host_that_says_nothing(self) -> None:
        self.session.deliver(offer())
        self.asked()
        self.pass_time(STAGES.auth)
        self.book.may_redial = False
        self.assertEqual(self.book.redials, 1, "the next host")
