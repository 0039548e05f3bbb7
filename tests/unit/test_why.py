"""For each thing a delivery may wait for, how it comes to that, and what is said of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

from relay.channel import frames
from relay.config.schema import Backoff, Limits, Sender, Site, Zone
from relay.dispatch import why as module
from relay.dispatch.capacity import UNPROVEN
from relay.dispatch.why import Reasons, Wait, Why
from relay.message.flow import Flow, flow_text
from relay.message.values import Message, Outcome, Result
from relay.zone.decision import Scope
from relay.zone.hold import Hold
from tests.unit.dispatch_rig import DEFERRED, DispatchRig, FakeChild

ADDRESS = "0.0.0.0"
RATE = Outcome(Result.DEFERRED, "421 4.7.0 too many messages, slow down", 421, "reply", "mail", "mx.test", "192.0.2.9")
SILENT = Outcome(Result.DEFERRED, "No connection within 60 s", 0, "network", "connect")

#: All kinds there are, as docs/shaping.md lists them; each is provoked once by a test of this module.
KINDS = {
    "connections", "new connections", "messages", "bytes", "answer", "look-up", "hold", "unreachable", "address",
    "warm-up", "back-off", "zone", "unproven", "no child", "turn", "put aside", "retry", "later", "result", "store",
    "no zone", "suspect", "connecting", "transaction", "silence",
}  # fmt: skip


class Waiting(DispatchRig):
    zones: ClassVar[dict[str, Zone]] = {
        "default": Zone(connections=2),
        "hop": Zone(connections=50, host="hop.test"),
        "capped": Zone(connections=50, host="hop.test", max_connections=1),
        "paced": Zone(connections=50, host="hop.test", messages=("1/m",)),
        "opening": Zone(connections=50, host="hop.test", new_connections=("1/m",)),
        "bytes": Zone(connections=50, host="hop.test", bytes=("1KB/m",)),
        "addressed": Zone(connections=50, host="hop.test", address=Limits(max_connections=1)),
        "dull": Zone(connections=5, connecting=1),
        "off": Zone(disabled=True),
        "slow": Zone(connections=1, host="hop.test", throttling="6/m"),
    }
    senders: ClassVar[dict[str, Sender]] = {"one": Sender(max_connections=1)}
    backoff_section = Backoff(unreachable=(60.0,), pauses=(60.0,), climb=60.0)
    seen: ClassVar[set[str]] = set()

    def setUp(self) -> None:
        super().setUp()
        self.reasons = Reasons(
            self.store, self.schedule, self.leases, self.ledger, self.dispatcher.turns, self.diagnoses.of, self.clock,
            self.now,
        )

    def why(self, message: Message, seq: int = 1) -> Why:
        why = self.reasons.why(message.id, seq)
        assert why is not None
        self.seen.add(why.waits_for.kind)
        return why

    def wait(self, message: Message, kind: str, **more: Any) -> Wait:
        """What it waits for, which is of this kind."""
        wait = self.why(message).waits_for
        self.assertEqual(wait.kind, kind, wait)
        self.assertTrue(wait.freed_by)
        for key, value in more.items():
            self.assertEqual(getattr(wait, key), value, wait)
        return wait

    def sending(self, child: FakeChild, zone: str = "hop", domain: str = "e.test", **more: Any) -> frames.Offer:
        """One that is in its transaction."""
        self.accept(domain, zone=zone, **more)
        [offer] = self.offers(child)
        self.begin(child, offer)
        return offer

    def user(self, name: str, zone: str = "hop", domain: str = "e.test") -> Message:
        return self.accept(domain, zone=zone, flow=flow_text(Flow(name)))


class AtLimits(Waiting):
    def test_the_domains_connections(self) -> None:
        child = self.join(zone="hop")
        for _ in range(3):
            self.sending(child, domain="d.test")
        self.clock.advance(2.0)
        message = self.accept("d.test", zone="hop")
        self.clock.advance(3.0)
        wait = self.wait(message, "connections", scope=Scope(zone="hop", domain="d.test"), since=self.now() - 3000)
        self.assertIn("3 connections at a time (zone hop, domain d.test), 3 are open", wait.limit)
        self.assertEqual(wait.until, 0)

    def test_the_sites_connections(self) -> None:
        self.sites.sections["big"] = Site(max_connections=1)
        self.sites.named = {"a.test": "big", "b.test": "big"}
        child = self.join()
        self.sending(child, "default", "a.test")
        self.wait(self.accept("b.test"), "connections", scope=Scope(zone="default", site="big"))
        self.assertEqual(self.why(self.accept("b.test")).site, "big")

    def test_the_zones_connections(self) -> None:
        child = self.join(zone="capped")
        self.sending(child, "capped")
        self.wait(self.accept("f.test", zone="capped"), "connections", scope=Scope(zone="capped"))

    def test_the_addresss_connections(self) -> None:
        child = self.join(zone="addressed")
        self.sending(child, "addressed")
        self.wait(
            self.accept("f.test", zone="addressed"), "connections", scope=Scope(zone="addressed", address=ADDRESS)
        )

    def test_the_users_connections(self) -> None:
        child = self.join(zone="hop")
        self.user("one")
        [offer] = self.offers(child)
        self.begin(child, offer)
        self.assertEqual(self.why(self.user("one")).user, "one")
        self.wait(self.user("one", domain="f.test"), "connections", scope=Scope(user="one"))

    def test_a_rate_of_messages(self) -> None:
        child = self.join(zone="paced")
        self.sending(child, "paced")
        wait = self.wait(self.accept("e.test", zone="paced"), "messages", scope=Scope(zone="paced"))
        self.assertTrue(55_000 < wait.until - self.now() < 65_000, wait)
        self.assertIn("1 messages in 60 s", wait.limit)

    def test_a_rate_that_an_open_connection_waits_for(self) -> None:
        child = self.join(zone="paced")
        self.accept("e.test", zone="paced")
        [first] = self.offers(child)
        # It answers late: meanwhile another message has had the token.
        self.says(child, frames.Quiet(first.connection))
        second = self.accept("f.test", zone="paced")
        [other] = self.offers(child)
        self.begin(child, other)
        self.says(child, frames.Answered(first.connection, "mx.test", "192.0.2.9"))
        self.assertEqual(child.heard(frames.Go), [])
        why = self.reasons.why(first.id, first.seq)
        assert why is not None
        self.assertEqual((why.state, why.waits_for.kind), ("sending", "messages"))
        self.wait(second, "transaction")

    def test_a_rate_of_new_connections(self) -> None:
        child = self.join(zone="opening")
        self.sending(child, "opening")
        self.wait(self.accept("f.test", zone="opening"), "new connections", scope=Scope(zone="opening"))

    def test_a_rate_of_bytes(self) -> None:
        child = self.join(zone="bytes")
        self.sending(child, "bytes", body=b"x" * 3000 + b"\r\n")
        self.wait(self.accept("f.test", zone="bytes"), "bytes", scope=Scope(zone="bytes"))

    def test_the_zones_transactions(self) -> None:
        child = self.join()
        for domain in ("a.test", "b.test"):
            self.sending(child, "default", domain)
        other = self.accept("c.test")
        [offer] = self.offers(child)
        self.says(child, frames.Answered(offer.connection, "mx.test", "192.0.2.9"))
        self.wait(other, "zone")
        self.assertEqual(self.why(other).state, "sending")
        waiting = self.accept("a.test")
        self.wait(waiting, "zone", scope=Scope(zone="default"))
        self.assertEqual((self.why(waiting).state, self.why(waiting).before), ("waiting", 0))

    def test_a_connection_that_rests(self) -> None:
        child = self.join(zone="slow")
        self.done(child, self.sending(child, "slow"), kept=True)
        self.tell()
        wait = self.wait(self.accept("e.test", zone="slow"), "zone", scope=Scope(zone="slow"))
        self.assertIn("each rests for 10 s", wait.limit)
        self.clock.advance(10.0)
        self.turn()
        self.assertEqual(len(self.offers(child)), 1)

    def test_a_crash_that_it_may_have_caused(self) -> None:
        child = self.join(zone="hop")
        messages = [self.accept("e.test", zone="hop") for _ in range(2)]
        for offer in self.offers(child):
            self.begin(child, offer)
        self.dispatcher.gone(child, [], True)
        self.turn()
        self.wait(messages[0], "suspect", scope=Scope(zone="hop"))
        again = self.join("00000005-2", zone="hop")
        [first] = self.offers(again)
        self.begin(again, first)
        waits = {self.why(message).waits_for.kind for message in messages}
        self.assertEqual(waits, {"transaction", "suspect"})

    def test_targets_that_have_yet_to_answer(self) -> None:
        self.join()
        for number in range(UNPROVEN):
            self.accept(f"h{number}.test")
        self.wait(self.accept("late.test"), "unproven")

    def test_a_target_that_has_yet_to_answer(self) -> None:
        child = self.join()
        for _ in range(2):
            self.wait(self.accept("d.test"), "connecting")
        wait = self.wait(self.accept("d.test"), "answer", scope=Scope(zone="default", site="d.test"))
        self.assertIn("2 connections to it are silent or being tried", wait.limit)
        self.assertEqual(len(self.offers(child)), 2)

    def test_silence_elsewhere(self) -> None:
        child = self.join("00000005-9", "dull")
        for domain in ("a.test", "b.test", "c.test"):
            offer = self.sending(child, "dull", domain)
            self.done(child, offer)
        for domain in ("a.test", "b.test"):
            self.accept(domain, zone="dull")
            [offer] = self.offers(child)
            self.says(child, frames.Quiet(offer.connection))
        wait = self.wait(self.accept("c.test", zone="dull"), "answer", scope=Scope(zone="dull", site="c.test"))
        self.assertEqual(wait.limit, "too many connections of the zone are silent for another to c.test")
        self.assertGreater(wait.until, self.now())

    def test_silence_elsewhere_when_a_slow_host_has_answered(self) -> None:
        child = self.join("00000005-9", "dull")
        messages = [self.accept(f"{name}.test", zone="dull") for name in "abc"]
        offers = self.offers(child)
        for offer in offers:
            self.says(child, frames.Quiet(offer.connection))
        self.says(child, frames.Answered(offers[0].connection, "mx.test", "192.0.2.9"))
        wait = self.wait(messages[0], "zone")
        self.assertIn("as many silent connections as it may", wait.limit)

    def test_its_turn(self) -> None:
        message = self.accept("d.test")
        self.wait(message, "no child", scope=Scope(zone="default"))
        work = self.schedule.work(message.id, 1)
        assert work is not None
        work.lane.turn = None
        self.wait(message, "turn")


class Kept(Waiting):
    def test_a_hold(self) -> None:
        child = self.join()
        scope = Scope(domain="d.test")
        self.holds.hold = Hold("1", scope, "they asked us to", self.now(), self.now() + 5000)
        message = self.accept("d.test")
        self.assertEqual(self.offers(child), [])
        wait = self.wait(message, "hold", scope=scope, until=self.now() + 5000)
        self.assertEqual(wait.limit, "on hold (domain d.test): they asked us to")

    def test_a_hold_that_came_while_it_waited_for_something_else(self) -> None:
        child = self.join(zone="paced")
        self.sending(child, "paced", "d.test")
        message = self.accept("d.test", zone="paced")
        self.wait(message, "messages")
        self.holds.hold = Hold("1", Scope(domain="d.test"), "stop", self.now())
        self.wait(message, "hold")

    def test_a_look_up(self) -> None:
        self.join()
        self.sites.unknown.add("d.test")
        self.wait(self.accept("d.test"), "look-up", scope=Scope(domain="d.test"))

    def test_a_site_that_does_not_answer(self) -> None:
        child = self.join()
        self.accept("d.test")
        [offer] = self.offers(child)
        self.done(child, offer, SILENT)
        self.tell()
        message = self.accept("d.test")
        wait = self.wait(message, "unreachable", scope=Scope(zone="default", site="d.test"))
        self.assertIn("No connection within 60 s", wait.limit)
        self.assertEqual(wait.until, self.now() + 60_000)
        self.assertEqual(self.why(message).delivery.attempts, 0)

    def test_a_site_that_has_complained(self) -> None:
        child = self.join()
        self.done(child, self.sending(child, "default", "d.test"), RATE)
        self.tell()
        message = self.accept("d.test")
        wait = self.wait(message, "address", until=self.now() + 60_000)
        self.assertIn('0.0.0.0 is set aside: "421 4.7.0 too many messages, slow down"', wait.limit)
        self.clock.advance(61.0)
        self.turn()
        [offer] = self.offers(child)
        self.begin(child, offer)
        self.wait(self.accept("d.test"), "back-off", scope=Scope(zone="default", site="d.test", address=ADDRESS))

    def test_it_was_put_aside(self) -> None:
        message = self.accept("d.test")
        work = self.schedule.claim(message, self.store.rows[message.id, 1])
        assert work is not None
        self.results.put_aside(work, "3 children died with it")
        self.tell()
        self.wait(message, "put aside", limit="3 children died with it")
        self.assertEqual(self.why(message).state, "put aside")

    def test_a_retry(self) -> None:
        child = self.join()
        message = self.accept("d.test")
        [offer] = self.offers(child)
        self.begin(child, offer)
        self.done(child, offer, DEFERRED)
        self.tell()
        why = self.why(message)
        self.assertEqual((why.state, why.waits_for.kind, why.waits_for.until), ("deferred", "retry", why.next_try))
        self.assertEqual((why.waits_for.limit, why.delivery.attempts), ("attempt 1 failed: 451 later", 1))
        assert why.diagnosis is not None
        self.assertEqual((why.diagnosis.category, why.diagnosis.action), (why.delivery.category, "defer"))

    def test_a_time_that_was_asked_for(self) -> None:
        message = self.accept("d.test", due=self.now() + 3_600_000)
        self.wait(message, "later", until=self.now() + 3_600_000)

    def test_the_disk(self) -> None:
        self.join()
        self.dispatcher.stop()
        message = self.accept("d.test")
        self.store.broken = True
        self.dispatcher.start()
        self.turn()
        self.wait(message, "store")

    def test_a_zone_that_is_off(self) -> None:
        self.wait(self.accept("d.test", zone="off"), "no zone", scope=Scope(zone="off"))


class WarmingUp(Waiting):
    cold = (ADDRESS,)

    def test_the_count_is_on_its_way_to_the_disk(self) -> None:
        child = self.join()
        self.warming.left = {ADDRESS: 5}
        self.warming.late = []
        message = self.accept("d.test")
        self.assertEqual(self.offers(child), [])
        self.wait(message, "warm-up")
        late, self.warming.late = self.warming.late, None
        late[0].callback(True)
        self.turn()
        self.assertEqual(len(self.offers(child)), 1)
        self.assertEqual(self.warming.left, {ADDRESS: 4})

    def test_nothing_is_left_today(self) -> None:
        self.join()
        self.warming.left = {ADDRESS: 0}
        wait = self.wait(self.accept("d.test"), "address")
        self.assertIn("0.0.0.0 has sent what its warm-up allows today", wait.limit)


class UnderWay(Waiting):
    def test_from_connecting_to_its_end(self) -> None:
        child = self.join()
        message = self.accept("d.test")
        [offer] = self.offers(child)
        self.wait(message, "connecting")
        self.says(child, frames.Quiet(offer.connection))
        self.wait(message, "silence")
        self.says(child, frames.Active(offer.connection))
        self.begin(child, offer)
        self.wait(message, "transaction")
        self.done(child, offer)
        self.tell()
        self.assertIsNone(self.reasons.why(message.id, 1))

    def test_an_operator_is_at_it(self) -> None:
        message = self.accept("d.test")
        self.schedule.claim(message, self.store.rows[message.id, 1])
        self.wait(message, "result")

    def test_of_a_whole_message(self) -> None:
        message = self.accept("a.test", "b.test", "c.test")
        self.assertEqual([why.delivery.domain for why in self.reasons.whys(message.id, 2)], ["a.test", "b.test"])
        self.assertEqual(self.reasons.whys("0" * 18, 2), [])


class Words(Waiting):
    def test_every_kind_has_a_test(self) -> None:
        """Each class above provokes some; together they are all there are."""
        for case in (AtLimits, Kept, WarmingUp, UnderWay):
            for name in dir(case):
                if name.startswith("test_"):
                    one = case(name)
                    one.setUp()
                    getattr(one, name)()
        self.assertEqual(self.seen, KINDS)
        self.assertLessEqual(set(module._FREED_BY), KINDS)

    def test_every_kind_is_documented(self) -> None:
        text = (Path(__file__).parents[2] / "docs" / "shaping.md").read_text()
        table = text.partition("## Why does it wait?")[2].partition("\n## ")[0]
        rows = [row for row in table.splitlines() if row.startswith("| ")]
        self.assertLessEqual(KINDS, set(re.findall(r"`([a-z -]+)`", " ".join(rows))))
