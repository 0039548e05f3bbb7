"""Due work and free capacity -> permit -> lease -> offer.

Woken by events alone: work that has come due, a connection that ended its transaction, a
child that joined. Each wake marks the zone; once per reactor turn the marked zones are
pumped: their lanes take turns, one delivery each, until a limit says no or the turn has been
long enough. A lane that is stopped by a limit of its own leaves the line and comes back when
that limit moves.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from relay.channel import frames
from relay.channel.codec import BadFrame
from relay.channel.frames import CHUNK, Frame
from relay.channel.journal import Acceptance
from relay.dispatch.ledger import Capacity, Connection, Ledger, Limit, State
from relay.dispatch.results import Results
from relay.message.values import Outcome, Result
from relay.queue.leases import Lease, Leases
from relay.queue.schedule import Lane, Schedule, Work
from relay.queue.store import Store, StoreError, Unreadable
from relay.zone.pool import choose
from relay.zone.zones import Zone, Zones

_log = Logger()

#: A delivery in the hands of this many children that crashed is put aside.
POISON = 3
#: Lanes looked at in one turn of the reactor, so that many due at once don't hold up the rest.
_TURNS = 200
#: A pump that stumbled over an error of ours is tried again after this long (seconds).
_AGAIN = 1.0
#: A longer body goes to a target that has yet to answer only when its host asks for it (bytes).
_SMALL = 16 * 1024


class Child(Protocol):
    """A sender child, as far as dispatch knows it."""

    id: str
    zone: str

    def send(self, frame: Frame) -> None: ...
    def settle(self) -> None: ...


class Counts(Protocol):
    """What is counted of dispatch; the metrics implement it."""

    def reused(self) -> None: ...


class _Line:
    """The lanes of one zone that wait for their turn."""

    __slots__ = ("marked", "ready", "suspect", "suspects", "trial", "zone")

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        #: Lanes whose target answered lately, and lanes whose target has yet to answer.
        self.ready: OrderedDict[Lane, None] = OrderedDict()
        self.trial: OrderedDict[Lane, None] = OrderedDict()
        #: Deliveries that were in a child's hands when it crashed: they go one at a time,
        #: so that the next crash tells which of them it was.
        self.suspects: deque[Work] = deque()
        self.suspect: Lease | None = None
        self.marked = False


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
    ) -> None:
        self._store = store
        self._schedule = schedule
        self._leases = leases
        self._ledger = ledger
        self._zones = zones
        self._results = results
        self._counts = counts
        self._clock = clock
        self._lines = {zone.name: _Line(zone) for zone in zones.active()}
        self._marked: list[_Line] = []
        self._children: dict[str, Child] = {}
        self._zones_without_line: set[str] = set()
        self._capacities: dict[str, Capacity] = {}
        self._running = False
        schedule.due = self.lane_due

    # -- life

    def start(self) -> None:
        """Begin to offer: journals left behind have been read by now."""
        self._running = True
        for line in self._lines.values():
            self._mark(line)

    def stop(self) -> None:
        """Offer nothing more; outcomes are still taken."""
        self._running = False

    def resume(self) -> None:
        """The store can write again."""
        for child in self._children.values():
            child.send(frames.Hold(False))
        for line in self._lines.values():
            self._mark(line)

    def hold(self) -> None:
        """The store can't write: what children would achieve could not be recorded."""
        for child in self._children.values():
            child.send(frames.Hold(True))

    # -- lanes

    def lane_due(self, lane: Lane) -> None:
        """A lane may have ready work."""
        line = self._lines.get(lane.zone)
        if line is None:
            self._warn_of_zone(lane.zone)
            return
        if lane.listed:
            return
        lane.listed = True
        target = line.zone.next_hop or lane.domain
        proven = self._ledger.proven(lane.zone, target, self._clock.seconds())
        (line.ready if proven else line.trial)[lane] = None
        self._mark(line)

    def _warn_of_zone(self, zone: str) -> None:
        """Once for each zone that has mail and sends nothing."""
        if zone not in self._zones_without_line:
            self._zones_without_line.add(zone)
            _log.warn("zone {zone} is disabled or not configured: its mail waits", zone=zone)

    def _mark(self, line: _Line) -> None:
        if not line.marked:
            line.marked = True
            self._marked.append(line)
            if len(self._marked) == 1:
                self._clock.callLater(0, self._pump_marked)

    def _pump_marked(self) -> None:
        marked, self._marked = self._marked, []
        for line in marked:
            line.marked = False
        for line in marked:
            if self._running and self._store.writable():
                try:
                    self._pump_suspects(line)
                    self._pump(line, line.ready)
                    self._pump(line, line.trial)
                except Exception:
                    _log.failure("dispatch of zone {zone} stumbled", zone=line.zone.name)
                    self._clock.callLater(_AGAIN, self._mark, line)

    def _pump(self, line: _Line, lanes: OrderedDict[Lane, None]) -> None:
        """Lanes take turns until one is stopped by a limit of the whole zone."""
        for _ in range(_TURNS):
            lane = next(iter(lanes), None)
            if lane is None:
                return
            if not self._schedule.has_ready(lane):
                lane.listed = False
                del lanes[lane]
                continue
            stopped = self._place(line.zone, lane.ready[0])
            if stopped is None:
                self._schedule.take(lane)
                lanes.move_to_end(lane)
            elif stopped is Limit.DOMAIN or (stopped is Limit.TARGET and not line.zone.next_hop):
                lane.listed = False
                del lanes[lane]
            elif stopped is Limit.TRYING and lanes is line.ready:
                del lanes[lane]
                line.trial[lane] = None
            elif stopped is Limit.ZONE and lanes is line.trial:
                del lanes[lane]
                line.ready[lane] = None
            else:
                return
        self._mark(line)

    def _pump_suspects(self, line: _Line) -> None:
        for _ in range(len(line.suspects)):
            if self._suspect_at_work(line):
                return
            work = line.suspects[0]
            stopped = self._place(line.zone, work)
            if stopped is None:
                line.suspects.popleft()
                line.suspect = self._leases.get(work.lease)
            elif stopped is Limit.DOMAIN or stopped is Limit.TARGET:
                line.suspects.rotate(-1)
            else:
                return

    def _suspect_at_work(self, line: _Line) -> bool:
        """Whether a suspect is in a child's hands and doing anything but wait for its peer."""
        lease = line.suspect
        return lease is not None and self._leases.get(lease.number) is not None and not self._is_quiet(lease)

    def _place(self, zone: Zone, work: Work) -> Limit | None:
        """Give a delivery to a child; or say which limit is in the way."""
        domain = work.delivery.domain
        local = choose(zone.pool, work.delivery.name)
        permit = self._ledger.permit(
            zone.name,
            domain,
            zone.next_hop or domain,
            local.address,
            self._zones.max_connections(domain),
            self._clock.seconds(),
        )
        if isinstance(permit, Limit):
            return permit
        for spare in permit.close:
            self._children[spare.child.key].send(frames.Close(spare.number))
        connection = permit.connection
        child = self._children[connection.child.key]
        if connection.state is State.SENDING:
            self._counts.reused()
        lease = self._leases.grant(work, child.id, connection.number, self._clock.seconds())
        self._offer(child, connection, lease, local.name)
        return None

    def _offer(self, child: Child, connection: Connection, lease: Lease, local_name: str) -> None:
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
                connection.local,
                local_name,
                message.origin,
                message.created,
                message.headers,
                message.body_size,
                message.chunks,
                message.eight_bit,
                body,
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
        child.send(frames.Close(connection.number))
        self._ledger.remove(connection)
        self._freed(connection.child.zone, connection.domain)

    def _freed(self, zone: str, domain: str) -> None:
        """A connection of (zone, domain) changed: whoever waited for that gets a turn."""
        lane = self._schedule.known(zone, domain)
        if lane is not None and not lane.listed:
            self.lane_due(lane)
        line = self._lines.get(zone)
        if line is not None:
            self._mark(line)

    # -- children

    def joined(self, child: Child) -> None:
        """A child said hello."""
        options = self._zones[child.zone].options
        self._children[child.id] = child
        self._capacities[child.id] = Capacity(child.id, child.zone, options.connections, options.connecting)
        self._ledger.join(self._capacities[child.id])
        if not self._store.writable():
            child.send(frames.Hold(True))
        if child.zone in self._lines:
            self._mark(self._lines[child.zone])

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
        blamed = self._blame([lease for lease in lost if lease.number not in taken]) if crashed else set()
        touched = self._ledger.leave(self._capacities.pop(child.id))
        for lease in lost:
            entry = taken.get(lease.number)
            if entry is not None:
                self._results.record(lease.work, _from_journal(entry))
            elif lease.work in blamed and lease.work.crashes >= POISON:
                self._results.put_aside(lease.work, f"{POISON} children died with it")
            elif lease.work.crashes and lease.work.delivery.zone in self._lines:
                self._lines[lease.work.delivery.zone].suspects.append(lease.work)
            else:
                self._schedule.give_back(lease.work)
        for zone, domain in touched:
            self._freed(zone, domain)
        return self._store.barrier()

    def _blame(self, leases: list[Lease]) -> set[Work]:
        """Whom a crash is put down to: suspects that were in flight, else all that were;
        and rather those that were doing something than those that waited for their peer."""
        works = [lease.work for lease in leases]
        awake = [lease.work for lease in leases if not self._is_quiet(lease)]
        suspects = [work for work in awake if work.crashes] or [work for work in works if work.crashes]
        blamed = set(suspects or awake or works)
        for work in blamed:
            work.crashes += 1
        return blamed

    def _is_quiet(self, lease: Lease) -> bool:
        connection = self._ledger.get(lease.connection)
        return connection is not None and connection.state is State.QUIET

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
        if self._ledger.answered(connection, self._clock.seconds()):
            child.send(frames.Go(connection.number))
        self._let_go(child)
        line, lane = self._lines[child.zone], self._schedule.known(child.zone, connection.domain)
        if lane is not None and lane in line.trial:
            del line.trial[lane]
            line.ready[lane] = None
        self._freed(child.zone, connection.domain)

    def _let_go(self, child: Child) -> None:
        while (connection := self._ledger.may_go(self._capacities[child.id])) is not None:
            child.send(frames.Go(connection.number))

    def _quiet(self, child: Child, connection: Connection) -> None:
        self._ledger.quiet(connection)
        self._let_go(child)
        self._mark(self._lines[child.zone])

    def _active(self, child: Child, connection: Connection) -> None:
        self._ledger.active(connection)
        self._freed(child.zone, connection.domain)

    def _closed(self, child: Child, connection: Connection) -> None:
        if connection.state is State.IDLE:
            self._ledger.remove(connection)
            self._freed(child.zone, connection.domain)

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
        connection = self._ledger.get(lease.connection)
        if connection is not None:
            if done.kept:
                self._ledger.idle(connection)
            else:
                self._ledger.remove(connection)
            self._let_go(child)
            self._freed(child.zone, connection.domain)
        written = self._results.record(lease.work, done.outcome)
        if done.outcome.result is Result.DELIVERED:
            written.addCallback(lambda on_disk: child.settle() if on_disk else None)

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


def _surely(on_disk: bool) -> None:
    if not on_disk:
        raise StoreError("the queue came to its end before")


def _ours(response: str) -> Outcome:
    return Outcome(Result.DEFERRED, response, category="ours")


def _from_journal(entry: Acceptance) -> Outcome:
    return Outcome(Result.DELIVERED, entry.response, code=250, host=entry.host, stage="dot")


assert CHUNK < frames.MAX_TO_CHILD
