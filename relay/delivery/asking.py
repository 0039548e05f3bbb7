"""Twisted's side of HTTP that asks (RFC 9112), and knows more exactly when it may ask again on the same connection."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.web._newclient import HTTP11ClientProtocol, Request
from twisted.web.iweb import IResponse


class Asking(HTTP11ClientProtocol):
    """One request at a time.

    Attributes:
        again: the answer to the last one is whole, the connection doesn't end with it, and nothing came behind it:
            that would pass for the answer to the next.
    """

    again = False

    def request(self, request: Request) -> Deferred[IResponse]:
        self.again = False
        return super().request(request)

    def _finishResponse(self, rest: bytes) -> None:
        # There is none where the connection is given up.
        parser: Any = self._parser
        if parser is not None:
            self.again = not rest and self.state == "WAITING" and not _closing(parser.connHeaders)
        super()._finishResponse(rest)


def _closing(headers: Any) -> bool:
    """Whether the host says that it closes the connection, in any case and in any company (RFC 9110 7.6.1)."""
    said = b",".join(headers.getRawHeaders(b"connection", ())).lower()
    return b"close" in (option.strip() for option in said.split(b","))
