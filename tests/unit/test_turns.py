"""Lanes at gates and in line: none waits while there is room for it, and waiting costs nothing."""

from __future__ import annotations

from typing import ClassVar

from relay.channel import frames
from relay.channel.frames import Offer
from relay.config.schema import Sender, Zone
from relay.message.flow import Flow, flow_text
from relay.message.values import Outcome, Result
from relay.zone.decision import Scope
from relay.zone.hold import Hold
from tests.unit.dispatch_rig import DELIVERED, DispatchRig, FakeChild

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
        for _ in range(4):
            self.accept("a.test")
            offer = self.offers(first)[0]
            self.says(first, frames.Answered(offer.connection, "mx.test", "192.0.2.9"), frames.Quiet(offer.connection))
        second = self.join("00000005-2")
        self.accept("a.test")
        self.assertEqual(len(self.offers(second)), 1)
