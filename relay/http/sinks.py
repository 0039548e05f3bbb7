"""Where events are handed on to, how far each is, and what came of it; and events handed on again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from msgspec import UNSET
from twisted.internet.defer import Deferred

from relay.access.caller import Scope
from relay.config.plain import shown
from relay.events.replay import Busy
from relay.events.sink import Sink, Standing
from relay.http.access_fields import done, missing
from relay.http.answer import RETRY_AFTER, Problem, failure, refusal
from relay.http.fields import wrong
from relay.http.frame import Call
from relay.http.moments import at
from relay.http.operation import operation
from relay.http.sink_shapes import (
    AsideList,
    AsideQuery,
    BatchList,
    BatchQuery,
    NewReplay,
    ReplayShown,
    SinkList,
    SinkShown,
    aside_shown,
    batch_shown,
    replay_shown,
    sink_shown,
)  # fmt: skip
from relay.queue.store import StoreError


class Sinks(Protocol):
    """All there are (relay.events.sinks)."""

    def standings(self) -> Iterable[Standing]: ...
    def get(self, name: str) -> Sink | None: ...


class SinksApi:
    """The resources of sinks."""

    def __init__(self, sinks: Sinks) -> None:
        self._sinks = sinks

    @operation("GET", "/v1/sinks", scope=Scope.READ, tag="events", answer=SinkList)
    def sinks(self, call: Call) -> SinkList:
        """Shows where events are handed on to, and how far each is."""
        return SinkList([sink_shown(one) for one in self._sinks.standings()])

    @operation("GET", "/v1/sinks/{sink}", scope=Scope.READ, tag="events", answer=SinkShown)
    def sink(self, call: Call, sink: str) -> SinkShown:
        """Shows how far one sink is, and what is handed on to it again."""
        return sink_shown(self._sink(sink).standing())

    @operation("GET", "/v1/sinks/{sink}/deliveries", scope=Scope.READ, tag="events", query=BatchQuery, answer=BatchList)
    def deliveries(self, call: Call, sink: str) -> BatchList:
        """Shows the latest batches of events that were handed on to a sink, and what came of each.

        The latest comes first; 500 are kept of each sink.
        """
        query: BatchQuery = call.query
        page = self._sink(sink).batches(0 if query.cursor is UNSET else query.cursor, query.limit + 1)
        found = page[: query.limit]
        more = len(page) > query.limit
        return BatchList([batch_shown(*one) for one in found], found[-1][0].index if more else None)

    @operation("GET", "/v1/sinks/{sink}/aside", scope=Scope.READ, tag="events", query=AsideQuery, answer=AsideList)
    def aside(self, call: Call, sink: str) -> AsideList:
        """Shows the events that a receiver has refused one by one, and that are tried again by themselves.

        Bounces are, where they go by `bounces.url`.
        """
        query: AsideQuery = call.query
        try:
            page = self._sink(sink).asides(query.cursor, query.limit + 1)
        except StoreError as error:
            raise _unreadable(error) from None
        items = [aside_shown(one) for one in page[: query.limit]]
        return AsideList(items, items[-1].number if len(page) > query.limit else None)

    @operation(
        "POST", "/v1/sinks/{sink}/replay", scope=Scope.OPERATE, tag="events", body=NewReplay, answer=ReplayShown,
        status=202, errors=(409,), audit="sink.replayed",
    )  # fmt: skip
    async def replay(self, call: Call, sink: str) -> ReplayShown:
        """Hands events on to a sink again, in their order, beside those that are new.

        Only those of the kinds that it wants, and up to the last one that it has had. They have the numbers they had.
        There is one replay at a time for each sink (409); a restart doesn't end it.
        """
        one = self._sink(sink)
        try:
            after, until = _stretch(one, call.body)
        except StoreError as error:
            raise _unreadable(error) from None
        try:
            await done(Deferred.fromCoroutine(one.replay(after, until)))
        except Busy as error:
            raise refusal(409, "UnderWay", f"There is a replay to this sink already: {error}") from None
        begun = _replay(one)
        call.about = f"{sink}: {begun.after} to {begun.until}"
        return begun

    @operation(
        "DELETE", "/v1/sinks/{sink}/replay", scope=Scope.OPERATE, tag="events", answer=ReplayShown,
        audit="sink.replay-cancelled",
    )  # fmt: skip
    async def cancel(self, call: Call, sink: str) -> ReplayShown:
        """Ends a replay: no more of it is handed on.

        404: there is none under way.
        """
        one = self._sink(sink)
        if not await done(Deferred.fromCoroutine(one.cancel())):
            raise missing(f"replay under way to {shown(sink)}")
        return _replay(one)

    @operation(
        "POST", "/v1/sinks/{sink}/resume", scope=Scope.OPERATE, tag="events", answer=SinkShown, audit="sink.resumed"
    )
    def resume(self, call: Call, sink: str) -> SinkShown:
        """Has a sink try now what it waits with after a failure."""
        one = self._sink(sink)
        one.hurry()
        return sink_shown(one.standing())

    def _sink(self, name: str) -> Sink:
        found = self._sinks.get(name)
        if found is None:
            raise missing(f"sink {shown(name)}")
        return found


def _stretch(sink: Sink, asked: NewReplay) -> tuple[int, int]:
    """Behind which number, and up to which. Raises Problem and StoreError."""
    cursor = sink.standing().cursor
    if (asked.after is UNSET) == (not asked.since):
        raise wrong("after", "expected it or since")
    after = sink.before(at(asked.since, "since")) if asked.after is UNSET else asked.after
    until: int | str = cursor if asked.until is UNSET else asked.until
    if isinstance(until, str):
        until = sink.before(at(until, "until") + 1)
    until = min(until, cursor)
    if after >= until:
        raise wrong("until", f"there is nothing that the sink has had between {after} and {until}")
    return after, until


def _unreadable(error: StoreError) -> Problem:
    return failure(503, str(error) or "The queue can't be read now", RETRY_AFTER)


def _replay(sink: Sink) -> ReplayShown:
    stands = sink.standing().replay
    assert stands is not None, "there was one just now"
    return replay_shown(stands)
