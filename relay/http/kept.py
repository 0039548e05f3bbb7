"""What is said of a message that was taken."""

from __future__ import annotations

import msgspec
from msgspec import field


class Kept(msgspec.Struct, frozen=True):
    """A message that is on disk: its queue id and its envelope."""

    id: str
    from_: str = field(name="from")
    to: list[str]
    response: str
