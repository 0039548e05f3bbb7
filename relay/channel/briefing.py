"""What a child is told at birth, on a pipe: never on its command line or in its environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from relay.config.schema import Backoff, Dkim, Dns, Listener, Returns, Timeouts
from relay.config.schema import Zone as ZoneSection
from relay.message.tls_asked import Tls


class Briefing(msgspec.Struct, frozen=True, kw_only=True):
    """What every child needs to know; one JSON object, ended by the end of the pipe.

    `place` is the zone of a sender, the listener of a receiver.
    """

    host: str
    port: int
    secret: str
    child: str
    place: str
    hostname: str

    def encode(self) -> bytes:
        return msgspec.json.encode(self)


class SenderBriefing(Briefing, frozen=True, kw_only=True):
    """Everything a sender child needs to know.

    `own` are addresses of this relay's listeners at the zone's port: mail that leads there loops. `ipv6` says
    for each recipient domain that isn't like most whether IPv6 is never used, and whether it is tried
    first; "default" is for most of them. `tls` says in the same way how safe mail to them has to be, `sts` whether
    their policies of MTA-STS are heeded, which are kept in the directory `policies`, and `dane` whether TLSA records
    of their hosts count. Of `backoff` only what it says of single hosts is for a child. `password` is for the login to
    the zone's next hop, `egress_password` for that to its proxy. `returns` is for a zone that rewrites senders, with
    `return_secrets`, of which the first signs.
    """

    journal: str
    options: ZoneSection
    own: tuple[str, ...]
    timeouts: Timeouts
    dns: Dns
    product: str
    dkim: Dkim = Dkim()
    ipv6: Mapping[str, tuple[bool, bool]] = {}
    tls: Mapping[str, Tls] = {}
    sts: Mapping[str, bool] = {}
    policies: str = ""
    dane: Mapping[str, bool] = {}
    authorities: str = ""
    password: str = ""
    backoff: Backoff = Backoff()
    egress_password: str = ""
    returns: Returns = Returns()
    return_secrets: tuple[bytes, ...] = ()


class ReceiverBriefing(Briefing, frozen=True, kw_only=True):
    """Everything a receiver child needs to know.

    `master` is the process id of the master.
    """

    master: int
    section: Listener
    dkim: Dkim


_Kind = TypeVar("_Kind", bound=Briefing)


def decode(data: bytes, kind: type[_Kind]) -> _Kind:
    """Raises msgspec.MsgspecError."""
    return msgspec.json.decode(data, type=kind)
