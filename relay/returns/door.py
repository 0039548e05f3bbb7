"""The door of a listener for what comes back: everybody may come in, and bring that alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from relay.listener.door import Client, Door, Exchange, Refused, Submission
from relay.message.address import Address
from relay.message.user import User
from relay.message.values import Origin
from relay.returns.mail import ReturnMail
from relay.smtp.reply import Reply, reply

if TYPE_CHECKING:
    from relay.returns.desk import Desk

NOBODY = reply(550, "5.1.1 Nobody has this address here")
NO_LOGIN = reply(503, "5.5.1 There is no login here")


class ReturnsDoor:
    """See relay.listener.door.Door. Who may be inside is what the door of any listener says."""

    def __init__(self, front: Door, desk: Desk, new_id: Callable[[], str]) -> None:
        self.enter = front.enter
        self.leave = front.leave
        self._desk = desk
        self._new_id = new_id

    def authenticate(self, mechanism: str, client: Client) -> Exchange:
        raise Refused(NO_LOGIN)

    def refusal(self, address: Address) -> Reply | None:
        """Why a recipient isn't taken; None: it is."""
        return None if self._desk.place(address) is not None else NOBODY

    def admit(self, owner: str, recipient: str) -> None:
        """Whoever may be named is taken: what comes back is no mail to anybody."""

    def open(self, origin: Origin, user: User | None, recipients: int) -> Submission:
        return ReturnMail(self._new_id(), origin, self._desk)
