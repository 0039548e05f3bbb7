"""The day's round of TLS reports: count, close the day at midnight UTC, tell each domain that asks, forget.

All of it is kept in tls-reports.json beside the queue, so that a restart loses no day and repeats no report. A crash
loses the counts of the last half minute. A report that was sent within the last second before it may be sent again: a
mail isn't taken twice, for the queue knows it by its key, and who gets one by HTTPS can tell by its report-id.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from heapq import nsmallest
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import msgspec
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from relay.keep import InThread, Keep
from relay.message.tls import TlsResult
from relay.tlsrpt.courier import Courier, NotTaken
from relay.tlsrpt.period import Errand, Kept, Period, period_of
from relay.tlsrpt.record import destination_of
from relay.tlsrpt.report import Author, Report, Span
from relay.tlsrpt.tally import Row, Tally

_log = Logger()

DAY = 86_400_000
#: Reports go out over so long after midnight, each at a moment of its own (ms).
SPREAD = 4 * 3_600_000
#: How often is looked whether something is to be done (seconds).
EVERY = 30.0
#: Errands under way at once; each takes as long as some stranger's server likes, half a minute at most.
AT_ONCE = 32
#: Reports about one span that one mailbox gets, or one host by HTTPS: whoever has many domains could have all of theirs
#: sent to somebody else.
MOST_TO_ONE = 1000
#: Days that are over and not yet told; of more the oldest is given up.
MOST_PERIODS = 4
#: What was sent last, to be looked at.
MOST_SENT = 1000


class Sent(NamedTuple):
    """What became of a report: `error` is "" when it was taken. `when` in ms since the epoch."""

    when: int
    domain: str
    begin: int
    end: int
    uri: str
    error: str


_Saved = tuple[int, int, list[Row], tuple[Kept, ...], list[Sent]]


class Reporter:
    """One for the relay."""

    def __init__(
        self,
        author: Author,
        courier: Courier,
        path: Path,
        clock: Any,
        now: Callable[[], int],
        in_thread: InThread,
        random: Random | None = None,
    ) -> None:
        """`now` gives ms since the epoch, `in_thread` runs a function where it may block."""
        self._author = author
        self._courier = courier
        self._now = now
        self._random = random or Random()
        self._keep = Keep(self, path, clock, now, "TLS reports", in_thread)
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock
        self._working: Deferred[Any] | None = None
        self._begin = now()
        self._today = Tally()
        self._periods: list[Period] = []
        self._sent: deque[Sent] = deque(maxlen=MOST_SENT)

    def start(self) -> None:
        """Go on from what was kept."""
        self._keep.start()
        self._loop.start(EVERY)

    def stop(self) -> None:
        """Nothing more is sent, and what is counted from now on isn't kept."""
        if self._loop.running:
            self._loop.stop()
        if self._working is not None:
            self._working.cancel()
        self._keep.stop()

    # -- counting

    def count(self, counts: Iterable[tuple[TlsResult, int]]) -> None:
        """What a child has to tell."""
        self._close_day()
        for result, count in counts:
            self._today.add(result, count)

    def _close_day(self) -> None:
        """A day that is over is to be told."""
        if self._begin > self._now() + DAY:
            self._begin = self._now()  # The clock was ahead: it would be over in years.
        midnight = (self._begin // DAY + 1) * DAY
        if self._now() >= midnight:
            self._close(midnight, SPREAD)

    def _close(self, end: int, spread: int) -> None:
        span, tally = Span(self._begin, end), self._today
        self._begin, self._today = max(end, self._now() // DAY * DAY), Tally()
        if tally.passed_over:
            _log.warn(
                "TLS reports: {count} connections to too many domains or under too many policies are in no report",
                count=tally.passed_over,
            )
        if not tally.domains:
            return
        period = Period(span, tally)
        period.add(Errand(domain, end + self._random.randrange(spread + 1)) for domain in tally.domains)
        self._periods.append(period)
        self._keep.soon()
        while len(self._periods) > MOST_PERIODS:
            lost = self._periods.pop(0)
            _log.error("TLS reports to {count} domains are given up: they weren't sent for days", count=len(lost))

    # -- sending

    def send(self) -> int:
        """Close the day as it is, and send all that waits at once; to how many domains there is something to tell.
        What is counted of today afterwards comes with a report of its own."""
        self._close_day()
        if self._today.domains:
            self._close(max(self._now(), self._begin + 1), 0)
        for period in self._periods:
            period.hasten(self._now())
        domains = sum(map(len, self._periods))
        self._look()
        return domains

    def _look(self) -> None:
        """Do what is due, unless that is being done."""
        self._close_day()
        now = self._now()
        due = [(period, errand) for period in self._periods for errand in period.due(now)]
        if due and self._working is None:
            left = iter(due)
            workers = [Deferred.fromCoroutine(self._work(left)) for _ in range(AT_ONCE)]
            self._working = DeferredList(workers, consumeErrors=True)
            self._working.addCallback(self._worked)

    def _worked(self, _: object) -> None:
        self._working = None
        self._periods = [period for period in self._periods if len(period)]
        if self._loop.running:
            self._look()

    async def _work(self, left: Iterator[tuple[Period, Errand]]) -> None:
        """One of those that share the errands."""
        for period, errand in left:
            try:
                await self._run(period, errand)
            except CancelledError:
                raise
            except Exception:
                _log.failure("TLS report to {domain}", domain=errand.domain)
                self._failed(period, errand, "a fault of ours")
            self._keep.soon()

    async def _run(self, period: Period, errand: Errand) -> None:
        report = period.report(self._author, errand.domain)
        try:
            if errand.uri:
                await self._courier.deliver(report, errand.uri)
                self._note(period, errand)
                period.done(errand)
            else:
                uris = await self._courier.wanted(errand.domain)
                errands = [Errand(errand.domain, self._now(), uri) for uri in uris if self._may_go(period, uri)]
                period.done(errand, *errands)
                for one in errands:
                    await self._run(period, one)
        except NotTaken as error:
            self._failed(period, errand, str(error), error.final)

    def _may_go(self, period: Period, uri: str) -> bool:
        """Whether its destination doesn't get too many."""
        destination = destination_of(uri)
        place = "" if destination is None else destination.place
        count = period.toward(place)
        if count == MOST_TO_ONE + 1:
            _log.warn(
                "TLS reports: {place} is where too many domains want them; it gets those of {count}",
                place=place, count=MOST_TO_ONE,
            )  # fmt: skip
        return count <= MOST_TO_ONE

    def _failed(self, period: Period, errand: Errand, why: str, final: bool = False) -> None:
        if final:
            period.done(errand)
        elif period.again(errand, self._now()):
            return
        self._note(period, errand, why)

    def _note(self, period: Period, errand: Errand, error: str = "") -> None:
        """What became of it is said and remembered."""
        uri = errand.uri or f"_smtp._tls.{errand.domain}"
        self._sent.append(Sent(self._now(), errand.domain, *period.span, uri, error))
        if error:
            _log.warn(
                "TLS report to {domain} by {uri} is given up: {error}", domain=errand.domain, uri=uri, error=error
            )
        else:
            _log.info("TLS report to {domain} sent by {uri}", domain=errand.domain, uri=uri)

    # -- asked

    @property
    def since(self) -> int:
        """When the counts that `listed` shows begin (ms since the epoch)."""
        return self._begin

    @property
    def passed_over(self) -> int:
        """Connections that are in no count."""
        return self._today.passed_over

    def listed(self, after: str, most: int) -> list[str]:
        """The first domains behind that name, in the order of the alphabet."""
        return nsmallest(most, (domain for domain in self._today.domains if domain > after))

    def report(self, domain: str) -> Report | None:
        """What its report would be now; None: there is nothing to tell."""
        counts = self._today.domains.get(domain)
        return None if counts is None else Report(self._author, domain, Span(self._begin, self._now()), counts)

    def waiting(self) -> list[tuple[Span, int]]:
        """The days that are over, and to how many domains each is still to be told."""
        return [(period.span, len(period)) for period in self._periods if len(period)]

    def sent(self) -> list[Sent]:
        """What became of the last reports, oldest first."""
        return list(self._sent)

    # -- kept

    def saved(self, now: int) -> _Saved:
        periods = tuple(period.kept() for period in self._periods)
        return self._begin, self._today.passed_over, self._today.rows(), periods, list(self._sent)

    def restore(self, saved: Any, now: int) -> None:
        """Raises ValueError."""
        begin, passed_over, rows, periods, sent = msgspec.convert(saved, _Saved)
        self._begin = min(begin, now)
        self._today.restore(rows, passed_over)
        self._periods = [period_of(kept) for kept in periods]
        self._sent.extend(sent)
