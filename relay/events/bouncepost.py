"""Bounces to a web server, a POST for each, kept until it is taken.

What the server says to one bounce is about that bounce: it is set aside, on a shelf, and tried again by itself, while
the others go on. Where nobody answers, or one says that it is busy, it is about the server: nothing goes until it is
back. So one that is refused for ever holds up nobody, and a server that is down gets no thousand calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.config.urls import Url
from relay.events.bounceform import TYPE, form, wanted
from relay.events.bounceshelf import BounceShelf
from relay.events.reader import NotTaken
from relay.events.signature import headers
from relay.events.sink import Apart, Aside
from relay.events.taker import Web
from relay.message.event import Numbered

_log = Logger()

#: So many at once.
AT_ONCE = 10
#: For an answer (seconds).
TIMEOUT = 30.0
#: Statuses that are about the server.
_BUSY = frozenset((408, 425, 429, 502, 503, 504))
#: Those set aside are looked at so often (seconds).
LOOK = 15.0
#: So many of them at a time.
MOST = 100


class _Sent(NamedTuple):
    """What came of some, by their numbers; those in neither are still to be sent, for there is a `problem`."""

    taken: set[int]
    refused: set[int]
    problem: Exception | None


class BouncePost:
    """The taker."""

    def __init__(
        self,
        url: Url,
        keys: Sequence[bytes],
        allow_private: bool,
        web: Web,
        shelf: BounceShelf,
        clock: IReactorTime,
        now: Callable[[], int],
    ) -> None:
        """`now` gives ms since the epoch."""
        self.where = str(url)
        self._url = url
        self._keys = keys
        self._allow_private = allow_private
        self._web = web
        self._shelf = shelf
        self._clock = clock
        self._now = now
        self._at_once = DeferredSemaphore(AT_ONCE)
        #: Of the batches that are being taken, those that are over.
        self._over: set[int] = set()
        self._running = False
        self._timer: IDelayedCall | None = None
        self._trying: Deferred[None] | None = None

    def apart(self) -> Apart:
        """What has come of those that were refused."""
        return Apart(len(self._shelf), self._shelf.given_up)

    def listed(self, after: int, limit: int) -> list[Aside]:
        """Those that were refused, up to `limit` behind the number `after`, in order. Raises StoreError."""
        return self._shelf.listed(after, limit)

    def hurry(self) -> None:
        """Try them again now."""
        self._shelf.hurry(self._now())
        if self._timer is not None and self._timer.active():
            self._timer.reset(0)

    def start(self) -> None:
        """The store is open. Raises StoreError."""
        self._shelf.open()
        self._running = True
        self._timer = self._clock.callLater(LOOK, self._look)

    def take(self, events: Sequence[Numbered]) -> Deferred[int]:
        """Fires when each is taken or set aside. Fails where the server can't take any, or has refused as many as may
        be set aside."""
        return Deferred.fromCoroutine(self._take({one.number: form(one.event) for one in events if wanted(one.event)}))

    def stop(self) -> None:
        self._running = False
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self._trying is not None:
            self._trying.cancel()

    # -- inside

    async def _take(self, forms: Mapping[int, bytes]) -> int:
        left = {number: body for number, body in forms.items() if number not in self._over}
        if len(left) > self._shelf.room:
            count = len(self._shelf)
            raise NotTaken(f"{self._url.host} has refused {count} bounces: no more before it takes some of them")
        sent = await self._all(left)
        self._over |= sent.taken
        await self._shelf.add({number: left[number] for number in sent.refused}, self._now())
        self._over |= sent.refused
        if sent.problem is not None:
            raise sent.problem
        self._over.difference_update(forms)
        return 0

    async def _all(self, forms: Mapping[int, bytes]) -> _Sent:
        """Post them, as far as the server can take any."""
        taken: set[int] = set()
        refused: set[int] = set()
        problems: list[Exception] = []

        async def send(number: int, body: bytes) -> None:
            if problems:
                return
            try:
                why = await self._post(number, body)
            except CancelledError:
                raise
            except Exception as error:
                problems.append(error)
                return
            if why:
                _log.info("bounce {number} is set aside: {why}", number=number, why=why)
                refused.add(number)
            else:
                taken.add(number)

        def begin(number: int, body: bytes) -> Deferred[None]:
            return Deferred.fromCoroutine(send(number, body))

        sent = [self._at_once.run(begin, number, body) for number, body in forms.items()]
        await gatherResults(sent, consumeErrors=True)
        return _Sent(taken, refused, problems[0] if problems else None)

    def _look(self) -> None:
        """Try those again that are due."""
        self._timer = None
        self._trying = Deferred.fromCoroutine(self._again())
        self._trying.addErrback(self._not_now).addCallback(self._looked)

    def _not_now(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            _log.warn("bounces that were set aside wait on: {why}", why=failure.getErrorMessage())

    def _looked(self, _: None) -> None:
        self._trying = None
        if self._running:
            self._timer = self._clock.callLater(LOOK, self._look)

    async def _again(self) -> None:
        tried = self._shelf.due(self._now(), MOST)
        forms = {number: one.form for number, one in tried.items()}
        sent = await self._all(forms)
        over = sent.taken | sent.refused
        await self._shelf.settle({number: tried[number] for number in over}, sent.refused, self._now())
        if sent.problem is not None:
            raise sent.problem

    async def _post(self, number: int, body: bytes) -> str:
        """Why it was refused, "": it was taken. Raises NotTaken and what Web says."""
        fields = {"Content-Type": TYPE}
        if self._keys:
            fields |= headers(self._keys, f"bounce_{number}", self._now() // 1000, body)
        answer = await self._web.post(self._url, fields, body, TIMEOUT, self._allow_private)
        if answer.status in _BUSY:
            raise NotTaken(f"{self._url.host} answers {answer.status}", answer.retry_after)
        return "" if 200 <= answer.status < 300 else f"{self._url.host} answers {answer.status}"
