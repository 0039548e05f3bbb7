"""What the relay remembers of a delivery that something comes back for."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

from relay.message.event import Event


class Known(NamedTuple):
    """A delivery, as far as it is remembered: "" is not known. `returned` is how often something came back for it."""

    id: str
    seq: int
    zone: str = ""
    sender: str = ""
    recipient: str = ""
    user: str = ""
    message_id: str = ""
    fbl: str = ""
    returned: int = 0
    tenant: str = ""
    tags: tuple[str, ...] = ()


class Past(Protocol):
    """What there was, and where what comes back is written."""

    def delivery(self, id: str, seq: int) -> Known | None:
        """None: it isn't remembered. Raises StoreError."""

    def sent(self, message_id: str, recipient: str) -> Known | None:
        """The newest delivery of a message with this Message-ID to this address, in whatever case. Raises
        StoreError."""

    def tell(self, *events: Event) -> Deferred[None]:
        """Fires once they are on stable storage. Fails with StoreError."""
