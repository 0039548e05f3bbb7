"""Whose turn it is: in each zone lanes wait in a line, and at every limit those that it has stopped.

Woken by events alone: work that has come due, a connection that ended its transaction, a
child that joined, a limit that has room again. Each wake marks the zone; once per reactor turn the
marked zones are pumped until a limit of the whole zone says no or the turn has been long enough.

A lane stands in one place at a time: in the line of its zone, or at the gate that has stopped it,
where it costs nothing. A gate with room lets one lane go at a time, the one whose turn it is there,
and the next one when that has had its try; so what is scarce is shared where it is scarce.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from relay.dispatch.connection import Connection
from relay.dispatch.gates import NEW_CONNECTIONS, Gate, Rate, Shut
from relay.dispatch.ledger import Ledger, Limit
from relay.dispatch.limits import Limits, Way
from relay.dispatch.lines import Line, Placed, Struck, Turn
from relay.dispatch.ring import Ring, cost
from relay.dispatch.shutters import HOLD, Shutters
from relay.dispatch.suspects import Suspects
from relay.dispatch.waiting import Waiting
from relay.message.flow import read_flow
from relay.queue.leases import Leases
from relay.queue.schedule import Lane, Schedule, Work
from relay.queue.store import LaneKey
from relay.zone.zones import Zone, Zones

_log = Logger()

#: Lanes looked at in one turn of the reactor, so that many due at once don't hold up the rest.
_TURNS = 200
#: Deliveries of a lane that are looked at when the first may not use its address now.
AHEAD = 8
#: A pump that stumbled over an error of ours is tried again after this long (seconds).
_AGAIN = 1.0


#: Gives up what has waited too long at a gate, at which it could wait since then (ms since the epoch); whether there
#: was any.
GiveUp = Callable[[Lane, Shut, int], bool]
#: Gives the first delivery of those that may go to a child, with others of its message where that may be, and tells
#: which; or tells of one before it that may not be attempted at all; or says what is in the way, for one that comes
#: behind those who `wait` at the gates of an address, or for one that doesn't.
PlaceIt = Callable[[Zone, Way, Collection[Work], bool], Placed | Struck | Limit | Gate]
#: Ends a delivery that may not be attempted and stands in this lane, or in none; False: later.
Strike = Callable[[Struck, Lane | None], bool]


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
        resume: Callable[[Connection, Rate], None],
        give_up: GiveUp,
        strike: Strike,
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
        self._give_up = give_up
        self._strike = strike
        self._site = shutters.site
        self.closed = shutters.closed
        self._wall = shutters.now
        shutters.opened = self.opened
        self._lines = {zone.name: Line(zone, limits.weight) for zone in zones.active()}
        self.waiting = Waiting(clock, self._queue, self.opened, resume, ledger.keeps, ledger.holds)
        #: Told of each zone whose lanes have had their turn.
        self.served: Callable[[str], None] = lambda zone: None
        self._marked: list[Line] = []
        self._without_line: set[str] = set()
        self.suspects = Suspects(leases, ledger, clock, self._attempt, self.wake)
        schedule.due = self.lane_due

    # -- waking

    def line(self, zone: str) -> Line | None:
        """The line of a zone that sends."""
        return self._lines.get(zone)

    def are_full(self, zone: str) -> bool:
        """Whether there are lanes of a zone whose targets answered lately, and no room for them."""
        line = self._lines.get(zone)
        return line is not None and line.full is Limit.ZONE and len(line.ready) > 0

    def wake(self, zone: str) -> None:
        """Something of the zone has moved."""
        line = self._lines.get(zone)
        if line is not None:
            self._mark(line)

    def wake_all(self) -> None:
        for line in self._lines.values():
            self._mark(line)

    def freed(self, connection: Connection) -> None:
        """A connection changed: whoever waited for that gets a turn, and lanes of a target that answers wait no longer
        among those that have yet to be tried."""
        target = connection.target
        if target.trying and target.proven(self._clock.seconds()):
            for lane in list(target.trying):
                self._change(lane.turn, lane, lane.turn.line.ready)
        self.waiting.freed(connection)
        self.wake(connection.child.zone)

    def opened(self, gate: Gate) -> None:
        """All that waited there get a turn."""
        for lane in self.waiting.empty(gate):
            turn: Turn = lane.turn
            if gate.kind == HOLD:
                turn.held_until = self._wall()
            still = self._find_way(turn, lane.key) if turn.way is None else None
            if still is None:
                self._queue(lane)
            else:
                self.waiting.add(lane, still)

    def suspect(self, work: Work) -> bool:
        """The delivery was in the hands of a child that crashed. False: its zone sends nothing."""
        here = work.delivery.zone in self._lines
        if here:
            self.suspects.add(work)
        return here

    def lane_due(self, lane: Lane) -> None:
        """A lane may have ready work."""
        if lane.turn is not None:
            gate = lane.turn.gate
            if gate is not None and gate.scope.address and not isinstance(gate, Shut) and len(lane.ready) <= AHEAD:
                # What has come may leave by another address than what is stopped.
                self.waiting.leave(lane)
                self._queue(lane)
            return
        line = self._lines.get(lane.zone)
        if line is None:
            self._warn_of_zone(lane.zone)
            return
        turn = lane.turn = Turn(line)
        gate = self._find_way(turn, lane.key)
        if gate is None:
            self._queue(lane)
        else:
            self.waiting.add(lane, gate)

    def _find_way(self, turn: Turn, key: LaneKey) -> Gate | None:
        """Fill in where it goes; the gate that opens when that is known, when it isn't."""
        zone = turn.line.zone
        site = "" if zone.is_fixed else self._site(key.domain)
        if isinstance(site, Gate):
            return site
        turn.way = self._limits.way(zone, key.domain, site, read_flow(key.flow).user)
        return None

    def _has_moved(self, turn: Turn, lane: Lane) -> bool:
        """Whether its domain is found to be of another site than before: then it stands in line for that."""
        way = turn.way
        if way is None or not way.site:
            return False
        site = self._site(way.domain)
        if isinstance(site, Gate) or site == way.site:
            return False
        self._leave(turn, lane)
        turn.way = self._limits.way(turn.line.zone, way.domain, site, way.user)
        self._queue(lane)
        return True

    def _queue(self, lane: Lane) -> None:
        """Into the line of its zone."""
        now = self._clock.seconds()
        turn: Turn = lane.turn
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
                    self.served(line.zone.name)
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
                self._schedule.forget(lane)
                self._next_of(turn)
                continue
            if self._has_moved(turn, lane):
                continue
            done = self._try(turn, lane)
            if isinstance(done, Placed):
                for work in done.works:
                    self._schedule.take(work.lane, work)
                spent = cost(done.works[0].held.message.body_size, len(done.works))
                turn.ring.served(lane, spent)
                turn.let_go = None
                if self.waiting.count and turn.way is not None:
                    self._share(lane, (*turn.way.gates, *done.gates), spent)
            elif isinstance(done, Struck):
                if not self._strike(done, lane):
                    return None
                turn.ring.served(lane, cost(0, 1))
            elif isinstance(done, Gate):
                if isinstance(done, Shut) and done.since and self._has_given_up(turn, lane, done):
                    continue
                self._leave(turn, lane)
                self.waiting.add(lane, done)
                self._next_of(turn, done)
            elif done is Limit.TRYING and ring is line.ready:
                self._change(turn, lane, line.trial)
            elif done is Limit.ZONE and ring is line.trial:
                self._change(turn, lane, line.ready)
            else:
                return done
        self._mark(line)
        return None

    def _has_given_up(self, turn: Turn, lane: Lane, gate: Shut) -> bool:
        """Whether there was something in the lane that has waited there for too long; time on hold doesn't count."""
        return self._give_up(lane, gate, max(gate.since, turn.held_until))

    def _share(self, lane: Lane, gates: Sequence[Gate], spent: float) -> None:
        """What it has sent counts wherever others wait for the same; what is left there is for them."""
        for gate in gates:
            if len(gate.ring):
                gate.ring.served(lane, spent)
        self.waiting.let_go(gates, self._clock.seconds())

    def _change(self, turn: Turn, lane: Lane, ring: Ring) -> None:
        self._leave(turn, lane)
        self._enter(turn, lane, ring)

    def _try(self, turn: Turn, lane: Lane) -> Placed | Struck | Limit | Gate:
        """One delivery of the lane to a child, or one that may not go to any, or what is in the way."""
        way = turn.way
        assert way is not None, "found when it was put into the line"
        behind = self.waiting.count > 0 and turn.let_go is None
        if behind:
            for gate in way.gates:
                asked = gate is not way.target and gate.kind != NEW_CONNECTIONS
                if len(gate.ring) and (asked or not self._ledger.keeps(lane.zone, way.reach)):
                    return gate
        zone = turn.line.zone
        return self.closed(zone.name, way) or self._place(zone, way, lane.ready, behind)

    def _next_of(self, turn: Turn, stopped: Gate | None = None) -> None:
        """A lane made nothing of its try: the gate that had let it go lets the next one go, unless it was that
        gate itself that has `stopped` it again."""
        gate, turn.let_go = turn.let_go, None
        if gate is not None and gate is not stopped:
            self.waiting.let_go((gate,), self._clock.seconds())

    # -- suspects

    def _attempt(self, work: Work) -> Placed | Struck | Limit | Gate:
        """A suspect to a child, past all that wait; or it is struck off."""
        turn = Turn(self._lines[work.delivery.zone])
        gate = self._find_way(turn, work.lane.key)
        if gate is None and turn.way is not None:
            zone = turn.line.zone
            done = self.closed(zone.name, turn.way) or self._place(zone, turn.way, (work,), False)
            return Limit.ZONE if isinstance(done, Struck) and not self._strike(done, None) else done
        assert gate is not None, "found, or there is a gate"
        return gate
