"""Server-sent events as the relay writes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from relay.cli.api import ApiError

#: Bytes of one at most.
_LONGEST = 1024 * 1024


def told(pieces: Iterable[bytes]) -> Iterator[tuple[str, Any]]:
    """The name and the data of each. Raises ApiError: it is no relay that streams."""
    rest = b""
    for piece in pieces:
        *parts, rest = (rest + piece).split(b"\n\n")
        if len(rest) > _LONGEST:
            raise ApiError("what is streamed has no end")
        for part in parts:
            fields = dict(line.split(b": ", 1) for line in part.split(b"\n") if b": " in line)
            if b"event" in fields:
                try:
                    yield fields[b"event"].decode("utf-8", "replace"), json.loads(fields.get(b"data", b""))
                except (ValueError, RecursionError):
                    raise ApiError("what is streamed is no relay's") from None
