"""The connection ledger: every connection of every child, and what it is doing. Pure.

The master numbers the connections; a child only ever does what it was told on one. Three
budgets keep any number of dead destinations from holding up the rest:

- `connections` of a zone, per child: sessions that get somewhere;
- targets that have not answered lately, or let their transactions hang ("unproven"), have a budget of their
  own, and only a connection or two each until they answer;
- a session whose peer is silent counts as quiet, not as one of the zone's connections, until the peer has done
  what it was waited for; if there is no room for it then, it goes on as a quiet one. Of those there may be
  `connecting` to unproven targets, and as many again to others, none of which is given a second one then.

A kept connection counts against its destination's limit while it is idle too, and each one until its
child says that its socket is gone: the far end never counts more than we do.
"""

from __future__ import annotations

import enum
import math
from collections import OrderedDict
from typing import NamedTuple

from relay.dispatch.connection import Capacity, Connection, State
from relay.dispatch.gates import Connections, Gate
from relay.dispatch.leaving import Leaving
from relay.dispatch.limits import Scoped, Way
from relay.dispatch.target import PER_SILENT_TARGET, Target
from relay.zone.pool import Local

#: Sessions at a time, per child, to targets that have not answered lately, and those that wait to go.
UNPROVEN = 256
#: Targets that have answered and are remembered.
_REMEMBERED = 100_000


#: States that take up one of the zone's connections.
_BUSY = frozenset((State.OPENING, State.SENDING))
#: What a connection is again when it calls another host: it takes up one of the zone's if it did.
_CALLING = {State.SENDING: State.OPENING, State.WAITING: State.TRYING, State.PARKED: State.TRYING}


class Limit(enum.StrEnum):
    """What stops a whole zone."""

    ZONE = "all connections of the zone are in use"
    TRYING = "too many targets are being tried"
    NO_CHILD = "no child of the zone is running"


class Permit(NamedTuple):
    """Leave to send: on `connection`, while `spare`, an idle one, is given back."""

    connection: Connection
    spare: Connection | None = None


class Ledger:
    """All connections, counted every way a limit asks for."""

    def __init__(self) -> None:
        self._number = 0
        self._all: dict[int, Connection] = {}
        self._children: dict[str, list[Capacity]] = {}
        self._idle: dict[tuple[str, str], dict[Local, list[Connection]]] = {}
        self._proven: OrderedDict[Target, None] = OrderedDict()

    # -- children

    def join(self, child: Capacity) -> None:
        """A child can take work."""
        self._children.setdefault(child.zone, []).append(child)

    def leave(self, child: Capacity) -> list[Connection]:
        """A child is gone with all its connections, which are returned."""
        self._children[child.zone].remove(child)
        lost = [connection for connection in self._all.values() if connection.child is child]
        for connection in lost:
            self.remove(connection)
        return lost

    def children(self, zone: str) -> list[Capacity]:
        return self._children.get(zone, [])

    # -- asking

    def get(self, number: int) -> Connection | None:
        return self._all.get(number)

    @property
    def idle_connections(self) -> int:
        """Kept connections that wait for work."""
        return sum(len(child.idle) for children in self._children.values() for child in children)

    def connections(self) -> list[Connection]:
        return list(self._all.values())

    # -- giving leave

    def keeps(self, zone: str, reach: str) -> bool:
        """Whether there is any idle connection to it."""
        return (zone, reach) in self._idle

    def kept(self, zone: str, way: Way, local: Local, now: float) -> Connection | None:
        """An idle connection that fits and whose child has room, if there is one."""
        idle = self._idle.get((zone, way.reach))
        if idle is None:
            return None
        for kind in local.kinds:
            for connection in reversed(idle.get(kind, ())):
                child = connection.child
                if child.busy >= child.connections and not (connection.slow and child.quiet < 2 * child.connecting):
                    continue
                old = connection.way
                if old is way or all(gate in old.counted or not gate.full(now) for gate in way.counted):
                    return connection
        return None

    def reuse(self, connection: Connection, way: Way) -> None:
        """The idle connection is in a transaction again, whose limits are those of `way`."""
        self._count(connection, -1)
        if connection.way is not way:
            _count(connection.way.counted, -1)
            connection.way = way
            _count(way.counted, +1)
        connection.slow = connection.slow and connection.child.quiet < 2 * connection.child.connecting
        connection.state = State.QUIET if connection.slow else State.SENDING
        connection.before_quiet = State.SENDING
        connection.lagged = connection.child.owing = False
        self._count(connection, +1)

    def carries(self, connection: Connection, way: Way) -> None:
        """It has mail of this way, too, from now on, until it is used anew."""
        old, connection.way = connection.way, connection.way.joined(way)
        _count(connection.way.counted[len(old.counted) :], +1)

    def open(self, zone: str, way: Way, leaving: Leaving, now: float) -> Permit | Limit | Gate:
        """Leave for one new connection, or what stands in its way: there `make_room` may help. A permit is
        entered at once."""
        children = self._children.get(zone)
        if not children:
            return Limit.NO_CHILD
        target = way.target
        proven = target.proven(now)
        room, load = (_may_open, _busy) if proven else (_may_try, _silent)
        if proven and target.silent:
            room = _may_open_another
        child = min(filter(room, children), key=load, default=None)
        if child is None:
            if room is _may_open_another and any(map(_may_open, children)):
                return target
            return Limit.ZONE if proven else Limit.TRYING
        if not proven and target.silent >= (PER_SILENT_TARGET if _silent(child) < UNPROVEN else 1):
            return target
        for gate in (*way.counted, *leaving.limits.connections):
            if gate.full(now):
                return gate
        spare = None
        if proven and child.idle and len(child.idle) + child.busy >= child.connections:
            spare = next(iter(child.idle.values()))
            self.close(spare)
        return Permit(self._enter(child, way, leaving, proven), spare)

    def make_room(self, zone: str, gate: Connections, wanted: int, now: float) -> Connection | None:
        """An idle connection that takes up room there and can't be used (another address, another host) and
        is to be closed, if not enough are closing for those who wait there and the `wanted` of one who comes."""
        if gate.yields(now, wanted):
            for child in self._children.get(zone, ()):
                for connection in child.idle.values():
                    if gate in _counting(connection):
                        self.close(connection)
                        return connection
        return None

    def _enter(self, child: Capacity, way: Way, leaving: Leaving, proven: bool) -> Connection:
        self._number += 1
        connection = Connection(self._number, child, way, leaving)
        connection.state = State.OPENING if proven else State.TRYING
        connection.fresh = not proven
        child.owing = child.owing and not proven
        self._all[connection.number] = connection
        _count(_counting(connection), +1)
        self._count(connection, +1)
        return connection

    def adopt(self, zone: str, site: str, address: str, limits: Scoped) -> None:
        """A path has a limit of its own from now on: connections that are open on it count."""
        for connection in self._all.values():
            local = connection.local
            if (connection.child.zone, connection.way.place) == (zone, site) and address in (
                local.address,
                local.address6,
            ):
                leaving = connection.leaving.with_limits(address, limits)
                self._count_by(connection, leaving.only(connection.faces) if connection.settled else leaving)

    # -- telling

    def answered(self, connection: Connection, host_address: str, now: float) -> None:
        """The peer greeted us; the connection waits for leave to go on."""
        target = connection.target
        connection.greeted = True
        target.answered = now
        connection.faces = host_address
        self._proven[target] = None
        self._proven.move_to_end(target)
        if len(self._proven) > _REMEMBERED:
            self._proven.popitem(last=False)
        self._move(connection, State.WAITING)

    def redial(self, connection: Connection, host_address: str) -> None:
        """That host is to be called: whatever leave it had was to go on with the one before."""
        connection.faces, connection.settled = host_address, False
        if connection.state is State.QUIET:
            connection.before_quiet = _CALLING.get(connection.before_quiet, connection.before_quiet)
        elif connection.state in _CALLING:
            self._move(connection, _CALLING[connection.state])

    def first_waiting(self, child: Capacity, others: bool) -> Connection | None:
        """Whose turn it is of the waiting connections of a child that has room. While `others` wait for room, whose
        targets answered before, half of it is theirs: new hosts may be slow, and many."""
        slow = child.waiting.slow
        if slow and child.quiet < 2 * child.connecting:
            return next(iter(slow.values()))
        if child.busy >= child.connections:
            return None
        first = child.waiting.head()
        if others and first is not None and first.fresh and child.fresh + child.owing > child.connections // 2:
            return None
        return first

    def go(self, connection: Connection) -> None:
        """It may begin its transaction, and counts for the address alone by which it has reached the host. One whose
        host was silent before it answered will be so again, and takes up no room."""
        connection.lagged = False
        connection.settled = True
        self._count_by(connection, connection.leaving.only(connection.faces))
        if connection.slow:
            connection.before_quiet = State.SENDING
            self._move(connection, State.QUIET)
        else:
            connection.child.owing = connection.fresh
            self._move(connection, State.SENDING)

    def park(self, connection: Connection) -> None:
        """It waits for a rate, and holds up none of those behind it."""
        self._move(connection, State.PARKED)

    def unpark(self, connection: Connection) -> None:
        """It waits for room again."""
        self._move(connection, State.WAITING)

    def quiet(self, connection: Connection) -> None:
        """Its peer has said nothing for a while."""
        if connection.state in (State.TRYING, State.OPENING, State.SENDING):
            connection.before_quiet = connection.state
            if connection.state is State.SENDING:
                connection.target.stalled = min(connection.target.stalled, connection.began)
            connection.slow |= connection.state is State.TRYING
            self._move(connection, State.QUIET)
        elif connection.slow and connection.settled and connection.state is State.QUIET:
            connection.lagged = True
            connection.target.stalled = min(connection.target.stalled, connection.began)

    def active(self, connection: Connection) -> None:
        """Its peer has done what it was waited for; it stays quiet while there is no room for it."""
        if connection.state is State.QUIET:
            if connection.before_quiet is State.SENDING:
                connection.target.stalled = math.inf
            if not (connection.slow and connection.settled):
                self._come_back(connection)

    def idle(self, connection: Connection) -> None:
        """Its transaction ended and it stays open."""
        connection.target.stalled = math.inf
        self._move(connection, State.IDLE)
        connection.fresh = False
        connection.slow = connection.slow and connection.lagged

    def close(self, connection: Connection) -> None:
        """It has no more to do, and counts until it is gone."""
        self._end(connection)
        self._move(connection, State.CLOSING)

    def remove(self, connection: Connection) -> None:
        """It is gone."""
        self._end(connection)
        self._count(connection, -1)
        del self._all[connection.number]
        _count(_counting(connection), -1)

    def _come_back(self, connection: Connection) -> None:
        """From quiet to what it was, if there is room."""
        if connection.state is State.QUIET:
            child = connection.child
            trying = connection.before_quiet is State.TRYING
            if child.trying < UNPROVEN if trying else child.busy < child.connections:
                self._move(connection, connection.before_quiet)

    def _end(self, connection: Connection) -> None:
        """What it does comes to its end; a transaction that isn't silent has come forward."""
        if connection.state is State.SENDING:
            connection.target.stalled = math.inf

    # -- counting

    def _count_by(self, connection: Connection, leaving: Leaving) -> None:
        """It leaves by that, or by other limits of it, from now on."""
        if leaving is not connection.leaving:
            self._count(connection, -1)
            _count(_counting(connection), -1)
            connection.leaving = leaving
            _count(_counting(connection), +1)
            self._count(connection, +1)

    def _move(self, connection: Connection, state: State) -> None:
        self._count(connection, -1)
        connection.state = state
        self._count(connection, +1)

    def _count(self, connection: Connection, step: int) -> None:
        child, state = connection.child, connection.state
        if state in _BUSY:
            child.busy += step
            child.fresh += step * connection.fresh
        if state is State.TRYING:
            child.trying += step
        if state is State.QUIET:
            child.quiet += step
        if state is State.QUIET or state is State.TRYING:
            connection.target.silent += step
        elif state is State.WAITING:
            (child.waiting.add if step > 0 else child.waiting.remove)(connection)
        elif state is State.CLOSING:
            for gate in _counting(connection):
                gate.closing += step
            return
        elif state is State.IDLE:
            _enlist(child.idle, connection, step)
            for gate in _counting(connection):
                gate.idle += step
            place = (child.zone, connection.way.reach)
            if step > 0:
                self._idle.setdefault(place, {}).setdefault(connection.local, []).append(connection)
            else:
                idle = self._idle[place]
                idle[connection.local].remove(connection)
                if not idle[connection.local]:
                    del idle[connection.local]
                if not idle:
                    del self._idle[place]
            return
        if connection.way.busy:
            _count(connection.way.busy, step)


def _counting(connection: Connection) -> tuple[Connections, ...]:
    """What counts a connection for as long as it is open."""
    return (*connection.way.counted, *connection.address.connections)


def _count(gates: tuple[Connections, ...], step: int) -> None:
    for gate in gates:
        gate.open += step


def _may_open(child: Capacity) -> bool:
    return child.busy < child.connections and child.quiet < 2 * child.connecting


def _may_open_another(child: Capacity) -> bool:
    """To a target that lets us wait already."""
    return child.busy < child.connections and child.quiet < child.connecting


def _may_try(child: Capacity) -> bool:
    return child.trying + len(child.waiting) < UNPROVEN and child.quiet < child.connecting


def _busy(child: Capacity) -> int:
    return child.busy


def _silent(child: Capacity) -> int:
    return child.trying + child.quiet


def _enlist(line: OrderedDict[int, Connection], connection: Connection, step: int) -> None:
    if step > 0:
        line[connection.number] = connection
    else:
        del line[connection.number]
