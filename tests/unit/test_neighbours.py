"""Recipients at other domains in one transaction: whose hosts are the same, and what each of them would wait for."""

from __future__ import annotations

from typing import ClassVar

from msgspec.structs import replace

from relay.channel import frames
from relay.config.schema import Backoff, Config, Domain, PoolAddress, Site, Zone
from relay.dispatch.neighbours import MOST
from relay.message.values import Outcome, Result
from relay.suppression.entry import Entry
from relay.zone.decision import Scope
from relay.zone.hold import Hold
from relay.zone.zones import from_config
from tests.unit import dispatch_rig
from tests.unit.dispatch_rig import BOUNCED, DEFERRED, DELIVERED, DispatchRig
from tests.unit.journey_rig import a_delivery, a_message

UNREACHED = Outcome(Result.DEFERRED, "No connection within 60 s", 0, "network", "connect")
UNSAFE = Outcome(Result.DEFERRED, "4.7.5 TLS with mx.test: it is another's", 0, "tls", "tls", "mx.test", "192.0.2.9")
THREE = ("e.test", "f.test", "g.test")


def whom(offer: frames.Offer) -> list[tuple[int, str]]:
    """Each with his domain, "" for that of the first."""
    return [(offer.seq, ""), *((one.seq, one.domain) for one in offer.fellows)]


def seqs(offer: frames.Offer) -> list[int]:
    return [seq for seq, _ in whom(offer)]


class Neighbours(DispatchRig):
    zones: ClassVar[dict[str, Zone]] = {
        "default": Zone(connections=9, recipients_per_transaction=5),
        "other": Zone(recipients_per_transaction=5),
    }

    def setUp(self) -> None:
        super().setUp()
        self.sites.named = dict.fromkeys((*THREE, "d.test", "limited.test"), "hosts.test")
        self.child = self.join()

    def sent(self, *domains: str) -> list[list[int]]:
        """How the recipients of a message at these domains travel."""
        self.accept(*domains)
        return [seqs(offer) for offer in self.offers(self.child)]

    def own(self, domain: str) -> int:
        """How many connections count for a domain."""
        site = self.sites.known(domain)
        assert site is not None
        [count] = self.limits.way(self.zones_["default"], domain, site, "").own.connections
        return count.open


class Grouping(Neighbours):
    def test_of_one_site_they_go_together(self) -> None:
        self.accept("e.test", "f.test", "g.test", "f.test", "e.test")
        [offer] = self.offers(self.child)
        self.assertEqual(whom(offer), [(1, ""), (5, ""), (2, "f.test"), (4, "f.test"), (3, "g.test")])
        self.assertEqual(offer.domain, "e.test")
        self.assertEqual(len({offer.lease, *(one.lease for one in offer.fellows)}), 5)

    def test_not_who_is_to_get_no_mail(self) -> None:
        self.suppressions.add(Entry("to2@f.test"))
        self.assertEqual(self.sent("e.test", "f.test", "g.test"), [[1, 3]])
        self.tell()
        self.assertEqual(self.tally.suppressions["attempt"], 1)

    def test_no_more_than_the_zone_says(self) -> None:
        self.assertEqual(self.sent(*(THREE * 3)), [[1, 4, 7, 2, 5], [8, 3, 6, 9]])

    def test_not_of_other_hosts(self) -> None:
        self.sites.named["else.test"] = "other.test"
        self.assertEqual(self.sent("e.test", "else.test", "f.test"), [[1, 3], [2]])

    def test_not_at_a_site_whose_domains_have_other_hosts(self) -> None:
        """A provider's have."""
        self.sites.marks["f.test"] = "others"
        self.assertEqual(self.sent("e.test", "f.test", "g.test"), [[1, 3], [2]])

    def test_not_of_another_message(self) -> None:
        self.accept("e.test")
        self.clock.advance(1)
        self.assertEqual(self.sent("f.test"), [[1], [1]])

    def test_not_what_stands_behind_another_message(self) -> None:
        self.dispatcher.stop()
        self.accept("f.test")
        self.accept("f.test")
        self.accept(*THREE)
        self.dispatcher.start()
        self.turn()
        offers = [(offer.domain, seqs(offer)) for offer in self.offers(self.child)]
        self.assertEqual(offers, [("f.test", [1]), ("e.test", [1, 3])])

    def test_not_of_another_zone_or_flow(self) -> None:
        self.join("00000005-9", "other")
        message = a_message(50, b"", 4)
        deliveries = [
            replace(a_delivery(message, seq, domain, self.now(), zone), flow=flow)
            for seq, domain, zone, flow in (
                (1, "e.test", "default", ""),
                (2, "f.test", "other", ""),
                (3, "f.test", "default", "1one"),
                (4, "g.test", "default", ""),
            )
        ]
        self.store.append(message, deliveries, b"")
        self.store.let_go()
        self.schedule.add(message, deliveries, b"")
        self.turn()
        self.assertEqual(sorted(seqs(one) for one in self.offers(self.child)), [[1, 4], [3]])

    def test_not_where_options_differ(self) -> None:
        """d.test has a table of its own."""
        self.assertEqual(self.sent("e.test", "d.test", "f.test"), [[1, 3], [2]])

    def test_a_domain_whose_site_is_looked_up_is_not_waited_for(self) -> None:
        self.sites.unknown.add("f.test")
        self.assertEqual(self.sent("e.test", "f.test", "g.test"), [[1, 3]])

    def test_suspects_go_alone(self) -> None:
        self.accept(*THREE)
        [offer] = self.offers(self.child)
        self.says(self.child, frames.Answered(offer.connection, "mx.test", "192.0.2.9"))
        self.dispatcher.gone(self.child, [], True)
        self.child = self.join("00000005-2")
        alone = []
        for _ in range(3):
            [offer] = self.offers(self.child)
            alone.append(seqs(offer))
            self.done(self.child, offer)
            self.tell()
        self.assertEqual(sorted(alone), [[1], [2], [3]])
        self.everything_is_free()

    def test_a_child_that_dies_gives_each_back_to_its_lane(self) -> None:
        """But those that its journal tells of."""
        self.accept(*THREE)
        [offer] = self.offers(self.child)
        self.says(self.child, frames.Answered(offer.connection, "mx.test", "192.0.2.9"))
        taken = self.entry(offer)._replace(seq=2, lease=offer.fellows[0].lease)
        self.dispatcher.gone(self.child, [taken], False)
        self.tell()
        self.assertEqual([row.domain for row in self.store.rows.values()], ["e.test", "g.test"])
        self.child = self.join("00000005-2")
        self.assertEqual([seqs(one) for one in self.offers(self.child)], [[1, 3]])


class Many(Neighbours):
    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=9, recipients_per_transaction=100)}

    def test_no_more_domains_than_there_may_be(self) -> None:
        names = [f"x{number}.test" for number in range(MOST + 5)]
        self.sites.named |= dict.fromkeys(names, "hosts.test")
        self.assertEqual([len(one) for one in self.sent(*names)], [MOST + 1, 4])


class EachItsOwn(Neighbours):
    def begun(self, *domains: str) -> frames.Offer:
        self.accept(*domains)
        [offer] = self.offers(self.child)
        self.says(self.child, frames.Answered(offer.connection, "mx.test", "192.0.2.9"))
        self.assertEqual(self.child.heard(frames.Go), [frames.Go(offer.connection, len(domains))])
        return offer

    def fared(self, offer: frames.Offer, *outcomes: Outcome | None, apart: bool = False) -> None:
        """The fellows, the last one first; not a turn goes by."""
        pairs = list(zip(offer.fellows, outcomes, strict=True))
        for one, outcome in reversed(pairs):
            self.dispatcher.frame(self.child, frames.Fared(one.lease, outcome, apart and outcome is None))

    def test_each_has_an_outcome_of_its_own(self) -> None:
        offer = self.begun(*THREE)
        self.fared(offer, BOUNCED, DEFERRED)
        self.done(self.child, offer)
        self.tell()
        [left] = self.store.rows.values()
        self.assertEqual((left.domain, left.attempts), ("g.test", 1))

    def test_what_is_left_behind_goes_from_its_own_lane(self) -> None:
        offer = self.begun(*THREE)
        self.fared(offer, None, DELIVERED)
        self.done(self.child, offer, kept=True)
        [again] = self.offers(self.child)
        self.assertEqual((again.domain, seqs(again)), ("f.test", [2]))
        self.tell()
        [row] = self.store.rows.values()
        self.assertEqual(row.attempts, 0)

    def test_what_has_not_begun_is_no_failure_of_theirs(self) -> None:
        """They go next, without the first."""
        self.accept(*THREE)
        [offer] = self.offers(self.child)
        self.fared(offer, None, None)
        self.done(self.child, offer, UNSAFE)
        self.tell()
        [again] = self.offers(self.child)
        self.assertEqual((again.domain, whom(again)), ("g.test", [(3, ""), (2, "f.test")]))
        attempts = {row.domain: row.attempts for row in self.store.rows.values()}
        self.assertEqual(attempts, {"e.test": 1, "f.test": 0, "g.test": 0})

    def test_who_can_not_share_a_connection_is_not_given_to_it_again(self) -> None:
        """And the others are as many as before."""
        offer = self.begun("e.test", "e.test", "f.test", "g.test")
        self.fared(offer, DELIVERED, None, DELIVERED, apart=True)
        self.done(self.child, offer, kept=True)
        [alone] = self.offers(self.child)
        self.assertEqual(alone.domain, "f.test")
        self.accept("e.test", "e.test", "f.test", "g.test")
        [again, other] = self.offers(self.child)
        self.assertEqual((again.connection, seqs(again)), (offer.connection, [1, 2, 4]))
        self.assertEqual(seqs(other), [3])

    def test_a_kept_connection_is_for_the_first_ones_domain(self) -> None:
        offer = self.begun(*THREE)
        self.fared(offer, DELIVERED, DELIVERED)
        self.done(self.child, offer, kept=True)
        self.accept("f.test", "g.test")
        [other] = self.offers(self.child)
        self.assertNotEqual(other.connection, offer.connection)
        self.accept("e.test", "f.test")
        [kept] = self.offers(self.child)
        self.assertEqual((kept.connection, whom(kept)), (offer.connection, [(1, ""), (2, "f.test")]))


class Gates(Neighbours):
    """What stands in the way of one domain keeps its recipients back, and theirs alone."""

    domains: ClassVar[dict[str, Domain]] = {
        "default": Domain(max_connections=1),
        "limited.test": Domain(max_connections=1, messages=("100/s",)),
    }
    def test_a_connection_counts_for_each_domain(self) -> None:
        self.accept(*THREE)
        [offer] = self.offers(self.child)
        self.assertEqual([self.own(domain) for domain in THREE], [1, 1, 1])
        for one in offer.fellows:
            self.dispatcher.frame(self.child, frames.Fared(one.lease, DELIVERED))
        self.done(self.child, offer, kept=True)
        self.assertEqual([self.own(domain) for domain in THREE], [1, 1, 1])
        self.accept("e.test")
        [again] = self.offers(self.child)
        self.assertEqual((again.connection, [self.own(domain) for domain in THREE]), (offer.connection, [1, 0, 0]))
        self.done(self.child, again)
        self.assertEqual([self.own(domain) for domain in THREE], [0, 0, 0])

    def test_a_domain_that_has_all_its_connections(self) -> None:
        self.assertEqual(self.sent("f.test"), [[1]])
        self.assertEqual(self.sent(*THREE), [[1, 3]])

    def test_others_that_wait_for_a_connection_there_are_not_overtaken(self) -> None:
        self.accept("f.test")
        [first] = self.offers(self.child)
        self.accept("f.test", flow="one")
        self.assertEqual(self.sent(*THREE), [[1, 3]])
        self.done(self.child, first)
        [next_] = self.offers(self.child)
        self.assertEqual((next_.domain, next_.seq), ("f.test", 1))

    def test_nor_when_one_of_them_has_just_been_let_go(self) -> None:
        self.accept("f.test")
        [first] = self.offers(self.child)
        self.accept("f.test", flow="11one")
        self.accept("f.test", flow="11two")
        self.dispatcher.stop()
        self.accept(*THREE)
        self.child.parting.append(first.connection)
        self.dispatcher.frame(self.child, frames.Done(first.connection, first.lease, DELIVERED, False))
        self.part()
        self.dispatcher.start()
        self.turn()
        offers = [(one.domain, seqs(one)) for one in self.offers(self.child)]
        self.assertEqual(offers[0], ("e.test", [1, 3]))

    def test_a_domain_with_rates_goes_alone(self) -> None:
        for first in ("limited.test", "e.test"):
            other = "e.test" if first == "limited.test" else "limited.test"
            self.accept(first, other)
            offers = self.offers(self.child)
            self.assertEqual([seqs(offer) for offer in offers], [[1], [2]])
            for offer in offers:
                self.done(self.child, offer)

    def test_a_hold(self) -> None:
        self.holds.hold = Hold("1", Scope(domain="f.test"), "a test", 0, 0)
        self.assertEqual(self.sent(*THREE), [[1, 3]])

    def test_what_waits_for_the_same_is_taken_along(self) -> None:
        """All lanes wait at the gate of their site; the one that it lets go takes the others with it."""
        self.sites.sections = {"hosts.test": Site(max_connections=1)}
        self.accept("d.test")
        [first] = self.offers(self.child)
        self.assertEqual(self.sent(*THREE), [])
        self.done(self.child, first)
        self.assertEqual([seqs(offer) for offer in self.offers(self.child)], [[1, 2, 3]])


class OwnRates(Neighbours):
    domains: ClassVar[dict[str, Domain]] = {"default": Domain(bytes=("1GB/s",))}

    def test_domains_that_have_some_go_alone(self) -> None:
        self.assertEqual(self.sent("e.test", "f.test", "e.test"), [[1, 3], [2]])


class Rates(Neighbours):
    zones: ClassVar[dict[str, Zone]] = {
        "default": Zone(connections=9, recipients_per_transaction=50, messages=("60/s",))
    }

    def test_no_more_than_there_are_tokens_for(self) -> None:
        """A bucket of 60 in a second holds two of them."""
        self.accept(*THREE)
        [offer, *_] = self.offers(self.child)
        self.assertEqual(seqs(offer), [1, 2])


class Addresses(Neighbours):
    def setUp(self) -> None:
        pool = (PoolAddress(address="10.0.0.1"), PoolAddress(address="10.0.0.2"))
        made = from_config(Config(hostname="relay.test", pools={"default": pool}, zones=self.zones))
        self.patch(dispatch_rig, "zones_of", lambda *domains, **zones: made)
        super().setUp()

    def test_not_what_has_to_leave_by_another(self) -> None:
        """One of two is on hold for one domain."""
        left = "10.0.0.1"
        self.holds.held = frozenset(("10.0.0.2",))
        self.patch(
            self.holds, "addresses",
            lambda zone, domain, site, user: self.holds.held if domain == "f.test" else frozenset(),
        )  # fmt: skip
        seen = set()
        for _ in range(8):
            self.accept(*THREE)
            offers = self.offers(self.child)
            together = offers[0].local_address == left
            seen.add(together)
            self.assertEqual([seqs(offer) for offer in offers], [[1, 2, 3]] if together else [[1, 3], [2]])
            self.assertEqual(offers[-1].local_address, left)
            for offer in offers:
                self.says(self.child, *(frames.Fared(one.lease, DELIVERED) for one in offer.fellows))
                self.done(self.child, offer)
        self.assertEqual(seen, {True, False})


class Warming(Neighbours):
    cold: ClassVar[tuple[str, ...]] = ("0.0.0.0",)

    def test_each_counts_for_warm_up(self) -> None:
        self.warming.left = {"0.0.0.0": 2}
        self.assertEqual(self.sent(*THREE), [[1, 2]])
        self.assertEqual(self.warming.left, {"0.0.0.0": 0})


class Named(Neighbours):
    """Domains of a provider with the same hosts: each has a target of its own."""

    backoff_section = Backoff(unreachable=(60.0,))

    def setUp(self) -> None:
        super().setUp()
        self.sites.sections = {"hosts.test": Site(max_connections=0)}

    def test_one_that_is_left_alone_for_a_while_stays_behind(self) -> None:
        self.accept("f.test")
        [offer] = self.offers(self.child)
        self.done(self.child, offer, UNREACHED)
        self.tell()
        self.assertEqual(self.sent(*THREE), [[1, 3]])


class Fixed(Neighbours):
    zones: ClassVar[dict[str, Zone]] = {
        "default": Zone(connections=9, host="hop.test", recipients_per_transaction=5)
    }

    def test_a_next_hop_is_one_for_all_domains(self) -> None:
        self.accept("one.test", "two.test", "d.test", "three.test")
        offers = self.offers(self.child)
        self.assertEqual([whom(one) for one in offers], [[(1, ""), (2, "two.test"), (4, "three.test")], [(3, "")]])
