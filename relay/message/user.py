"""Who has logged in, and what is allowed to them."""

from __future__ import annotations

import msgspec


class User(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A user of the relay.

    `senders` are the addresses (`user@example.com`) and domains (`@example.com`) that MAIL may
    name, `from_domains` the domains that the header field From may name; empty: any. `zone`, when
    it isn't "", is where all of their mail goes. `messages` and `recipients` are limits, each a
    number and a span in seconds; none: those of everybody.
    """

    name: str
    senders: tuple[str, ...] = ()
    from_domains: tuple[str, ...] = ()
    zone: str = ""
    messages: tuple[tuple[int, float], ...] = ()
    recipients: tuple[tuple[int, float], ...] = ()
