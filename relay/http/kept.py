"""What is said of a message that was taken."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import field

from relay.listener.door import Settled


class Kept(msgspec.Struct, frozen=True):
    """A message that is on disk: its queue id and its envelope."""

    id: str
    from_: str = field(name="from")
    to: list[str]
    response: str


def kept_of(one: Settled, named: Sequence[str] | None) -> Kept:
    """Of one that is; `named` None: it went to whom its header names."""
    message = one.message
    to = one.recipients if named is None else list(named)
    return Kept(message.id, message.sender, to, f"Message queued as {message.id}")
