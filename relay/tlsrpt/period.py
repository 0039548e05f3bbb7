"""A span of time that is over: its counts, and what is still to be done to tell them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from relay.tlsrpt.report import Author, Report, Span
from relay.tlsrpt.tally import Row, Tally

#: Pauses before the next try, from the failure (ms): a day in all.
GAPS = tuple(minutes * 60_000 for minutes in (5, 15, 45, 120, 240, 240, 240, 240, 240))



class Errand(NamedTuple):
    """Something to be done for a domain at `due` (ms since the epoch), after so many `tries` that failed: `uri` gets
    the report; "" stands for the look at the domain's record, which comes first."""

    domain: str
    due: int
    uri: str = ""
    tries: int = 0


#: What is kept over a restart: begin, end, what was passed over, the counts, the errands.
Kept = tuple[int, int, int, list[Row], list[Errand]]


class Period:
    """See the module. A domain is forgotten when there is nothing more to do for it."""

    def __init__(self, span: Span, tally: Tally) -> None:
        self.span = span
        self.tally = tally
        self._errands: dict[str, list[Errand]] = {}
        self._to: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many domains are left."""
        return len(self._errands)

    def add(self, errands: Iterable[Errand]) -> None:
        for errand in errands:
            self._errands.setdefault(errand.domain, []).append(errand)

    def errands(self) -> list[Errand]:
        """All that are left."""
        return [errand for errands in self._errands.values() for errand in errands]

    def due(self, now: int) -> list[Errand]:
        """Those whose time has come."""
        return [errand for errand in self.errands() if errand.due <= now]

    def hasten(self, now: int) -> None:
        """None waits longer than until now."""
        for errands in self._errands.values():
            errands[:] = [errand._replace(due=min(errand.due, now)) for errand in errands]

    def done(self, errand: Errand, *more: Errand) -> None:
        """It is done, and leads to these."""
        errands = self._errands.get(errand.domain)
        if errands is None or errand not in errands:
            return
        errands.remove(errand)
        errands.extend(more)
        if not errands:
            del self._errands[errand.domain]
            self.tally.forget(errand.domain)

    def again(self, errand: Errand, now: int) -> bool:
        """It failed: it will be tried again; or (False) it was for the last time, and is done."""
        if errand.tries >= len(GAPS):
            self.done(errand)
            return False
        self.done(errand, errand._replace(due=now + GAPS[errand.tries], tries=errand.tries + 1))
        return True

    def toward(self, place: str) -> int:
        """How many reports were to go to that place (see relay.tlsrpt.record), with one that is to go there now."""
        self._to[place] += 1
        return self._to[place]

    def report(self, author: Author, domain: str) -> Report:
        """What there is to tell a domain. Nothing in it changes any more."""
        return Report(author, domain, self.span, self.tally.domains[domain])

    def kept(self) -> Kept:
        """What is to be kept."""
        return (*self.span, self.tally.passed_over, self.tally.rows(), self.errands())


def period_of(kept: Kept) -> Period:
    """What `kept` gave, and only errands that have something to tell."""
    begin, end, passed_over, rows, errands = kept
    tally = Tally()
    tally.restore(rows, passed_over)
    period = Period(Span(begin, end), tally)
    period.add(errand for errand in errands if errand.domain in tally.domains)
    return period
