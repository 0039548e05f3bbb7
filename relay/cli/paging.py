"""Lists that the API gives in parts, as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from relay.cli.api import Api

_AT_ONCE = 1000


def pages(api: Api, path: str) -> Iterator[dict[str, Any]]:
    """The items of the list at `path`. Raises as `Api.ask`."""
    for items in parts(api, path, {}):
        yield from items


def parts(api: Api, path: str, query: Mapping[str, object], limit: int = _AT_ONCE) -> Iterator[list[dict[str, Any]]]:
    """The same as the parts that it comes in, of up to `limit` items; one may have none. `query` says of what."""
    cursor: dict[str, object] = {}
    while True:
        page = api.ask("GET", f"{path}?{urlencode({**query, 'limit': min(limit, _AT_ONCE), **cursor})}")
        yield page["items"]
        if page["next"] is None:
            return
        cursor = {"cursor": page["next"]}
