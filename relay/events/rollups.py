"""Keeps counts of events, by minute and by hour, exactly.

Counts and the place up to which events are counted go to the shelf in one write. After a failure or a crash, whether
that write was made or not, what stands there is believed and nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.events.reader import Reader, Source, place, place_of
from relay.events.series import Answer, Question, Series, Totals
from relay.events.tally import SPANS, Period, Row, Span, count_of, packed, row_for, row_of
from relay.message.event import Numbered
from relay.shelf import Shelf

NAME = "rollups"
#: Each event counts in a minute and in an hour, and a write to a shelf has a bound.
BATCH = 400
#: Periods whose counts are at hand.
_AT_HAND = 8
_PAGE = 500
#: Seconds between looks for old counts, and between slices while there are more.
PERIOD, PAUSE = 60.0, 0.25

_log = Logger()


class Rollups:
    """See the module."""

    def __init__(
        self, source: Source, shelf: Callable[[], Shelf], clock: IReactorTime, now: Callable[[], int], keep: float
    ) -> None:
        """`now` gives ms since the epoch; counts are kept for `keep` seconds."""
        self.keep = keep
        self._open = shelf
        self._clock = clock
        self._now = now
        self._reader = Reader(NAME, source, shelf, self._take, clock, batch=BATCH, keeps=True)
        self._periods: dict[tuple[Span, int], Period] = {}
        # None: what stands on the shelf has to be read.
        self._counted: int | None = None
        self._timer: IDelayedCall | None = None
        self._stopped = True

    def start(self) -> None:
        """The store is open. Raises StoreError."""
        self._stopped = False
        self._reader.start()
        self._timer = self._clock.callLater(PERIOD, self._prune)

    def stop(self) -> Deferred[None]:
        """Count no more for now."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        return self._reader.stop()

    @property
    def behind(self) -> int:
        """How many events are not counted yet."""
        return self._reader.behind

    async def answer(self, question: Question, breathe: Callable[[], Awaitable[None]]) -> Answer:
        """What was counted; `breathe` is awaited every few milliseconds. Raises StoreError."""
        shelf = self._open()
        totals, series = Totals(question), None
        for part in ("totals", "series"):
            if part == "series":
                series = Series(question, totals.greatest())
            into = totals if series is None else series
            start, stop = question.keys()
            while page := shelf.scan(start, stop, _PAGE):
                for key, value in page:
                    into.add(key, value)
                start = page[-1][0] + b"\0"
                await breathe()
        assert series is not None
        return series.answer()

    # -- counting

    def _take(self, events: Sequence[Numbered]) -> Deferred[None]:
        shelf = self._open()
        try:
            if self._counted is None:
                self._counted = place_of(NAME, shelf) or 0
            new = [one for one in events if one.number > (self._counted or 0)]
            if not new:
                return succeed(None)
            touched: dict[tuple[Span, int], Period] = {}
            for _, event in new:
                row = row_for(event)
                for span in SPANS:
                    number = event.time // span.length
                    period = touched.get((span, number))
                    if period is None:
                        period = touched[span, number] = self._period(shelf, span, number)
                    period.add(row)
            put = place(NAME, new[-1].number)
            for (span, number), period in touched.items():
                put.update((span.key(number, row), packed(count)) for row, count in period.changes().items())
            written = shelf.write(put)
        except Exception:
            self._forget()
            raise

        def done(_: None) -> None:
            self._counted = new[-1].number

        def failed(failure: Failure) -> Failure:
            self._forget()
            return failure

        return written.addCallbacks(done, failed)

    def _forget(self) -> None:
        """What is at hand may not be what stands on the shelf."""
        self._periods.clear()
        self._counted = None

    def _period(self, shelf: Shelf, span: Span, number: int) -> Period:
        period = self._periods.pop((span, number), None)
        if period is None:
            before = self._periods.get((span, number - 1)) or Period(span, _read(shelf, span, number - 1))
            period = Period(span, _read(shelf, span, number), before.prominent())
        self._periods[span, number] = period
        if len(self._periods) > _AT_HAND:
            del self._periods[next(iter(self._periods))]
        return period

    # -- forgetting

    def _prune(self) -> None:
        self._timer = None
        before = self._now() - round(self.keep * 1000)
        old: list[bytes] = []
        try:
            shelf = self._open()
            for span in SPANS:
                found = shelf.scan(span.begin(0), span.begin(before // span.length), _PAGE - len(old))
                old += [key for key, _ in found]
            pruned = shelf.write({}, old) if old else succeed(None)
        except Exception as error:  # StoreError: it is being reopened
            pruned = succeed(None)
            _log.warn("old counts can't be read: {error}", error=str(error))
        pruned.addErrback(lambda failure: _log.warn("old counts stay: {error}", error=failure.getErrorMessage()))
        pruned.addCallback(lambda _: self._prune_after(PAUSE if len(old) == _PAGE else PERIOD))

    def _prune_after(self, seconds: float) -> None:
        if not self._stopped:
            self._timer = self._clock.callLater(seconds, self._prune)


def _read(shelf: Shelf, span: Span, number: int) -> dict[Row, int]:
    """The counts of a period. What can't be read is left out."""
    found: dict[Row, int] = {}
    for key, value in shelf.scan(span.begin(number), span.begin(number + 1), 1 << 20):
        try:
            found[row_of(key)] = count_of(value)
        except ValueError as error:
            _log.error("a count is left out: {error}", error=str(error))
    return found
