"""An attempt for several recipients: what is said of whom, to whom, and when."""

from __future__ import annotations

from functools import partial
from typing import Any

from relay.channel.frames import Fellow
from relay.delivery.call import Call
from relay.delivery.exchangers import Host
from relay.delivery.manner import Manner
from relay.delivery.session import LAST_WORDS, Session
from tests.unit.test_session import EHLO, Case, Line, Peer, offer

FELLOWS = tuple(Fellow(7 + seq, seq, f"r{seq}@to.test") for seq in (2, 3, 4))
TAKEN, GONE = ("delivered", "dot", 250), ("deferred", "dot", 0)


class Several(Case):
    hosts = (Host("mx1.test", "192.0.2.10", 10),)

    def begun(self, *rcpts: bytes, many: int = 4) -> Peer:
        """Up to the text."""
        peer = self.open(fellows=FELLOWS)
        self.session.go(many)
        self.said = peer.line.read()
        if rcpts:
            self.text = peer.say(b"250 ok\r\n" + b"".join(rcpts) + b"354 go\r\n")
        return peer

    def test_d12_each_has_its_own(self) -> None:
        peer = self.begun(b"250 ok\r\n", b"550 no\r\n", b"450 later\r\n", b"250 ok\r\n")
        self.assertEqual(self.said.count(b"RCPT TO:"), 4)
        peer.say(b"250 queued\r\n")
        rcpt = [("bounced", "rcpt", 550), ("deferred", "rcpt", 450)]
        self.assertEqual(self.book.fates, dict(zip((1, 2, 3, 4), [TAKEN, *rcpt, TAKEN], strict=True)))
        self.assertEqual((self.book.taken, self.book.told), ([[1, 4]], ["answered", "accepted", "done"]))
        self.assertEqual((self.book.kept, self.book.behind), ([True], []))

    def test_none_learns_of_the_others(self) -> None:
        """RFC 5321 7.2."""
        self.begun(*[b"250 ok\r\n"] * 4)
        self.assertNotIn(b" for <", self.text)
        self.assertIn(b" id 0123456789abcdef01.001;\r\n", self.text)
        self.assertNotIn(b"r3@", self.text)

    def test_those_without_leave_are_left_behind(self) -> None:
        self.begun(many=2)
        self.assertEqual((self.book.behind, self.said.count(b"RCPT TO:")), ([3, 4], 2))

    def test_one_that_goes_alone_is_named(self) -> None:
        peer = self.begun(many=1)
        self.assertIn(b" for <b@to.test>", peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n"))

    def test_d13_too_many(self) -> None:
        peer = self.begun(b"250 ok\r\n", b"250 ok\r\n", b"452 4.5.3 too many\r\n", b"452 4.5.3 too many\r\n")
        peer.say(b"250 queued\r\n")
        self.assertEqual((self.book.behind, self.book.fates), ([3, 4], {1: TAKEN, 2: TAKEN}))

    def test_limits_of_the_host(self) -> None:
        """RCPTMAX (RFC 9422 4.2)."""
        peer = self.open(ehlo=b"250-mx.test\r\n250-PIPELINING\r\n250 LIMITS RCPTMAX=3\r\n", fellows=FELLOWS)
        self.session.go(4)
        self.assertEqual((peer.line.read().count(b"RCPT TO:"), self.book.behind), (3, [4]))
        self.session = self.make()
        peer = self.open(ehlo=b"250-mx.test\r\n250-PIPELINING\r\n250 LIMITS RCPTMAX=1\r\n", fellows=FELLOWS)
        self.session.go(4)
        peer.line.read()
        self.assertIn(b" for <b@to.test>", peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n"))

    def test_all_refused_and_no_text(self) -> None:
        peer = self.begun()
        self.assertEqual(peer.say(b"250 ok\r\n" + b"550 no\r\n" * 4), b"")
        peer.say(b"503 nobody\r\n")
        self.assertEqual(set(self.book.fates.values()), {("bounced", "rcpt", 550)})
        self.assertEqual((self.book.taken, self.book.kept), ([], [True]))

    def test_lost_after_the_dot_all_that_were_accepted_are_doubtful(self) -> None:
        peer = self.begun(b"250 ok\r\n", b"550 no\r\n", b"250 ok\r\n", b"250 ok\r\n")
        peer.close()
        self.assertEqual(self.book.fates, {1: GONE, 2: ("bounced", "rcpt", 550), 3: GONE, 4: GONE})
        self.assertEqual([outcome.doubtful for outcome in self.book.outcomes], [True, False, True, True])

    def test_a_host_that_is_not_reached_fails_all(self) -> None:
        self.session.deliver(offer(fellows=FELLOWS))
        self.peer().fail(ConnectionError("no"))
        self.assertEqual([fate[:2] for fate in self.book.fates.values()], [("deferred", "connect")] * 4)

    def test_a_dead_kept_connection_takes_nobody_with_it(self) -> None:
        peer = self.begun(*[b"250 ok\r\n"] * 4)
        peer.say(b"250 queued\r\n")
        self.assertEqual(self.book.kept, [True])
        self.session.deliver(offer(fellows=FELLOWS))
        peer.close()
        again = self.peer()
        again.connect()
        again.say(b"220 hi\r\n")
        again.say(EHLO)
        self.session.go(4)
        self.assertEqual(again.line.read().count(b"RCPT TO:"), 4)

    def test_reuse_counts_recipients(self) -> None:
        """At most three deliveries on a connection of this session."""
        peer = self.begun(*[b"250 ok\r\n"] * 3, many=3)
        peer.say(b"250 queued\r\n")
        self.assertEqual(self.book.kept, [False])

    def make(self, **changes: Any) -> Session:
        reuse = 3 if "reuse_counts" in self.id() else 100
        return super().make(**{"reuse": reuse} | changes)

    def test_each_reply_has_its_time_but_not_all_together(self) -> None:
        peer = self.begun()
        peer.say(b"250 ok\r\n")
        for _ in range(3):
            self.pass_time(49)
            peer.say(b"250 ok\r\n")
        self.assertEqual(self.book.outcomes, [])
        self.pass_time(50)
        self.assertEqual(len(self.book.outcomes), 4)

    def test_a_drip_comes_to_an_end(self) -> None:
        fellows = tuple(Fellow(7 + seq, seq, f"r{seq}@to.test") for seq in range(2, 100))
        peer = self.open(fellows=fellows)
        self.session.go(99)
        peer.say(b"250 ok\r\n")
        for _ in range(10):
            self.assertEqual(self.book.outcomes, [])
            self.pass_time(49)
            peer.say(b"250 ok\r\n")
        self.pass_time(10)
        self.assertEqual(len(self.book.outcomes), 99)


class Lmtp(Case):
    """A reply to the dot for each."""

    hosts = (Host("lda.test", "192.0.2.10"),)

    def to_dots(self) -> Peer:
        self.session = self.make(contact=partial(Call, manner=Manner(lmtp=True)))
        self.session.deliver(offer(fellows=FELLOWS))
        peer = self.peer()
        peer.connect()
        self.assertEqual(peer.say(b"220 hi\r\n"), b"LHLO relay.test\r\n")
        peer.say(EHLO)
        self.session.go(4)
        peer.say(b"250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n250 ok\r\n354 go\r\n")
        return peer

    def test_each_has_its_own(self) -> None:
        peer = self.to_dots()
        peer.say(b"250 in\r\n452 4.2.2 full\r\n250 in\r\n")
        self.assertEqual(
            self.book.fates,
            {1: TAKEN, 2: ("bounced", "rcpt", 550), 3: ("deferred", "dot", 452), 4: TAKEN},
        )
        self.assertEqual(self.book.taken, [[1, 4]])

    def test_each_is_written_down_at_once(self) -> None:
        peer = self.to_dots()
        peer.say(b"250 in\r\n")
        self.assertEqual((self.book.taken, self.book.outcomes), ([[1]], []))
        self.assertTrue(self.session.in_dot)
        peer.say(b"250 in\r\n550 no\r\n")
        self.assertEqual(self.book.taken, [[1], [3]])
        self.assertEqual(self.book.fates[1], TAKEN)

    def test_lost_in_between(self) -> None:
        peer = self.to_dots()
        peer.say(b"250 in\r\n")
        peer.close()
        self.assertEqual(self.book.fates, {1: TAKEN, 2: ("bounced", "rcpt", 550), 3: GONE, 4: GONE})
        self.assertEqual([outcome.doubtful for outcome in self.book.outcomes], [False, False, True, True])

    def test_N11_last_words_of_each(self) -> None:
        """They are noted when nobody is there to report to, and don't keep it from coming to an end."""
        peer = self.to_dots()
        self.session.abort()
        for _ in range(2):
            self.pass_time(LAST_WORDS - 1)
            peer.say(b"250 in\r\n")
        self.assertEqual((self.book.taken, self.book.outcomes), ([[1]], []))
        self.assertEqual(self.book.told[-1], "closed")

    def test_a_socket_on_this_machine(self) -> None:
        self.hosts = (Host("/run/lmtp", "/run/lmtp"),)
        self.session = self.make(contact=partial(Call, manner=Manner(lmtp=True)))
        self.session.deliver(offer(local_address="", local_address6="2001:db8::9", local_name6="six.test"))
        [(path, factory, *_)] = self.reactor.unixClients
        self.assertEqual(path, "/run/lmtp")
        line = Line(lambda: None)
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(line)
        protocol.dataReceived(b"220 hi\r\n")
        self.assertEqual(line.read(), b"LHLO six.test\r\n")
        self.assertFalse(hasattr(line, "no_delay"))
