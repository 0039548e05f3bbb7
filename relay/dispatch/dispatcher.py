"""Due work and free capacity -> permit -> lease -> offer; and what children say of it.

Whose turn it is tell the turns; whether there is room, the ledger. Here a delivery gets its
lease and goes to a child, and comes back with an outcome or without one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, ClassVar, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from relay.channel import frames
from relay.channel.codec import BadFrame
from relay.channel.frames import Frame
from relay.channel.journal import Acceptance
from relay.dispatch.addresses import Addresses, Leaving
from relay.dispatch.gates import Gate
from relay.dispatch.ledger import Capacity, Connection, Ledger, Limit, Permit, State
from relay.dispatch.lessons import Lessons
from relay.dispatch.limits import Limits, Way
from relay.dispatch.results import Results
from relay.dispatch.shutters import Shutters
from relay.dispatch.tokens import Tokens
from relay.dispatch.turns import Turns
from relay.message.values import Outcome, Result
from relay.queue.leases import Lease, Leases
from relay.queue.schedule import Schedule, Work
from relay.queue.store import Store, StoreError, Unreadable
from relay.zone.pool import Local
from relay.zone.zones import Zone, Zones

_log = Logger()

#: A delivery in the hands of this many children that crashed is put aside.
POISON = 3
#: A longer body goes to a target that has yet to answer only when its host asks for it (bytes).
_SMALL = 16 * 1024
#: Stages of an attempt in which nobody has heard of the message yet.
_BEFORE_MAIL = frozenset(("connect", "banner", "ehlo"))
#: Deliveries of a lane that are looked at when the first may not use its address now.
_AHEAD = 8


class Child(Protocol):
    """A sender child, as far as dispatch knows it; its place is a zone."""

    id: str
    place: str

    def send(self, frame: Frame) -> None: ...
    def settle(self) -> None: ...


class Counts(Protocol):
    """What is counted of dispatch; the metrics implement it."""

    def reused(self) -> None: ...


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
        counts: Counts,
        clock: IReactorTime,
        shaping: Shaping,
    ) -> None:
        self._store = store
        self._schedule = schedule
        self._leases = leases
        self._ledger = ledger
        self._zones = zones
        self._results = results
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
        self.turns = self._turns = Turns(
            schedule,
            leases,
            ledger,
            zones,
            shaping.limits,
            clock,
            self._place,
            self._may_offer,
            self._resume,
            shaping.shutters,
        )
        self._addresses.opened = self._turns.opened

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

    def _place(self, zone: Zone, way: Way, works: Iterable[Work]) -> Work | Limit | Gate:
        """Give the first delivery that may go to a child, and return it; or what is in the way. One whose
        address may not be used now lets those behind it pass."""
        now = self._clock.seconds()
        for gate in way.busy:
            if not gate.room(now):
                return gate
        stopped: Gate | None = None
        for work in islice(works, _AHEAD):
            local = self._addresses.choose(zone, way, work, now)
            if not isinstance(local, Gate):
                connection = self._connection(zone, way, work, local, now)
                if isinstance(connection, Connection):
                    lease = self._leases.grant(work, connection.child.key, connection.number, now)
                    self._offer(self._children[connection.child.key], connection, lease, local.local)
                    return work
                if isinstance(connection, Limit) or connection not in local.limits.gates:
                    return connection
                local = connection
            stopped = stopped or local
        assert stopped is not None, "only lanes with work are tried"
        return stopped

    def _connection(
        self, zone: Zone, way: Way, work: Work, leaving: Leaving, now: float
    ) -> Connection | Limit | Gate:
        """One for a delivery, kept or new; or what is in the way."""
        local, address = leaving
        size = work.held.message.size
        kept = self._ledger.kept(zone.name, way, local, now)
        stopped: Gate | None
        if kept is not None:
            stopped = self._tokens.missing(way, address, now)
        else:
            stopped = self._tokens.may_open(way, address, now) or self._shutters.may_try(zone.name, way.target)
        if stopped is not None:
            return stopped
        warm = self._addresses.count(zone, way, local, now)
        if isinstance(warm, Gate):
            self._shutters.tried_nothing(zone.name, way.target)
            return warm
        if kept is not None:
            self._ledger.reuse(kept, way)
            self._counts.reused()
            kept.size, kept.warm = size, warm
            self._tokens.spend(kept, now)
            return kept
        permit = self._ledger.open(zone.name, way, local, address, now)
        if not isinstance(permit, Permit):
            self._addresses.uncount(way.place, warm)
            self._shutters.tried_nothing(zone.name, way.target)
            return permit
        for spare in permit.close:
            self._children[spare.child.key].send(frames.Close(spare.number))
        permit.connection.warm = warm
        self._tokens.opened(permit.connection, size, now)
        return permit.connection

    def _offer(self, child: Child, connection: Connection, lease: Lease, local: Local) -> None:
        work = lease.work
        message, delivery, body = work.held.message, work.delivery, work.held.body
        try:
            if connection.state is State.TRYING and message.body_size > _SMALL:
                body = None  # Most of those who hang never come to ask for it.
            elif body is None and message.chunks <= 1:
                body = self._store.chunk(message.id, 0) if message.chunks else b""
        except Unreadable as error:
            self._unreadable(child, connection, lease, str(error))
            return
        except StoreError:
            body = None  # The child asks for it when the store can be read again.
        child.send(
            frames.Offer(
                connection.number,
                lease.number,
                delivery.id,
                delivery.seq,
                message.sender,
                delivery.recipient,
                delivery.domain,
                local.address,
                local.name,
                local.address6,
                local.name6,
                message.origin,
                message.created,
                message.headers,
                message.body_size,
                message.chunks,
                message.eight_bit,
                body,
                message.smtputf8,
                message.require_tls,
                message.ret,
                message.envid,
                delivery.notify,
                delivery.orcpt,
            )
        )

    def _unreadable(self, child: Child, connection: Connection, lease: Lease, why: str) -> None:
        """Deferred and reported; neither bounced nor sent empty."""
        _log.error("body of {name} can't be read: {why}", name=lease.work.delivery.name, why=why)
        self._leases.end(lease.number, child.id)
        self._drop(connection, child)
        self._results.record(lease.work, _ours("the stored body can't be read"))

    def _drop(self, connection: Connection, child: Child) -> None:
        """A permit that is not used: the connection, if there is one, is given back."""
        self._lessons.nothing(connection)
        child.send(frames.Close(connection.number))
        self._remove(connection)

    def _remove(self, connection: Connection) -> None:
        """It is gone."""
        self._tokens.settle(connection)
        self._addresses.uncount(connection.way.place, connection.warm)
        self._ledger.remove(connection)
        self._turns.freed(connection)

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
            self._tokens.settle(connection)
            self._lessons.nothing(connection)
            self._turns.freed(connection)
        return self._store.barrier()

    def frame(self, child: Child, frame: Any) -> None:
        """What a child says. What is about a lease or connection it does not hold is
        passed over. Raises BadFrame for what no child may say now."""
        kind = type(frame)
        if kind is frames.Done:
            self._done(child, frame)
        elif kind is frames.More:
            self._more(child, frame)
        elif kind is not frames.Pong:
            said = self._connection_says.get(kind)
            if said is None:
                raise BadFrame(f"{kind.__name__} from a child that is here")
            connection = self._ledger.get(frame.connection)
            if connection is None or connection.child.key != child.id:
                return  # It was given back while the child spoke.
            said(self, child, connection)

    def _answered(self, child: Child, connection: Connection) -> None:
        if connection.state is State.IDLE:
            raise BadFrame("an answer without an offer")
        if connection.state is State.PARKED:
            return  # Another of its hosts has answered; its token is waited for already.
        self._tokens.answered(connection)
        if self._ledger.answered(connection, self._clock.seconds()):
            child.send(frames.Go(connection.number))
        self._let_go(child)
        self._lessons.answered(connection)
        self._turns.answered(connection.target)
        self._turns.freed(connection)

    def _let_go(self, child: Child) -> None:
        """Answered connections may go on, as far as there is room and they have their tokens."""
        now = self._clock.seconds()
        while (connection := self._ledger.first_waiting(self._capacities[child.id])) is not None:
            missing = self._tokens.missing(connection.way, connection.address, now, connection.resumed)
            if missing is not None:
                self._turns.park(connection, missing)
                continue
            self._ledger.go(connection)
            self._tokens.spend(connection, now)
            child.send(frames.Go(connection.number))

    def _resume(self, connection: Connection) -> None:
        """The token that a parked connection waited for has come."""
        connection.resumed = True
        self._ledger.unpark(connection)
        self._let_go(self._children[connection.child.key])

    def _quiet(self, child: Child, connection: Connection) -> None:
        self._ledger.quiet(connection)
        if connection.state is State.QUIET:
            self._tokens.settle(connection)
        self._let_go(child)
        self._turns.freed(connection)

    def _active(self, child: Child, connection: Connection) -> None:
        self._ledger.active(connection)
        self._turns.freed(connection)

    def _closed(self, child: Child, connection: Connection) -> None:
        connection.kept = False
        if connection.state is State.IDLE:
            self._remove(connection)

    _connection_says: ClassVar[dict[type, Callable[[Dispatcher, Child, Connection], None]]] = {
        frames.Answered: _answered,
        frames.Quiet: _quiet,
        frames.Active: _active,
        frames.Closed: _closed,
    }

    def _done(self, child: Child, done: frames.Done) -> None:
        lease = self._leases.end(done.lease, child.id)
        if lease is None:
            why = "child {child} reports lease {lease}, which it does not hold"
            _log.warn(why, child=child.id, lease=done.lease)
            return
        # First of all: whatever else comes of it, the outcome is written down.
        delivery, connection = lease.work.delivery, self._ledger.get(lease.connection)
        written = self._results.record(lease.work, done.outcome)
        if done.outcome.result is Result.DELIVERED:
            written.addCallback(lambda on_disk: child.settle() if on_disk else None)
        if connection is not None:
            self._lessons.ended(connection, delivery, done.outcome, self._clock.seconds() - lease.since)
            self._ended(child, connection, done)

    def _ended(self, child: Child, connection: Connection, done: frames.Done) -> None:
        """A connection has done what it was to do; with throttling it rests before anything else."""
        outcome = done.outcome
        begun = connection.paid and outcome.stage not in _BEFORE_MAIL
        if not begun:
            self._turns.refilled(self._tokens.give_back(connection))
        connection.paid = False
        if connection.warm:
            used = _used(connection, outcome) if begun else ""
            unused = [one for one in connection.warm if one[0] != used]
            self._addresses.uncount(connection.way.place, unused)
            connection.warm = ()
        gap = connection.child.gap
        rest = connection.began + gap - self._clock.seconds() if gap else 0.0
        connection.kept = done.kept
        if rest > 0:
            self._clock.callLater(rest, self._rested, child, connection)
        else:
            self._rested(child, connection)

    def _rested(self, child: Child, connection: Connection) -> None:
        if self._ledger.get(connection.number) is not connection:
            return  # Its child has gone meanwhile.
        reuse = connection.way.reuse
        if connection.kept and reuse and connection.sent >= reuse:
            child.send(frames.Close(connection.number))
            connection.kept = False
        if connection.kept:
            self._ledger.idle(connection)
            self._turns.freed(connection)
        else:
            self._remove(connection)
        self._let_go(child)

    def _more(self, child: Child, more: frames.More) -> None:
        lease = self._leases.get(more.lease)
        if lease is None or lease.child != child.id:
            return
        data = lease.work.held.body
        try:
            if data is None:
                data = self._store.chunk(lease.work.delivery.id, more.chunk)
        except StoreError as error:
            _log.warn("chunk {n} of {id}: {why}", n=more.chunk, id=lease.work.delivery.id, why=str(error))
        child.send(frames.Chunk(more.lease, more.chunk, data))


def _used(connection: Connection, outcome: Outcome) -> str:
    """The local address that MAIL was said from."""
    local = connection.local
    return local.address6 if ":" in outcome.host_address else local.address


def _surely(on_disk: bool) -> None:
    if not on_disk:
        raise StoreError("the queue came to its end before")


def _ours(response: str) -> Outcome:
    return Outcome(Result.DEFERRED, response, category="ours")


def _from_journal(entry: Acceptance) -> Outcome:
    return Outcome(Result.DELIVERED, entry.response, code=250, host=entry.host, stage="dot")
