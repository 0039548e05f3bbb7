"""The text of one message while it leaves: its head, its body as that comes, and an end that needs leave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred

from relay.delivery.bodystream import BodyStream

if TYPE_CHECKING:
    from twisted.internet.interfaces import IConsumer

    from relay.channel.frames import Offer


class Carrier(Protocol):
    """Who brings a text to the host."""

    def fetch(self, number: int) -> Deferred[bytes]:
        """A chunk of the body, numbered from 0."""

    def carry(self, data: bytes) -> None:
        """Send a piece that isn't the last."""

    def may_end(self) -> bool:
        """Whether the end may be sent now. False holds it; what held it calls `resume`."""

    def end(self, data: bytes) -> None:
        """Send the last piece, and what ends the text, in one write."""

    def cut(self, reason: str) -> None:
        """The text can't be had as it should be; nothing more of it comes."""


class Text:
    """See the module. After `begin` it is ended or cut once, unless it is stopped before."""

    __slots__ = ("_carrier", "_consumer", "_head", "_held", "_offer", "_stream")

    def __init__(self, offer: Offer, head: bytes, carrier: Carrier) -> None:
        """`head` is all that goes before the body, the empty line included."""
        self._offer = offer
        self._head = head
        self._carrier = carrier
        self._consumer: IConsumer | None = None
        self._stream: BodyStream | None = None
        self._held: bytes | None = None

    @property
    def size(self) -> int:
        """All of it, in bytes, as it is without stuffed dots."""
        return len(self._head) + self._offer.body_size

    @property
    def lacking(self) -> bool:
        """It is we who wait: for a piece of the body, or for leave to end."""
        return self._held is not None or (self._stream is not None and self._stream.fetching)

    def whole(self, most: int) -> bytes | None:
        """All of it, if it is here and no more than so many bytes. Then it isn't begun."""
        body = self._offer.body or b""
        return self._head + body if len(body) == self._offer.body_size and self.size <= most else None

    def begin(self, consumer: IConsumer) -> None:
        """Send it all, no faster than `consumer` sends it on."""
        offer, head = self._offer, self._head
        self._head = b""
        if offer.body is None and offer.chunks:
            self._carrier.carry(head)
            self._consumer = consumer
            self._stream = BodyStream(
                offer.chunks, offer.body_size, self._carrier.fetch, self._forward, self._carrier.cut
            )
            consumer.registerProducer(self._stream, False)
            return
        body = offer.body or b""
        if len(body) == offer.body_size:
            self._end(head + body)
        else:
            self._carrier.cut("The body is not as long as it should be")

    def resume(self) -> None:
        """An end that was held, if one was, may be sent."""
        held, self._held = self._held, None
        if held is not None:
            self._end(held)

    def stop(self) -> None:
        """No more is wanted."""
        stream, self._stream = self._stream, None
        if stream is not None and self._consumer is not None:
            stream.stopProducing()
            self._consumer.unregisterProducer()

    def _forward(self, data: bytes, last: bool) -> None:
        if last:
            self._end(data)
        else:
            self._carrier.carry(data)

    def _end(self, data: bytes) -> None:
        if not self._carrier.may_end():
            self._held = data
            return
        if self._stream is not None and self._consumer is not None:
            self._stream = None
            self._consumer.unregisterProducer()
        self._carrier.end(data)
