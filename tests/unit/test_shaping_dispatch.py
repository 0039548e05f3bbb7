"""Limits at each scope, fairness, holds, outages, complaints and warm-up, as children see them."""

from __future__ import annotations

import gc
from collections import Counter
from typing import Any, ClassVar

import msgspec

from relay.channel import frames
from relay.channel.codec import BadFrame
from relay.channel.frames import Offer
from relay.config.schema import Backoff, Config, Domain, Limits, PoolAddress, Sender, Site, Zone
from relay.dispatch import expiry
from relay.dispatch.connection import State
from relay.dispatch.gates import Gate
from relay.dispatch.ledger import Limit
from relay.dispatch.limits import Way
from relay.message.flow import Flow, Priority, flow_text
from relay.message.values import Outcome, Result
from relay.zone.decision import Scope
from relay.zone.hold import Hold
from relay.zone.zones import from_config
from tests.unit import dispatch_rig
from tests.unit.dispatch_rig import DEFERRED, DELIVERED, DispatchRig, FakeChild

SILENT = Outcome(Result.DEFERRED, "No connection within 60 s", 0, "network", "connect")
RATE = Outcome(Result.DEFERRED, "421 4.7.0 too many messages, slow down", 421, "reply", "mail", "mx.test", "192.0.2.9")
LISTED = Outcome(Result.DEFERRED, "554 listed at zen.spamhaus.org", 554, "reply", "rcpt", "mx.test", "192.0.2.9")
POOL = ("10.0.0.1", "10.0.0.2")


def flow(user: str, priority: Priority = "normal") -> str:
    return flow_text(Flow(user, priority))


class Shaped(DispatchRig):
    pool: ClassVar[tuple[str, ...]] = ("10.0.0.1",)

    def setUp(self) -> None:
        pool = tuple(PoolAddress(address=name) for name in self.pool)
        made = from_config(
            Config(hostname="relay.test", pools={"default": pool}, zones=self.zones, domains=self.domains)
        )
        self.patch(dispatch_rig, "zones_of", lambda *domains, **zones: made)
        super().setUp()
        self.children = [self.join(f"00000005-{n}") for n in range(1, 4)]

    def offered(self) -> list[tuple[FakeChild, Offer]]:
        return [(child, offer) for child in self.children for offer in child.heard(Offer)]

    def answer(self, child: FakeChild, offer: Offer) -> None:
        self.says(child, frames.Answered(offer.connection, "mx.test", "192.0.2.9"))

    def went(self) -> int:
        return sum(len(child.heard(frames.Go)) for child in self.children)

    def prove(self, *domains: str) -> None:
        for domain in domains:
            self.accept(domain)
            [(child, offer)] = self.offered()
            self.answer(child, offer)
            self.done(child, offer)
            child.heard()
        self.tell()


class EachScope(Shaped):
    """Three children of three connections each: a limit of two is two over all of them."""

    zones: ClassVar[dict[str, Zone]] = {
        "default": Zone(connections=3), "capped": Zone(connections=3, max_connections=2),
        "addressed": Zone(connections=3, address=Limits(max_connections=2)),
    }  # fmt: skip
    domains: ClassVar[dict[str, Domain]] = {"default": Domain(max_connections=0), "two.test": Domain(max_connections=2)}
    senders: ClassVar[dict[str, Sender]] = {"me": Sender(max_connections=2)}

    def most(self, *sent: tuple[str, dict[str, Any]], zone: str = "default") -> int:
        """How many of these are on their way at once, answered as they come; in the end all have gone."""
        if zone != "default":
            self.children = [self.join(f"00000005-{zone}{n}", zone) for n in range(3)]
        for domain, more in sent:
            self.accept(domain, zone=zone, **more)
        most = gone = 0
        for _ in range(60):
            offers = self.offered()
            most = max(most, len(self.ledger.connections()))
            for child, offer in offers:
                self.answer(child, offer)
                self.done(child, offer)
                gone += 1
            self.clock.advance(0.05)
            self.turn()
        self.assertEqual(gone, len(sent))
        return most

    def test_of_a_domain(self) -> None:
        self.assertEqual(self.most(*[("two.test", {})] * 8), 2)

    def test_of_a_site(self) -> None:
        self.sites.sections["big"] = Site(max_connections=2)
        self.sites.named = {f"s{n}.test": "big" for n in range(8)}
        self.assertEqual(self.most(*[(f"s{n}.test", {}) for n in range(8)]), 2)

    def test_of_a_zone(self) -> None:
        self.assertEqual(self.most(*[(f"s{n}.test", {}) for n in range(8)], zone="capped"), 2)

    def test_of_an_address(self) -> None:
        self.assertEqual(self.most(*[(f"s{n}.test", {}) for n in range(8)], zone="addressed"), 2)

    def test_of_a_user(self) -> None:
        self.assertEqual(self.most(*[(f"s{n}.test", {"flow": flow("me")}) for n in range(8)]), 2)

    def test_without_one(self) -> None:
        self.assertEqual(self.most(*[(f"s{n}.test", {}) for n in range(8)]), 8)


class RatesOfScopes(Shaped):
    zones: ClassVar[dict[str, Zone]] = {
        "default": Zone(connections=20), "rated": Zone(connections=20, messages=("6/m",)),
        "addressed": Zone(connections=20, address=Limits(messages=("6/m",))),
        "opening": Zone(connections=20, new_connections=("6/m",)), "bytes": Zone(connections=20, bytes=("100B/s",)),
    }  # fmt: skip
    domains: ClassVar[dict[str, Domain]] = {"default": Domain(max_connections=0), "six.test": Domain(messages=("6/m",))}
    senders: ClassVar[dict[str, Sender]] = {"me": Sender(messages=("6/m",))}

    def begun(self, zone: str, domains: list[str], kept: bool, seconds: int, **more: Any) -> list[float]:
        """When messages began, by new connections and kept ones, over three children."""
        if zone != "default":
            self.children = [self.join(f"00000005-{zone}{n}", zone) for n in range(3)]
        for domain in domains:
            self.accept(domain, zone=zone, **more)
        times: list[float] = []
        open_: dict[int, tuple[FakeChild, Offer]] = {}
        for step in range(seconds * 20):
            for child in self.children:
                for frame in child.heard():
                    if type(frame) is Offer:
                        connection = self.ledger.get(frame.connection)
                        assert connection is not None
                        open_[frame.connection] = child, frame
                        if connection.state is not State.SENDING:
                            self.answer(child, frame)
                            continue
                    if type(frame) in (Offer, frames.Go):
                        times.append(next(when for when, told in child.told if told is frame))
                        self.done(*open_.pop(frame.connection), kept=kept)
            if step == 200 and zone == "rated":
                self.dispatcher.gone(self.children.pop(), [], False)  # D38
                self.children.append(self.join("00000005-again", zone))
            self.clock.advance(0.05)
            self.turn()
        return times

    def exact(self, times: list[float], amount: int = 6, unit: float = 60.0) -> None:
        times.sort()
        for when in times:
            self.assertLessEqual(len([one for one in times if when - unit < one <= when]), amount)
        minutes = (times[-1] - times[0]) / unit
        self.assertGreaterEqual(len(times) - 1, 0.95 * amount * minutes)
        self.assertGreater(minutes, 2.5)

    def test_D38_of_a_zone_though_a_child_is_killed_and_back(self) -> None:
        for kept in (False, True):
            self.setUp()
            self.exact(self.begun("rated", [f"s{n % 4}.test" for n in range(40)], kept, 200))

    def test_of_an_address(self) -> None:
        self.exact(self.begun("addressed", [f"s{n % 4}.test" for n in range(40)], True, 200))

    def test_of_a_domain(self) -> None:
        self.exact(self.begun("default", ["six.test"] * 40, True, 200))

    def test_of_a_site(self) -> None:
        self.sites.sections["big"] = Site(max_connections=0, messages=("6/m",))
        self.sites.named = {f"s{n}.test": "big" for n in range(4)}
        self.exact(self.begun("default", [f"s{n % 4}.test" for n in range(40)], True, 200))

    def test_of_a_user(self) -> None:
        self.exact(self.begun("default", [f"s{n % 4}.test" for n in range(40)], False, 200, flow=flow("me")))

    def test_of_new_connections(self) -> None:
        self.exact(self.begun("opening", [f"s{n}.test" for n in range(40)], False, 200))

    def test_kept_connections_are_not_new(self) -> None:
        times = self.begun("opening", ["same.test"] * 40, True, 20)
        self.assertEqual(len(times), 40)

    def test_of_bytes(self) -> None:
        times = self.begun("bytes", [f"s{n % 4}.test" for n in range(20)], True, 300, body=b"x" * 1000)
        size = 1000 + len(b"Subject: x\r\n") + 1024  # as it is reckoned
        self.assertEqual(len(times), 20)
        self.assertGreater((times[-1] - times[0]) / 19, 0.9 * 1000 / 100)
        self.assertLess((times[-1] - times[0]) / 19, 1.1 * size / 100)


class Redialling(Shaped):
    """Each host that is called is a new connection, though it is the same attempt."""

    zones: ClassVar[dict[str, Zone]] = {
        "default": Zone(connections=20, new_connections=("6/m",)),
        "addressed": Zone(connections=20, address=Limits(new_connections=("6/m",))),
        "free": Zone(connections=20),
    }  # fmt: skip
    domains: ClassVar[dict[str, Domain]] = {"default": Domain(max_connections=0)}

    def dialled(self, zone: str, hosts: int) -> list[float]:
        """When hosts were called: of ten deliveries each one calls so many, all but the last in vain."""
        if zone != "default":
            self.children = [self.join(f"00000005-{zone}{n}", zone) for n in range(3)]
        for n in range(10):
            self.accept(f"s{n}.test", zone=zone)
        left: dict[int, tuple[FakeChild, Offer, int]] = {}
        times: list[float] = []
        for _ in range(20 * 60 * hosts * 2):
            for child in self.children:
                for frame in child.heard():
                    if type(frame) in (Offer, frames.Dial):
                        times.append(self.clock.seconds())
                        if type(frame) is Offer:
                            left[frame.connection] = child, frame, hosts
                        child, offer, more = left[frame.connection]
                        left[frame.connection] = child, offer, more - 1
                        if more > 1:
                            self.says(child, frames.Redial(frame.connection))
                        else:
                            self.answer(child, offer)
                            self.done(child, offer, DEFERRED)
            self.clock.advance(0.1)
            self.turn()
        self.assertEqual({more for _, _, more in left.values()}, {0})
        self.assertEqual(len(left), 10)
        return times

    def exact(self, times: list[float], hosts: int) -> None:
        self.assertEqual(len(times), 10 * hosts)
        for when in times:
            self.assertLessEqual(len([one for one in times if when - 60.0 < one <= when]), 6)
        self.assertLess(times[-1] - times[0], 1.1 * 10 * len(times), "and all of it is used")

    def test_hosts_of_one_attempt_are_paid_one_by_one(self) -> None:
        self.exact(self.dialled("default", 3), 3)

    def test_of_an_address(self) -> None:
        self.exact(self.dialled("addressed", 2), 2)

    def test_it_takes_turns_with_lanes_that_would_open_one(self) -> None:
        self.accept("a.test")
        [(child, first)] = self.offered()
        for number in range(4):
            self.accept(f"b{number}.test")
        seen = []
        for _ in range(8):
            self.says(child, frames.Redial(first.connection))
            self.clock.pump([0.5] * 21)
            seen.append((len(child.heard(frames.Dial)), len(self.offered())))
        self.assertEqual(seen, [(1, 0), (0, 1)] * 4)

    def test_who_calls_many_hosts_in_vain_keeps_nobody_from_the_first(self) -> None:
        for number in range(30):
            self.accept(f"e{number}.test", flow=flow("evil"))
        for _ in range(60):
            for child in self.children:
                for frame in (*child.heard(Offer), *child.heard(frames.Dial)):
                    self.says(child, frames.Redial(frame.connection))
            self.clock.pump([0.5] * 20)
        self.accept("good.test", flow=flow("good"))
        tokens = 0
        while not any(offer.domain == "good.test" for _, offer in self.offered()):
            for child in self.children:
                for dial in child.heard(frames.Dial):
                    self.says(child, frames.Redial(dial.connection))
            self.clock.pump([0.5] * 20)
            tokens += 1
            self.assertLess(tokens, 5)

    def test_who_waits_no_longer_takes_none(self) -> None:
        self.accept("a.test")
        [(child, first)] = self.offered()
        [rate] = self.limits.way(self.zones_["default"], "a.test", "a.test", "").opening
        self.says(child, frames.Redial(first.connection))
        self.done(child, first, SILENT)
        self.assertEqual((len(rate.parked), self.ledger.connections()), (0, []))
        self.clock.pump([0.5] * 21)
        self.assertEqual(child.heard(frames.Dial), [])

    def test_silence_changes_nothing_and_leave_to_begin_is_asked_for_again(self) -> None:
        """The host hung up while it waited for its turn, as that came."""
        self.accept("a.test")
        [(child, first)] = self.offered()
        self.answer(child, first)
        self.says(child, frames.Redial(first.connection), frames.Quiet(first.connection))
        self.assertEqual(child.heard(frames.Dial), [])
        self.clock.pump([0.5] * 21)
        self.assertEqual(child.heard(frames.Dial), [frames.Dial(first.connection)])
        self.answer(child, first)
        self.assertEqual(len(child.heard(frames.Go)), 2)

    def test_a_child_that_dies_while_it_waits(self) -> None:
        self.accept("a.test")
        [(child, first)] = self.offered()
        [rate] = self.limits.way(self.zones_["default"], "a.test", "a.test", "").opening
        self.says(child, frames.Redial(first.connection))
        self.assertEqual(len(rate.parked), 1)
        self.dispatcher.gone(child, [], False)
        self.children.remove(child)
        self.assertEqual(len(rate.parked), 0)
        self.clock.pump([0.5] * 21)
        self.assertEqual(len(self.offered()), 1)

    def test_without_a_rate_it_is_allowed_at_once(self) -> None:
        self.children = [self.join("00000005-free", "free")]
        self.accept("a.test", zone="free")
        [(child, first)] = self.offered()
        self.says(child, frames.Redial(first.connection), frames.Redial(first.connection))
        self.assertEqual(len(child.heard(frames.Dial)), 2)
        self.answer(child, first)
        self.done(child, first, DEFERRED, kept=True)
        self.assertRaises(BadFrame, self.dispatcher.frame, child, frames.Redial(first.connection))


class BothKinds(Shaped):
    """Which of its two addresses a connection uses shows when a host has answered."""

    pool: ClassVar[tuple[str, ...]] = ("10.0.0.1", "2001:db8::1")
    zones: ClassVar[dict[str, Zone]] = {
        "default": Zone(connections=20, address=Limits(max_connections=2)),
        "rated": Zone(connections=20, address=Limits(messages=("1/m",))),
        "called": Zone(connections=20, address=Limits(new_connections=("1/m",))),
    }
    domains: ClassVar[dict[str, Domain]] = {"default": Domain(max_connections=0)}
    backoff_section = Backoff(pauses=(5.0,), climb=50.0, blacklist=60.0)

    def setUp(self) -> None:
        super().setUp()
        self.number_of_domain = 0
        self.children += [self.join("00000005-8", "rated"), self.join("00000005-9", "called")]

    def fresh(self, count: int, zone: str = "default") -> list[tuple[FakeChild, Offer]]:
        """Mail to so many more domains; what of it is offered."""
        for _ in range(count):
            self.number_of_domain += 1
            self.accept(f"d{self.number_of_domain}.test", zone=zone)
        return self.offered()

    def go(self, child: FakeChild, offer: Offer, host: str) -> None:
        self.says(child, frames.Answered(offer.connection, "mx.test", host))
        self.assertEqual(child.heard(frames.Go), [frames.Go(offer.connection)])

    def kinds(self, offers: list[tuple[FakeChild, Offer]]) -> list[tuple[bool, bool]]:
        return [(bool(offer.local_address), bool(offer.local_address6)) for _, offer in offers]

    def test_a_connection_counts_for_both_until_it_goes(self) -> None:
        two = self.fresh(3)
        self.assertEqual(len(two), 2)
        self.go(*two[0], "192.0.2.9")
        self.assertEqual(self.offered(), [], "IPv4 is full: one is in use, one may be")
        self.go(*two[1], "2001:db8:f::9")
        [third] = self.offered()
        self.go(*third, "192.0.2.9")
        self.assertEqual(self.fresh(1), [], "IPv4 is full")
        self.done(*two[0])
        self.assertEqual(self.kinds(self.offered()), [(True, True)])

    def test_when_ipv6_is_full_mail_goes_by_ipv4(self) -> None:
        for _ in range(2):
            [one] = self.fresh(1)
            self.go(*one, "2001:db8:f::9")
        more = self.fresh(3)
        self.assertEqual(self.kinds(more), [(True, False)] * 2)

    def test_a_kept_connection_is_found_by_the_kind_that_it_uses(self) -> None:
        for host in ("2001:db8:f::9", "192.0.2.9"):
            [(child, offer)] = self.fresh(1)
            self.go(child, offer, host)
            self.done(child, offer, kept=True)
            self.accept(offer.domain)
            [(_, again)] = self.offered()
            self.assertEqual(again.connection, offer.connection)
            self.assertEqual(self.kinds([(child, again)]), [(":" not in host, ":" in host)])

    def test_messages_are_paid_by_the_kind_that_they_use(self) -> None:
        for host in ("2001:db8:f::9", "192.0.2.9"):
            [one] = self.fresh(1, "rated")
            self.go(*one, host)
        self.assertEqual(self.fresh(1, "rated"), [])

    def test_a_call_is_paid_by_both_and_what_is_not_used_comes_back(self) -> None:
        for host in ("2001:db8:f::9", "192.0.2.9"):
            [one] = self.fresh(1, "called")
            self.go(*one, host)
        self.assertEqual(self.fresh(1, "called"), [])

    def test_a_further_call_is_paid_by_the_kind_of_its_host(self) -> None:
        [(child, offer)] = self.fresh(1, "called")
        self.says(child, frames.Redial(offer.connection, False, "2001:db8:f::9", "192.0.2.9"))
        self.assertEqual(child.heard(frames.Dial), [frames.Dial(offer.connection)])
        self.go(child, offer, "192.0.2.9")
        self.assertEqual(self.fresh(1, "called"), [], "each has called once")
        self.clock.pump([1.0] * 61)
        [(_, second)] = self.offered()
        self.assertEqual(self.kinds([(child, second)]), [(True, True)])

    def test_a_path_in_trouble_is_counted_by_what_uses_it(self) -> None:
        [(child, six)] = self.fresh(1)
        self.go(child, six, "2001:db8:f::9")
        self.done(child, six, msgspec.structs.replace(RATE, host_address="2001:db8:f::9"))
        self.clock.pump([0.5] * 12)
        self.accept(six.domain)
        [(child, again)] = self.offered()
        self.assertEqual(self.kinds([(child, again)]), [(True, True)])
        self.go(child, again, "2001:db8:f::9")
        self.accept(six.domain)
        self.assertEqual(self.kinds(self.offered()), [(True, False)], "one connection by IPv6, for a start")


class Fair(Shaped):
    #: So many connections may have been opened already for what comes later.
    ahead = 0
    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=2)}
    domains: ClassVar[dict[str, Domain]] = {"default": Domain(max_connections=1)}

    def setUp(self) -> None:
        super().setUp()
        for child in self.children[1:]:
            self.dispatcher.gone(child, [], False)
        self.children = self.children[:1]

    def serve(self, most: int) -> list[str]:
        """Recipients' messages in the order in which they are offered."""
        seen: list[str] = []
        for _ in range(most):
            for child, offer in self.offered():
                seen.append(offer.id)
                self.answer(child, offer)
                self.done(child, offer)
                child.heard(frames.Go)
            self.clock.advance(0.05)
            self.turn()
        return seen

    def another(self, domains: list[str], theirs: str, priority: Priority = "normal") -> int:
        """After how many others another user's single message goes."""
        self.prove(*dict.fromkeys([*domains, theirs]))
        for domain in domains:
            self.accept(domain, flow=flow("noisy"))
        self.serve(3)
        single = self.accept(theirs, flow=flow("other", priority))
        return self.serve(30).index(single.id)

    def test_at_the_zone(self) -> None:
        self.assertLessEqual(self.another([f"n{n}.test" for n in range(20)] * 50, "o.test"), 6 + self.ahead)

    def test_at_the_domain(self) -> None:
        self.assertLessEqual(self.another(["same.test"] * 1000, "same.test"), 6 + self.ahead)

    def test_at_the_site(self) -> None:
        self.sites.sections["big"] = Site(max_connections=1)
        self.sites.named = {f"n{n}.test": "big" for n in range(21)}
        self.assertLessEqual(self.another([f"n{n}.test" for n in range(20)] * 50, "n20.test"), 6 + self.ahead)

    def test_the_urgent_first(self) -> None:
        self.prove("same.test")
        for _ in range(40):
            self.accept("same.test", flow=flow("me", "low"))
        self.serve(2)
        urgent = [self.accept("same.test", flow=flow("me", "high")).id for _ in range(8)]
        served = self.serve(14 + self.ahead)
        self.assertGreaterEqual(len(set(urgent) & set(served[: 10 + self.ahead])), 7)


class FairAtAddresses(Fair):
    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=9, address=Limits(max_connections=1))}
    domains: ClassVar[dict[str, Domain]] = {"default": Domain(max_connections=0)}
    noisy: ClassVar[list[str]] = [f"n{n % 4}.test" for n in range(200)]

    def test_at_the_zone(self) -> None:
        self.assertLessEqual(self.another([f"n{n}.test" for n in range(20)] * 50, "o.test"), 6 + self.ahead)

    def test_at_a_path_in_trouble(self) -> None:
        """One connection at first, for all domains of the site."""
        self.sites.named = dict.fromkeys([*self.noisy, "o.test"], "site")
        self.backoff.complained("default", "site", self.pool[0], "blacklist", "554 listed", self.now())
        self.assertLessEqual(self.another(self.noisy, "o.test"), 6 + self.ahead)


class FairAtRatesOfAddresses(Fair):
    """All of a user's domains together get no more than another's one."""

    ahead = 5
    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=9, address=Limits(messages=("5/s",)))}
    domains: ClassVar[dict[str, Domain]] = {"default": Domain(max_connections=0)}

    def setUp(self) -> None:
        super().setUp()
        self.open: dict[int, tuple[FakeChild, Offer]] = {}

    def serve(self, most: int) -> list[str]:
        seen: list[str] = []
        offers = self.open
        for _ in range(most * 4):
            for child, offer in self.offered():
                self.answer(child, offer)
                offers[offer.connection] = (child, offer)
            for child in self.children:
                for go in child.heard(frames.Go):
                    child, offer = offers.pop(go.connection)
                    seen.append(offer.id)
                    self.done(child, offer)
            self.clock.advance(0.05)
            self.turn()
        return seen

    def prove(self, *domains: str) -> None:
        for domain in domains:
            self.accept(domain)
        self.serve(2 * len(domains))
        self.tell()


class FairAtRates(FairAtRatesOfAddresses):
    """Hosts that all answer at once don't fill a rate for long with one user's mail."""

    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=200, messages=("5/s",))}

    def test_a_batch_to_many_new_hosts(self) -> None:
        self.prove("kept.test")
        self.accept(*(f"n{n}.test" for n in range(500)), flow=flow("noisy"))
        self.serve(1)
        single = self.accept("kept.test", flow=flow("other"))
        begun = self.clock.seconds()
        while single.id not in self.serve(1):
            self.assertLess(self.clock.seconds() - begun, 15.0)


class KeptBesideOpened(Shaped):
    """Connections are opened a second ahead of their tokens, and wait for them in a line."""

    zones: ClassVar[dict[str, Zone]] = {
        "default": Zone(connections=50), "few": Zone(connections=50, messages=("5/s",)),
        "many": Zone(connections=50, messages=("50/s",)),
    }  # fmt: skip
    domains: ClassVar[dict[str, Domain]] = {"kept.test": Domain(max_connections=1)}

    def sent(self, zone: str, seconds: float, step: float = 0.02) -> tuple[int, int]:
        """How many messages of each go: of one user on a kept connection, of another to a new host each."""
        child = self.join(f"00000005-{zone}", zone)
        for n in range(int(60 * seconds)):
            self.accept("kept.test", zone=zone, flow=flow("one"))
            self.accept(f"d{n}.test", zone=zone, flow=flow("two"))
        offers: dict[int, Offer] = {}
        count = Counter[bool]()
        for _ in range(int(seconds / step)):
            self.clock.advance(step)
            self.turn()
            for offer in child.heard(Offer):
                offers[offer.connection] = offer
                if self.ledger.get(offer.connection).state is not State.SENDING:  # type: ignore[union-attr]
                    self.answer(child, offer)
            at_work = {one.number for one in self.ledger.connections() if one.state is State.SENDING}
            for number in at_work & set(offers):
                offer = offers.pop(number)
                count[offer.domain == "kept.test"] += 1
                self.done(child, offer, kept=offer.domain == "kept.test")
        return count[True], count[False]

    def test_a_kept_one_has_its_share_of_the_tokens(self) -> None:
        for zone, amount, seconds in (("few", 5, 12), ("many", 50, 3)):
            kept, opened = self.sent(zone, seconds)
            self.assertGreaterEqual(kept + opened, 0.85 * amount * seconds, (kept, opened))
            self.assertGreaterEqual(min(kept, opened), 0.4 * (kept + opened), (kept, opened))


class ManySlowHosts(Shaped):
    """Hundreds of new hosts answer, and let each transaction hang for half a second before they count as quiet."""

    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=4), "narrow": Zone(connections=1)}

    def setUp(self) -> None:
        super().setUp()
        self.children = [self.children[0], self.join("00000005-8", "narrow")]
        for child in self.joined[1:3]:
            self.dispatcher.gone(child, [], False)
        self.begun: list[str] = []
        self.slow: dict[int, float] = {}
        self.sent: dict[int, tuple[FakeChild, Offer]] = {}

    def pass_half_seconds(self, count: int) -> None:
        """All that is offered is answered; slow hosts are quiet when half a second is over, others done at once."""
        for _ in range(count):
            for _ in range(20):
                for child, offer in self.offered():
                    self.sent[offer.connection] = child, offer
                    state = self.ledger.get(offer.connection)
                    if state is not None and state.state is State.SENDING:
                        self.start(child, offer)
                    else:
                        self.answer(child, offer)
                for child in self.children:
                    for go in child.heard(frames.Go):
                        self.start(*self.sent[go.connection])
            self.clock.advance(0.5)
            for connection, (child, offer) in list(self.sent.items()):
                if offer.domain.startswith("slow") and offer.connection in self.slow:
                    self.slow.pop(connection)
                    self.says(child, frames.Quiet(connection))
            self.turn()

    def start(self, child: FakeChild, offer: Offer) -> None:
        self.begun.append(offer.domain)
        if offer.domain.startswith("slow"):
            self.slow[offer.connection] = self.clock.seconds()
        else:
            self.done(child, offer, kept=True)

    def a_crowd(self, zone: str) -> None:
        self.accept("good.test", zone=zone, flow=flow("good"))
        self.pass_half_seconds(1)
        for n in range(200):
            self.accept(f"slow{n}.test", zone=zone, flow=flow("evil"))
        self.pass_half_seconds(3)
        self.begun.clear()

    def test_a_host_that_answered_before_has_its_share_of_the_places(self) -> None:
        for zone in self.zones:
            self.a_crowd(zone)
            for _ in range(5):
                self.accept("good.test", zone=zone, flow=flow("good"))
            self.pass_half_seconds(6 if zone == "narrow" else 2)
            self.assertGreaterEqual(self.begun.count("good.test"), 2 if zone == "narrow" else 5, zone)
            self.assertGreaterEqual(len(self.begun) - self.begun.count("good.test"), 2, "slow ones have theirs")

    def test_users_take_turns_among_new_hosts(self) -> None:
        self.a_crowd("default")
        self.accept("new.test", flow=flow("good"))
        self.pass_half_seconds(2)
        self.assertIn("new.test", self.begun)


class Held(Shaped):
    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=9)}

    def test_work_of_held_lanes_costs_nothing_while_others_send(self) -> None:
        self.prove("good.test")
        self.holds.hold = Hold("h", Scope(user="held"), "so", self.now())
        self.accept(*(f"h{n}.test" for n in range(1000)), flow=flow("held"))
        self.clock.pump([0.1] * 10)
        self.assertEqual(self.offered(), [])
        asked = Counter[str]()
        matching = self.holds.matching

        def counted(zone: str, domain: str, site: str, user: str) -> Hold | None:
            asked[user] += 1
            return matching(zone, domain, site, user)

        self.holds.matching = counted  # type: ignore[method-assign]
        for _ in range(50):
            self.accept("good.test")
            [(child, offer)] = self.offered()
            if self.ledger.get(offer.connection).state is not State.SENDING:  # type: ignore[union-attr]
                self.answer(child, offer)
            self.done(child, offer, kept=True)
        self.assertEqual(asked["held"], 0)
        self.assertLessEqual(asked[""], 150)
        self.holds.hold = None
        self.shutters.look_again()
        for _ in range(20):
            self.turn()
        self.assertEqual(len(self.offered()), 768, "as many as three children may try")


class Outages(Shaped):
    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=9)}
    backoff_section = Backoff(unreachable=(5.0,))

    def test_a_next_hop_that_does_not_let_us_in(self) -> None:
        """It has said so, and would lock us out: not each message knocks."""
        self.accept("dead.test")
        [(child, offer)] = self.offered()
        refused = "Login by PLAIN failed: 535 5.7.8 no"
        self.done(child, offer, Outcome(Result.DEFERRED, refused, 535, "auth", "auth", "mx.test", "192.0.2.1"))
        for number in range(5):
            self.accept("dead.test", flow=flow(f"u{number}"))
        self.assertEqual(self.offered(), [])
        self.assertIn(refused, str(list(self.backoff.listed(self.now()))))

    def test_one_probe_and_all_go_when_it_answers(self) -> None:
        self.accept("dead.test")
        [(child, offer)] = self.offered()
        self.done(child, offer, SILENT)
        waiting = [self.accept("dead.test", flow=flow(f"u{n}")) for n in range(5)]
        self.clock.advance(4)
        self.turn()
        self.assertEqual(self.offered(), [])
        self.clock.pump([0.5] * 4)
        self.turn()
        [(child, probe)] = self.offered()
        self.done(child, probe, SILENT)
        self.clock.pump([0.5] * 12)
        self.turn()
        [(child, probe)] = self.offered()
        self.answer(child, probe)
        self.clock.advance(0.1)
        self.turn()
        self.assertEqual(len(self.offered()), 3, "all but the two probes")
        self.tell()
        tried = [row.attempts for row in self.store.rows.values() if row.id in {one.id for one in waiting}]
        self.assertEqual(sorted(tried), [0, 0, 0, 0, 1], "only a probe costs a step")


class Complaints(Shaped):
    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=9)}
    backoff_section = Backoff(pauses=(5.0,), climb=5.0, blacklist=60.0)
    pool: ClassVar[tuple[str, ...]] = POOL

    def complain(self, outcome: Outcome) -> str:
        self.accept("a.test")
        [(child, offer)] = self.offered()
        self.answer(child, offer)
        self.done(child, offer, outcome)
        return offer.local_address

    def test_a_listed_address_is_set_aside(self) -> None:
        listed = self.complain(LISTED)
        for _ in range(6):
            self.accept("a.test")
        self.assertEqual({offer.local_address for _, offer in self.offered()}, set(POOL) - {listed})

    def test_a_path_climbs_from_one_connection(self) -> None:
        self.plumbed.gone = frozenset(POOL[1:])  # D42: an address that is gone is passed over.
        self.assertEqual(self.complain(RATE), POOL[0])
        self.accept(*["a.test"] * 1)
        for _ in range(7):
            self.accept("a.test")
        self.clock.advance(4.5)
        self.turn()
        self.assertEqual(self.offered(), [])
        counts = []
        for _ in range(3):
            self.clock.pump([0.5] * 10)
            self.turn()
            counts.append(len([one for one in self.ledger.connections() if one.state is not State.IDLE]))
            for child, offer in self.offered():
                self.answer(child, offer)
        self.assertEqual(counts[0], 1)
        self.assertEqual(counts, sorted(counts))
        self.assertGreater(counts[-1], 1)

    def test_a_single_address_that_is_listed_goes_on_with_one_connection(self) -> None:
        self.plumbed.gone = frozenset(POOL[1:])
        self.complain(LISTED)
        for _ in range(4):
            self.accept("a.test")
        self.assertEqual(len(self.offered()), 1)

    def kept_open(self, count: int) -> dict[int, FakeChild]:
        """Connections that were kept before anybody complained."""
        self.plumbed.gone = frozenset(POOL[1:])
        self.accept(*["a.test"] * 2)
        offers = self.offered()
        for child, offer in offers:
            self.answer(child, offer)
        self.accept(*["a.test"] * (count - 2))
        offers += self.offered()
        for child, offer in offers:
            self.answer(child, offer)
        for child, offer in offers:
            self.done(child, offer, kept=True)
        self.assertEqual(self.ledger.idle_connections, count)
        return {offer.connection: child for child, offer in offers}

    def complain_on_a_kept_one(self, outcome: Outcome) -> None:
        self.accept("a.test")
        [(child, offer)] = self.offered()
        self.done(child, offer, outcome, kept=True)

    def at_work(self) -> int:
        return len([one for one in self.ledger.connections() if one.state is State.SENDING])

    def test_kept_connections_are_no_way_round_a_climb(self) -> None:
        self.polite = False
        kept = self.kept_open(4)
        self.complain_on_a_kept_one(RATE)
        self.accept(*["a.test"] * 8)
        self.clock.pump([0.5] * 11)
        self.assertEqual((self.offered(), self.at_work()), ([], 0), "too many are open still")
        closed = [frame.connection for child in self.children for frame in child.heard(frames.Close)]
        self.assertEqual(len(closed), 3, "all but the one that may be")
        for number in closed:
            self.assertEqual(self.offered(), [])
            self.says(kept[number], frames.Closed(number))
        [(_, offer)] = self.offered()
        self.assertIn(offer.connection, set(kept) - set(closed))
        self.assertEqual(len(self.ledger.connections()), 1)

    def test_nor_round_a_single_address_that_is_listed(self) -> None:
        self.kept_open(4)
        self.complain_on_a_kept_one(LISTED)
        self.accept(*["a.test"] * 8)
        self.clock.pump([0.1] * 5)
        self.assertEqual((len(self.offered()), self.at_work(), len(self.ledger.connections())), (1, 1, 1))

    def test_nor_those_that_end_their_work_after_the_complaint(self) -> None:
        self.plumbed.gone = frozenset(POOL[1:])
        self.prove("a.test")
        self.accept(*["a.test"] * 4)
        first, *others = self.offered()
        for child, offer in (first, *others):
            self.answer(child, offer)
        self.done(*first, LISTED, kept=True)
        self.accept(*["a.test"] * 8)
        self.assertEqual(self.at_work(), 3)
        for left, (child, offer) in zip((2, 1, 1), others, strict=True):
            self.done(child, offer, kept=True)
            self.clock.pump([0.1] * 3)
            self.assertEqual(self.at_work(), left)
        self.assertEqual(len(self.offered()), 1)

    def closed(self) -> list[int]:
        return [frame.connection for child in self.children for frame in child.heard(frames.Close)]

    def test_kept_connections_that_are_too_many_are_given_back_at_once(self) -> None:
        """Though nothing waits there, so that nobody asks for room."""
        for outcome in (RATE, LISTED):
            self.setUp()
            kept = self.kept_open(4)
            self.complain_on_a_kept_one(outcome)
            self.assertEqual(len(set(self.closed()) & set(kept)), 3)
            self.assertEqual((self.ledger.idle_connections, len(self.ledger.connections())), (1, 1))

    def test_and_those_at_work_when_they_have_done(self) -> None:
        self.plumbed.gone = frozenset(POOL[1:])
        self.prove("a.test", "b.test")
        self.accept(*["a.test"] * 3, "b.test")
        first, *others = self.offered()
        for child, offer in (first, *others):
            self.answer(child, offer)
        self.done(*first, RATE)
        self.assertEqual(self.closed(), [])
        for child, offer in others:
            self.done(child, offer, kept=True)
        self.assertEqual(len(self.closed()), 1)
        left = {one.domain for one in self.ledger.connections()}
        self.assertEqual((left, self.ledger.idle_connections), ({"a.test", "b.test"}, 2))

    def test_D42_mail_waits_while_all_are_gone_and_goes_when_one_is_back(self) -> None:
        self.plumbed.gone = frozenset(POOL)
        self.accept("a.test")
        self.assertEqual(self.offered(), [])
        self.plumbed.gone = frozenset(POOL[:1])
        self.addresses.look_again()
        self.turn()
        self.assertEqual([offer.local_address for _, offer in self.offered()], [POOL[1]])


class ByProxy(Shaped):
    zones: ClassVar[dict[str, Zone]] = {"default": Zone(egress="haproxy://10.0.0.9:2525")}
    pool: ClassVar[tuple[str, ...]] = POOL

    def test_addresses_that_a_proxy_has_need_not_be_here(self) -> None:
        self.plumbed.gone = frozenset(POOL)
        self.accept("a.test")
        [(_, offer)] = self.offered()
        self.assertIn(offer.local_address, POOL)


class Warm(Shaped):
    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=9)}
    pool: ClassVar[tuple[str, ...]] = POOL
    cold: ClassVar[tuple[str, ...]] = POOL[:1]

    def test_what_is_beyond_the_plan_goes_by_a_warm_address(self) -> None:
        self.warming.left = {POOL[0]: 2}
        self.prove("a.test")
        for _ in range(12):
            self.accept("a.test")
            self.clock.advance(0.1)
        used = Counter(offer.local_address for _, offer in self.offered())
        self.assertLessEqual(used[POOL[0]], 2)
        self.assertGreater(used[POOL[1]], 0)

    def test_it_waits_when_all_are_spent_and_what_never_reached_mail_comes_back(self) -> None:
        self.plumbed.gone = frozenset(POOL[1:])
        self.warming.left = {POOL[0]: 1}
        self.accept("a.test")
        self.accept("b.test")
        [(child, offer)] = self.offered()
        self.assertEqual(self.warming.left, {POOL[0]: 0})
        self.done(child, offer, SILENT)
        self.assertEqual(self.warming.left, {POOL[0]: 1})
        self.assertEqual(self.offered(), [])
        self.clock.pump([0.5] * 4)
        [(child, other)] = self.offered()
        self.answer(child, other)
        self.done(child, other, DEFERRED)
        self.assertEqual(self.warming.left, {POOL[0]: 0}, "MAIL was said")

    def test_a_connection_that_failed_has_nobody_tried_but_those_who_wait_for_its_room(self) -> None:
        self.plumbed.gone = frozenset(POOL[1:])
        self.warming.left = {POOL[0]: 50}
        self.holds.hold = Hold("h", Scope(user="held"), "so", self.now())
        for number in range(100):
            self.accept(f"h{number}.test", flow=flow("held"))
        self.accept("dead.test")
        [(child, offer)] = self.offered()
        asked: list[str] = []
        closed = self.dispatcher.turns.closed

        def noted(zone: str, way: Way) -> Gate | None:
            asked.append(way.domain)
            return closed(zone, way)

        self.dispatcher.turns.closed = noted
        self.done(child, offer, SILENT)
        self.clock.pump([0.5] * 10)
        self.assertEqual(asked, [])

    def test_what_may_not_be_tried_yet_is_not_counted_again_and_again(self) -> None:
        """The zone tries as many hosts as it may, and a message is left to the address."""
        self.plumbed.gone = frozenset(POOL[1:])
        self.prove("a.test")
        self.warming.left = {POOL[0]: 1}
        self.patch(self.ledger, "open", lambda *known: Limit.TRYING)
        spends: list[str] = []
        spend = self.warming.spend

        def noted(address: str, site: str) -> object:
            spends.append(address)
            return spend(address, site)

        self.patch(self.warming, "spend", noted)
        self.accept("b.test")
        self.clock.pump([0.5] * 10)
        self.assertLess(len(spends), 10)
        self.assertEqual(self.warming.left, {POOL[0]: 1})

    def test_a_host_that_hangs_up_before_it_may_go_costs_none(self) -> None:
        self.plumbed.gone = frozenset(POOL[1:])
        self.warming.left = {POOL[0]: 3}
        self.accept(*["a.test"] * 1)
        [(child, offer)] = self.offered()
        early = Outcome(Result.DEFERRED, "Host closed the connection", 0, "network", "mail", "mx.test", "192.0.2.9")
        self.done(child, offer, early)  # The child calls it so, though MAIL wasn't said.
        self.assertEqual(self.warming.left, {POOL[0]: 3})

    def test_it_goes_when_the_count_is_on_disk(self) -> None:
        self.plumbed.gone = frozenset(POOL[1:])
        self.warming.left, self.warming.late = {POOL[0]: 3}, []
        self.accept("a.test")
        self.assertEqual(self.offered(), [])
        [told], self.warming.late = self.warming.late, None
        told.callback(True)
        self.turn()
        self.assertEqual(len(self.offered()), 1)
        self.assertEqual(self.warming.left, {POOL[0]: 2})


class Hopeless(Shaped):
    """Hosts that never answer again, or never say yes."""

    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=9)}
    backoff_section = Backoff(unreachable=(5.0, 20.0), pauses=(5.0, 20.0), climb=5.0)

    def for_hours(self, hours: float, outcome: Outcome) -> Counter[str]:
        """How often each message was tried in that time, by its id."""
        tried = Counter[str]()
        for _ in range(int(hours * 360)):
            for child, offer in self.offered():
                tried[offer.id] += 1
                if outcome.code:
                    self.answer(child, offer)
                self.done(child, offer, outcome)
            self.tell()
            self.clock.advance(10.0)
            self.turn()
        self.tell()
        return tried

    def bounced(self) -> int:
        return sum(" bounced " in line for line in self.lines())

    def test_mail_for_hosts_that_never_answer_is_given_up_in_its_time(self) -> None:
        """Three minutes, as the two steps are, and one more step; most of it was never tried."""
        for _ in range(200):
            self.accept("dead.test")
        tried = self.for_hours(170 / 3600, SILENT)
        self.assertEqual(self.bounced(), 0)
        self.assertGreater(len(self.store.rows), 190)
        tried += self.for_hours(0.2, SILENT)
        self.assertEqual(self.store.rows, {})
        self.assertLess(len(tried), 50)
        self.assertEqual(self.bounced(), 200)
        self.assertTrue(any("no host of dead.test answers" in line and "; given up" in line for line in self.lines()))
        self.clock.pump([1.0] * 60)
        self.everything_is_free()

    def test_a_site_that_always_complains(self) -> None:
        for _ in range(200):
            self.accept("slow.test")
        tried = self.for_hours(0.4, RATE)
        self.assertEqual(self.store.rows, {})
        self.assertLess(len(tried), 100)
        self.assertEqual(self.bounced(), 200)

    def test_what_an_operator_has_held_for_long_is_not_given_up_at_the_first_failure(self) -> None:
        self.holds.hold = Hold("h", Scope(domain="dead.test"), "so", self.now())
        for _ in range(20):
            self.accept("dead.test")
        self.for_hours(10.0, SILENT)
        self.holds.hold = None
        self.shutters.look_again()
        self.turn()
        self.for_hours(150 / 3600, SILENT)
        self.assertEqual(self.bounced(), 0)
        self.for_hours(0.2, SILENT)
        self.assertEqual(self.bounced(), 20)

    def test_nor_where_others_have_kept_the_trouble_alive_meanwhile(self) -> None:
        self.accept("dead.test")
        self.holds.hold = Hold("h", Scope(user="held"), "so", self.now())
        held = {self.accept("dead.test", flow=flow("held")).id for _ in range(5)}
        for _ in range(6):
            self.accept("dead.test")
            self.for_hours(0.05, SILENT)
        self.holds.hold = None
        self.shutters.look_again()
        self.turn()
        self.for_hours(150 / 3600, SILENT)
        bounced = [line for line in self.lines() if " bounced " in line]
        self.assertEqual([line for line in bounced if line.split(" id=")[1][:18] in held], [])
        self.for_hours(0.3, SILENT)
        self.assertEqual(self.store.rows, {})

    def test_a_site_that_takes_some_now_and_then_loses_none(self) -> None:
        """It complains of much, and all goes out in the end."""
        for _ in range(60):
            self.accept("picky.test")
        said = 0
        for _ in range(3000):
            for child, offer in self.offered():
                self.answer(child, offer)
                said += 1
                self.done(child, offer, RATE if said % 4 == 0 else DELIVERED)
            self.tell()
            self.clock.advance(5.0)
            self.turn()
            if not self.store.rows:
                break
        self.assertEqual(self.store.rows, {})
        self.assertEqual([line for line in self.lines() if "given up" in line], [])

    def test_no_more_is_given_up_at_once_than_the_disk_can_take(self) -> None:
        self.patch(expiry, "_UNDER_WAY", 60)
        for _ in range(400):
            self.accept("dead.test")
        self.for_hours(0.07, SILENT)
        most = 0
        for _ in range(400):
            for child, offer in self.offered():
                self.done(child, offer, SILENT)
            most = max(most, self.results.pending)
            self.tell()
            self.clock.advance(1.0)
            self.turn()
        self.assertEqual(self.store.rows, {})
        self.assertLess(most, 200)


class LookUps(Shaped):
    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=9), "hop": Zone(connections=9, host="hop.test")}

    def test_mail_waits_for_its_site_and_a_next_hop_needs_none(self) -> None:
        self.children.append(self.join("00000005-hop", "hop"))
        self.sites.unknown.add("a.test")
        self.accept("a.test")
        self.accept("a.test", zone="hop")
        self.assertEqual([child.place for child, _ in self.offered()], ["hop"])
        self.sites.unknown.clear()
        self.sites.found("a.test")
        self.turn()
        self.assertEqual([child.place for child, _ in self.offered()], ["default"])

    def test_a_site_that_is_found_late_holds_for_the_mail_that_is_there(self) -> None:
        """Nobody waits longer than a moment for an answer; when it comes, ten domains share two connections."""
        self.sites.sections = {"big": Site(max_connections=2)}
        domains = [f"d{number}.test" for number in range(10)]
        for domain in domains * 3:
            self.accept(domain)
        first = self.offered()
        self.assertEqual(len(first), 20)
        for domain in domains:
            self.sites.named[domain] = "big"
            self.sites.found(domain)
        for child, offer in first:
            self.answer(child, offer)
            self.done(child, offer)
        self.assertEqual(len(self.offered()), 2)


class Obstacles(Shaped):
    zones: ClassVar[dict[str, Zone]] = {
        "default": Zone(connections=9, pool_hash="from", address=Limits(messages=("2/h",), max_connections=1))
    }
    pool: ClassVar[tuple[str, ...]] = POOL

    def test_a_lane_waits_for_what_opens_first(self) -> None:
        """Its first message could go in half an hour by one address, its second by the other when that is free."""
        by = {}
        for number in range(20):
            sender = f"s{number}@src.test"
            by[self.zones_["default"].pool.choose(sender).address] = sender
        self.accept("b.test", sender=by[POOL[1]])
        [long] = self.offered()
        self.answer(*long)
        self.clock.pump([10.0] * 190)
        self.accept("a.test", sender=by[POOL[0]])
        [short] = self.offered()
        self.answer(*short)
        self.done(*short)
        self.accept("c.test", sender=by[POOL[0]])
        self.accept("c.test", sender=by[POOL[1]])
        self.assertEqual(self.offered(), [])
        self.done(*long)
        [(_, offer)] = self.offered()
        self.assertEqual((offer.domain, offer.local_address), ("c.test", POOL[1]))


class GivingWay(Shaped):
    """D37: one connection to a site gives way to another, and the host never counts two."""

    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=9)}
    polite = False

    def setUp(self) -> None:
        super().setUp()
        self.sites.sections["big"] = Site(max_connections=1)
        self.sites.named = {"a.test": "big", "b.test": "big"}
        self.accept("a.test")
        [(self.child, self.kept)] = self.offered()
        self.answer(self.child, self.kept)
        self.done(self.child, self.kept, kept=True)

    def state(self) -> str:
        [connection] = self.ledger.connections()
        return connection.state.name

    def test_the_next_is_opened_when_it_is_gone(self) -> None:
        message = self.accept("b.test")
        self.assertEqual((self.offered(), self.state()), ([], "CLOSING"))
        self.assertEqual(self.child.heard(frames.Close), [frames.Close(self.kept.connection)])
        lane = self.schedule.lane_for(self.store.rows[message.id, 1])
        self.assertEqual(lane.turn.gate.words(), "1 connections at a time (zone default, site big), 1 are open")
        self.clock.pump([0.1] * 20)
        self.assertEqual(self.offered(), [])
        self.assertEqual((self.clock.getDelayedCalls(), lane.turn.gate.timer), ([], None), "nobody looks")
        self.says(self.child, frames.Closed(self.kept.connection))
        [(_, offer)] = self.offered()
        self.assertEqual((offer.domain, self.state()), ("b.test", "TRYING"))

    def test_nor_beside_one_that_is_not_kept(self) -> None:
        self.accept("a.test")
        [(child, again)] = self.offered()
        self.done(child, again, kept=False)
        self.accept("b.test")
        self.assertEqual((self.offered(), self.state()), ([], "CLOSING"))
        self.assertEqual(child.heard(frames.Close), [])
        self.says(child, frames.Closed(again.connection))
        self.assertEqual(len(self.offered()), 1)

    def test_a_child_that_dies_meanwhile(self) -> None:
        self.accept("b.test")
        self.dispatcher.gone(self.child, [], True)
        self.children.remove(self.child)
        self.turn()
        self.assertEqual([offer.domain for _, offer in self.offered()], ["b.test"])

    def test_one_that_falls_idle_meanwhile_is_taken_by_whom_it_fits(self) -> None:
        self.sites.sections["big"] = Site(max_connections=2)
        self.sites.named |= {"c.test": "big2", "d.test": "big2"}
        self.sites.sections["big2"] = Site(max_connections=2)
        offers = []
        for domain in ("c.test", "d.test"):
            self.accept(domain)
            offers += self.offered()
            self.answer(*offers[-1])
        self.done(*offers[0], kept=True)
        self.accept("d.test", "d.test")
        self.assertEqual(self.offered(), [])
        self.done(*offers[1], kept=True)
        [(_, offer)] = self.offered()
        self.assertEqual(offer.connection, offers[1][1].connection)

    def test_closed_that_crosses_an_offer(self) -> None:
        """The child uses another connection under the same number; the old one is no more, the new one counts."""
        self.accept("a.test")
        [(child, again)] = self.offered()
        self.says(child, frames.Closed(again.connection))
        self.assertEqual(self.state(), "SENDING")
        self.answer(child, again)
        self.done(child, again, kept=False)
        self.assertEqual(self.state(), "CLOSING")
        self.says(child, frames.Closed(again.connection))
        self.assertEqual(self.ledger.connections(), [])

    def test_closed_that_crosses_close(self) -> None:
        self.accept("b.test")
        self.says(self.child, frames.Closed(self.kept.connection), frames.Closed(self.kept.connection))
        self.assertEqual(len(self.offered()), 1)

    def test_an_answer_on_one_that_closes_is_refused(self) -> None:
        self.accept("b.test")
        answered = frames.Answered(self.kept.connection, "", "")
        self.assertRaises(BadFrame, self.dispatcher.frame, self.child, answered)


class Reused(Shaped):
    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=9)}
    domains: ClassVar[dict[str, Domain]] = {"a.test": Domain(reuse=2, max_connections=1)}

    def test_as_often_as_the_domain_says(self) -> None:
        for _ in range(4):
            self.accept("a.test")
        used = Counter[int]()
        for _ in range(4):
            [(child, offer)] = self.offered()
            used[offer.connection] += 1
            if self.ledger.get(offer.connection).state is not State.SENDING:  # type: ignore[union-attr]
                self.answer(child, offer)
            self.done(child, offer, kept=True)
        self.assertEqual(list(used.values()), [2, 2])


class SlowAndKept(Shaped):
    """A slow host's connection takes up no room; in all else it is like any other."""

    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=9)}
    domains: ClassVar[dict[str, Domain]] = {"slow.test": Domain(max_connections=1, messages=("6/m",), reuse=2)}

    def test_each_message_is_paid_for(self) -> None:
        for _ in range(3):
            self.accept("slow.test")
        [(child, offer)] = self.offered()
        quiet = frames.Quiet(offer.connection)
        self.says(child, quiet, frames.Active(offer.connection))
        self.answer(child, offer)
        self.says(child, quiet)
        self.done(child, offer, kept=True)
        self.clock.advance(8)
        self.turn()
        self.assertEqual(self.offered(), [], "6 in a minute")
        self.clock.advance(3)
        self.turn()
        [(child, again)] = self.offered()
        self.assertEqual(again.connection, offer.connection)
        self.says(child, quiet)
        target = self.limits.target("default", "slow.test")
        self.assertTrue(target.proven(self.clock.seconds()), "it hasn't been silent for long with this one")
        self.clock.advance(1)
        self.done(child, again, kept=True)
        self.assertIn(frames.Close(offer.connection), child.heard(), "it takes two")


class AllSilent(DispatchRig):
    """One place, and so many sessions whose hosts are silent that no lane may open another."""

    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=1, connecting=1)}

    def go(self, domain: str) -> Offer:
        """It is begun."""
        self.accept(domain)
        [offer] = self.offers(self.child)
        self.begin(self.child, offer)
        return offer

    def test_a_place_that_no_lane_can_have_is_for_the_next_new_host(self) -> None:
        self.child = self.join()
        for domain in ("a.test", "b.test", "c.test"):
            self.done(self.child, self.go(domain))
        self.accept("new1.test", "new2.test")
        first, second = self.offers(self.child)
        for domain in ("a.test", "b.test"):
            self.says(self.child, frames.Quiet(self.go(domain).connection))
        self.accept("c.test")
        self.assertEqual(self.offers(self.child), [])
        self.begin(self.child, first)
        self.says(self.child, frames.Answered(second.connection, "mx.test", "192.0.2.9"))
        self.assertEqual(self.child.heard(frames.Go), [])
        self.done(self.child, first)
        self.assertEqual(self.child.heard(frames.Go), [frames.Go(second.connection)])


class Deleted(DispatchRig):
    def test_a_lane_whose_mail_is_deleted_stands_nowhere_in_the_end(self) -> None:
        self.join()
        self.holds.hold = Hold("h", Scope(domain="d.test"), "so", self.now())
        message = self.accept("d.test")
        waiting = self.dispatcher.turns.waiting
        self.assertEqual(waiting.count, 1)
        self.operator.delete(message.id, None)
        self.tell()
        gc.collect()
        self.holds.hold = None
        self.shutters.look_again()
        self.turn()
        self.assertEqual((waiting.count, self.schedule.lanes()), (0, []))
