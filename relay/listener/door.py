"""What listeners and the API know of the way into the queue: who may enter, log in, hand over.

The master's side is in relay.intake. A receiver child has a door too, which asks the master
over the data channel: that is why some answers may come later.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import msgspec
from twisted.internet.defer import Deferred

from relay.access.login import VOUCHED, Client, Exchange
from relay.access.refused import Refused
from relay.message.address import Address
from relay.message.envelope import Envelope
from relay.message.flow import Priority
from relay.message.mark import Mark
from relay.message.user import User
from relay.message.values import Message, Origin
from relay.smtp.reply import Reply

__all__ = ["VOUCHED", "Client", "Door", "Exchange", "Intake", "Refused", "Submission", "Terms"]

#: Recipients taken from a header, unless the way in has a limit of its own.
MOST_RECIPIENTS = 1000


class Terms(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a way in does to the header of a message, and what it believes of it.

    The fields are those of the same names in the configuration of listeners; `max_header` in bytes,
    `max_future` in seconds. `heed`: recipients who get no mail are refused or dropped where the policy says so;
    of the relay's own mail they are struck off before the attempt alone.
    """

    max_header: int = 1024 * 1024
    routing_headers: bool = False
    priority: Priority = "normal"
    add_missing: tuple[str, ...] = ("message-id", "date")
    x_originating_ip: bool = True
    future_date: bool = False
    max_hops: int = 35
    max_future: float = 365 * 86400.0
    heed: bool = True


class Submission(Protocol):
    """One message on its way in."""

    id: str

    @property
    def held(self) -> int:
        """Bytes of it in memory, more or less."""

    def write(self, data: bytes) -> None:
        """Message text (header, empty line, body) with CRLF line ends, in any split.
        Never raises: what is wrong with the text is told by `finish`."""

    def wait(self) -> Deferred[None] | None:
        """None: give more. Else pause the client until it fires (the spool is behind)."""

    def finish(self, envelope: Envelope) -> Deferred[Message]:
        """End of text. Fires when the message is on disk. Fails with Refused.
        A recipient within our own network is refused.
        Addresses are given normalised (see relay.message.address)."""

    def abandon(self) -> None:
        """The client is gone: forget what was written."""

    def reject(self, sender: str, refusal: Reply) -> None:
        """The text was refused for its form or size, which the client is told: forget it, and note that."""


class Settled(NamedTuple):
    """A message that is only to be written down, and who gets it: each is a delivery, numbered from 1."""

    message: Message
    recipients: list[str]


class Consignment(Protocol):
    """The messages of one request. One is open at a time; those that are settled are written down together."""

    def open(self, origin: Origin, terms: Terms, user: User | None = None) -> Submission:
        """Begin the next message. Raises Refused when nothing can be taken now (452 4.3.1)."""

    def settle(self, envelope: Envelope) -> Settled:
        """The end of its text, instead of `Submission.finish`. Raises Refused: it isn't taken, the others stand."""

    def keep(self, mark: Mark | None = None) -> Deferred[list[Message | Refused]]:
        """Write down those that were settled, and the mark of the key they came under. Fires when it is known of each,
        in their order, that it is on disk, or why not."""

    def abandon(self) -> None:
        """Forget what isn't given to be written yet."""


class Intake(Protocol):
    """The master's own door, without listeners' questions."""

    def open(self, origin: Origin, terms: Terms, user: User | None = None) -> Submission:
        """Begin a submission. Raises Refused when nothing can be taken now (452 4.3.1)."""

    def consignment(self) -> Consignment:
        """For messages that come together."""


class Door(Protocol):
    """What one listener asks, in whichever process it runs."""

    def enter(self, address: str) -> Deferred[None] | None:
        """A client has connected. None, or a Deferred that fires: it may stay, and `leave` is to be
        told. Raises Refused, or fails with it: it is to be turned away, and no `leave` follows."""

    def leave(self, address: str) -> None:
        """A client that had entered is gone."""

    def authenticate(self, mechanism: str, client: Client) -> Exchange:
        """Begin a login by one of the listener's mechanisms, or one that a trusted client vouches for."""

    def refusal(self, address: Address) -> Reply | None:
        """Why mail to a recipient isn't taken here, whoever brings it; None: it is."""

    def admit(self, owner: str, recipient: str) -> Deferred[None] | None:
        """A client of this tenant, of this user without one, or of nobody (""), names a recipient. None, or a Deferred
        that fires: it is taken. Raises Refused, or fails with it."""

    def open(self, origin: Origin, user: User | None, recipients: int) -> Submission | Deferred[Submission]:
        """Begin a submission for so many recipients. Raises Refused, or fails with it."""
