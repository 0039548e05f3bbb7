"""How a zone talks to the hosts of its mail."""

from __future__ import annotations

from typing import NamedTuple

from relay.smtp.login import Choose


class Manner(NamedTuple):
    """`chunking`: texts go in chunks where the host takes them so (RFC 3030). `choose` takes the way to log in
    (RFC 4954); None: there is no login. `lmtp`: it is LMTP (RFC 2033)."""

    chunking: bool = False
    choose: Choose | None = None
    lmtp: bool = False


#: What everybody understands.
PLAIN = Manner()
