"""A connection to a host on which mail can go: by SMTP (`call.py`), or by HTTP (`post.py`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from relay.channel.frames import Addressee, Offer
from relay.delivery.exchangers import Host
from relay.delivery.security import Approach


class Contact(Protocol):
    """What a session needs of it. What comes of each order is told to the Caller.

    Attributes:
        host: who is called.
        name: what we call ourselves; "" for our address.
        local_address: the local address that was asked for, maybe a wildcard.
        bound: the one in use, once connected.
        approach: how safe it has to be, and what is tried for that.
        tls: version, cipher and worth of the certificate, "" in the clear.
        deadline: when `expired` is to be called.
        quiet_at: when the peer counts as quiet.
    """

    host: Host
    name: str
    local_address: str
    bound: str
    approach: Approach
    tls: str
    deadline: float
    quiet_at: float

    @property
    def in_dot(self) -> bool:
        """The end of the message was sent and is not answered yet: the host may have it."""

    @property
    def transactions(self) -> int:
        """How many messages were begun."""

    @property
    def most_recipients(self) -> int:
        """How many recipients the host takes with one message, 0 where it doesn't say."""

    def spent(self, most: int) -> bool:
        """Whether no further message may go here: as many as that were begun, or as many as the host takes."""

    def satisfies(self, need: Approach) -> bool:
        """Whether a delivery may go on this connection that would have to be as safe as that on a new one."""

    def dial(self, port: int) -> None:
        """Connect. Comes to `ready` or `ended`, not within this call."""

    def begin(self, offer: Offer, to: Sequence[Addressee], head: bytes) -> None:
        """Begin a message: after `ready`, or after an ending that was reusable. `to` are those of the offer that it
        is for, `head` is all that goes before the body, the empty line included."""

    def resume(self) -> None:
        """The end of a message that was held may be sent."""

    def rest(self, seconds: float) -> None:
        """Nothing is to be done for `seconds` at most."""

    def hurry(self, seconds: float) -> None:
        """All that is still to be said has so long at most."""

    def leave(self) -> None:
        """Take leave of the host politely."""

    def drop(self) -> None:
        """Hang up, whatever is under way."""

    def expired(self) -> None:
        """The deadline is over."""


#: Makes one, as `Call` is made: for whom, to which host, by which name and local address, how and with what.
MakeContact = Callable[..., Contact]
