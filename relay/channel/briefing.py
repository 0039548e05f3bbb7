"""What a child is told at birth, on a pipe: never on its command line or in its environment."""

from __future__ import annotations

import msgspec

from relay.config.schema import Dns, Timeouts
from relay.config.schema import Zone as ZoneSection


class Briefing(msgspec.Struct, frozen=True):
    """Everything a sender child needs to know; one JSON object, ended by the end of the pipe.

    `own` are addresses of this relay's listeners at the zone's port: mail that leads there loops.
    """

    host: str
    port: int
    secret: str
    child: str
    journal: str
    zone: str
    options: ZoneSection
    own: tuple[str, ...]
    timeouts: Timeouts
    dns: Dns
    hostname: str
    product: str

    def encode(self) -> bytes:
        return msgspec.json.encode(self)


def decode(data: bytes) -> Briefing:
    """Raises msgspec.MsgspecError."""
    return msgspec.json.decode(data, type=Briefing)
