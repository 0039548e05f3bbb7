"""What is put on top of an offer's header when it goes out: our Received, and signatures."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.channel.frames import Offer
from relay.delivery.signing import Sealed
from relay.message.received import received_line

#: How long a signature may take, or the next piece of the body that it is made of (seconds).
SIGNING = 60.0

#: Signs an offer that goes out by this name, with the help of what fetches pieces of its body.
Sign = Callable[[Offer, str, Callable[[int], Deferred[bytes]]], "Deferred[Sealed] | None"]

_log = Logger()


class Heading:
    """Makes the head of one offer at a time.

    Attributes:
        unsigned: why a signature of the last one is missing that should be there, "" where none is.
    """

    __slots__ = ("_product", "_sign", "_signing", "unsigned")

    def __init__(self, sign: Sign | None, product: str) -> None:
        """`product` is what the Received header calls us."""
        self._sign = sign
        self._product = product
        self._signing: Deferred[None] | None = None
        self.unsigned = ""

    @property
    def signing(self) -> bool:
        """A signature is being made."""
        return self._signing is not None

    def make(
        self,
        offer: Offer,
        recipient: str,
        name: str,
        address: str,
        chunk: Callable[[int], Deferred[bytes]],
        made: Callable[[bytes | None], None],
    ) -> None:
        """`made` is called once, maybe within this call, unless it is stopped: with all that goes before the body,
        the empty line included, or None for a message that may not go as it is.

        Args:
            recipient: whom it goes to, "" for several.
            name: by which we go out, "" when we have none but `address`.
            chunk: fetches a piece of a body that didn't come with the offer.
        """
        self.unsigned = ""

        def topped(sealed: Sealed) -> None:
            self._signing = None
            self.unsigned = sealed.unsigned
            if sealed.held:
                made(None)
                return
            number = f"{offer.id}.{offer.seq:03x}"
            by = name or address
            received = received_line(offer.origin, by, self._product, number, recipient, offer.created)
            made(b"".join((received, sealed.fields, offer.headers, b"\r\n")))

        signing = self._sign(offer, name, chunk) if self._sign is not None else None
        if signing is None:
            topped(Sealed(b""))
            return
        self._signing = signing.addCallback(topped)
        if signing.called:
            self._signing = None
        signing.addErrback(_unless_cancelled)

    def stop(self) -> None:
        """Nobody waits for it any more."""
        signing, self._signing = self._signing, None
        if signing is not None:
            signing.cancel()


def _unless_cancelled(failure: Failure) -> None:
    """A signature nobody waits for any more is no failure; anything else is a fault of ours."""
    if not isinstance(failure.value, CancelledError):
        _log.failure("A session failed", failure)
