"""What is remembered of an idempotency key."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class Taken(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was taken under a key, and when (ms): the id of a message, of the first where there are several. Of a
    request `digest` stands for what it said, and `answer` is what it was told."""

    id: str
    created: int
    digest: bytes = b""
    answer: bytes = b""


class Mark(NamedTuple):
    """It, with the `token` that stands for the key: 32 bytes."""

    token: bytes
    taken: Taken
