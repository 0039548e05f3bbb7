"""What both clients do with httpx in the same way: addresses, headers, and what its errors mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx

from relay_client.ask import Ask, Reply
from relay_client.talk import Lost

#: Bytes of an answer that is read at once.
LONGEST = 64 * 1024 * 1024
#: Streams say something each 15 seconds; silence for this long is the end (seconds).
SILENCE = 45.0
#: They have not sent a whole question.
_UNREACHED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class Place(NamedTuple):
    """Where a relay is: the base of its URLs, and the UNIX socket, if it is that."""

    base: str
    socket: str | None


def place_of(url: str) -> Place:
    """Of `http://HOST:PORT`, `https://…` or `unix:PATH`. Raises ValueError."""
    if url.startswith("unix:") and len(url) > 5:
        return Place("http://localhost", url.removeprefix("unix:"))
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo or parsed.path.strip("/"):
        raise ValueError(f'expected "https://HOST", "http://HOST:PORT" or "unix:PATH", got {url!r}')
    return Place(str(parsed.copy_with(path="", query=None, fragment=None)).rstrip("/"), None)


def headers_of(key: str | None) -> dict[str, str]:
    """Of each request. Raises ValueError."""
    headers = {"Accept": "application/json", "User-Agent": "relay_client"}
    if key:
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ValueError("expected a key such as zr_…")
        headers["Authorization"] = f"Bearer {key}"
    return headers


def request_of(ask: Ask[Any], base: str, timeout: float, content: Any) -> dict[str, Any]:
    """What httpx is given."""
    headers = dict(ask.headers)
    if content is not None:
        headers["Content-Type"] = ask.kind
    patience = httpx.Timeout(timeout, read=timeout + ask.patience)
    return {
        "method": ask.method,
        "url": base + ask.target,
        "headers": headers,
        "content": content,
        "timeout": patience,
    }


def reply_of(response: httpx.Response, body: bytes) -> Reply:
    headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status_code, headers, body)


def lost(error: httpx.HTTPError, base: str) -> Lost:
    return Lost(f"no answer from {base}: {str(error) or type(error).__name__}", not isinstance(error, _UNREACHED))
