"""The door of one listener, as it is in the master: whom it lets in, and on which terms."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from relay.config.schema import Listener
from relay.intake.submission import Intake, Submission
from relay.listener.door import Client, Exchange, Refused, Terms
from relay.message.user import User
from relay.message.values import Origin
from relay.smtp.reply import reply

NO_LOGIN = reply(503, "5.5.1 Error: authentication is not offered here")


class FrontDoor:
    """Whoever listens asks here, in this process or from a receiver child."""

    def __init__(self, section: Listener, intake: Intake) -> None:
        self._intake = intake
        self._terms = Terms(
            max_header=section.max_header,
            routing_headers=section.allow_routing_headers,
            add_missing=section.add_missing,
            x_originating_ip=section.x_originating_ip,
            future_date=section.future_date,
            max_hops=section.max_hops,
            max_future=section.max_future,
        )

    def enter(self, address: str) -> Deferred[None] | None:
        """A client has connected."""
        return None

    def leave(self, address: str) -> None:
        """It is gone."""

    def authenticate(self, mechanism: str, client: Client) -> Exchange:
        """Begin a login."""
        raise Refused(NO_LOGIN)

    def open(self, origin: Origin, user: User | None, recipients: int) -> Submission:
        """Begin a submission. Raises Refused."""
        return self._intake.open(origin, self._terms, user)
