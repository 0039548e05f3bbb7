"""GELF by TCP: each batch on a connection of its own, taken when the other side has read it up to the end.

There are no answers in GELF, but a host that closes its side after ours has seen the end.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.events import gelf
from relay.events.datagrams import located
from relay.events.reader import NotTaken
from relay.events.taker import Means
from relay.message.event import Numbered


class GelfTcp:
    """The taker."""

    def __init__(self, host: str, port: int, timeout: float, means: Means) -> None:
        """`timeout`: for a batch, from the look-up to the end (seconds)."""
        self.where = f"tcp:{f'[{host}]' if ':' in host else host}:{port}"
        self._host = host
        self._port = port
        self._timeout = timeout
        self._means = means

    def take(self, events: Sequence[Numbered]) -> Deferred[int]:
        """Fails with NotTaken, or why the host isn't found."""
        data = b"".join(gelf.record(one, self._means.hostname) + b"\0" for one in events)
        return Deferred.fromCoroutine(self._in_time(data))

    def stop(self) -> None:
        pass

    async def _in_time(self, data: bytes) -> int:
        sending = Deferred.fromCoroutine(self._send(data))
        try:
            await sending.addTimeout(self._timeout, self._means.reactor)
        except defer.TimeoutError:
            raise NotTaken(f"{self.where}: it hasn't read all within {self._timeout:g} s") from None
        return 0

    async def _send(self, data: bytes) -> None:
        address = (await located(self._host, self._means))[0]
        kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        batch = _Batch(data)
        try:
            await connectProtocol(kind(self._means.reactor, address, self._port, self._timeout), batch)
            await batch.read
        except ConnectingCancelledError:
            raise CancelledError from None
        except ConnectError as error:
            raise NotTaken(f"{self.where}: {error}") from None
        finally:
            batch.drop()


@implementer(IHalfCloseableProtocol)
class _Batch(Protocol):
    """The connection. `read`: the other side has closed it after all was sent; what it says is nothing to us."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._sent = False
        self.read: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(self._data)  # type: ignore[union-attr]
        self.transport.loseWriteConnection()  # type: ignore[union-attr]

    def writeConnectionLost(self) -> None:
        """All of it is on its way."""
        self._sent = True

    def readConnectionLost(self) -> None:
        """The other side has closed its own."""
        self._over(self._sent)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._over(False)

    def _over(self, well: bool) -> None:
        if self.read.called:
            return
        if well:
            self.read.callback(None)
        else:
            self.read.errback(NotTaken("the connection was lost before all was read"))

    def drop(self) -> None:
        """Hang up, if there is a connection."""
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]
