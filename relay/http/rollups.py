"""Counts of events over time, for graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType
from twisted.internet.interfaces import IReactorTime

from relay.access.caller import Scope
from relay.config.plain import shown
from relay.events.rollups import Rollups
from relay.events.series import POINTS, Question
from relay.events.tally import HOURS, MINUTES, Row
from relay.http.answer import Milliseconds, refusal
from relay.http.fields import wrong
from relay.http.frame import Call
from relay.http.operation import operation
from relay.http.slices import Slices

_LAST = 1 << 46
_DAY = 86_400_000
#: Steps that are chosen where none is asked for (seconds): the first with no more points than this.
_STEPS = (60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 86_400, 7 * 86_400)
_USUAL_POINTS = 300
_OFF = "Nothing is counted: events.keep or events.rollups is 0"

_Words = Annotated[list[str], Meta(description="Only these")]


class RollupQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is counted."""

    since: Annotated[int, Meta(ge=0, le=_LAST, description="In ms; a day before `until`")] | UnsetType = UNSET
    until: Annotated[int, Meta(ge=0, le=_LAST, description="In ms since the epoch; 0: now")] = 0
    step: Annotated[int, Meta(ge=60, le=366 * 86_400, description="Seconds of a point")] | UnsetType = UNSET
    by: Annotated[tuple[str, ...], Meta(description="zone, site, kind or reason: a series for each")] = ("kind",)
    zone: _Words = []
    site: _Words = []
    kind: _Words = []
    reason: _Words = []


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of events that have these fields in common."""

    zone: str | UnsetType = UNSET
    site: str | UnsetType = UNSET
    kind: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    total: int
    counts: list[int]


class RollupsShown(msgspec.Struct, frozen=True):
    """So many `points`, each of `step` seconds. `other` are the counts of all series that aren't named, together;
    `behind` so many events are still to be counted."""

    since: Milliseconds
    step: int
    points: int
    series: list[Series]
    other: list[int] | None
    behind: int


class RollupsApi:
    """The resource of counts."""

    def __init__(self, rollups: Rollups | None, clock: IReactorTime, now: Callable[[], int]) -> None:
        """None: there are none, and so it says. `now` gives ms since the epoch."""
        self._rollups = rollups
        self._clock = clock
        self._now = now

    @operation(
        "GET", "/v1/rollups", scope=Scope.READ, tag="events", query=RollupQuery, answer=RollupsShown, errors=(404,)
    )
    async def rollups(self, call: Call) -> RollupsShown:
        """Counts events over time, for graphs.

        The 50 series with most are named, the others are in `other` together. 404: nothing is counted.
        """
        if self._rollups is None:
            raise refusal(404, "RollupsOff", _OFF)
        question = self._question(call.query)
        found = await self._rollups.answer(question, Slices(self._clock).breathe)
        series = [
            Series(**dict(zip(question.by, name, strict=True)), total=sum(counts), counts=list(counts))
            for name, counts in found.series
        ]
        other = list(found.other) or None
        step = question.step // 1000
        return RollupsShown(question.first, step, question.points, series, other, self._rollups.behind)

    def _question(self, query: RollupQuery) -> Question:
        until = query.until or self._now()
        since = max(0, until - _DAY) if isinstance(query.since, UnsetType) else query.since
        if since >= until:
            raise wrong("since", "expected a time before until")
        if isinstance(query.step, UnsetType):
            fitting = (one for one in _STEPS if (until - since) <= _USUAL_POINTS * one * 1000)
            step = next(fitting, _STEPS[-1]) * 1000
        else:
            step = query.step * 1000
        if step % (HOURS if step >= HOURS.length else MINUTES).length:
            raise wrong("step", "expected whole minutes, or from an hour on whole hours, in seconds")
        first = since // step * step
        points = -(-(until - first) // step)
        if points > POINTS:
            raise wrong("step", f"expected at most {POINTS} points, got {points}")
        by = tuple(dict.fromkeys(query.by))
        for name in by:
            if name not in Row._fields:
                raise wrong("by", f"expected some of {', '.join(Row._fields)}, got {shown(name[:40])}")
        wanted = {name: frozenset(values) for name in Row._fields if (values := getattr(query, name))}
        return Question(first, step, points, by or ("kind",), wanted)
