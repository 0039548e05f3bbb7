"""Counts of events over time, for graphs."""

from __future__ import annotations

from collections.abc import Callable

from klein import Klein
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IRequest

from relay.config.plain import shown
from relay.events.rollups import Rollups
from relay.events.series import POINTS, Question
from relay.events.tally import HOURS, MINUTES, Row
from relay.http.answer import answer, refusal
from relay.http.fields import number, query_of, wrong
from relay.http.slices import Slices

_LAST = 1 << 46
_DAY = 86_400_000
#: Steps that are chosen where none is asked for (seconds): the first with no more points than this.
_STEPS = (60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 86_400, 7 * 86_400)
_USUAL_POINTS = 300
_OFF = "Nothing is counted: events.keep or events.rollups is 0"


class RollupsApi:
    """The resource of counts."""

    def __init__(self, rollups: Rollups | None, clock: IReactorTime, now: Callable[[], int]) -> None:
        """None: there are none, and so it says. `now` gives ms since the epoch."""
        self._rollups = rollups
        self._clock = clock
        self._now = now

    def add_routes(self, app: Klein) -> None:
        app.route("/v1/rollups", methods=["GET"])(self.rollups)

    async def rollups(self, request: IRequest) -> bytes:
        """How many events there were in each `?step=` (seconds) from `?since=` to `?until=` (ms since the epoch; the
        last day), of some `?zone=`, `?site=`, `?kind=`, `?reason=` (lists with commas), in a series for each that
        differs in the fields `?by=` (kind). The 50 series with most are named, the others are in `other` together."""
        if self._rollups is None:
            raise refusal(404, "RollupsOff", _OFF)
        question = self._question(query_of(request, ("since", "until", "step", "by", *Row._fields)))
        found = await self._rollups.answer(question, Slices(self._clock).breathe)
        series = [
            {**dict(zip(question.by, name, strict=True)), "total": sum(counts), "counts": counts}
            for name, counts in found.series
        ]
        return answer(
            request,
            {
                "since": question.first,
                "step": question.step // 1000,
                "points": question.points,
                "series": series,
                "other": found.other or None,
                "behind": self._rollups.behind,
            },
        )

    def _question(self, fields: dict[str, str]) -> Question:
        until = number(fields, "until", 1, _LAST) or self._now()
        since = number(fields, "since", 0, _LAST)
        if since is None:
            since = max(0, until - _DAY)
        if since >= until:
            raise wrong("since", "expected a time before until")
        seconds = number(fields, "step", 60, 366 * 86_400)
        if seconds is None:
            fitting = (one for one in _STEPS if (until - since) <= _USUAL_POINTS * one * 1000)
            seconds = next(fitting, _STEPS[-1])
        step = seconds * 1000
        if step % (HOURS if step >= HOURS.length else MINUTES).length:
            raise wrong("step", "expected whole minutes, or from an hour on whole hours, in seconds")
        first = since // step * step
        points = -(-(until - first) // step)
        if points > POINTS:
            raise wrong("step", f"expected at most {POINTS} points, got {points}")
        by = tuple(dict.fromkeys(fields["by"].split(","))) if fields.get("by") else ("kind",)
        for name in by:
            if name not in Row._fields:
                raise wrong("by", f"expected some of {', '.join(Row._fields)}, got {shown(name[:40])}")
        wanted = {name: frozenset(fields[name].split(",")) for name in Row._fields if fields.get(name)}
        return Question(first, step, points, by, wanted)
