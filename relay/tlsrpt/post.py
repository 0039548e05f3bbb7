"""A report by HTTPS (RFC 8460 5.4): one POST to a host that proves who it is, and the status of its answer.

Where it goes says a stranger's DNS. So no address of our own network is called, no redirect is followed, and of
the answer no more is read than tells whether the report was taken.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any, Protocol

from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.message.internet import is_public
from relay.net.client_tls import ClientTls, Handshake, TlsUnusable
from relay.net.dns import DnsError, Resolver
from relay.tlsrpt.record import Url

#: How long it may take, from the look-up of the host to the status (seconds), and to connect to each address.
PATIENCE = 30.0
_CONNECT = 10.0
#: Addresses of a host that are tried.
_MOST = 3
#: What is read of an answer (bytes).
_LONGEST = 16 * 1024
#: Statuses after which it may go well another time.
_LATER = frozenset((408, 425, 429))
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?\r?\n")


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
        self._reactor = reactor
        self._resolver = resolver
        self._tls = tls
        self._block_local = block_local

    async def post(self, url: Url, packed: bytes) -> None:
        posting = Deferred.fromCoroutine(self._post(url, packed))
        try:
            await posting.addTimeout(PATIENCE, self._reactor)
        except defer.TimeoutError:
            raise NotTaken(f"no answer from {url.host} within {PATIENCE:g} s") from None

    async def _post(self, url: Url, packed: bytes) -> None:
        problem = NotTaken(f"{url.host} has no address")
        for address in (await self._addresses(url.host))[:_MOST]:
            try:
                return await self._to(address, url, packed)
            except CancelledError:
                raise
            except NotTaken as error:
                if error.final:
                    raise
                problem = error
        raise problem

    async def _addresses(self, host: str) -> list[str]:
        """Those that may be called. Raises NotTaken."""
        try:
            addresses = [str(ip_address(host))]
        except ValueError:
            try:
                addresses = await self._resolver.addresses(host, (4, 6))
            except DnsError as error:
                raise NotTaken(str(error), final=not error.temporary) from None
        public = [one for one in addresses if not self._block_local or is_public(ip_address(one))]
        if not public:
            raise NotTaken(f"{host} leads to no public address ({', '.join(addresses[:3])})", final=True)
        return public

    async def _to(self, address: str, url: Url, packed: bytes) -> None:
        try:
            handshake = self._tls.to(url.host)
        except TlsUnusable as error:
            raise NotTaken(str(error)) from None
        endpoint = (TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint)(
            self._reactor, address, url.port, _CONNECT
        )
        exchange = _Exchange(handshake, _request(url, packed))
        try:
            await connectProtocol(endpoint, exchange)
            status = await exchange.status
        except (CancelledError, NotTaken):
            raise
        except ConnectingCancelledError:
            raise CancelledError from None
        except Exception as error:
            raise NotTaken(f"{address}: {type(error).__name__}") from None
        finally:
            exchange.drop()
        if not 200 <= status < 300:
            raise NotTaken(f"{url.host} answers {status}", final=status < 500 and status not in _LATER)


def _request(url: Url, packed: bytes) -> bytes:
    host = f"[{url.host}]" if ":" in url.host else url.host
    port = "" if url.port == 443 else f":{url.port}"
    head = (
        f"POST {url.target} HTTP/1.1\r\nHost: {host}{port}\r\nUser-Agent: Zonerelay\r\nConnection: close\r\n"
        f"Content-Type: application/tlsrpt+gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    )
    return head.encode("ascii") + packed


@implementer(IHandshakeListener)
class _Exchange(TwistedProtocol):
    """The connection: TLS, the host's proof, the request, and `status` when it is there."""

    def __init__(self, handshake: Handshake, request: bytes) -> None:
        self._handshake = handshake
        self._request = request
        self._heard = b""
        self.status: Deferred[int] = Deferred()

    def connectionMade(self) -> None:
        self.transport.startTLS(self._handshake)  # type: ignore[union-attr]

    def handshakeCompleted(self) -> None:
        distrust = self._handshake.distrust()
        if distrust:
            self._fail(distrust)
            return
        self.transport.write(self._request)  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        if self.status.called:
            return
        self._heard += data
        while match := _STATUS.match(self._heard):
            status = int(match[1])
            if status >= 200:
                self.status.callback(status)
                return
            # What was only announced, such as 100, ends with an empty line like any answer.
            _, end, rest = self._heard.partition(b"\r\n\r\n")
            if not end:
                break
            self._heard = rest
        if len(self._heard) > _LONGEST or not b"HTTP/1.".startswith(self._heard[:7]):
            self._fail("it answers as no web server does")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._fail("the connection was closed before an answer")

    def drop(self) -> None:
        """Hang up, if there is a connection."""
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]

    def _fail(self, text: str) -> None:
        if not self.status.called:
            self.status.errback(NotTaken(text))
