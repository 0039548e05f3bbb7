"""Recipients of other domains on a connection: who goes along, and who is left behind for what."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from relay.channel.frames import Fellow, Offer
from relay.delivery.company import PATIENCE
from relay.delivery.exchangers import Host, Unroutable
from relay.delivery.security import Approach, Policy
from relay.delivery.session import Session
from relay.message.values import Result
from tests.unit.test_session import Case, Peer, offer

#: One of the first's domain, two of another, and one of a third.
FELLOWS = (
    Fellow(9, 2, "r2@to.test"),
    Fellow(10, 3, "r3@b.test", domain="b.test"),
    Fellow(11, 4, "r4@c.test", domain="c.test"),
    Fellow(12, 5, "r5@b.test", domain="b.test"),
)
TAKEN = ("delivered", "dot", 250)


class Company(Case):
    hosts = (Host("mx1.test", "192.0.2.10", 10),)

    def setUp(self) -> None:
        super().setUp()
        #: How safe the others want it, or why not at all; what is missing isn't told before `answer`.
        self.needs: dict[str, Approach | Exception | None] = {"b.test": Approach(), "c.test": Approach()}
        self.waiting: dict[str, Deferred[Approach | None]] = {}
        self.seen: list[tuple[str, Host]] = []

    async def also(self, offer: Offer, host: Host) -> Approach | None:
        self.seen.append((offer.domain, host))
        self.assertEqual(offer.fellows, ())
        if offer.domain not in self.needs:
            self.waiting[offer.domain] = Deferred()
            return await self.waiting[offer.domain]
        need = self.needs[offer.domain]
        if isinstance(need, Exception):
            raise need
        return need

    def make(self, **changes: Any) -> Session:
        return super().make(**{"reuse": 100} | changes)

    def begun(self, many: int = 5, **changes: Any) -> Peer:
        """With leave to begin."""
        peer = self.open(fellows=FELLOWS, **changes)
        self.assertEqual(self.seen, [], "nobody is asked before there is a connection")
        self.session.go(many)
        return peer

    def rcpts(self, peer: Peer) -> list[bytes]:
        """To whom it goes."""
        return [line[9:-1] for line in peer.line.read().split(b"\r\n") if line.startswith(b"RCPT TO:")]

    def check(self, peer: Peer, *names: str) -> None:
        self.assertEqual(self.rcpts(peer), [f"{name}".encode() for name in names])


class WhoGoes(Company):
    def test_all_whose_host_it_is(self) -> None:
        peer = self.begun()
        self.check(peer, "b@to.test", "r2@to.test", "r3@b.test", "r4@c.test", "r5@b.test")
        self.assertEqual(self.seen, [("b.test", self.hosts[0]), ("c.test", self.hosts[0])])
        peer.say(b"250 ok\r\n250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n250 ok\r\n354 go\r\n")
        peer.say(b"250 queued\r\n")
        fates = {1: TAKEN, 2: TAKEN, 3: ("bounced", "rcpt", 550), 4: TAKEN, 5: TAKEN}
        self.assertEqual((self.book.fates, self.book.taken), (fates, [[1, 2, 4, 5]]))
        self.assertEqual((self.book.behind, self.book.kept), ([], [True]))

    def test_not_of_a_domain_that_has_other_hosts(self) -> None:
        self.needs["b.test"] = None
        self.check(self.begun(), "b@to.test", "r2@to.test", "r4@c.test")
        self.assertEqual((self.book.behind, self.book.apart), ([3, 5], [3, 5]))

    def test_not_of_one_that_asks_for_more(self) -> None:
        """The connection is in the clear."""
        self.needs["b.test"] = Approach(Policy.STS)
        self.check(self.begun(), "b@to.test", "r2@to.test", "r4@c.test")
        self.assertEqual(self.book.apart, [3, 5])

    def test_not_of_one_whose_hosts_can_not_be_found(self) -> None:
        self.needs |= {"b.test": Unroutable(Result.BOUNCED, "5.1.2 no"), "c.test": KeyError("a fault of ours")}
        self.check(self.begun(), "b@to.test", "r2@to.test")
        self.assertEqual(self.book.apart, [3, 4, 5])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_those_without_leave_are_not_asked_about(self) -> None:
        self.check(self.begun(many=3), "b@to.test", "r2@to.test", "r3@b.test")
        self.assertEqual((self.book.behind, self.book.apart), ([4, 5], []))
        self.assertEqual([domain for domain, _ in self.seen], ["b.test"])

    def test_as_many_domains_as_the_host_takes(self) -> None:
        """RCPTDOMAINMAX (RFC 9422 4.3), and RCPTMAX of those."""
        ehlo = b"250-mx.test\r\n250-PIPELINING\r\n250 LIMITS RCPTDOMAINMAX=2 RCPTMAX=3\r\n"
        self.check(self.begun(ehlo=ehlo), "b@to.test", "r2@to.test", "r3@b.test")
        self.assertEqual((self.book.behind, self.book.apart), ([4, 5], [4]))
        self.session = self.make()
        ehlo = ehlo.replace(b"=2", b"=1")
        self.seen = []
        self.check(self.begun(ehlo=ehlo), "b@to.test", "r2@to.test")

    def test_answers_are_waited_for_a_moment(self) -> None:
        del self.needs["b.test"], self.needs["c.test"]
        peer = self.begun()
        self.assertEqual(peer.line.read(), b"")
        self.waiting["c.test"].callback(Approach())
        self.pass_time(PATIENCE - 0.1)
        self.assertEqual(peer.line.read(), b"")
        self.assertNotIn("quiet", self.book.told, "it is not the host that is slow")
        self.pass_time(0.1)
        self.check(peer, "b@to.test", "r2@to.test", "r4@c.test")
        self.assertEqual(self.book.apart, [3, 5])

    def test_on_a_kept_connection(self) -> None:
        """They are asked about each time."""
        peer = self.begun()
        peer.line.read()
        peer.say(b"250 ok\r\n" + b"250 ok\r\n" * 5 + b"354 go\r\n")
        peer.say(b"250 queued\r\n")
        del self.needs["b.test"]
        self.session.deliver(offer(fellows=FELLOWS))
        self.assertEqual((peer.line.read(), self.session._company.decided), (b"", False))
        self.waiting["b.test"].callback(Approach())
        self.check(peer, "b@to.test", "r2@to.test", "r3@b.test", "r4@c.test", "r5@b.test")


class WhatFails(Company):
    """Before it is begun that is an affair of the first's domain alone."""

    def test_no_host_is_found(self) -> None:
        self.problem = Unroutable(Result.BOUNCED, "5.1.2 there is none")
        self.session.deliver(offer(fellows=FELLOWS))
        self.assertEqual(self.book.fates, dict.fromkeys((1, 2), ("bounced", "connect", 0)))
        self.assertEqual((self.book.behind, self.book.apart), ([3, 4, 5], []))

    def test_no_host_is_reached(self) -> None:
        self.session.deliver(offer(fellows=FELLOWS))
        self.peer().fail(ConnectionError("no"))
        self.assertEqual(set(self.book.fates), {1, 2})
        self.assertEqual((self.book.behind, self.book.apart), ([3, 4, 5], []))

    def test_no_tls_and_the_first_needs_it(self) -> None:
        self.policy = Policy.MUST
        self.open(fellows=FELLOWS)
        self.assertEqual({fate[1] for fate in self.book.fates.values()}, {"tls"})
        self.assertEqual((set(self.book.fates), self.book.behind), ({1, 2}, [3, 4, 5]))

    def test_after_it_has_begun_it_is_all_of_theirs(self) -> None:
        self.begun().close()
        self.assertEqual(set(self.book.fates), {1, 2, 3, 4, 5})

    def test_a_dead_kept_connection(self) -> None:
        """They are asked about anew on the next."""
        peer = self.open()
        self.session.go()
        peer.line.read()
        peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
        peer.say(b"250 queued\r\n")
        self.session.deliver(offer(fellows=FELLOWS))
        peer.close()
        self.needs["b.test"] = None
        again = self.peer()
        again.connect()
        again.say(b"220 hi\r\n")
        again.say(b"250-mx.test\r\n250 PIPELINING\r\n")
        self.session.go(5)
        self.check(again, "b@to.test", "r2@to.test", "r4@c.test")
        self.assertEqual(self.book.apart, [3, 5])

    def test_a_dead_kept_connection_and_no_other(self) -> None:
        peer = self.open()
        self.session.go()
        peer.line.read()
        peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
        peer.say(b"250 queued\r\n")
        self.session.deliver(offer(fellows=FELLOWS))
        peer.close()
        self.peer().fail(ConnectionError("no"))
        self.assertEqual((set(self.book.fates), self.book.behind), ({1, 2}, [3, 4, 5]))

    def test_the_connection_ends_while_they_are_asked_about(self) -> None:
        """A new one is called again by the first's hosts, of which there is no other; a kept one gives way to a new."""
        del self.needs["b.test"]
        peer = self.begun()
        peer.close()
        self.assertEqual((set(self.book.fates), self.book.behind), ({1, 2}, [3, 4, 5]))
        self.assertTrue(self.waiting["b.test"].called, "nobody waits for it any more")

    def test_a_kept_one_ends_while_they_are_asked_about(self) -> None:
        peer = self.open()
        self.session.go()
        peer.line.read()
        peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
        peer.say(b"250 queued\r\n")
        del self.needs["b.test"]
        self.session.deliver(offer(fellows=FELLOWS))
        lookups = self.lookups
        peer.close()
        self.assertEqual((self.lookups, len(self.book.outcomes)), (lookups + 1, 1))
        self.needs["b.test"] = Approach()
        again = self.peer()
        again.connect()
        again.say(b"220 hi\r\n")
        again.say(b"250-mx.test\r\n250 PIPELINING\r\n")
        self.session.go(5)
        self.assertEqual(len(self.rcpts(again)), 5)

    def test_aborted_while_they_are_asked_about(self) -> None:
        del self.needs["b.test"]
        peer = self.begun()
        self.session.abort()
        self.assertEqual((peer.line.read(), self.book.outcomes, self.book.behind), (b"", [], []))
        self.assertTrue(self.waiting["b.test"].called)
