"""What one child may do at once, and does: places, and rooms beside them for those that wait for their hosts.

A connection whose host goes on takes one of the child's `connections`, its *places*. Whoever waits for a host takes
none, so that any number of them holds up nobody, and is in one of two rooms instead:

- those to targets that have yet to answer are *tried*, `UNPROVEN` at a time, with those that have been answered and
  wait for a place;
- those whose host is silent are *quiet*; how many of these there may be is `connecting` for who would open another, and
  twice as many for who comes to a target that answers and has none.

A *slow* connection, whose host lets it wait with each step, is quiet from its beginning to its end, whatever its host
does meanwhile. It would give up its place half a second after each time that it got one, and a few hundred of them
would have all places all the time. Slow are those whose target had yet to answer and took its time for it, and then
two at a time to a target that did.

New hosts may be many, and may turn out slow. So as long as others want places, whose targets answered before, half of
the places is all that *fresh* connections have, which were opened when their target had yet to answer.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from relay.dispatch.connection import State
from relay.dispatch.newcomers import Newcomers

if TYPE_CHECKING:
    from relay.dispatch.connection import Connection

#: Sessions at a time to targets that have not answered lately, and those that wait to go.
UNPROVEN = 256
#: States that take a place.
_IN_PLACE = frozenset((State.OPENING, State.SENDING))


class Capacity:
    """One child.

    Attributes:
        gap: how long each connection rests between two deliveries (seconds).
        busy: connections that have a place.
        fresh: those of them whose target had yet to answer when they were opened.
        owing: the last place went to one of these.
        trying, quiet: how many are in each room.
        waiting: those that have been answered and wait for a place.
        idle: those that are kept open for more, the longest idle first.
    """

    __slots__ = (
        "busy", "connecting", "connections", "fresh", "gap", "idle", "key", "owing", "quiet", "trying", "waiting",
        "zone",
    )  # fmt: skip

    def __init__(self, key: str, zone: str, connections: int, connecting: int, gap: float = 0.0) -> None:
        self.key = key
        self.zone = zone
        self.connections = connections
        self.connecting = connecting
        self.gap = gap
        self.busy = self.fresh = self.trying = self.quiet = 0
        self.owing = False
        self.idle: OrderedDict[int, Connection] = OrderedDict()
        self.waiting = Newcomers()

    # -- asking

    @property
    def silent(self) -> int:
        """How many wait for a host."""
        return self.trying + self.quiet

    @property
    def has_place(self) -> bool:
        return self.busy < self.connections

    @property
    def has_quiet(self) -> bool:
        """Whether there is room for a quiet one more to a target that answers."""
        return self.quiet < 2 * self.connecting

    def may_open(self, place: bool, another: bool) -> bool:
        """Whether there is room for a connection to a target that answered lately. `place`: it needs one; `another`:
        the target lets us wait already."""
        return self.quiet < (1 if another else 2) * self.connecting and (self.has_place or not place)

    def may_try(self) -> bool:
        """Whether there is room for a connection to a target that has yet to answer."""
        return self.trying + len(self.waiting) < UNPROVEN and self.quiet < self.connecting

    def may_return(self, state: State) -> bool:
        """Whether a quiet one may go on as what it was."""
        return self.trying < UNPROVEN if state is State.TRYING else self.has_place

    def may_reuse(self, connection: Connection) -> bool:
        """Whether an idle one may have work."""
        return self.has_place or (connection.slow and self.has_quiet)

    def may_keep(self) -> bool:
        """Whether there may be one more at work beside those that are idle."""
        return len(self.idle) + self.busy < self.connections

    def first_waiting(self, others: bool) -> Connection | None:
        """Whose turn it is of those that wait, if there is room for it; slow ones need no place. `others`: there are
        some that want one and whose targets answered before."""
        slow = self.waiting.slow
        if slow and self.has_quiet:
            return next(iter(slow.values()))
        if not self.has_place:
            return None
        first = self.waiting.head()
        if others and first is not None and first.fresh and self.fresh + self.owing > self.connections // 2:
            return None
        return first

    # -- counting

    def count(self, connection: Connection, step: int) -> None:
        """One more, or less, of what this one is."""
        state = connection.state
        if state in _IN_PLACE:
            self.busy += step
            self.fresh += step * connection.fresh
        elif state is State.TRYING:
            self.trying += step
        elif state is State.QUIET:
            self.quiet += step
        elif state is State.WAITING:
            (self.waiting.add if step > 0 else self.waiting.remove)(connection)
        elif state is State.IDLE:
            if step > 0:
                self.idle[connection.number] = connection
            else:
                del self.idle[connection.number]
