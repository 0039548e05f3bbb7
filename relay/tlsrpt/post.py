"""A report by HTTPS (RFC 8460 5.4): one POST to a host that proves who it is, and the status of its answer.

Where it goes says a stranger's DNS, so it goes to nobody in our own network (relay.net.web).
"""

from __future__ import annotations

from typing import Any, Protocol

from relay.config import urls
from relay.net.client_tls import ClientTls
from relay.net.dns import Resolver
from relay.net.exchange import NoAnswer
from relay.net.web import Web
from relay.tlsrpt.record import Url

#: How long it may take, from the look-up of the host to the status (seconds).
PATIENCE = 30.0
#: Statuses after which it may go well another time.
_LATER = frozenset((408, 425, 429))
_KIND = {"Content-Type": "application/tlsrpt+gzip"}


class NotTaken(Exception):
    """The report was not taken; `final`: nor will it be. The text can be logged."""

    def __init__(self, text: str, final: bool = False) -> None:
        super().__init__(text)
        self.final = final


class Poster(Protocol):
    """What posts reports."""

    async def post(self, url: Url, packed: bytes) -> None:
        """Have it taken. Raises NotTaken."""


class Post:
    """Posts what is gzipped."""

    def __init__(self, reactor: Any, resolver: Resolver, tls: ClientTls, block_local: bool = True) -> None:
        """`block_local`: no addresses but those of the public Internet."""
        self._web = Web(reactor, resolver, tls)
        self._block_local = block_local

    async def post(self, url: Url, packed: bytes) -> None:
        target = url.target.encode("ascii")
        place = urls.Url(True, url.host, url.port, url.target.partition("?")[0], target, b"")
        try:
            status = (await self._web.post(place, _KIND, packed, PATIENCE, not self._block_local)).status
        except NoAnswer as error:
            raise NotTaken(str(error), error.final) from None
        if not 200 <= status < 300:
            raise NotTaken(f"{url.host} answers {status}", final=status < 500 and status not in _LATER)
