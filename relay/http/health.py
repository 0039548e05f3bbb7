"""Whether the relay can do its work, and if not, why. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Health(msgspec.Struct, frozen=True):
    """`status`: `ok`, or `unfit` for `reasons`, for people."""

    status: str
    reasons: list[str]


def health(*, writable: bool, accepting: bool, senders: Mapping[str, int]) -> Health:
    """`writable`: the queue can write; `accepting`: it has room for mail. `senders`: how many processes of each active
    zone are up. Mail is taken whoever delivers it, so a zone without any is no reason unless all zones are."""
    reasons = []
    if not writable:
        reasons.append("the queue can't write")
    elif not accepting:
        reasons.append("the queue has no room for mail: the disk is nearly full")
    if senders and not any(senders.values()):
        reasons.append("no sender process is up")
    return Health("unfit" if reasons else "ok", reasons)
