"""The record of decisions about flow: the last ones in memory, each of them a line in the mail log."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

import msgspec

from relay.logs.maillog import MailLog
from relay.zone.decision import Decision, Scope

#: How many are remembered.
MOST = 10_000
#: The same said again within that time is one decision (ms).
_TOGETHER = 60_000
_FOR_EVER = 1 << 62


class Record(msgspec.Struct, frozen=True, gc=False):
    """A decision with its number; made `count` times, lastly at `last` (ms since the epoch)."""

    number: int
    decision: Decision
    count: int
    last: int


class Page(NamedTuple):
    """Some records, oldest first; `next` is the cursor behind them. `missed`: between the cursor and
    the first one there were others, which are forgotten."""

    records: list[Record]
    next: int
    missed: bool


class Decisions:
    """Call it with each decision."""

    def __init__(self, log: MailLog, now: Callable[[], int]) -> None:
        """`now` gives ms since the epoch."""
        self._log = log
        self._now = now
        self._records: deque[Record] = deque()
        #: The number of the latest record of each scope that has one.
        self._latest: dict[Scope, int] = {}
        # Numbers go on over a restart, so that a cursor from before it means nothing else after it.
        self._newest = now()

    def __call__(self, decision: Decision) -> bool:
        """Keeps a decision; whether it is a new one. One that repeats what was last decided of its scope, within a
        minute, is counted there, with the later end of the two."""
        now = self._now()
        place = self._latest.get(decision.scope, 0) - self._first
        if place >= 0 and self._repeats(self._records[place], decision):
            known = self._records[place]
            until = max(known.decision.until, decision.until, key=lambda end: end or _FOR_EVER)
            kept = msgspec.structs.replace(known.decision, until=until)
            self._records[place] = Record(known.number, kept, known.count + 1, now)
            return False
        if len(self._records) == MOST:
            oldest = self._records.popleft()
            if self._latest[oldest.decision.scope] == oldest.number:
                del self._latest[oldest.decision.scope]
        self._newest += 1
        self._records.append(Record(self._newest, decision, 1, now))
        self._latest[decision.scope] = self._newest
        scope = {field: getattr(decision.scope, field) for field in Scope.__struct_fields__}
        self._log.write(
            "decision",
            str(self._newest),
            kind=decision.kind,
            **scope,
            reason=decision.reason,
            until=_date(decision.until) if decision.until else "",
        )
        return True

    def since(self, cursor: int | None, limit: int, kind: str = "") -> Page:
        """At most `limit` records behind `cursor`, of one kind or of all; None: the latest ones."""
        first, newest = self._first, self._newest
        if cursor is None:
            latest = (record for record in reversed(self._records) if kind in ("", record.decision.kind))
            return Page(list(islice(latest, limit))[::-1], newest, False)
        missed = cursor < first - 1
        if cursor > newest:
            # From before a restart at which the clock was set back.
            cursor, missed = 0, True
        behind = islice(self._records, max(0, cursor + 1 - first), None)
        found = list(islice((record for record in behind if kind in ("", record.decision.kind)), limit))
        return Page(found, found[-1].number if len(found) == limit else newest, missed)

    @property
    def _first(self) -> int:
        """The number of the oldest record; of the next one when there is none."""
        return self._newest - len(self._records) + 1

    def _repeats(self, record: Record, decision: Decision) -> bool:
        known = record.decision
        return (
            (known.kind, known.reason) == (decision.kind, decision.reason)
            and 0 <= decision.made - known.made < _TOGETHER
        )


def _date(when: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when // 1000))
