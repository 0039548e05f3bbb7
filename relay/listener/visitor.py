"""Who is on the other side of a session, as far as it is known: address, name, TLS, user."""

from __future__ import annotations

from relay.listener.door import Client
from relay.message.user import User
from relay.message.values import Origin


class Visitor:
    """One client.

    Attributes:
        address: of the client, or of the one that a trusted client speaks for.
        allowed: whether its network may send mail to anywhere.
        host: its name, "" when nobody has told.
        user: who has logged in, if anybody has.
        tls: version and cipher, "" without TLS.
        certificate: the names in the certificate that it has shown.
    """

    __slots__ = ("address", "allowed", "certificate", "host", "tls", "user")

    def __init__(self, address: str, allowed: bool) -> None:
        self.address = address
        self.allowed = allowed
        self.host = ""
        self.user: User | None = None
        self.tls = ""
        self.certificate: tuple[str, ...] = ()

    def client(self, helo: str) -> Client:
        """What is told to the one who checks a login."""
        return Client(self.address, helo, self.certificate)

    def origin(self, listener: str, helo: str, extended: bool, smtputf8: bool) -> Origin:
        """Where its message comes from, with the word for Received (RFC 3848, RFC 6531 4.3)."""
        transport = "UTF8SMTP" if smtputf8 else "ESMTP" if extended else "SMTP"
        if extended and self.tls:
            transport += "S"
        user = self.user
        if user is None:
            return Origin(listener, self.address, helo, transport, self.host, "", self.tls)
        return Origin(listener, self.address, helo, transport + "A" * extended, self.host, user.name, self.tls)
