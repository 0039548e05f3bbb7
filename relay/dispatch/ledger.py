"""The connection ledger: every connection of every child, and what it is doing. Pure.

The master numbers the connections; a child only ever does what it was told on one. Here each is entered when leave is
given for it, moves from state to state by what its child tells, and is struck off when its socket is gone; and with
each step everything is counted that a limit or a child's room may ask for. A connection's life:

    TRYING or OPENING ─▶ WAITING ─▶ SENDING ─▶ IDLE ─▶ SENDING … ─▶ CLOSING
      the host's answer    leave       a transaction, and more of them

and while its host lets it wait, QUIET instead of what it was. What there is room for in a child, and why slow hosts
take no place, is told in `capacity.py`; idle ones are found by `kept.py`. Targets that have yet to answer, or let
their transactions hang, get a connection or two each until they answer (`target.py`).

A kept connection counts against its destination's limit while it is idle too, and each one until its
child says that its socket is gone: the far end never counts more than we do.
"""

from __future__ import annotations

import enum
import math
from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from relay.dispatch.capacity import UNPROVEN, Capacity
from relay.dispatch.connection import Connection, State
from relay.dispatch.gates import Connections, Gate
from relay.dispatch.kept import Kept
from relay.dispatch.leaving import Leaving
from relay.dispatch.limits import Scoped, Way
from relay.dispatch.target import PER_SILENT_TARGET, Target
from relay.zone.pool import Local

#: Targets that have answered and are remembered.
_REMEMBERED = 100_000
#: What a connection is again when it calls another host: it has a place if it had one.
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
        self._kept = Kept()
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

    def states(self) -> dict[str, int]:
        """How many connections do what."""
        counts = Counter(connection.state for connection in self._all.values())
        return {state.name.lower(): counts[state] for state in State}

    # -- giving leave

    def keeps(self, zone: str, reach: str) -> bool:
        """Whether there is any idle connection to it."""
        return self._kept.reaches(zone, reach)

    def holds(self, child: Capacity, reach: str) -> bool:
        """Whether any idle connection to it is this child's."""
        return any(connection.child is child for connection in self._kept.to(child.zone, reach))

    def kept(self, zone: str, way: Way, local: Local, now: float) -> Connection | None:
        """An idle connection that fits and whose child has room, if there is one."""
        for connection in self._kept.fitting(zone, way.reach, local):
            if connection.child.may_reuse(connection):
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
        child = connection.child
        connection.slow = connection.slow and child.has_quiet
        connection.state = State.QUIET if connection.slow else State.SENDING
        connection.before_quiet = State.SENDING
        connection.lagged = child.owing = False
        connection.settled = True
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
        # Where an idle one only waits for a place, there is to be no second one.
        place = not target.spares_a_place or self.keeps(zone, way.reach)
        child = _opener(children, place, target.silent > 0) if proven else _trier(children)
        if child is None:
            if not proven:
                return Limit.TRYING
            if place and not any(one.has_place for one in children):
                return Limit.ZONE
            target.crowded = True
            return target
        target.crowded = False
        if not proven and target.silent >= (PER_SILENT_TARGET if child.silent < UNPROVEN else 1):
            return target
        for gate in (*way.counted, *leaving.limits.connections):
            if gate.full(now):
                return gate
        state = State.TRYING if not proven else State.OPENING if place else State.QUIET
        spare = None
        if state is State.OPENING and child.idle and not child.may_keep():
            spare = next(iter(child.idle.values()))
            self.close(spare)
        return Permit(self._enter(child, way, leaving, state), spare)

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

    def _enter(self, child: Capacity, way: Way, leaving: Leaving, state: State) -> Connection:
        self._number += 1
        connection = Connection(self._number, child, way, leaving)
        connection.state = state
        connection.before_quiet = State.OPENING
        connection.fresh = state is State.TRYING
        connection.slow = state is State.QUIET
        child.owing = child.owing and state is not State.OPENING
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
        """The peer greeted us; the connection waits for leave to go on. Who was taken for slow and wasn't gets a place
        first."""
        target = connection.target
        connection.greeted = True
        target.slow = connection.lagged
        connection.slow = connection.slow and connection.lagged
        connection.faces = host_address
        self._answers(target, now)
        self._move(connection, State.WAITING)

    def redial(self, connection: Connection, host_address: str) -> None:
        """That host is to be called: whatever leave it had was to go on with the one before."""
        connection.faces, connection.settled = host_address, False
        if connection.state is State.QUIET:
            connection.before_quiet = _CALLING.get(connection.before_quiet, connection.before_quiet)
        elif connection.state in _CALLING:
            self._move(connection, _CALLING[connection.state])

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
        state = connection.state
        if state in (State.TRYING, State.OPENING, State.SENDING):
            connection.before_quiet = state
            connection.slow |= state is State.TRYING
            self._move(connection, State.QUIET)
        elif not (state is State.QUIET and connection.slow):
            return
        connection.lagged = True
        if connection.settled:
            connection.target.stalled = min(connection.target.stalled, connection.began)

    def active(self, connection: Connection) -> None:
        """Its peer has done what it was waited for; it stays quiet if that is slow, or as long as there is no room
        for it."""
        if connection.state is State.QUIET:
            if connection.before_quiet is State.SENDING:
                connection.target.stalled = math.inf
            if not connection.slow and connection.child.may_return(connection.before_quiet):
                self._move(connection, connection.before_quiet)

    def idle(self, connection: Connection, now: float) -> None:
        """Its transaction ended and it stays open."""
        connection.target.stalled = math.inf
        self._answers(connection.target, now)
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

    def _answers(self, target: Target, now: float) -> None:
        """One of its hosts has said something."""
        target.answered = now
        self._proven[target] = None
        self._proven.move_to_end(target)
        if len(self._proven) > _REMEMBERED:
            self._proven.popitem(last=False)

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
        state = connection.state
        connection.child.count(connection, step)
        if state is State.QUIET or state is State.TRYING:
            connection.target.silent += step
        elif state is State.CLOSING:
            for gate in _counting(connection):
                gate.closing += step
            return
        elif state is State.IDLE:
            for gate in _counting(connection):
                gate.idle += step
            (self._kept.add if step > 0 else self._kept.remove)(connection)
            return
        if connection.way.busy:
            _count(connection.way.busy, step)


def _counting(connection: Connection) -> tuple[Connections, ...]:
    """What counts a connection for as long as it is open."""
    return (*connection.way.counted, *connection.address.connections)


def _count(gates: tuple[Connections, ...], step: int) -> None:
    for gate in gates:
        gate.open += step


def _opener(children: Iterable[Capacity], place: bool, another: bool) -> Capacity | None:
    """Who opens a connection to a target that answers: of those that have room the one that does least."""
    return min((one for one in children if one.may_open(place, another)), key=_busy, default=None)


def _trier(children: Iterable[Capacity]) -> Capacity | None:
    """Who tries a target: of those that have room the one that waits for fewest."""
    return min((one for one in children if one.may_try()), key=_silent, default=None)


def _busy(child: Capacity) -> int:
    return child.busy


def _silent(child: Capacity) -> int:
    return child.silent
