"""A connection to a host on which mail can go: by SMTP (`call.py`), or by HTTP (`post.py`); and who makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from relay.channel.frames import Addressee, Offer
from relay.delivery.exchangers import Host
from relay.delivery.security import Approach
from relay.message.tls import TlsResult
from relay.smtp.ending import Ending


class Caller(Protocol):
    """Who makes the call. After `drop` or `leave` it hears of `gone`, and no more."""

    def ready(self) -> None:
        """The host greeted us; a transaction may begin."""

    def heard(self) -> None:
        """The peer has done what it was waited for: replied in full, or taken a chunk of the text. Neither a piece
        of a reply nor a few bytes of the text are told, or a host could keep the look of work by a byte a second."""

    def taken(self, endings: Mapping[int, Ending]) -> None:
        """The host has taken the message for these recipients, by their places, and others wait for its word."""

    def ended(self, ending: Ending) -> None:
        """A transaction, or the way to the first one, ended; or an idle connection did."""

    def tls(self, result: TlsResult) -> None:
        """What TLS came to on this connection, once and before anything that follows from it."""

    def may_end(self) -> bool:
        """Whether the final dot may be sent now."""

    def chunk(self, number: int) -> Deferred[bytes]:
        """A chunk of the body, numbered from 0."""

    def gone(self) -> None:
        """The connection that was left or dropped is no more; maybe it was not when that was asked for."""


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

    @property
    def dsn(self) -> bool:
        """Whether the host is told what the client wants to hear of it (RFC 3461)."""

    @property
    def most_domains(self) -> int:
        """Of how many domains these may be, 0 where it doesn't say."""

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

    def dialogue(self, ending: Ending) -> str:
        """What was said before it ended like this (relay.message.dialogue); "" where that isn't kept."""

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
