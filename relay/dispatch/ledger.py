"""The connection ledger: every connection of every child, and what it is doing. Pure.

The master numbers the connections; a child only ever does what it was told on one. Three
budgets keep any number of dead destinations from holding up the rest:

- `connections` of a zone, per child: sessions that get somewhere;
- targets that have not answered lately ("unproven") have a budget of their own, and only
  a connection or two each until they answer;
- a session whose peer is silent counts as quiet, not as one of the zone's connections; of
  those there may be `connecting` to unproven targets, and as many again to others.

An idle kept connection counts against its destination's limit until it is given back.
"""

from __future__ import annotations

import enum
from collections import Counter, OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

#: Sessions at a time, per child, to targets that have not answered lately.
UNPROVEN = 256
#: Connections to one unproven target, while there are fewer than UNPROVEN silent ones in all; else one.
PER_SILENT_TARGET = 2
#: How long an answer proves a target (seconds), and how many targets are remembered.
PROVEN_FOR = 600.0
_REMEMBERED = 100_000


class State(enum.IntEnum):
    """What a connection is doing."""

    TRYING = 0  # connecting to a target that has not answered lately
    OPENING = 1  # connecting to a target that has
    WAITING = 2  # answered, not yet told to go
    SENDING = 3  # in a transaction
    QUIET = 4  # its peer has said nothing for a while
    IDLE = 5  # kept open for more


#: States that take up one of the zone's connections.
_BUSY = frozenset((State.OPENING, State.SENDING))


class Limit(enum.StrEnum):
    """Why a delivery gets no connection now."""

    ZONE = "all connections of the zone are in use"
    TRYING = "too many targets are being tried"
    DOMAIN = "the domain is at its connection limit"
    TARGET = "the target does not answer"
    NO_CHILD = "no child of the zone is running"


class Capacity:
    """What one child may do at once, and does."""

    __slots__ = ("busy", "connecting", "connections", "idle", "key", "quiet", "trying", "waiting", "zone")

    def __init__(self, key: str, zone: str, connections: int, connecting: int) -> None:
        self.key = key
        self.zone = zone
        self.connections = connections
        self.connecting = connecting
        self.busy = self.trying = self.quiet = 0
        self.idle: OrderedDict[int, Connection] = OrderedDict()
        self.waiting: OrderedDict[int, Connection] = OrderedDict()


class Connection:
    """One line of the ledger; `local` is what it leaves by, and only compared."""

    __slots__ = ("before_quiet", "child", "domain", "local", "number", "state", "target")

    def __init__(self, number: int, child: Capacity, domain: str, target: str, local: Hashable) -> None:
        self.number = number
        self.child = child
        self.domain = domain
        self.target = target
        self.local = local
        self.state = State.TRYING
        self.before_quiet = State.TRYING


class Permit(NamedTuple):
    """Leave to send: on `connection`, after giving back the idle ones in `close`."""

    connection: Connection
    close: tuple[Connection, ...] = ()


class Ledger:
    """All connections, counted every way a limit asks for."""

    def __init__(self) -> None:
        self._number = 0
        self._all: dict[int, Connection] = {}
        self._children: dict[str, list[Capacity]] = {}
        self._domain: Counter[tuple[str, str]] = Counter()
        self._silent: Counter[tuple[str, str]] = Counter()
        self._idle: dict[tuple[str, str, Hashable], list[Connection]] = {}
        self._proven: OrderedDict[tuple[str, str], float] = OrderedDict()

    # -- children

    def join(self, child: Capacity) -> None:
        """A child can take work."""
        self._children.setdefault(child.zone, []).append(child)

    def leave(self, child: Capacity) -> list[tuple[str, str]]:
        """A child is gone with all its connections. Returns the (zone, domain) they were for."""
        self._children[child.zone].remove(child)
        lost = [connection for connection in self._all.values() if connection.child is child]
        for connection in lost:
            self.remove(connection)
        return [(child.zone, connection.domain) for connection in lost]

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

    def proven(self, zone: str, target: str, now: float) -> bool:
        """Whether the target answered lately."""
        return self._proven.get((zone, target), -PROVEN_FOR) > now - PROVEN_FOR

    def open_to(self, zone: str, domain: str) -> int:
        """Connections of a zone to a domain, idle ones included."""
        return self._domain[zone, domain]

    def permit(
        self, zone: str, domain: str, target: str, local: Hashable, limit: int, now: float
    ) -> Permit | Limit:
        """Leave for one delivery, or what stands in its way. A permit is entered at once."""
        children = self._children.get(zone)
        if not children:
            return Limit.NO_CHILD
        kept = self._kept(zone, domain, target, local, limit)
        if kept is not None:
            if kept.domain != domain:
                self._leave_domain(kept)
                kept.domain = domain
                self._domain[zone, domain] += 1
            self._move(kept, State.SENDING)
            return Permit(kept)
        proven = self.proven(zone, target, now)
        child = min(children, key=_busy if proven else _silent)
        if proven:
            if child.busy >= child.connections or child.quiet >= 2 * child.connecting:
                return Limit.ZONE
        else:
            if child.trying >= UNPROVEN or child.quiet >= child.connecting:
                return Limit.TRYING
            few = PER_SILENT_TARGET if _silent(child) < UNPROVEN else 1
            if self._silent[zone, target] >= few:
                return Limit.TARGET
        close: tuple[Connection, ...] = ()
        if self._domain[zone, domain] >= limit:
            spare = self._spare(zone, domain)
            if spare is None:
                return Limit.DOMAIN
            close = (spare,)
        elif proven and child.idle and len(child.idle) + child.busy >= child.connections:
            close = (next(iter(child.idle.values())),)
        for connection in close:
            self.remove(connection)
        return Permit(self._enter(child, domain, target, local, proven), close)

    def _kept(self, zone: str, domain: str, target: str, local: Hashable, limit: int) -> Connection | None:
        """An idle connection that fits and whose child has room."""
        for connection in reversed(self._idle.get((zone, target, local), ())):
            if connection.child.busy >= connection.child.connections:
                continue
            if connection.domain == domain or self._domain[zone, domain] < limit:
                return connection
        return None

    def _spare(self, zone: str, domain: str) -> Connection | None:
        """An idle connection to the domain that can't be used: another address, another host."""
        for child in self._children[zone]:
            for connection in child.idle.values():
                if connection.domain == domain:
                    return connection
        return None

    def _enter(self, child: Capacity, domain: str, target: str, local: Hashable, proven: bool) -> Connection:
        self._number += 1
        connection = Connection(self._number, child, domain, target, local)
        connection.state = State.OPENING if proven else State.TRYING
        self._all[connection.number] = connection
        self._domain[child.zone, domain] += 1
        self._count(connection, +1)
        return connection

    # -- telling

    def answered(self, connection: Connection, now: float) -> bool:
        """The peer greeted us; the connection waits for leave to go on. True: it has that
        already, since it stands in for one that had died in its transaction or before."""
        self._proven[connection.child.zone, connection.target] = now
        self._proven.move_to_end((connection.child.zone, connection.target))
        if len(self._proven) > _REMEMBERED:
            self._proven.popitem(last=False)
        self.active(connection)
        if connection.state is State.SENDING:
            return True
        self._move(connection, State.WAITING)
        return False

    def may_go(self, child: Capacity) -> Connection | None:
        """The longest waiting connection of a child that has room; it counts as sending now."""
        if not child.waiting or child.busy >= child.connections:
            return None
        connection = next(iter(child.waiting.values()))
        self._move(connection, State.SENDING)
        return connection

    def quiet(self, connection: Connection) -> None:
        """Its peer has said nothing for a while."""
        if connection.state in (State.TRYING, State.OPENING, State.SENDING):
            connection.before_quiet = connection.state
            self._move(connection, State.QUIET)

    def active(self, connection: Connection) -> None:
        """Its peer spoke again."""
        if connection.state is State.QUIET:
            self._move(connection, connection.before_quiet)

    def idle(self, connection: Connection) -> None:
        """Its transaction ended and it stays open."""
        self._move(connection, State.IDLE)

    def remove(self, connection: Connection) -> None:
        """It is gone."""
        self._count(connection, -1)
        del self._all[connection.number]
        self._leave_domain(connection)

    # -- counting

    def _leave_domain(self, connection: Connection) -> None:
        key = (connection.child.zone, connection.domain)
        self._domain[key] -= 1
        if not self._domain[key]:
            del self._domain[key]

    def _move(self, connection: Connection, state: State) -> None:
        self._count(connection, -1)
        connection.state = state
        self._count(connection, +1)

    def _count(self, connection: Connection, step: int) -> None:
        child, state = connection.child, connection.state
        if state in _BUSY:
            child.busy += step
        if state is State.TRYING:
            child.trying += step
        if state is State.QUIET:
            child.quiet += step
        if state is State.QUIET or state is State.TRYING:
            key = (child.zone, connection.target)
            self._silent[key] += step
            if not self._silent[key]:
                del self._silent[key]
        elif state is State.WAITING:
            _enlist(child.waiting, connection, step)
        elif state is State.IDLE:
            _enlist(child.idle, connection, step)
            place = (child.zone, connection.target, connection.local)
            if step > 0:
                self._idle.setdefault(place, []).append(connection)
            else:
                kept = self._idle[place]
                kept.remove(connection)
                if not kept:
                    del self._idle[place]


def _busy(child: Capacity) -> int:
    return child.busy


def _silent(child: Capacity) -> int:
    return child.trying + child.quiet


def _enlist(line: OrderedDict[int, Connection], connection: Connection, step: int) -> None:
    if step > 0:
        line[connection.number] = connection
    else:
        del line[connection.number]
