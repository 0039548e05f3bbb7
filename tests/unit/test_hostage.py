"""Whatever hosts of others do, and however many there are: mail for a host that answers leaves within seconds."""

from __future__ import annotations

from random import Random
from typing import ClassVar

from hypothesis import given, settings
from hypothesis import strategies as st

from relay.channel import frames
from relay.channel.frames import Offer
from relay.config.schema import Backoff, Zone
from relay.dispatch import capacity as capacity_module
from relay.dispatch import ledger as ledger_module
from relay.message.flow import Flow, flow_text
from relay.message.values import Outcome, Result
from tests.unit.dispatch_rig import DEFERRED, DELIVERED, DispatchRig, FakeChild

SILENT = Outcome(Result.DEFERRED, "No connection within 60 s", 0, "network", "connect")
#: How long a host is waited for (seconds), and within what mail for a good one is to leave.
PATIENCE, SOON = 60.0, 5.0
MOODS = ("dead", "greets", "dawdles", "refuses", "good")


class Hostage(DispatchRig):
    zones: ClassVar[dict[str, Zone]] = {"default": Zone()}
    backoff_section = Backoff(unreachable=(5.0, 20.0))

    @settings(max_examples=25, deadline=None, report_multiple_bugs=False)
    @given(st.integers(0, 1 << 30))
    def test_it_leaves_within_seconds(self, number: int) -> None:
        self.go_through(Random(number), tight=False)

    @settings(max_examples=25, deadline=None, report_multiple_bugs=False)
    @given(st.integers(0, 1 << 30))
    def test_on_a_kept_connection_even_where_nothing_new_is_opened(self, number: int) -> None:
        self.go_through(Random(number), tight=True)

    def go_through(self, random: Random, tight: bool) -> None:
        """`tight`: as many hosts may be silent at once as are too many for anything new to be opened."""
        hostile = random.choice((3, 10, 30))
        connections = random.choice((1, 2, 4))
        connecting = random.choice((1, 2, 4)) if tight else hostile + random.choice((10, 30))
        unproven = random.choice((1, 2, 4, 256))
        self.zones = {"default": Zone(connections=connections, connecting=connecting)}  # type: ignore[misc]
        for module in (capacity_module, ledger_module):
            self.patch(module, "UNPROVEN", unproven)
        self.setUp()
        self.random = random
        self.children = [self.join(f"00000005-{n}") for n in range(random.choice((1, 1, 2)))]
        #: What is to be said, and when.
        self.plans: list[tuple[float, FakeChild, Offer, str]] = []
        self.moods: dict[str, str] = {}
        self.sent_at: dict[str, tuple[str, float]] = {}
        #: When there was no kept connection to a domain.
        self.bare: dict[str, float] = {}
        goods = [f"good{n}.test" for n in range(random.choice((1, 3)))]
        self.kept = tight or random.random() < 0.5
        for domain in goods:
            self.moods[domain] = "good"
            self.send(domain, "good")
            self.run_for(2)
        # Most have answered before.
        for n in range(hostile):
            self.moods[f"evil{n}.test"] = random.choice(MOODS)
        for _ in range(random.choice((20, 60))):
            for n in range(hostile):
                if random.random() < 0.1:
                    self.moods[f"evil{n}.test"] = random.choice(MOODS)
                if random.random() < 0.3:
                    self.send(f"evil{n}.test", random.choice(("", "evil")))
            if random.random() < 0.3:
                self.send(random.choice(goods), "good")
            self.run_for(random.choice((1, 1, 5, 20)))
            now = self.clock.seconds()
            for name, (domain, when) in self.sent_at.items():
                if not tight or self.ledger.keeps("default", domain):
                    since = max(when, self.bare.get(domain, 0.0)) if tight else when
                    self.assertLess(now - since, SOON + 1, (connections, connecting, unproven, self.where(name)))

    def where(self, name: str) -> object:
        row = next(row for row in self.store.rows.values() if row.name == name)
        lane = self.schedule.known(self.schedule.lane_for(row).key)
        turn = lane.turn if lane is not None else None
        cap = [(c.busy, c.quiet, c.trying, len(c.waiting), len(c.idle)) for c in self.dispatcher._capacities.values()]
        return turn and (turn.gate and turn.gate.words(), turn.ring is turn.line.trial, turn.line.full), cap

    def send(self, domain: str, user: str) -> None:
        message = self.accept(domain, flow=flow_text(Flow(user)) if user else "")
        if domain.startswith("good"):
            self.sent_at[f"{message.id}.001"] = domain, self.clock.seconds()

    def run_for(self, seconds: float) -> None:
        end = self.clock.seconds() + seconds
        while True:
            self.look()
            if self.clock.seconds() >= end:
                return
            self.clock.advance(0.25)
            self.turn()
            self.tell()
            for domain, _ in self.sent_at.values():
                if not self.ledger.keeps("default", domain):
                    self.bare[domain] = self.clock.seconds()

    def look(self) -> None:
        for _ in range(1000):
            moved = False
            for child in self.children:
                for frame in child.heard():
                    moved = True
                    if type(frame) is Offer:
                        self.offered(child, frame)
                    elif type(frame) is frames.Go:
                        for one in [one for one in self.plans if one[2].connection == frame.connection]:
                            self.plans.remove(one)
                            self.begun(child, one[2])
            for plan in [plan for plan in self.plans if plan[0] <= self.clock.seconds()]:
                if plan in self.plans:
                    moved = True
                    self.plans.remove(plan)
                    self.come(*plan[1:])
            self.tell()
            if not moved:
                return
        raise AssertionError("round and round")

    def plan(self, after: float, child: FakeChild, offer: Offer, what: str) -> None:
        self.plans.append((self.clock.seconds() + after, child, offer, what))

    def offered(self, child: FakeChild, offer: Offer) -> None:
        connection = self.ledger.get(offer.connection)
        assert connection is not None
        if connection.settled:
            self.begun(child, offer)
            return
        mood = self.moods[offer.domain]
        if mood == "dead":
            self.plan(0.5, child, offer, "quiet")
            self.plan(PATIENCE, child, offer, "silent")
        elif mood == "refuses":
            self.plan(0.1, child, offer, "silent")
        elif mood == "dawdles":
            self.plan(0.5, child, offer, "quiet")
            self.plan(3.0, child, offer, "answer")
        else:
            self.plan(0.0, child, offer, "answer")

    def begun(self, child: FakeChild, offer: Offer) -> None:
        mood = self.moods[offer.domain]
        if mood in ("dead", "greets"):
            self.plan(0.5, child, offer, "quiet")
            self.plan(PATIENCE, child, offer, "late")
        elif mood == "dawdles":
            self.plan(0.5, child, offer, "quiet")
            self.plan(3.0, child, offer, "done")
        else:
            self.plan(0.0, child, offer, "done")

    def come(self, child: FakeChild, offer: Offer, what: str) -> None:
        if what == "quiet":
            self.says(child, frames.Quiet(offer.connection))
        elif what == "answer":
            self.plan(1e9, child, offer, "wait")
            self.says(child, frames.Answered(offer.connection, "mx.test", "192.0.2.9"))
        else:
            self.plans = [plan for plan in self.plans if plan[2] is not offer]
            outcome = {"silent": SILENT, "late": DEFERRED, "done": DELIVERED}[what]
            kept = what == "done" and (self.kept or self.random.random() < 0.3)
            self.sent_at.pop(f"{offer.id}.{offer.seq:03x}", None)
            self.done(child, offer, outcome, kept)
