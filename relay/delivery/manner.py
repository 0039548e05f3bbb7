"""How a zone talks to the hosts of its mail."""

from __future__ import annotations

from typing import NamedTuple


class Manner(NamedTuple):
    """`chunking`: texts go in chunks where the host takes them so (RFC 3030). `lmtp`: it is LMTP (RFC 2033)."""

    chunking: bool = False
    lmtp: bool = False


#: What everybody understands.
PLAIN = Manner()
