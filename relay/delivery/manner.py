"""How a zone talks to the hosts of its mail."""

from __future__ import annotations

from typing import NamedTuple


class Manner(NamedTuple):
    """`chunking`: texts go in chunks where the host takes them so (RFC 3030)."""

    chunking: bool = False


#: What everybody understands.
PLAIN = Manner()
