"""Who has logged in, and what is allowed to them."""

from __future__ import annotations

import msgspec

from relay.message.address import Address


class User(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A user of the relay.

    `senders` are the addresses (`user@example.com`) and domains (`@example.com`) that MAIL may
    name, `from_domains` the domains that the header field From may name; empty: any. `zone`, when
    it isn't "", is where all of their mail goes. `messages` and `recipients` are limits, each a
    number and a span in seconds; none: those of everybody. `tenant` is whose their mail is. `seal` is only for those
    who carry a user from the master to a receiver and back, and says that it is the same one. `key` is the id of the
    API key that they have logged in with, "" for none.
    """

    name: str
    senders: tuple[str, ...] = ()
    from_domains: tuple[str, ...] = ()
    zone: str = ""
    messages: tuple[tuple[int, float], ...] = ()
    recipients: tuple[tuple[int, float], ...] = ()
    seal: bytes = b""
    tenant: str = ""
    key: str = ""


def may_send_as(user: User, sender: Address | None) -> bool:
    """Whether MAIL may name `sender`; None is the null sender, who is nobody else's."""
    if sender is None or not user.senders:
        return True
    whole, domain = sender.key, f"@{sender.domain}"
    return any(allowed.lower() in (whole, domain) for allowed in user.senders)
