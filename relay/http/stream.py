"""One stream of server-sent events: no more of it in memory than its client takes.

    WATCHING ──new events, or a time──▶ WRITING ──all said──▶ WATCHING
                                          │ ▲
                          client is full  ▼ │ it has read
                                        HELD BACK ──too long──▶ cut off

Events are read from the store when the client has room for them, a page at a time: a slow client is behind, costs
nothing, and is told if what it hasn't read yet is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from relay.events.shape import shape
from relay.message.event import Numbered
from relay.queue.store import Bounds

#: Events that are read at once.
_PAGE = 100
#: Seconds between signs of life.
BEAT = 15.0
#: Events come so long after they were told, so that many come at once (seconds).
GATHER = 0.1
_encode = msgspec.json.Encoder().encode


class Source(Protocol):
    """Where events are (relay.queue.store)."""

    def events(self, after: int, limit: int) -> list[Numbered]: ...
    def event_bounds(self) -> Bounds: ...


@implementer(IPushProducer)
class Stream:
    """Of one client."""

    def __init__(
        self,
        request: Any,
        source: Source | None,
        after: int | None,
        kinds: frozenset[str],
        tenant: str,
        clock: IReactorTime,
        timeout: float,
    ) -> None:
        """It tells the events of `source` (None: none) behind `after` (None: those to come) that are of `kinds` (none
        named: all) and of `tenant` ("": of all). `timeout` in seconds."""
        self._request = request
        self._source = source
        self._kinds = kinds
        self.tenant = tenant
        self._clock = clock
        self._timeout = timeout
        newest = source.event_bounds().newest if source is not None else 0
        self._cursor = newest if after is None else min(after, newest)
        self._more: list[Callable[[], tuple[str, Any]]] = []
        self._timers: dict[str, IDelayedCall] = {}
        self._full = False
        self._gone = False
        self._end: Deferred[None] = Deferred(lambda _: None)

    def repeat(self, seconds: float, say: Callable[[], tuple[str, Any]]) -> None:
        """Says that, an event's name and its data, now and each so many seconds."""

        def again() -> None:
            self._later("repeat", seconds, again)
            if not self._full:
                self._say(*say())

        self._more.append(say)
        self._later("repeat", seconds, again)

    async def run(self) -> None:
        """Until the client goes, which cancels it."""
        request = self._request
        request.endless = True
        request.setResponseCode(200)
        for name, value in (
            (b"Content-Type", b"text/event-stream"),
            (b"Cache-Control", b"no-store"),
            (b"X-Content-Type-Options", b"nosniff"),
            (b"X-Accel-Buffering", b"no"),
        ):
            request.setHeader(name, value)
        request.registerProducer(self, True)
        try:
            request.write(b"retry: 2000\n\n")
            self._later("beat", BEAT, self._beat)
            for say in self._more:
                self._say(*say())
            self.look()
            if request.method != b"HEAD":  # That asks for the header alone.
                await self._end
        finally:
            for timer in self._timers.values():
                if timer.active():
                    timer.cancel()
            if request.channel is not None:
                request.unregisterProducer()

    def look(self) -> None:
        """There may be new events."""
        timer = self._timers.get("look")
        if self._source is not None and not (timer is not None and timer.active()):
            self._later("look", GATHER, self._tell)

    # -- IPushProducer

    def pauseProducing(self) -> None:
        if not self._full:
            self._full = True
            self._later("cut", self._timeout, self._request.transport.abortConnection)

    def resumeProducing(self) -> None:
        self._full = False
        self._stop("cut")
        self.look()

    def stopProducing(self) -> None:
        self._gone = True

    # -- inside

    def _tell(self) -> None:
        """Events, until there are no more or the client is full."""
        source = self._source
        assert source is not None
        if self._full or self._gone:
            return
        oldest = source.event_bounds().oldest
        if self._cursor < oldest - 1:
            self._say("missed", {"until": oldest - 1}, oldest - 1)
            self._cursor = oldest - 1
        page = source.events(self._cursor, _PAGE)
        for one in page:
            self._cursor = one.number
            if (not self._kinds or one.event.kind in self._kinds) and self._is_theirs(one):
                self._say("event", shape(one), one.number)
        if len(page) == _PAGE:
            self._later("look", 0, self._tell)

    def _is_theirs(self, one: Numbered) -> bool:
        return not self.tenant or one.event.tenant == self.tenant

    def _say(self, name: str, data: Any, number: int | None = None) -> None:
        mark = b"" if number is None else b"id: %d\n" % number
        self._request.write(b"%bevent: %b\ndata: %b\n\n" % (mark, name.encode(), _encode(data)))

    def _beat(self) -> None:
        if not self._request.stands():
            self._request.transport.loseConnection()
            return
        self._later("beat", BEAT, self._beat)
        if not self._full:
            self._request.write(b":\n\n")

    def _later(self, what: str, seconds: float, do: Callable[[], Any]) -> None:
        self._stop(what)
        self._timers[what] = self._clock.callLater(seconds, do)

    def _stop(self, what: str) -> None:
        timer = self._timers.get(what)
        if timer is not None and timer.active():
            timer.cancel()
