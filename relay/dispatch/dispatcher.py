"""Due work and free capacity -> permit -> lease -> offer; and what children say of it.

Whose turn it is tell the turns; whether there is room, the ledger. Here a delivery gets its
lease and goes to a child, and comes back with an outcome or without one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import Any, ClassVar, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from relay.channel import frames
from relay.channel.codec import BadFrame
from relay.channel.journal import Acceptance
from relay.dispatch.addresses import Addresses
from relay.dispatch.capacity import Capacity
from relay.dispatch.connection import Connection
from relay.dispatch.diagnoses import Diagnoses
from relay.dispatch.expiry import Expiry
from relay.dispatch.fellows import Fellows
from relay.dispatch.gates import NEW_CONNECTIONS, Connections, Gate
from relay.dispatch.leaving import Leaving
from relay.dispatch.ledger import Ledger, Limit, Permit
from relay.dispatch.lessons import Lessons
from relay.dispatch.limits import Limits, Way
from relay.dispatch.lines import Placed, Struck
from relay.dispatch.lives import Child, Lives
from relay.dispatch.neighbours import Neighbours
from relay.dispatch.offers import Offers
from relay.dispatch.results import Results
from relay.dispatch.shutters import Shutters
from relay.dispatch.suppressing import List, Suppressing
from relay.dispatch.tokens import Tokens
from relay.dispatch.turns import AHEAD, Turns
from relay.message.values import Outcome, Result
from relay.queue.leases import Lease, Leases
from relay.queue.schedule import Schedule, Work
from relay.queue.store import Store, StoreError
from relay.zone.zones import Zone, Zones

_log = Logger()

#: A delivery in the hands of this many children that crashed is put aside.
POISON = 3
#: What a message has more on its way out than in the queue, by which a rate of bytes would be passed: its last
#: Received field, and if it may be signed a signature, each about so long (bytes).
_TRACE, _SIGNATURE = 256, 640
#: How soon a connection comes to its end (seconds): about so soon, and nothing hangs on it but an order.
_BEFORE_LONG = 1.0


class Counts(Protocol):
    """What is counted of dispatch; the metrics implement it."""

    def reused(self) -> None: ...
    def attempted(
        self, zone: str, site: str, since: int, took: float, *, first: bool, delivered: bool
    ) -> None: ...


class Shaping(Protocol):
    """What says when mail may go, and by which address."""

    @property
    def limits(self) -> Limits: ...
    @property
    def addresses(self) -> Addresses: ...
    @property
    def shutters(self) -> Shutters: ...
    @property
    def lessons(self) -> Lessons: ...


class Dispatcher:
    """Hands deliveries to children and takes their outcomes."""

    def __init__(
        self,
        store: Store,
        schedule: Schedule,
        leases: Leases,
        ledger: Ledger,
        zones: Zones,
        results: Results,
        diagnoses: Diagnoses,
        counts: Counts,
        clock: IReactorTime,
        shaping: Shaping,
        suppressions: List,
    ) -> None:
        self._store = store
        self._schedule = schedule
        self._leases = leases
        self._ledger = ledger
        self._zones = zones
        self._results = results
        self._diagnoses = diagnoses
        self._counts = counts
        self._clock = clock
        self._children: dict[str, Child] = {}
        self._capacities: dict[str, Capacity] = {}
        self._running = False
        self._addresses = shaping.addresses
        self._addresses.adopt = ledger.adopt
        self._shutters = shaping.shutters
        self._lessons = shaping.lessons
        self._tokens = Tokens(shaping.limits.keep)
        expiry = Expiry(schedule, results, lambda gate: self._turns.opened(gate))
        suppressing = Suppressing(suppressions, schedule, results, lambda zone: self._turns.wake(zone))
        self._suppressed = suppressing.look
        self.turns = self._turns = Turns(
            schedule,
            leases,
            ledger,
            zones,
            shaping.limits,
            clock,
            self._place,
            self._may_offer,
            lambda connection, rate: self._lives.resume(connection, rate),
            expiry.give_up,
            suppressing.strike,
            shaping.shutters,
        )
        self._addresses.opened = self._turns.opened
        self._lives = Lives(
            self._children, ledger, self._tokens, self._addresses, self._lessons, self._turns, clock
        )
        self._turns.served = self._lives.lines_served
        self._offers = Offers(store, leases, results, self._lives)
        neighbours = Neighbours(schedule, zones, self._addresses, self._shutters)
        self._fellows = Fellows(schedule, self._tokens, self._addresses, ledger, neighbours, self._suppressed)
        #: Is told of keys that a child can't use.
        self.bad_key: Callable[[frames.BadKey], None] = lambda frame: None
        #: Is told what TLS came to on connections.
        self.tls_results: Callable[[frames.TlsResults], None] = lambda frame: None

    # -- life

    def start(self) -> None:
        """Begin to offer: journals left behind have been read by now."""
        self._running = True
        self._turns.wake_all()

    def stop(self) -> None:
        """Offer nothing more; outcomes are still taken."""
        self._running = False

    def resume(self) -> None:
        """The store can write again."""
        for child in self._children.values():
            child.send(frames.Hold(False))
        self._turns.wake_all()

    def hold(self) -> None:
        """The store can't write: what children would achieve could not be recorded."""
        for child in self._children.values():
            child.send(frames.Hold(True))

    def _may_offer(self) -> bool:
        return self._running and self._store.writable()

    # -- offers

    def _place(self, zone: Zone, way: Way, works: Collection[Work], behind: bool) -> Placed | Struck | Limit | Gate:
        """Give the first delivery that may go to a child, with its fellows, and return them; or what is in the way.
        One that stands before it and is for somebody who gets no mail is returned instead. One whose address may not
        be used now lets those behind it pass; where that is so of all, the one that opens first is in the way.
        `behind`: it comes after those who wait at the gates of an address."""
        now = self._clock.seconds()
        for gate in way.busy:
            if not gate.room(now):
                return gate
        stopped: Gate | None = None
        for work in islice(works, AHEAD):
            struck = self._suppressed(work)
            if struck is not None:
                return struck
            leaving = self._addresses.choose(zone, way, work, now)
            found: Connection | Limit | Gate
            if isinstance(leaving, Gate):
                found = leaving
            else:
                found = self._connection(zone, way, work, leaving, len(works), behind, now)
                if isinstance(found, Connection):
                    return self._placed(zone, way, work, found, now)
                if isinstance(found, Limit) or found not in leaving.limits.gates:
                    return found
            if stopped is None or _wait(found, now) < _wait(stopped, now):
                stopped = found
        assert stopped is not None, "only lanes with work are tried"
        return stopped

    def _placed(self, zone: Zone, way: Way, work: Work, connection: Connection, now: float) -> Placed:
        """On this connection it goes, at once where it is a kept one."""
        works = (work, *self._fellows.of(zone, way, work, connection, now))
        connection.recipients = len(works)
        if connection.settled:
            self._tokens.spend(connection, now)
        else:
            self._tokens.opened(connection, now)
        child = connection.child.key
        leases = [self._leases.grant(one, child, connection.number, now) for one in works]
        self._offers.offer(self._children[child], connection, leases)
        return Placed(works, connection.address.gates)

    def _connection(
        self, zone: Zone, way: Way, work: Work, leaving: Leaving, wanted: int, behind: bool, now: float
    ) -> Connection | Limit | Gate:
        """One for a delivery, kept or new; or what is in the way, for it and others, `wanted` in all. `behind`: where
        others wait it waits too."""
        leaving = leaving.usable(now)
        message = work.held.message
        size = message.size + _TRACE + (_SIGNATURE if message.body_hash else 0)
        for gate in leaving.limits.connections:
            if gate.above(now):  # Its site has complained since: kept ones may not be used either.
                self._lives.make_room(zone.name, gate, wanted)
                return gate
        kept = self._ledger.kept(zone.name, way, leaving.local, now)
        if kept is None:
            leaving = leaving.callable(now)
        address = kept.address if kept is not None else leaving.limits
        stopped: Gate | None
        if behind:
            for waited in address.gates:
                if len(waited.ring) and not (kept is not None and waited.kind == NEW_CONNECTIONS):
                    return waited
        if kept is not None:
            stopped = self._tokens.missing(way, address, now)
        else:
            stopped = self._tokens.may_open(way, address, now) or self._shutters.may_try(zone.name, way.target)
        if stopped is not None:
            return stopped
        warm = self._addresses.count(zone, way, kept.local if kept is not None else leaving.local, now)
        if isinstance(warm, Gate):
            self._shutters.tried_nothing(zone.name, way.target)
            return warm
        if kept is not None:
            self._ledger.reuse(kept, way)
            self._counts.reused()
            kept.size, kept.warm = size, warm
            return kept
        permit = self._ledger.open(zone.name, way, leaving, now)
        if not isinstance(permit, Permit):
            self._addresses.uncount(way.place, warm)
            self._shutters.tried_nothing(zone.name, way.target)
            if isinstance(permit, Connections):
                self._lives.make_room(zone.name, permit, wanted)
            return permit
        if permit.spare is not None:
            self._lives.tell_close(permit.spare)
        permit.connection.size, permit.connection.warm = size, warm
        return permit.connection

    # -- children

    def joined(self, child: Child) -> None:
        """A child said hello."""
        zone = self._zones[child.place]
        options = zone.options
        self._children[child.id] = child
        self._capacities[child.id] = Capacity(
            child.id, child.place, options.connections, options.connecting, zone.gap
        )
        self._ledger.join(self._capacities[child.id])
        if not self._store.writable():
            child.send(frames.Hold(True))
        self._turns.wake(child.place)

    def settle_from_journal(self, work: Work, entry: Acceptance) -> Deferred[None]:
        """A peer took this delivery, says a journal; nobody reported it. Fires when that is
        on disk. Fails with StoreError when it can't be: the journal has to be kept."""
        return self._results.record(work, _from_journal(entry)).addCallback(_surely)

    def gone(self, child: Child, accepted: Sequence[Acceptance], crashed: bool) -> Deferred[None]:
        """A child is surely gone and its journal was read: settle what peers took, and make
        the rest due again. Fires when every outcome the child ever reported is on disk."""
        if self._children.pop(child.id, None) is None:
            return succeed(None)
        taken = {entry.lease: entry for entry in accepted}
        lost = self._leases.release(child.id)
        for lease in lost:
            connection = self._ledger.get(lease.connection)
            if lease.number not in taken and connection is not None and connection.paid:
                self._results.lost(lease.work)
        blamed = self._turns.suspects.blame(one for one in lost if one.number not in taken) if crashed else set()
        touched = self._ledger.leave(self._capacities.pop(child.id))
        for lease in lost:
            entry = taken.get(lease.number)
            if entry is not None:
                self._results.record(lease.work, _from_journal(entry))
            elif lease.work in blamed and lease.work.crashes >= POISON:
                self._results.put_aside(lease.work, f"{POISON} children died with it")
            elif not (lease.work.crashes and self._turns.suspect(lease.work)):
                self._schedule.give_back(lease.work)
        for connection in touched:
            self._lives.lost(connection)
        return self._store.barrier()

    def frame(self, child: Child, frame: Any) -> None:
        """What a child says. What is about a lease or connection it does not hold is
        passed over. Raises BadFrame for what no child may say now."""
        kind = type(frame)
        if kind is frames.Done:
            self._done(child, frame)
        elif kind is frames.Fared:
            self._fared(child, frame)
        elif kind is frames.More:
            self._offers.more(child, frame)
        elif kind is frames.BadKey:
            self.bad_key(frame)
        elif kind is frames.TlsResults:
            self.tls_results(frame)
        elif kind is not frames.Pong:
            said = self._connection_says.get(kind)
            if said is None:
                raise BadFrame(f"{kind.__name__} from a child that is here")
            connection = self._ledger.get(frame.connection)
            if connection is None or connection.child.key != child.id:
                return  # It was given back while the child spoke.
            said(self._lives, child, connection, frame)

    _connection_says: ClassVar[dict[type, Callable[[Lives, Child, Connection, Any], None]]] = {
        frames.Answered: Lives.answered,
        frames.Redial: Lives.redial,
        frames.Quiet: Lives.quiet,
        frames.Active: Lives.active,
        frames.Closed: Lives.closed,
    }

    def _done(self, child: Child, done: frames.Done) -> None:
        lease = self._ended(child, done.lease)
        if lease is None:
            return
        connection = self._ledger.get(lease.connection)
        whole = connection is None or connection.recipients == 1
        try:
            self._record(child, lease, done.outcome)
        finally:
            if connection is not None:
                self._lives.ended(child, connection, done)
        if not whole:
            raise BadFrame("an attempt is done, and nothing was said of some whom it was for")

    def _fared(self, child: Child, fared: frames.Fared) -> None:
        lease = self._ended(child, fared.lease)
        if lease is None:
            return
        connection = self._ledger.get(lease.connection)
        try:
            if fared.outcome is not None:
                self._record(child, lease, fared.outcome)
        finally:
            if connection is not None:
                self._lives.fared(connection, fared.outcome, lease.work.delivery.domain if fared.apart else "")
        if fared.outcome is None:
            self._schedule.give_back(lease.work)

    def _ended(self, child: Child, number: int) -> Lease | None:
        """The lease that has ended with what the child says."""
        lease = self._leases.end(number, child.id)
        if lease is None:
            why = "child {child} reports lease {lease}, which it does not hold"
            _log.warn(why, child=child.id, lease=number)
        return lease

    def _record(self, child: Child, lease: Lease, outcome: Outcome) -> None:
        """First of all: whatever else comes of it, the outcome is written down."""
        delivery, connection = lease.work.delivery, self._ledger.get(lease.connection)
        took = self._clock.seconds() - lease.since
        diagnosis = None
        try:
            outcome, diagnosis = self._diagnoses.judged(outcome, bool(self._zones[child.place].options.url))
        except Exception:
            _log.failure("No rule can be found for what a host says of {name}", name=delivery.name)
        site = "" if connection is None else connection.way.place
        written = self._results.record(lease.work, outcome, diagnosis, site)
        delivered = outcome.result is Result.DELIVERED
        if delivered:
            written.addCallback(lambda on_disk: child.settle() if on_disk else None)
        if connection is not None:
            self._lessons.ended(connection, delivery, outcome, diagnosis, took)
        first, since = not delivery.last_failure, lease.work.held.message.since
        self._counts.attempted(delivery.zone, site, since, took, first=first, delivered=delivered)


def _wait(gate: Gate, now: float) -> float:
    """How long a gate will probably be shut (seconds). What opens when something else ends does so before long."""
    after = gate.opens(now)
    return _BEFORE_LONG if after is None else after


def _surely(on_disk: bool) -> None:
    if not on_disk:
        raise StoreError("the queue came to its end before")


def _from_journal(entry: Acceptance) -> Outcome:
    return Outcome(Result.DELIVERED, entry.response, code=250, host=entry.host, stage="dot", dsn=entry.dsn)
