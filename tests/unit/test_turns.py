"""Lanes at gates and in line: none waits while there is room for it, and waiting costs nothing."""

from __future__ import annotations

from typing import ClassVar

from hypothesis import given
from hypothesis import strategies as st

from relay.channel import frames
from relay.config.schema import Backoff, Sender, Zone
from relay.dispatch.target import AGAIN
from relay.message.flow import Flow, flow_text
from relay.message.values import Outcome, Result
from relay.zone.decision import Scope
from relay.zone.hold import Hold
from tests.unit.dispatch_rig import DispatchRig, FakeChild

MINE = flow_text(Flow("me", "normal"))
SILENT = Outcome(Result.DEFERRED, "No connection within 60 s", 0, "network", "connect")


class Stuck(DispatchRig):
    """A user's gate lets go a lane that can't go for another reason."""

    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=9), "other": Zone(connections=9)}
    senders: ClassVar[dict[str, Sender]] = {"me": Sender(max_connections=1)}

    def test_a_zone_without_a_child_keeps_no_room_of_a_users(self) -> None:
        child = self.join()
        self.accept("a.test", flow=MINE)
        [first] = self.offers(child)
        self.begin(child, first)
        self.accept("b.test", flow=MINE, zone="other")
        self.accept("c.test", flow=MINE)
        self.assertEqual(self.offers(child), [])
        self.done(child, first)
        self.clock.advance(0.1)
        self.turn()
        self.assertEqual([offer.domain for offer in self.offers(child)], ["c.test"])

    def test_targets_that_hang_keep_no_room_of_a_users(self) -> None:
        child = self.join()
        self.accept("good.test")
        [good] = self.offers(child)
        self.begin(child, good)
        self.done(child, good)
        self.accept("a.test", flow=MINE)
        [first] = self.offers(child)
        self.accept(*(f"h{n}.test" for n in range(300)))
        self.assertEqual(len(self.offers(child)), 255)
        self.accept("never.test", flow=MINE)
        self.accept("good.test", flow=MINE)
        self.begin(child, first)
        # Its place among those that are tried goes to another at once.
        self.assertEqual(len(self.offers(child)), 1)
        self.done(child, first)
        self.clock.advance(0.1)
        self.turn()
        self.assertEqual([offer.domain for offer in self.offers(child)], ["good.test"])


class Children(DispatchRig):
    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=1, connecting=2)}

    def test_a_child_with_many_quiet_ones_keeps_no_work_from_another(self) -> None:
        first = self.join()
        for _ in range(2):
            self.accept("a.test")
            offer = self.offers(first)[0]
            self.says(first, frames.Answered(offer.connection, "mx.test", "192.0.2.9"), frames.Quiet(offer.connection))
        self.accept("b.test", "a.test")
        self.assertEqual(self.offers(first), [])
        second = self.join("00000005-2")
        self.assertEqual([offer.domain for offer in self.offers(second)], ["b.test"])
        self.clock.advance(AGAIN)
        self.turn()
        self.assertEqual([offer.domain for offer in self.offers(second)], ["a.test"])


class Silence(DispatchRig):
    """As many connections as may be wait for hosts that had answered, and won't for long."""

    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=4, connecting=1)}

    def setUp(self) -> None:
        super().setUp()
        self.child = self.join()
        for domain in ("good.test", "a.test", "b.test", "c.test"):
            self.accept(domain)
            [offer] = self.offers(self.child)
            self.begin(self.child, offer)
            self.done(self.child, offer, kept=domain == "good.test")
        self.silent: list[frames.Offer] = []
        for domain in ("a.test", "b.test"):
            self.accept(domain)
            self.silent += self.offers(self.child)
            self.says(self.child, frames.Quiet(self.silent[-1].connection))

    def test_kept_connections_are_used_all_the_while(self) -> None:
        self.accept("c.test")
        self.assertEqual(self.offers(self.child), [])
        for _ in range(3):
            self.accept("good.test")
            [offer] = self.offers(self.child)
            self.done(self.child, offer, kept=True)
            self.clock.pump([1.0] * 3)
        self.done(self.child, self.silent[0], SILENT)
        self.clock.advance(AGAIN)
        self.turn()
        self.assertEqual([offer.domain for offer in self.offers(self.child)], ["c.test"])

    def test_a_kept_one_is_used_though_others_wait_for_a_new_one(self) -> None:
        """Those of another domain with the same hosts can't use it."""
        self.sites.named["twin.test"] = "good.test"
        self.accept("twin.test")
        self.assertEqual(self.offers(self.child), [])
        for _ in range(3):
            self.accept("good.test")
            [offer] = self.offers(self.child)
            self.done(self.child, offer, kept=True)

    def test_places_that_nobody_else_can_have_are_for_new_hosts(self) -> None:
        for offer in self.silent:
            self.done(self.child, offer)
        self.accept(*(f"new{n}.test" for n in range(4)))
        new = self.offers(self.child)
        for domain in ("a.test", "b.test"):
            self.accept(domain)
            [offer] = self.offers(self.child)
            self.says(self.child, frames.Quiet(offer.connection))
        self.accept("c.test")
        self.assertEqual(self.offers(self.child), [])
        for offer in new:
            self.begin(self.child, offer)


class ComingForward(DispatchRig):
    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=5, connecting=2)}

    def test_who_comes_forward_is_among_those_that_answer(self) -> None:
        """Though its mail had got into line with that to hosts that have yet to."""
        child = self.join()
        self.accept("good.test")
        [good] = self.offers(child)
        self.begin(child, good)
        self.says(child, frames.Quiet(good.connection))
        self.clock.advance(31)
        self.accept("dead.test", "gone.test")
        for offer in self.offers(child):
            self.says(child, frames.Quiet(offer.connection))
        self.accept("never.test", "good.test")
        self.assertEqual(self.offers(child), [])
        self.says(child, frames.Active(good.connection))
        self.assertEqual([offer.domain for offer in self.offers(child)], ["good.test"])


class Probes(DispatchRig):
    backoff_section = Backoff(unreachable=(70.0, 90.0))

    def shut(self) -> FakeChild:
        """A child; the site has just been found silent."""
        child = self.join()
        self.accept("a.test")
        [offer] = self.offers(child)
        self.done(child, offer, SILENT)
        self.tell()
        return child

    def test_a_probe_whose_body_cannot_be_read_was_none(self) -> None:
        child = self.shut()
        self.store._chunks.clear()
        self.clock.advance(61)  # It is due again, and waits for the end of the pause.
        self.turn()
        good = self.accept("a.test")
        self.assertEqual(self.offers(child), [])
        self.clock.pump([1.0] * 12)
        self.assertEqual([offer.id for offer in self.offers(child)], [good.id])

    @given(st.floats(0, 1), st.floats(0, 60), st.floats(0, 0.002))
    def test_a_probe_that_fails_is_followed_by_the_next_pause(self, past: float, took: float, late: float) -> None:
        self.setUp()
        self.clock.advance(past)
        child = self.shut()
        self.accept("a.test")
        self.clock.advance(69.9)
        self.clock.advance(0.1 + late)
        self.clock.advance(0.06)
        self.turn()
        [probe] = self.offers(child)
        self.clock.advance(took)
        self.done(child, probe, SILENT)
        self.assertEqual(len([one for one in self.decided if one.kind == "unreachable"]), 2)


class Suspects(DispatchRig):
    def test_suspects_that_are_held_cost_nothing(self) -> None:
        child = self.join()
        self.accept(*(f"d{n}.test" for n in range(50)))
        self.assertEqual(len(self.offers(child)), 50)
        self.holds.hold = Hold("h", Scope(zone="default"), "so", self.now())
        self.dispatcher.gone(child, [], True)
        child = self.join("00000005-2")
        asked = 0
        closed = self.dispatcher.turns.closed

        def counted(zone: str, way: object) -> object:
            nonlocal asked
            asked += 1
            return closed(zone, way)  # type: ignore[arg-type]

        self.dispatcher.turns.closed = counted  # type: ignore[assignment]
        for _ in range(100):
            self.dispatcher.turns.wake("default")
            self.turn()
        self.assertLessEqual(asked, 100)
        self.assertLessEqual(len(self.clock.getDelayedCalls()), 10)
        self.holds.hold = None
        self.shutters.look_again()
        self.clock.pump([0.5] * 4)
        self.assertEqual(len(self.offers(child)), 1, "one at a time")
