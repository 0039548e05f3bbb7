"""Lanes that stand at gates, each at the one that has stopped it, and connections that wait for their tokens.

A gate with room lets one lane go at a time, the one whose turn it is there. That lane may find something
else in its way, so a gate that still has room is looked at again in a moment.

At a rate lanes and connections wait for the same. Connections are opened ahead of their tokens, and as many as these
will do for; so that a kept one gets a token at all beside them, those who wait on connections take turns with lanes
that have a kept one, token by token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IReactorTime

from relay.dispatch.capacity import Capacity
from relay.dispatch.connection import Connection, State
from relay.dispatch.gates import NEW_CONNECTIONS, Connections, Gate, Rate, Shut
from relay.dispatch.lines import Turn
from relay.dispatch.target import Target
from relay.queue.schedule import Lane

#: Lanes that go at once from a gate that has had room for a moment.
_AT_ONCE = 20


class Waiting:
    """All of them.

    Attributes:
        count: how many lanes there are.
    """

    def __init__(
        self,
        clock: IReactorTime,
        queue: Callable[[Lane], None],
        opened: Callable[[Shut], None],
        resume: Callable[[Connection, Rate], None],
        keeps: Callable[[str, str], bool],
        holds: Callable[[Capacity, str], bool],
    ) -> None:
        """`queue` takes each lane that is let go, `opened` is told of a shut gate whose time has come, `resume`
        of a parked connection whose token has, and of which rate. `keeps` says whether there is an idle connection of
        a zone to a domain or next hop, `holds` whether this child has one."""
        self.count = 0
        self._clock = clock
        self._queue = queue
        self._opened = opened
        self._resume = resume
        self._keeps = keeps
        self._holds = holds
        # Lanes that stand at rates and have no kept connection, by whom one would reach.
        self._without: dict[tuple[str, str], dict[Lane, None]] = {}
        # Lanes that stand at their targets though there is a kept connection, whose child has no place for it.
        self._barred: dict[tuple[str, str], dict[Lane, None]] = {}

    # -- lanes

    def add(self, lane: Lane, gate: Gate) -> None:
        """It has been stopped there. A rate lets lanes go before its token is there; whoever can't use that but has to
        wait for the token itself has lost no turn."""
        now = self._clock.seconds()
        turn: Turn = lane.turn
        turn.ring, turn.gate, turn.since = gate.ring, gate, now
        back = turn.let_go is gate and isinstance(gate, Rate)
        (gate.ring.put_back if back else gate.ring.add)(lane)
        self.count += 1
        if isinstance(gate, Rate) and turn.way is not None:
            self._add_to_rate(lane, gate, turn.way.reach, back, now)
        elif isinstance(gate, Target) and turn.way is not None and self._keeps(lane.zone, turn.way.reach):
            self._barred.setdefault((lane.zone, turn.way.reach), {})[lane] = None
        self._look_again(gate, now)

    def _add_to_rate(self, lane: Lane, gate: Rate, reach: str, back: bool, now: float) -> None:
        # The token was there and the lane comes back: what is kept doesn't fit, and it had its turn.
        of_no_use = back and gate.ready(now)
        if of_no_use:
            gate.lanes_next = False
        if gate.kind != NEW_CONNECTIONS and not of_no_use and self._keeps(lane.zone, reach):
            gate.kept[lane] = None
        else:
            self._without.setdefault((lane.zone, reach), {})[lane] = None

    def freed(self, connection: Connection) -> None:
        """A connection changed: whoever waits for that is let go."""
        if not self.count:
            return
        now = self._clock.seconds()
        self.let_go(connection.way.gates, now)
        self.let_go(connection.address.gates, now)
        if self._without and connection.state is State.IDLE:
            self._offer(connection)
        child = connection.child
        if self._barred and child.has_place:
            for (zone, reach), lanes in list(self._barred.items()):
                if zone == child.zone and self._holds(child, reach):
                    self._release(next(iter(lanes)))

    def _offer(self, connection: Connection) -> None:
        """A kept connection waits for work: a lane that stands at a rate needs no new one then, but may need its
        token."""
        lane = next(iter(self._without.get((connection.child.zone, connection.way.reach), ())), None)
        if lane is not None:
            gate = lane.turn.gate
            if gate.kind == NEW_CONNECTIONS:
                self._release(lane)
            else:
                self._forget(lane, connection.way.reach)
                gate.kept[lane] = None

    def _forget(self, lane: Lane, reach: str) -> None:
        _take_out(self._without, (lane.zone, reach), lane)

    def let_go(self, gates: Iterable[Gate], now: float) -> None:
        """From each gate that has room, the lane whose turn it is there goes into the line."""
        for gate in gates:
            if len(gate.ring) and gate.room(now):
                lane = gate.ring.head()
                if lane is not None:
                    self._release(lane)
                    if len(gate.ring):
                        self._look_again(gate, now)

    def empty(self, gate: Gate) -> list[Lane]:
        """All lanes that stood there, which stand nowhere now."""
        if gate.timer is not None:
            gate.timer.cancel()
            gate.timer = None
        lanes = list(gate.ring)
        for lane in lanes:
            gate.ring.remove(lane)
        self.count -= len(lanes)
        return lanes

    def _release(self, lane: Lane) -> None:
        lane.turn.let_go = self.leave(lane)
        self._queue(lane)

    def leave(self, lane: Lane) -> Gate:
        """It waits no longer; where it has stood."""
        turn: Turn = lane.turn
        gate = turn.gate
        assert gate is not None, "it stands at one"
        gate.ring.remove(lane)
        self.count -= 1
        if isinstance(gate, Rate) and turn.way is not None:
            gate.kept.pop(lane, None)
            self._forget(lane, turn.way.reach)
        elif turn.way is not None:
            _take_out(self._barred, (lane.zone, turn.way.reach), lane)
        return gate

    # -- connections

    def park(self, connection: Connection, gate: Rate) -> None:
        """A connection waits for its token there."""
        gate.parked[connection] = None
        self._look_again(gate, self._clock.seconds())

    # -- time

    def refilled(self, rates: Iterable[Rate]) -> None:
        """They have got something back, and may have room sooner than was reckoned."""
        for rate in rates:
            if rate.timer is not None:
                rate.timer.cancel()
                rate.timer = None
                self._look_again(rate, self._clock.seconds())

    def _look_again(self, gate: Gate, now: float) -> None:
        """See to it that a gate is looked at when it opens by itself."""
        if gate.timer is None:
            after = gate.opens(now)
            if after is not None:
                gate.timer = self._clock.callLater(after, self._open, gate)

    def _open(self, gate: Gate) -> None:
        """The time has come at which a gate may have room."""
        gate.timer = None
        now = self._clock.seconds()
        if isinstance(gate, Shut):
            if gate.room(now):
                self._opened(gate)
        elif isinstance(gate, Rate):
            while gate.parked and not gate.lanes_turn and gate.bucket.ready(now):
                connection, _ = gate.parked.popitem(last=False)
                self._resume(connection, gate)
            if gate.parked and gate.kept and gate.lanes_turn and gate.bucket.ready(now):
                head = gate.ring.head()
                self._release(head if head in gate.kept else next(iter(gate.kept)))
            else:
                self.let_go((gate,), now)
        else:
            for _ in range(_AT_ONCE if isinstance(gate, Connections) else 1):
                self.let_go((gate,), now)
        if len(gate.ring) or (isinstance(gate, Rate) and gate.parked):
            self._look_again(gate, now)


def _take_out(lanes: dict[tuple[str, str], dict[Lane, None]], place: tuple[str, str], lane: Lane) -> None:
    there = lanes.get(place, {})
    if lane in there:
        del there[lane]
        if not there:
            del lanes[place]
