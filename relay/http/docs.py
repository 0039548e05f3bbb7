"""The API's documentation: its OpenAPI document, and Swagger UI over it, which comes with the relay."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from twisted.internet.interfaces import IReactorTime

from relay.http.answer import failure
from relay.http.bodystream import BodyStream
from relay.http.frame import Call
from relay.http.operation import operation

_FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css", "start.js": "text/javascript"}
_PAGE = b"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Zonerelay: API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
#: Swagger UI sets styles and pictures of its own; nothing is fetched from elsewhere.
_POLICY = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
#: Bytes of a file that are on their way together.
_PIECE = 32 * 1024


class DocsApi:
    """The resources of that."""

    def __init__(self, document: Callable[[], dict[str, Any]], clock: IReactorTime, timeout: float) -> None:
        """`document` gives the document, when all operations are declared. A client that takes nothing of a file for
        `timeout` seconds is cut off."""
        self._document = document
        self._clock = clock
        self._timeout = timeout
        self._made = b""

    @operation("GET", "/openapi.json", scope=None, tag="documentation", answer=dict[str, Any])
    def openapi(self, call: Call) -> bytes:
        """Shows this document."""
        if not self._made:
            self._made = msgspec.json.encode(self._document())
        return _given(call.request, self._made, "application/json")

    @operation("GET", "/docs", scope=None, tag="documentation", gives="text/html")
    def page(self, call: Call) -> bytes:
        """Shows this document as a page."""
        call.request.setHeader(b"Content-Security-Policy", _POLICY.encode())
        call.request.setHeader(b"X-Frame-Options", b"DENY")
        call.request.setHeader(b"Referrer-Policy", b"no-referrer")
        return _given(call.request, _PAGE, "text/html; charset=utf-8")

    @operation("GET", "/docs/{name}", scope=None, tag="documentation", gives="text/javascript", hidden=True)
    async def file(self, call: Call, name: str) -> None:
        """What that page is made of."""
        kind = _FILES.get(name)
        if kind is None:
            raise failure(404, "There is no such file")
        call.request.setHeader(b"Cache-Control", b"max-age=3600")
        content = _given(call.request, _content(name), kind)
        pieces = (content[at : at + _PIECE] for at in range(0, len(content), _PIECE))
        await BodyStream(call.request, self._clock, self._timeout).send(pieces)


@cache
def _content(name: str) -> bytes:
    return files("relay.http").joinpath("swagger", name).read_bytes()


def _given(request: Any, content: bytes, kind: str) -> bytes:
    request.setHeader(b"Content-Type", kind.encode())
    request.setHeader(b"Content-Length", b"%d" % len(content))
    request.setHeader(b"X-Content-Type-Options", b"nosniff")
    return content
