"""Whose turn it is: in each zone lanes wait in a line, and at every limit those that it has stopped.

Woken by events alone: work that has come due, a connection that ended its transaction, a
child that joined, a limit that has room again. Each wake marks the zone; once per reactor turn the
marked zones are pumped until a limit of the whole zone says no or the turn has been long enough.

A lane stands in one place at a time: in the line of its zone, or at the gate that has stopped it,
where it costs nothing. A gate with room lets one lane go at a time, the one whose turn it is there,
and the next one when that has had its try; so what is scarce is shared where it is scarce.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from relay.dispatch.gates import NEW_CONNECTIONS, Connections, Gate, Rate, Shut
from relay.dispatch.ledger import Connection, Ledger, Limit, State
from relay.dispatch.limits import Limits, Way
from relay.dispatch.ring import Ring, cost
from relay.dispatch.shutters import Shutters
from relay.dispatch.suspects import Suspects
from relay.dispatch.target import Target
from relay.message.flow import read_flow
from relay.queue.leases import Leases
from relay.queue.schedule import Lane, Schedule, Work
from relay.queue.store import LaneKey
from relay.zone.zones import Zone, Zones

_log = Logger()

#: Lanes looked at in one turn of the reactor, so that many due at once don't hold up the rest.
_TURNS = 200
#: Lanes that go at once from a gate that has had room for a moment.
_AT_ONCE = 20
#: A pump that stumbled over an error of ours is tried again after this long (seconds).
_AGAIN = 1.0


class Turn:
    """Where a lane stands, since when, and what has stopped it.

    Attributes:
        way: its limits; None while its site is looked up.
        ring: where it stands.
        gate: what it waits for; None in the line of its zone.
        since: when it came there (seconds of the clock).
        let_go: the gate that has let it go, until it has had its try.
    """

    __slots__ = ("gate", "let_go", "line", "ring", "since", "way")

    def __init__(self, line: Line) -> None:
        self.line = line
        self.way: Way | None = None
        self.ring: Ring = line.ready
        self.gate: Gate | None = None
        self.since = 0.0
        self.let_go: Gate | None = None


class Line:
    """The lanes of one zone that wait for their turn.

    Attributes:
        ready: those whose target answered lately.
        trial: those whose target has yet to answer.
        full: what stops those that are ready, None for nothing; `trying` what stops the others.
    """

    __slots__ = ("full", "marked", "ready", "trial", "trying", "zone")

    def __init__(self, zone: Zone, weight: Callable[[str], float]) -> None:
        self.zone = zone
        self.ready = Ring(weight)
        self.trial = Ring(weight)
        self.full: Limit | None = None
        self.trying: Limit | None = None
        self.marked = False


#: Gives the first delivery of those that may go to a child, and tells which; or says what is in the way.
PlaceIt = Callable[[Zone, Way, Iterable[Work]], Work | Limit | Gate]


class Turns:
    """The lines of all zones."""

    def __init__(
        self,
        schedule: Schedule,
        leases: Leases,
        ledger: Ledger,
        zones: Zones,
        limits: Limits,
        clock: IReactorTime,
        place: PlaceIt,
        may: Callable[[], bool],
        resume: Callable[[Connection], None],
        shutters: Shutters,
    ) -> None:
        """`place` is asked only while `may()` holds. `resume` is told of a parked connection whose token has
        come."""
        self._schedule = schedule
        self._ledger = ledger
        self._limits = limits
        self._clock = clock
        self._place = place
        self.may = may
        self._resume = resume
        self._site = shutters.site
        self.closed = shutters.closed
        shutters.opened = self.opened
        self._lines = {zone.name: Line(zone, limits.weight) for zone in zones.active()}
        #: Lanes that stand at gates; those that may not open a connection, by whom a kept one would reach.
        self._waiting = 0
        self._openers: dict[tuple[str, str], dict[Lane, None]] = {}
        self._marked: list[Line] = []
        self._without_line: set[str] = set()
        self.suspects = Suspects(leases, ledger, clock, self._attempt, self.wake)
        schedule.due = self.lane_due

    # -- waking

    def line(self, zone: str) -> Line | None:
        """The line of a zone that sends."""
        return self._lines.get(zone)

    def wake(self, zone: str) -> None:
        """Something of the zone has moved."""
        line = self._lines.get(zone)
        if line is not None:
            self._mark(line)

    def wake_all(self) -> None:
        for line in self._lines.values():
            self._mark(line)

    def freed(self, connection: Connection) -> None:
        """A connection changed: whoever waited for that gets a turn."""
        now = self._clock.seconds()
        if self._waiting:
            self._let_go(connection.way.gates, now)
            self._let_go(connection.address.gates, now)
            if self._openers and connection.state is State.IDLE:
                for lane in self._openers.get((connection.child.zone, connection.way.reach), ()):
                    self._release(lane.turn.gate, lane)
                    break
        self.wake(connection.child.zone)

    def answered(self, target: Target) -> None:
        """It has answered: its lanes wait no longer among those that may not."""
        for lane in list(target.trying):
            self._change(lane.turn, lane, lane.turn.line.ready)

    def opened(self, gate: Shut) -> None:
        """All that waited there get a turn."""
        if gate.timer is not None:
            gate.timer.cancel()
            gate.timer = None
        for lane in list(gate.ring):
            gate.ring.remove(lane)
            self._waiting -= 1
            turn: Turn = lane.turn
            still = self._find_way(turn, lane.key) if turn.way is None else None
            if still is None:
                self._queue(turn, lane)
            else:
                self._wait(turn, lane, still)

    def suspect(self, work: Work) -> bool:
        """The delivery was in the hands of a child that crashed. False: its zone sends nothing."""
        here = work.delivery.zone in self._lines
        if here:
            self.suspects.add(work)
        return here

    def lane_due(self, lane: Lane) -> None:
        """A lane may have ready work."""
        if lane.turn is not None:
            return
        line = self._lines.get(lane.zone)
        if line is None:
            self._warn_of_zone(lane.zone)
            return
        turn = lane.turn = Turn(line)
        gate = self._find_way(turn, lane.key)
        if gate is None:
            self._queue(turn, lane)
        else:
            self._wait(turn, lane, gate)

    def _find_way(self, turn: Turn, key: LaneKey) -> Gate | None:
        """Fill in where it goes; the gate that opens when that is known, when it isn't."""
        zone = turn.line.zone
        site = "" if zone.options.host else self._site(key.domain)
        if isinstance(site, Gate):
            return site
        turn.way = self._limits.way(zone, key.domain, site, read_flow(key.flow).user)
        return None

    def _queue(self, turn: Turn, lane: Lane) -> None:
        """Into the line of its zone."""
        now = self._clock.seconds()
        turn.gate = None
        turn.since = now
        line, way = turn.line, turn.way
        self._enter(turn, lane, line.ready if way is not None and way.target.proven(now) else line.trial)
        self._mark(line)

    def _enter(self, turn: Turn, lane: Lane, ring: Ring) -> None:
        turn.ring = ring
        ring.add(lane)
        if ring is turn.line.trial and turn.way is not None:
            turn.way.target.trying[lane] = None

    def _leave(self, turn: Turn, lane: Lane) -> None:
        turn.ring.remove(lane)
        if turn.ring is turn.line.trial and turn.way is not None:
            turn.way.target.trying.pop(lane, None)

    def _warn_of_zone(self, zone: str) -> None:
        """Once for each zone that has mail and sends nothing."""
        if zone not in self._without_line:
            self._without_line.add(zone)
            _log.warn("zone {zone} is disabled or not configured: its mail waits", zone=zone)

    def _mark(self, line: Line) -> None:
        if not line.marked:
            line.marked = True
            self._marked.append(line)
            if len(self._marked) == 1:
                self._clock.callLater(0, self._pump_marked)

    # -- pumping

    def _pump_marked(self) -> None:
        marked, self._marked = self._marked, []
        for line in marked:
            line.marked = False
        for line in marked:
            if self.may():
                try:
                    self.suspects.pump(line.zone.name)
                    line.full = self._pump(line, line.ready)
                    line.trying = self._pump(line, line.trial)
                except Exception:
                    _log.failure("dispatch of zone {zone} stumbled", zone=line.zone.name)
                    self._clock.callLater(_AGAIN, self._mark, line)

    def _pump(self, line: Line, ring: Ring) -> Limit | None:
        """Lanes take turns until one is stopped by a limit of the whole zone, which is returned."""
        for _ in range(_TURNS):
            lane = ring.head()
            if lane is None:
                return None
            turn: Turn = lane.turn
            if not self._schedule.has_ready(lane):
                self._leave(turn, lane)
                lane.turn = None
                self._next_of(turn)
                continue
            done = self._try(turn, lane)
            if isinstance(done, Work):
                self._schedule.take(lane, done)
                self._served(turn, lane, cost(done.held.message.body_size))
                turn.let_go = None
                if self._waiting and turn.way is not None:
                    # Whatever it has left of its limits is for those who wait there.
                    self._let_go(turn.way.gates, self._clock.seconds())
            elif isinstance(done, Gate):
                self._leave(turn, lane)
                self._wait(turn, lane, done)
                self._next_of(turn, done)
            elif done is Limit.TRYING and ring is line.ready:
                self._change(turn, lane, line.trial)
            elif done is Limit.ZONE and ring is line.trial:
                self._change(turn, lane, line.ready)
            else:
                return done
        self._mark(line)
        return None

    def _served(self, turn: Turn, lane: Lane, spent: float) -> None:
        """It counts in the line, and wherever others wait for the same."""
        turn.ring.served(lane, spent)
        if self._waiting and turn.way is not None:
            for gate in turn.way.gates:
                if len(gate.ring):
                    gate.ring.served(lane, spent)

    def _change(self, turn: Turn, lane: Lane, ring: Ring) -> None:
        self._leave(turn, lane)
        self._enter(turn, lane, ring)

    def _try(self, turn: Turn, lane: Lane) -> Work | Limit | Gate:
        """One delivery of the lane to a child, or what is in the way."""
        way = turn.way
        assert way is not None, "found when it was put into the line"
        if self._waiting and turn.let_go is None:
            for gate in way.gates:
                if len(gate.ring) and not (gate.kind == NEW_CONNECTIONS and self._ledger.keeps(lane.zone, way.reach)):
                    return gate
        zone = turn.line.zone
        return self.closed(zone.name, way) or self._place(zone, way, lane.ready)

    def _next_of(self, turn: Turn, stopped: Gate | None = None) -> None:
        """A lane made nothing of its try: the gate that had let it go lets the next one go, unless it was that
        gate itself that has `stopped` it again."""
        gate, turn.let_go = turn.let_go, None
        if gate is not None and gate is not stopped:
            self._let_go((gate,), self._clock.seconds())

    # -- gates

    def _wait(self, turn: Turn, lane: Lane, gate: Gate) -> None:
        now = self._clock.seconds()
        turn.ring, turn.gate, turn.since = gate.ring, gate, now
        gate.ring.add(lane)
        self._waiting += 1
        if gate.kind == NEW_CONNECTIONS and turn.way is not None:
            self._openers.setdefault((lane.zone, turn.way.reach), {})[lane] = None
        self._look_again(gate, now)

    def _look_again(self, gate: Gate, now: float) -> None:
        """See to it that a gate is looked at when it opens by itself."""
        if gate.timer is None:
            after = gate.opens(now)
            if after is not None:
                gate.timer = self._clock.callLater(after, self._open, gate)

    def park(self, connection: Connection, gate: Rate) -> None:
        """An answered connection waits for its token."""
        self._ledger.park(connection)
        gate.parked[connection] = None
        self._look_again(gate, self._clock.seconds())

    def refilled(self, rates: Iterable[Rate]) -> None:
        """They have got something back, and may have room sooner than was reckoned."""
        for rate in rates:
            if rate.timer is not None:
                rate.timer.cancel()
                rate.timer = None
                self._look_again(rate, self._clock.seconds())

    def _open(self, gate: Gate) -> None:
        """The time has come at which a gate may have room."""
        gate.timer = None
        now = self._clock.seconds()
        if isinstance(gate, Rate):
            while gate.parked and gate.bucket.ready(now):
                connection, _ = gate.parked.popitem(last=False)
                self._resume(connection)
        if isinstance(gate, Shut):
            if gate.room(now):
                self.opened(gate)
        else:
            for _ in range(_AT_ONCE if isinstance(gate, Connections) else 1):
                self._let_go((gate,), now)
        if len(gate.ring) or (isinstance(gate, Rate) and gate.parked):
            self._look_again(gate, now)

    def _let_go(self, gates: Iterable[Gate], now: float) -> None:
        """From each gate that has room, the lane whose turn it is there goes into the line."""
        for gate in gates:
            if len(gate.ring) and gate.room(now):
                lane = gate.ring.head()
                if lane is not None:
                    self._release(gate, lane)
                    if len(gate.ring):
                        self._look_again(gate, now)

    def _release(self, gate: Gate, lane: Lane) -> None:
        turn: Turn = lane.turn
        gate.ring.remove(lane)
        self._waiting -= 1
        if gate.kind == NEW_CONNECTIONS and turn.way is not None:
            place = (lane.zone, turn.way.reach)
            del self._openers[place][lane]
            if not self._openers[place]:
                del self._openers[place]
        turn.let_go = gate
        self._queue(turn, lane)

    # -- suspects

    def _attempt(self, work: Work) -> Work | Limit | Gate:
        """A suspect to a child, past all that wait."""
        turn = Turn(self._lines[work.delivery.zone])
        gate = self._find_way(turn, work.lane.key)
        if gate is None and turn.way is not None:
            zone = turn.line.zone
            return self.closed(zone.name, turn.way) or self._place(zone, turn.way, (work,))
        assert gate is not None, "found, or there is a gate"
        return gate
