"""Whose turn it is: the lanes of a zone take turns, one delivery each.

Woken by events alone: work that has come due, a connection that ended its transaction, a
child that joined. Each wake marks the zone; once per reactor turn the marked zones are
pumped until a limit says no or the turn has been long enough. A lane that is stopped by a
limit of its own leaves the line and comes back when that limit moves.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from relay.dispatch.ledger import Ledger, Limit, State
from relay.queue.leases import Lease, Leases
from relay.queue.schedule import Lane, Schedule, Work
from relay.zone.zones import Zone, Zones

_log = Logger()

#: Lanes looked at in one turn of the reactor, so that many due at once don't hold up the rest.
_TURNS = 200
#: A pump that stumbled over an error of ours is tried again after this long (seconds).
_AGAIN = 1.0


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


class Turns:
    """The lines of all zones. `place(zone, work)` gives a delivery to a child, or says which
    limit is in the way; it is asked only while `may()` holds."""

    def __init__(
        self,
        schedule: Schedule,
        leases: Leases,
        ledger: Ledger,
        zones: Zones,
        clock: IReactorTime,
        place: Callable[[Zone, Work], Limit | None],
        may: Callable[[], bool],
    ) -> None:
        self._schedule = schedule
        self._leases = leases
        self._ledger = ledger
        self._clock = clock
        self._place = place
        self._may = may
        self._lines = {zone.name: _Line(zone) for zone in zones.active()}
        self._marked: list[_Line] = []
        self._without_line: set[str] = set()
        schedule.due = self.lane_due

    # -- waking

    def wake(self, zone: str) -> None:
        """Something of the zone has moved."""
        line = self._lines.get(zone)
        if line is not None:
            self._mark(line)

    def wake_all(self) -> None:
        for line in self._lines.values():
            self._mark(line)

    def freed(self, zone: str, domain: str) -> None:
        """A connection of (zone, domain) changed: whoever waited for that gets a turn."""
        lane = self._schedule.known(zone, domain)
        if lane is not None and not lane.listed:
            self.lane_due(lane)
        self.wake(zone)

    def answered(self, zone: str, domain: str) -> None:
        """A host of the domain has answered: its lane no longer waits among those that may not."""
        line, lane = self._lines[zone], self._schedule.known(zone, domain)
        if lane is not None and lane in line.trial:
            del line.trial[lane]
            line.ready[lane] = None

    def suspect(self, work: Work) -> bool:
        """The delivery was in the hands of a child that crashed. False: its zone sends nothing."""
        line = self._lines.get(work.delivery.zone)
        if line is not None:
            line.suspects.append(work)
        return line is not None

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
        if zone not in self._without_line:
            self._without_line.add(zone)
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
            if self._may():
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
        return lease is not None and self._leases.get(lease.number) is not None and not self.is_quiet(lease)

    def is_quiet(self, lease: Lease) -> bool:
        """Whether a delivery waits for a peer that says nothing."""
        connection = self._ledger.get(lease.connection)
        return connection is not None and connection.state is State.QUIET
