"""Everything at once, in many worlds: little room for silent hosts, slow ones, kept connections, several recipients and
domains, both families, warm-up, notices and events. Each count is made anew after each step, each delivery can say why
it is where it is, and what waits is woken without being looked at by hand."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any, ClassVar, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from relay.config.schema import Backoff, Bounces, Dkim, Domain, Limits, Sender, Site, Zone
from relay.dispatch import capacity as capacity_module
from relay.dispatch import ledger as ledger_module
from relay.dispatch.capacity import Capacity
from relay.dispatch.connection import Connection, State
from relay.dispatch.notices import Notices
from relay.dispatch.why import Reasons
from relay.dkim.keys import KeyIndex
from relay.events.steps import Steps
from relay.intake.heed import Heed
from relay.intake.own import OwnMail
from relay.intake.submission import Intake
from relay.message.event import ENDS
from relay.message.values import Message
from relay.queue.store import StoreError
from relay.suppression.entry import Entry, Stop
from relay.zone.routing import Router
from tests.unit import test_shaping_chaos as shaping
from tests.unit.test_shaping_chaos import POOL, STEPS
from tests.unit.test_why import KINDS

IPV6 = ("2001:db8::1", "2001:db8::2")
_T = TypeVar("_T")
_PLACED = (State.OPENING, State.SENDING)


class World:
    """A configuration, drawn by a number."""

    def __init__(self, number: int) -> None:
        self._random = Random(number)
        one = self._one
        self.pool = POOL[: one(1, 2)] + IPV6[: one(0, 0, 1, 2)]
        self.cold: tuple[str, ...] = one((), (), POOL[:1])
        self.unproven: int = one(1, 2, 3, 256)
        self.delay: float = one(0.0, 20.0, 3600.0)
        self.zones = {"default": self._zone(""), "hop": self._zone("hop.test")}
        self.domains = {
            "default": Domain(max_connections=one(0, 1, 2, 3), reuse=one(0, 0, 2)),
            "d0.test": Domain(
                max_connections=one(0, 1, 2), messages=one((), ("2/m",), ("20/m",)), new_connections=one((), ("6/m",))
            ),
        }
        if one(True, False):
            del self.domains["d0.test"]
        self.big = Site(max_connections=one(0, 1, 2), messages=one((), ("40/m",)), reuse=one(0, 3))
        self.small = one("d0.test", "d1.test", "d2.test")
        self.senders = {
            "one": Sender(max_connections=one(0, 1), bytes=one((), ("1KB/s",)), weight=one(1, 30)),
            "two": Sender(messages=one((), ("20/m",)), priority=one("", "low", "high")),
        }
        self.backoff = Backoff(
            unreachable=(5.0, 20.0), pauses=(one(1.0, 5.0), 20.0), climb=one(5.0, 30.0), blacklist=one(20.0, 60.0)
        )

    def _one(self, *choice: _T) -> _T:
        return self._random.choice(choice)

    def _zone(self, host: str) -> Zone:
        one = self._one
        return Zone(
            host=host,
            connections=one(1, 2, 3, 6),
            connecting=one(1, 2, 3, 2000),
            max_connections=one(0, 0, 3, 5),
            recipients_per_transaction=one(1, 4, 100),
            reuse=one(100, 3, 6),
            messages=one((), ("8/m",), ("100/s",)),
            bytes=one((), (), ("1KB/s",)),
            new_connections=one((), (), ("1/s",)),
            throttling=one("", "", "2/s"),
            pool_hash=one("id", "from"),
            address=Limits(
                max_connections=one(0, 0, 1, 2),
                messages=one((), (), ("20/m",)),
                new_connections=one((), (), ("30/m",)),
                bytes=one((), (), ("2KB/s",)),
            ),
        )


class MixedChaos(shaping.SitesChaos):
    world: ClassVar[World] = World(0)

    def setUp(self) -> None:
        world = self.world
        self.zones, self.domains, self.senders = world.zones, world.domains, world.senders  # type: ignore[misc]
        self.pool, self.cold, self.backoff_section = world.pool, world.cold, world.backoff  # type: ignore[misc]
        self.patch(capacity_module, "UNPROVEN", world.unproven)
        self.patch(ledger_module, "UNPROVEN", world.unproven)
        super().setUp()
        self.sites.sections["big"] = world.big
        self.sites.named = {"d2.test": "big", "d3.test": "big"} | dict.fromkeys(world.small, "small")
        self.names: list[str] = []
        self.suppressed: dict[str, Entry | None] = {}
        self.patch(self.suppressions, "find", self.find)
        steps = Steps(True, self.now)
        intake = Intake(
            store=self.store, schedule=self.schedule, router=Router(self.made), keys=KeyIndex("none", self.clock),
            dkim=Dkim(), hostname="relay.test", log=self.log, counts=self.tally, now=self.now,
            heed=Heed("drop", self.suppressions), steps=steps,
        )  # fmt: skip
        self.results._steps = self.operator._steps = steps
        self.results._notices = Notices(
            Bounces(delay_after=world.delay), "relay.test", self.made, self.store, OwnMail(intake), self.log,
            self.tally, self.now, self.clock.seconds, steps,
        )  # fmt: skip
        self.reasons = Reasons(
            self.store, self.schedule, self.leases, self.ledger, self.dispatcher.turns, self.diagnoses.of, self.clock,
            self.now,
        )

    @settings(max_examples=150, deadline=None, report_multiple_bugs=False)
    @given(
        st.integers(0, 1 << 30),
        st.lists(st.tuples(st.sampled_from(STEPS + "LL"), st.integers(0, 30)), min_size=20, max_size=150),
    )
    def test_no_limit_is_passed_and_no_mail_forgotten(self, number: int, steps: list[tuple[str, int]]) -> None:  # type: ignore[override]
        type(self).world = World(number)
        self.live(steps)

    def test_they_do(self) -> None:
        """Travel together, in some worlds."""
        most = 0
        for number in range(20):
            type(self).world = World(number)
            self.go_through([("m", 8), ("m", 7)])
            most = max(most, self.most)
        self.assertGreater(most, 3)

    def accept(self, *domains: str, **more: Any) -> Message:  # type: ignore[override]
        message = super().accept(*domains, **more)
        self.names += [f"{message.id}.{seq:03x}" for seq in range(1, 1 + len(domains))]
        return message

    def find(self, user: str, recipient: str) -> Stop | None:
        entry = self.suppressed.get(recipient, Entry(recipient))
        if entry is None:
            raise StoreError("the list can't be read")
        return Stop(recipient, "", entry.id) if recipient in self.suppressed else None

    def told(self, stop: Stop) -> Entry:
        return Entry(stop.whom)

    def do_suppress(self, n: int) -> None:
        """Somebody is to get no mail, or may again; or nobody can tell for a while."""
        recipient = f"to{1 + n % 3}@d{n % 5}.test"
        if recipient in self.suppressed:
            del self.suppressed[recipient]
        else:
            self.suppressed[recipient] = Entry(recipient) if n % 2 else None

    def calm_down(self) -> None:
        """What is in the way goes, one by one; nobody looks at what has waited for nothing of that."""
        self.suppressed = {name: entry for name, entry in self.suppressed.items() if entry is not None}
        if self.holds.hold is not None:
            self.do_release(0)
        if self.plumbed.gone:
            self.do_regain(0)
        for domain in list(self.sites.unknown):
            self.do_found(int(domain[1]))
        self.warm(10_000)
        if self.broken:
            self.do_full_disk(0)
        self.tell()
        for name in [name for name, row in self.store.rows.items() if row.held]:
            self.operator.send_now(*name)
        while {child.place for child in self.children} != {"default", "hop"}:
            self.bear()

    def check(self, at_rest: bool = False) -> None:
        super().check(at_rest)
        connections = self.ledger.connections()
        for child in self.dispatcher._capacities.values():
            self.check_child(child, [one for one in connections if one.child is child])
        silent = Counter(one.target for one in connections if one.state in (State.QUIET, State.TRYING))
        for target in self.limits._targets.values():
            self.assertEqual(target.silent, silent[target], target.words())
            for lane in target.trying:
                self.assertIs(lane.turn.ring, lane.turn.line.trial)
        self.check_kept([one for one in connections if one.state is State.IDLE])
        for queue_id, seq in self.store.rows:
            why = self.reasons.why(queue_id, seq)
            assert why is not None
            self.assertIn(why.waits_for.kind, KINDS)
        if at_rest:
            self.check_events()

    def check_child(self, child: Capacity, theirs: list[Connection]) -> None:
        """What is reckoned of it is what it does, and no more than it may."""
        states = Counter(one.state for one in theirs)
        fresh = sum(one.fresh for one in theirs if one.state in _PLACED)
        counted = child.busy, child.fresh, child.trying, child.quiet, len(child.waiting), len(child.idle)
        wanted = (
            states[State.OPENING] + states[State.SENDING], fresh, states[State.TRYING], states[State.QUIET],
            states[State.WAITING], states[State.IDLE],
        )  # fmt: skip
        self.assertEqual(counted, wanted)
        self.assertLessEqual(child.busy, child.connections)

    def check_kept(self, idle: list[Connection]) -> None:
        kept = self.ledger._kept._places
        found = [one for place in kept.values() for line in place.values() for one in line]
        self.assertEqual(sorted(one.number for one in found), sorted(one.number for one in idle))

    def check_events(self) -> None:
        """Of each delivery one end is told, of notices too."""
        events = [numbered.event for numbered in self.store.events(0, 1_000_000)]
        ends = Counter(event.name for event in events if event.kind in ENDS)
        notices = [f"{event.about}.001" for event in events if event.kind == "notified"]
        self.assertEqual(ends, Counter((*self.names, *notices)))
