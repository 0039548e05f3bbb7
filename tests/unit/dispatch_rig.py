"""A whole dispatch with a store that tells late and children that are lists of frames."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from relay.channel import frames
from relay.channel.frames import Frame, Offer
from relay.channel.journal import Acceptance
from relay.config.schema import Backoff as BackoffSection
from relay.config.schema import Domain, Sender, Site, Zone
from relay.dispatch.addresses import Addresses
from relay.dispatch.diagnoses import Diagnoses
from relay.dispatch.dispatcher import Dispatcher
from relay.dispatch.ledger import Ledger
from relay.dispatch.lessons import Lessons
from relay.dispatch.limits import Limits, Senders
from relay.dispatch.operator import Operator
from relay.dispatch.results import Results
from relay.dispatch.shutters import Shutters
from relay.events.steps import Steps
from relay.logs.maillog import MailLog
from relay.message.values import Message, Outcome, Result
from relay.queue.leases import Leases
from relay.queue.schedule import Schedule
from relay.zone.backoff import Backoff
from relay.zone.decision import Decision
from relay.zone.hold import Hold
from tests.unit.journey_rig import (
    LateStore,
    Tally,
    a_clock,
    a_delivery,
    a_message,
    a_retry,
    milliseconds,
    zones_of,
)
from tests.unit.suppression_rig import FakeShelf, a_list

DELIVERED = Outcome(Result.DELIVERED, "250 2.0.0 ok", 250, stage="dot", host="mx.test")
DEFERRED = Outcome(Result.DEFERRED, "451 later", 451, "reply", "rcpt", "mx.test")
BOUNCED = Outcome(Result.BOUNCED, "550 no", 550, "reply", "rcpt", "mx.test")


class FakeChild:
    def __init__(self, key: str, zone: str) -> None:
        self.id = key
        self.place = zone
        self.sent: list[Frame] = []
        self.settled = 0
        self.seconds: Callable[[], float] = lambda: 0.0
        #: All it was ever told, and when.
        self.told: list[tuple[float, Frame]] = []
        #: Connections that it hasn't said Closed of, though it was told Close or said Done.
        self.parting: list[int] = []

    def send(self, frame: Frame) -> None:
        self.sent.append(frame)
        self.told.append((self.seconds(), frame))
        if type(frame) is frames.Close:
            self.parting.append(frame.connection)

    def settle(self) -> None:
        self.settled += 1

    def heard(self, kind: type | None = None) -> list[Any]:
        """What it was told since it was last asked, of one kind or of all."""
        found = [frame for frame in self.sent if kind is None or type(frame) is kind]
        self.sent = [frame for frame in self.sent if frame not in found]
        return found


class FakeSites:
    """Each domain is its own site, but for those in `named`; those in `unknown` are looked up for ever. Those of a site
    have the same hosts, unless `marks` say other."""

    def __init__(self) -> None:
        self.found: Callable[[str], None] = lambda domain: None
        self.named: dict[str, str] = {}
        self.marks: dict[str, str] = {}
        self.unknown: set[str] = set()
        self.sections: dict[str, Site] = {}

    def is_named(self, site: str) -> bool:
        return site in self.sections

    def is_of(self, site: str, host: str) -> bool:
        return not self.is_named(site) or not host.endswith(".evil.test")

    def known(self, domain: str) -> str | None:
        return None if domain in self.unknown else self.named.get(domain, domain)

    def are_alike(self, one: str, other: str) -> bool:
        return self.mark(one) == self.mark(other)

    def mark(self, domain: str) -> str:
        return self.marks.get(domain, self.named.get(domain, domain))

    def section(self, site: str) -> Site:
        return self.sections.get(site, Site(max_connections=0))


class FakeHolds:
    def __init__(self) -> None:
        self.hold: Hold | None = None
        self.held: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return self.hold is not None or bool(self.held)

    def matching(self, zone: str, domain: str, site: str, user: str) -> Hold | None:
        hold = self.hold
        names = {"zone": zone, "domain": domain, "site": site, "user": user}
        if hold is None or any(getattr(hold.scope, key) not in ("", name) for key, name in names.items()):
            return None
        return hold

    def addresses(self, zone: str, domain: str, site: str, user: str) -> frozenset[str]:
        return self.held


class FakePlumbed:
    def __init__(self) -> None:
        self.gone: frozenset[str] = frozenset()


class FakeWarming:
    """Each address may send so many messages to each site; None: no limit. `late`: counts wait for the disk."""

    def __init__(self) -> None:
        self.left: dict[str, int] = {}
        self.late: list[Deferred[bool]] | None = None
        self.has_room: Callable[[str, str], None] = lambda address, site: None

    def day(self) -> int:
        return 7

    def next_change(self) -> int:
        return 1 << 50

    def room(self, address: str, site: str) -> int | None:
        return self.left.get(address)

    def spend(self, address: str, site: str) -> bool | Deferred[bool]:
        if not self.left.get(address, 1):
            return False
        if address in self.left:
            self.left[address] -= 1
        if self.late is not None:
            self.late.append(Deferred())
            return self.late[-1]
        return True

    def give_back(self, address: str, site: str, day: int) -> None:
        assert day == 7
        self.left[address] += 1
        if self.left[address] == 1:
            self.has_room(address, "")


class DispatchRig(SynchronousTestCase):
    zones: dict[str, Zone] = {"default": Zone(connections=2)}
    domains: dict[str, Domain] = {}
    senders: dict[str, Sender] = {}
    cold: tuple[str, ...] = ()
    backoff_section = BackoffSection()
    events_kept = False
    #: Hosts answer QUIT at once.
    polite = True

    def setUp(self) -> None:
        self.joined: list[FakeChild] = []
        self.sites = FakeSites()
        self.clock = a_clock()
        self.now = milliseconds(self.clock)
        self.store = LateStore()
        self.tally = Tally()
        self.file = io.BytesIO()
        self.log = MailLog(self.clock, self.now, self.file)
        retry = a_retry(60.0, 120.0)
        self.schedule = Schedule(self.store, retry, self.clock, self.now, 1 << 24)
        self.telling = Steps(self.events_kept, self.now)
        self.results = Results(self.store, self.schedule, retry, self.log, self.tally, self.now, self.telling)
        zones = self.zones_ = zones_of(self.domains, **self.zones)
        self.limits = Limits(zones, self.sites, Senders(self.senders), self.clock.seconds)
        self.decided: list[Decision] = []
        self.backoff = Backoff(self.backoff_section, self.decided.append)
        self.holds, self.plumbed, self.warming = FakeHolds(), FakePlumbed(), FakeWarming()
        self.addresses = Addresses(
            zones, self.limits, self.backoff, self.plumbed, self.holds, self.warming, frozenset(self.cold), self.now,
            self.clock,
        )
        self.warming.has_room = self.addresses.has_room
        self.shutters = Shutters(
            self.sites, self.holds, self.backoff, self.limits.weight, self.clock.seconds, self.now
        )
        self.lessons = Lessons(self.backoff, self.shutters, self.sites.is_of, self.now)
        self.leases, self.ledger = Leases(5), Ledger()
        self.shelf = FakeShelf()
        self.suppressions = a_list(self.shelf, self.clock)
        self.diagnoses = Diagnoses("", self.clock.seconds)
        self.dispatcher = Dispatcher(
            self.store,
            self.schedule,
            self.leases,
            self.ledger,
            zones,
            self.results,
            self.diagnoses,
            self.tally,
            self.clock,
            self,
            self.suppressions,
        )
        self.operator = Operator(
            self.store, self.schedule, self.leases, self.results, self.log, self.clock, self.now, self.telling
        )
        self.number = 0
        self.dispatcher.start()

    def join(self, key: str = "00000005-1", zone: str = "default") -> FakeChild:
        child = FakeChild(key, zone)
        child.seconds = self.clock.seconds
        self.dispatcher.joined(child)
        self.joined.append(child)
        self.turn()
        return child

    def turn(self) -> None:
        """Let what is marked be pumped."""
        for _ in range(4):
            self.clock.advance(0)
            if self.polite and self.part():
                self.clock.advance(0)

    def part(self) -> int:
        """Connections that are to be closed are gone now; how many."""
        count = 0
        for child in self.joined:
            while child.parting:
                count += 1
                self.dispatcher.frame(child, frames.Closed(child.parting.pop(0)))
        return count

    def accept(
        self,
        *domains: str,
        body: bytes = b"hello\r\n",
        zone: str = "default",
        flow: str = "",
        due: int | None = None,
        **more: Any,
    ) -> Message:
        self.number += 1
        message = a_message(self.number, body, len(domains), **more)
        deliveries = [
            replace(a_delivery(message, seq, domain, self.now() if due is None else due, zone), flow=flow)
            for seq, domain in enumerate(domains, 1)
        ]
        self.store.append(message, deliveries, body)
        self.store.let_go()
        self.schedule.add(message, deliveries, body if message.chunks <= 1 else None)
        self.turn()
        return message

    def offers(self, child: FakeChild) -> list[Offer]:
        return child.heard(Offer)

    def says(self, child: FakeChild, *said: Frame) -> None:
        for frame in said:
            self.dispatcher.frame(child, frame)
        self.turn()

    def begin(self, child: FakeChild, offer: Offer) -> None:
        """The host has answered, and the transaction is begun."""
        self.says(child, frames.Answered(offer.connection, "mx.test", "192.0.2.9"))
        self.assertIn(frames.Go(offer.connection), child.heard(frames.Go))

    def done(self, child: FakeChild, offer: Offer, outcome: Outcome = DELIVERED, kept: bool = False) -> None:
        if not kept:
            child.parting.append(offer.connection)
        self.says(child, frames.Done(offer.connection, offer.lease, outcome, kept))

    def tell(self) -> None:
        self.store.let_go()
        self.turn()

    def entry(self, offer: Offer) -> Acceptance:
        return Acceptance(offer.id, offer.seq, offer.lease, "mx.test", "250 ok")

    def lines(self) -> list[str]:
        """What the mail log says."""
        self.log.flush()
        return self.file.getvalue().decode().splitlines()

    def open_to(self, domain: str) -> int:
        """Connections to a domain, idle ones included, by the limit that counts them."""
        [count] = self.limits.way(self.zones_["default"], domain, domain, "").counted
        return count.open

    def everything_is_free(self) -> None:
        """Nothing is left anywhere: no lease, no connection, no work, no mail."""
        self.assertEqual(len(self.leases), 0)
        self.assertEqual([one for one in self.ledger.connections() if one.state.name != "IDLE"], [])
        self.assertEqual((self.schedule._works, self.schedule._held, self.schedule._in_use), ({}, {}, 0))
        self.assertEqual(self.store.rows, {})
