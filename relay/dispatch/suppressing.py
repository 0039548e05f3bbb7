"""Mail for those who are to get none: it is struck off where an attempt was about to be made, and nobody is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from relay.dispatch.lines import Struck
from relay.dispatch.results import Results
from relay.message.flow import read_flow
from relay.message.values import Outcome, Result
from relay.queue.schedule import Lane, Schedule, Work
from relay.queue.store import StoreError
from relay.suppression.draft import Damaged
from relay.suppression.entry import Entry, Stop

_log = Logger()

#: Deliveries that may wait for the disk at a time.
_UNDER_WAY = 1000


class List(Protocol):
    """Who gets no mail (relay.suppression)."""

    def find(self, owner: str, recipient: str) -> Stop | None:
        """What stops the mail of a tenant, or of a user without one, to a recipient. Raises StoreError,
        or Damaged."""

    def told(self, stop: Stop) -> Entry:
        """The whole entry. Raises StoreError, or Damaged."""


class Suppressing:
    """Looks, and strikes off."""

    def __init__(self, listed: List, schedule: Schedule, results: Results, wake: Callable[[str], None]) -> None:
        """`wake` has a zone looked at again."""
        self._list = listed
        self._schedule = schedule
        self._results = results
        self._wake = wake
        self._under_way = 0
        # Zones with more of them, for when those that are under way are on disk.
        self._more: set[str] = set()

    def look(self, work: Work) -> Struck | None:
        """Whether a delivery may not be attempted."""
        delivery = work.delivery
        try:
            owner = work.held.message.tenant or read_flow(delivery.flow).user
            stop = self._list.find(owner, delivery.recipient)
        except (StoreError, Damaged) as error:
            _unread(work, error)
            return Struck(work, None)
        return None if stop is None else Struck(work, stop)

    def strike(self, struck: Struck, lane: Lane | None) -> bool:
        """End a delivery, or where that is in doubt put it off; `lane` is where it stands. False: so many wait for the
        disk that it stays where it is, and its zone is woken later."""
        work = struck.work
        if self._under_way >= _UNDER_WAY:
            self._more.add(work.delivery.zone)
            return False
        if lane is not None:
            self._schedule.take(lane, work)
        done = self._end(work, struck.stop)
        self._under_way += 1
        done.addCallback(self._written)
        return True

    def _end(self, work: Work, stop: Stop | None) -> Deferred[bool]:
        entry = None
        if stop is not None:
            try:
                entry = self._list.told(stop)
            except (StoreError, Damaged) as error:
                _unread(work, error)
        if entry is not None:
            return self._results.suppress(work, entry)
        outcome = Outcome(Result.DEFERRED, "the list of those who get no mail can't be read", category="ours")
        return self._results.record(work, outcome)

    def _written(self, _: bool) -> None:
        self._under_way -= 1
        if not self._under_way:
            more, self._more = self._more, set()
            for zone in more:
                self._wake(zone)


def _unread(work: Work, error: Exception) -> None:
    name = work.delivery.name
    _log.warn("who gets no mail can't be looked up for {name}: {error}", name=name, error=str(error))
