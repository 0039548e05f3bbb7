"""Who may travel along: further recipients of a message that is about to be given to a child."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from relay.dispatch.addresses import Addresses
from relay.dispatch.connection import Connection
from relay.dispatch.gates import Gate
from relay.dispatch.ledger import Ledger
from relay.dispatch.limits import Way
from relay.dispatch.neighbours import Neighbours
from relay.dispatch.tokens import Tokens
from relay.dispatch.turns import AHEAD
from relay.queue.schedule import Schedule, Work
from relay.zone.zones import Zone


class Fellows:
    """Finds them."""

    def __init__(
        self,
        schedule: Schedule,
        tokens: Tokens,
        addresses: Addresses,
        ledger: Ledger,
        neighbours: Neighbours,
        is_suppressed: Callable[[Work], object],
    ) -> None:
        """`is_suppressed` says of a delivery whether it may not be attempted."""
        self._schedule = schedule
        self._tokens = tokens
        self._addresses = addresses
        self._ledger = ledger
        self._neighbours = neighbours
        self._is_suppressed = is_suppressed

    def of(self, zone: Zone, way: Way, work: Work, connection: Connection, now: float) -> list[Work]:
        """Deliveries of the same message that go with this one on `connection`: first those that stand in its lane and
        are due, so that nothing is in their way that isn't in its own, then those of its neighbours, for whose domains
        the connection counts from now on, too. Each is counted against the warm-up of the addresses, as it was. One
        that a child crashed with goes alone.

        There are as many as the zone says, what the connection may still take, its host is known to, and the rates
        have tokens for now."""
        most = zone.options.recipients_per_transaction
        if most == 1 or work.crashes:
            return []
        reuse = min(zone.options.reuse, way.reuse or zone.options.reuse)
        most = min(most, reuse - connection.sent, connection.most or most)
        most = self._tokens.allowed(way, connection.address, most, now)
        if most == 1:
            return []
        found: list[Work] = []
        for other in self._candidates(zone, way, work, connection, most, now):
            if len(found) == most - 1:
                break
            if connection.warm:
                warm = self._addresses.count(zone, way, connection.local, now)
                if warm != connection.warm:
                    if not isinstance(warm, Gate):
                        self._addresses.uncount(way.place, warm)  # It is midnight.
                    break
            found.append(other)
            if other.lane is not work.lane:
                self._ledger.carries(connection, other.lane.turn.way)
        return found

    def _candidates(
        self, zone: Zone, way: Way, work: Work, connection: Connection, most: int, now: float
    ) -> Iterator[Work]:
        """Who could, its own lane first."""
        yield from self._behind(work, most)
        for head in self._neighbours.of(zone, way, work, connection, now):
            if not self._is_suppressed(head):
                yield head
                yield from self._behind(head, most)

    def _behind(self, work: Work, most: int) -> list[Work]:
        """Those of its message that come right behind it in its lane, `most` with it."""
        lane = work.lane
        if len(lane.ready) < most and lane.ready[-1].held is work.held:
            self._schedule.fill(lane, most)
        found: list[Work] = []
        reached = False
        for other in islice(lane.ready, AHEAD + most):
            if other is work:
                reached = True
            elif reached:
                if other.held is not work.held or other.crashes or len(found) == most - 1:
                    break
                if not self._is_suppressed(other):
                    found.append(other)
        return found
