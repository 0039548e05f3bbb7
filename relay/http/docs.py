"""The API's documentation: its OpenAPI document, and Swagger UI over it, which comes with the relay."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import msgspec

from relay.http.answer import failure
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


class DocsApi:
    """The resources of that."""

    def __init__(self, document: Callable[[], dict[str, Any]]) -> None:
        """`document` gives the document, when all operations are declared."""
        self._document = document
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
    def file(self, call: Call, name: str) -> bytes:
        """What that page is made of."""
        kind = _FILES.get(name)
        if kind is None:
            raise failure(404, "There is no such file")
        call.request.setHeader(b"Cache-Control", b"max-age=3600")
        return _given(call.request, files("relay.http").joinpath("swagger", name).read_bytes(), kind)


def _given(request: Any, content: bytes, kind: str) -> bytes:
    request.setHeader(b"Content-Type", kind.encode())
    request.setHeader(b"Content-Length", b"%d" % len(content))
    request.setHeader(b"X-Content-Type-Options", b"nosniff")
    return content
