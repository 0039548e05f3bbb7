"""Mail that has waited for its hosts as long as its retries would have lasted: it is given up; and before that, when it
has waited for long, its sender is told so.

While no host of a site answers, one delivery is tried after each pause for all the others. These lose no
retry by that; but they can't wait for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from twisted.internet.defer import Deferred

from relay.dispatch.gates import Shut
from relay.dispatch.results import Results
from relay.message.values import Outcome, Result
from relay.queue.schedule import Lane, Schedule, Work

#: Deliveries that are given up, or told of, at one look at their lane, and those that may wait for the disk at a time.
_AT_ONCE = 50
_UNDER_WAY = 1000


class Expiry:
    """Gives up, and warns."""

    def __init__(self, schedule: Schedule, results: Results, opened: Callable[[Shut], None]) -> None:
        """`opened` has all that wait at a gate looked at again."""
        self._schedule = schedule
        self._results = results
        self._opened = opened
        self._under_way = 0
        # Gates where more are to be given up when those that are under way are on disk.
        self._more: set[Shut] = set()

    def give_up(self, lane: Lane, gate: Shut, since: int) -> bool:
        """What in the lane has waited too long at the gate, counted from `since` (ms since the epoch) at the earliest,
        is bounced without an attempt; of what has waited long the sender is told. Whether there was any; then there
        may be more."""
        if self._under_way >= _UNDER_WAY:
            self._more.add(gate)
            return False
        results, ready, words = self._results, lane.ready, gate.words()
        end = Outcome(Result.BOUNCED, f"{words}; given up", category="network", stage="connect")
        follows: Callable[[Work, Outcome], Deferred[bool]] = results.give_up
        found = list(islice((work for work in ready if results.is_over(work.delivery, since)), _AT_ONCE))
        if not found:
            end = Outcome(Result.DEFERRED, words, category="network", stage="connect")
            follows = results.warn
            found = list(islice((work for work in ready if results.is_late(work.delivery, since)), _AT_ONCE))
        for work in found:
            self._schedule.take(lane, work)
            self._under_way += 1
            follows(work, end).addCallback(self._written)
        return bool(found)

    def _written(self, _: bool) -> None:
        self._under_way -= 1
        if not self._under_way:
            more, self._more = self._more, set()
            for gate in more:
                self._opened(gate)
