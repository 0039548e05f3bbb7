"""What a login is to those who carry it: who logs in, and an exchange of opaque steps."""

from __future__ import annotations

from typing import Protocol

import msgspec
from twisted.internet.defer import Deferred

from relay.message.user import User

#: The mechanism of a login that a trusted relay vouches for (XCLIENT LOGIN): its only response is the
#: user's name. It is offered to nobody, so no client can ask for it by AUTH.
VOUCHED = "XCLIENT"


class Client(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Who logs in: the address, what it called itself, and the subject names (e-mail addresses
    and host names) of the certificate that it has shown and that was checked, if any."""

    address: str
    helo: str = ""
    certificate: tuple[str, ...] = ()


class Exchange(Protocol):
    """One AUTH command on its way (RFC 4954 4): challenges out, responses in."""

    def step(self, response: bytes | None) -> Deferred[bytes | User]:
        """The client's response, decoded; None: the command had no initial one. Fires with
        the next challenge (not yet base64), or with the user, which ends the exchange.
        Fails with Refused (535, 454 or 421), which ends it too."""

    def cancel(self) -> None:
        """The client gave up, or is gone."""
