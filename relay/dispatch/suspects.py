"""Who is to blame for a child's crash: deliveries that were in its hands go one at a time from then
on, so that the next crash tells which of them it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IReactorTime

from relay.dispatch.connection import State
from relay.dispatch.gates import Gate
from relay.dispatch.ledger import Ledger, Limit
from relay.dispatch.lines import Placed, Struck
from relay.queue.leases import Lease, Leases
from relay.queue.schedule import Work

#: When something stands in the way of all of them, they are looked at again after this long (seconds).
_AGAIN = 1.0


class _Row:
    """Those of one zone. `at_work` was given out last; nothing is tried before `patient` (seconds)."""

    __slots__ = ("at_work", "patient", "works")

    def __init__(self) -> None:
        self.works: deque[Work] = deque()
        self.at_work: Lease | None = None
        self.patient = 0.0


class Suspects:
    """Those of all zones."""

    def __init__(
        self,
        leases: Leases,
        ledger: Ledger,
        clock: IReactorTime,
        attempt: Callable[[Work], Placed | Struck | Limit | Gate],
        wake: Callable[[str], None],
    ) -> None:
        """`attempt` gives one to a child, strikes it off, or says what is in the way; `wake` has a zone pumped."""
        self._leases = leases
        self._ledger = ledger
        self._clock = clock
        self._attempt = attempt
        self._wake = wake
        self._rows: dict[str, _Row] = {}

    def __contains__(self, work: Work) -> bool:
        """Whether it waits to be tried alone."""
        row = self._rows.get(work.delivery.zone)
        return row is not None and work in row.works

    def blame(self, leases: Iterable[Lease]) -> set[Work]:
        """Whom a crash is put down to: suspects that were in flight, else all that were;
        and rather those that were doing something than those that waited for their peer. Who waits for leave to go
        on does nothing at all."""
        leases = [lease for lease in leases if not self._is(lease, State.WAITING, State.PARKED)]
        works = [lease.work for lease in leases]
        awake = [lease.work for lease in leases if not self._is_quiet(lease)]
        suspects = [work for work in awake if work.crashes] or [work for work in works if work.crashes]
        blamed = set(suspects or awake or works)
        for work in blamed:
            work.crashes += 1
        return blamed

    def add(self, work: Work) -> None:
        """It was blamed."""
        row = self._rows.setdefault(work.delivery.zone, _Row())
        row.works.append(work)
        row.patient = 0.0

    def pump(self, zone: str) -> None:
        """Give out the next of a zone that may go, unless one is at work."""
        row = self._rows.get(zone)
        if row is None or self._clock.seconds() < row.patient:
            return
        for _ in range(len(row.works)):
            if self._is_busy(row.at_work):
                return
            work = row.works[0]
            stopped = self._attempt(work)
            if isinstance(stopped, Placed):
                row.works.popleft()
                row.at_work = self._leases.get(work.lease)
            elif isinstance(stopped, Struck):
                row.works.popleft()
            elif isinstance(stopped, Gate):
                row.works.rotate(-1)
            else:
                return
        if row.works:
            row.patient = self._clock.seconds() + _AGAIN
            self._clock.callLater(_AGAIN, self._wake, zone)
        elif not self._is_busy(row.at_work):
            del self._rows[zone]

    def _is_busy(self, lease: Lease | None) -> bool:
        """Whether it is in a child's hands, and doing anything but wait for its peer."""
        return lease is not None and self._leases.get(lease.number) is not None and not self._is_quiet(lease)

    def _is_quiet(self, lease: Lease) -> bool:
        return self._is(lease, State.QUIET)

    def _is(self, lease: Lease, *states: State) -> bool:
        connection = self._ledger.get(lease.connection)
        return connection is not None and connection.state in states
