"""A long body on its way to a client: no more of it in memory than the client takes."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.web.server import Request
from zope.interface import implementer

from relay.queue.store import Unreadable


@implementer(IPushProducer)
class BodyStream:
    """Writes pieces to a request whose header is written, as fast as it is read.

    A client that takes nothing for `timeout` seconds is cut off.
    """

    def __init__(self, request: Request, clock: IReactorTime, timeout: float) -> None:
        self._request = request
        self._abort = request.transport.abortConnection  # type: ignore[union-attr]
        self._clock = clock
        self._timeout = timeout
        self._waiting: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        self._gone = False

    async def send(self, pieces: Iterable[bytes]) -> None:
        """Sends the pieces; returns when they are written. It is cancelled when the client is
        gone. Unreadable, raised by `pieces`, ends the connection: the client sees that the text
        is incomplete."""
        request = self._request
        request.registerProducer(self, True)
        try:
            for piece in pieces:
                request.write(piece)
                if self._waiting is not None:
                    await self._waiting
        except Unreadable:
            self._abort()
            await Deferred()  # until the loss of the connection cancels it
        finally:
            self._stop_timer()
            if not self._gone:
                request.unregisterProducer()

    def pauseProducing(self) -> None:
        if self._waiting is None:
            self._waiting = Deferred()
            self._timer = self._clock.callLater(self._timeout, self._abort)

    def resumeProducing(self) -> None:
        self._stop_timer()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def stopProducing(self) -> None:
        self._gone = True
        self._stop_timer()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
