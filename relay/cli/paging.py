"""Lists that the API gives in parts, as one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from relay.cli.api import Api

_AT_ONCE = 1000


def pages(api: Api, path: str) -> Iterator[dict[str, Any]]:
    """The items of the list at `path`. Raises as `Api.ask`."""
    cursor = ""
    while cursor is not None:
        page = api.ask("GET", f"{path}?limit={_AT_ONCE}&cursor={quote(cursor, safe='')}")
        yield from page["items"]
        cursor = page["next"]
