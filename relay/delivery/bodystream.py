"""A body on its way to a host, chunk by chunk, no faster than the host takes it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPullProducer
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IPullProducer)
class BodyStream:
    """Fetches the next chunk when the transport has sent what it was given: at most one chunk
    is held here, whatever the size of the body."""

    def __init__(
        self,
        chunks: int,
        size: int,
        fetch: Callable[[int], Deferred[bytes]],
        forward: Callable[[bytes, bool], None],
        failed: Callable[[str], None],
    ) -> None:
        """`forward(data, last)` is called for each of the `chunks` in turn, `failed(reason)`
        once when one can't be had or they aren't `size` bytes together: a body that was cut
        must never end in a dot."""
        self._chunks = chunks
        self._left = size
        self._fetch = fetch
        self._forward = forward
        self._failed = failed
        self._number = 0
        self._fetching: Deferred[None] | None = None

    @property
    def fetching(self) -> bool:
        """A chunk is asked for and not here."""
        return self._fetching is not None

    def resumeProducing(self) -> None:
        """The transport is drained: the next chunk, please."""
        if self._fetching is None and self._number < self._chunks:
            chunk = self._fetch(self._number)
            self._number += 1
            self._fetching = fetching = chunk.addCallbacks(self._fetched, self._unfetched)
            if fetching.called:
                self._fetching = None

    def stopProducing(self) -> None:
        """No more is wanted; nothing is called any more."""
        self._number = self._chunks
        self._forward = _ignore
        self._failed = _ignore
        if self._fetching is not None:
            self._fetching.cancel()

    def _fetched(self, data: bytes) -> None:
        self._fetching = None
        self._left -= len(data)
        last = self._number == self._chunks
        if last and self._left:
            self._failed("The body is not as long as it should be")
        else:
            self._forward(data, last)

    def _unfetched(self, failure: Failure) -> None:
        self._fetching = None
        if not isinstance(failure.value, CancelledError):
            self._failed(f"The body can't be read: {failure.getErrorMessage()}")


def _ignore(*_: object) -> None:
    """Nobody listens any more."""
