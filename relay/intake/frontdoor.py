"""The door of one listener, as it is in the master: whom it lets in, and on which terms."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from relay.access.access import Access
from relay.access.quota import Charge
from relay.config.schema import Listener
from relay.intake.crowd import Crowd
from relay.intake.logins import LoggedLogin
from relay.intake.submission import Intake, Submission
from relay.listener.destination import refusal
from relay.listener.door import Client, Exchange, Refused, Terms
from relay.message.address import Address
from relay.message.user import User
from relay.message.values import Origin
from relay.smtp.reply import Reply


class FrontDoor:
    """Whoever listens asks here, in this process or from a receiver child."""

    def __init__(self, name: str, section: Listener, intake: Intake, access: Access) -> None:
        """`name` is the listener's."""
        self._name = name
        self._access = access
        self._intake = intake
        self._crowd = Crowd(section.max_connections, section.max_connections_per_address)
        self._terms = Terms(
            max_header=section.max_header,
            routing_headers=section.allow_routing_headers,
            priority=section.priority,
            add_missing=section.add_missing,
            x_originating_ip=section.x_originating_ip,
            future_date=section.future_date,
            max_hops=section.max_hops,
            max_future=section.max_future,
        )

    @property
    def inside(self) -> int:
        """Clients that are connected, to whichever process."""
        return self._crowd.inside

    def enter(self, address: str) -> Deferred[None] | None:
        """A client has connected. Raises Refused (421) when it is one too many."""
        self._crowd.enter(address)
        return None

    def leave(self, address: str) -> None:
        """It is gone."""
        self._crowd.leave(address)

    def authenticate(self, mechanism: str, client: Client) -> Exchange:
        """Begin a login. Raises Refused."""
        exchange = self._access.authenticate(mechanism, client)
        return LoggedLogin(exchange, self._intake.log, self._name, mechanism, client)

    def refusal(self, address: Address) -> Reply | None:
        """Why mail to a recipient isn't taken; None: it is."""
        return refusal(address)

    def admit(self, owner: str, recipient: str) -> None:
        """A tenant, a user without one, or nobody (""), names a recipient. Raises Refused when it is to get no mail,
        and the policy is to say so."""
        self._intake.heed.admit(owner, recipient)

    def open(self, origin: Origin, user: User | None, recipients: int) -> Submission:
        """Begin a submission. Raises Refused, also when the user is over a limit, or their key was revoked."""
        charge: Charge | None = None
        try:
            if user is not None:
                self._access.check_stands(user)
                charge = self._access.charge(user, recipients)
            return self._intake.open(origin, self._terms, user, charge)
        except Refused as refused:
            if charge is not None:
                charge.give_back()
            self._intake.note_refusal("-", origin, refused.reply)
            raise
