"""Answers that wait for what becomes of the mail they tell of."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.internet.interfaces import IReactorTime

from relay.events.verdicts import TooMany, Verdict, Verdicts, Waiting
from relay.http.answer import RETRY_AFTER, failure
from relay.http.fields import wrong
from relay.http.message_fields import AllAccepted, Posted
from relay.http.slices import Slices
from relay.message.event import ENDS
from relay.message.queueid import parse_name
from relay.queue.store import Store

#: Events of one delivery that are looked through.
_MOST = 1000


class Waits:
    """Of all requests."""

    def __init__(self, store: Store, verdicts: Verdicts | None, clock: IReactorTime, now: Callable[[], int]) -> None:
        """`verdicts`: None where no events are kept; `now` gives ms since the epoch."""
        self._store = store
        self._verdicts = verdicts
        self._clock = clock
        self._now = now

    def begin(self) -> Waiting:
        """Before the mail is taken; `end` it. Raises Problem: nobody can be told, or too many wait."""
        if self._verdicts is None:
            raise wrong("wait", "no events are kept here (events.keep), so that nobody can be told")
        try:
            return self._verdicts.wait()
        except TooMany:
            raise failure(503, "Too many wait already; without wait it would be taken", RETRY_AFTER) from None

    async def filled(self, told: AllAccepted, waiting: Waiting, seconds: float) -> AllAccepted:
        """The answer, with what is known of each delivery once all have a verdict, or the time is over."""
        begun = self._clock.seconds()
        deliveries = {_name(one): one for one in _deliveries(told)}
        waiting.expect(deliveries)
        slices = Slices(self._clock)
        for name in deliveries:
            verdict = self._known(name, round(seconds * 1000))
            if verdict.state != "queued":
                waiting.tell(name, verdict)
            await slices.breathe()
        await waiting.all(max(0.0, seconds - (self._clock.seconds() - begun)), self._clock)
        for name, one in deliveries.items():
            one.state, one.reply, one.category = waiting.known.get(name, _QUEUED)
        told.waited = round(self._clock.seconds() - begun, 3)
        return told

    def _known(self, name: tuple[str, int], wait: int) -> Verdict:
        """How a delivery stands: it may have been taken by an earlier request. `wait` in ms. Raises StoreError."""
        row = self._store.delivery(*name)
        if row is None:
            for _, event in reversed(self._store.history(*name, _MOST)):
                if event.kind in ENDS and event.seq == name[1]:
                    return Verdict.of(event)
            return Verdict("forgotten")
        if row.held:
            return Verdict("held", row.held)
        if row.attempts or row.first_failure:
            return Verdict("deferred", row.response, row.category)
        return Verdict("scheduled") if row.due > self._now() + wait else _QUEUED


_QUEUED = Verdict("queued")


def _deliveries(told: AllAccepted) -> Iterator[Posted]:
    yield from told.deliveries
    for one in told.messages:
        yield from one.deliveries


def _name(one: Posted) -> tuple[str, int]:
    parsed = parse_name(one.id)
    assert parsed is not None and parsed[1] is not None, "an answer of ours names deliveries"
    return parsed[0], parsed[1]
