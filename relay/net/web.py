"""Posts over HTTP to where others may have said, and never by that to our own network.

A name is looked up once, the addresses found are judged, and no others are called: whoever answers the next look-up
differently gains nothing. No redirect is followed, no proxy used, nothing kept. By https the host proves who it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Protocol

from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory

from relay.config.urls import Url
from relay.message.internet import is_public
from relay.net.client_tls import ClientTls, TlsUnusable
from relay.net.connecting import words
from relay.net.dns import DnsError, Family
from relay.net.exchange import Answer, Exchange, NoAnswer

#: How long each address is tried (seconds), and how many of a host.
CONNECT = 10.0
MOST = 3


class Names(Protocol):
    """Who knows the addresses of hosts (relay.net.dns)."""

    async def addresses(self, host: str, families: tuple[Family, ...]) -> list[str]: ...


class Web:
    """One for all that is posted."""

    def __init__(self, reactor: Any, names: Names, tls: ClientTls) -> None:
        self._reactor = reactor
        self._names = names
        self._tls = tls

    async def post(
        self, url: Url, headers: Mapping[str, str], body: bytes, timeout: float, allow_private: bool
    ) -> Answer:
        """The answer, whatever its status; it may be cancelled. Raises NoAnswer: there is none within `timeout`
        seconds, or the host may not be called: without `allow_private` only those of the public Internet are."""
        posting = Deferred.fromCoroutine(self._post(url, _request(url, headers, body), allow_private))
        try:
            return await posting.addTimeout(timeout, self._reactor)
        except defer.TimeoutError:
            raise NoAnswer(f"no answer from {url.host} within {timeout:g} s") from None

    async def _post(self, url: Url, request: bytes, allow_private: bool) -> Answer:
        problem = NoAnswer(f"{url.host} has no address")
        for address in (await self._addresses(url.host, allow_private))[:MOST]:
            try:
                return await self._to(address, url, request)
            except NoAnswer as error:
                problem = error
        raise problem

    async def _addresses(self, host: str, allow_private: bool) -> list[str]:
        """Those that may be called. Raises NoAnswer."""
        try:
            addresses = [str(ip_address(host))]
        except ValueError:
            try:
                addresses = await self._names.addresses(host, (4, 6))
            except DnsError as error:
                raise NoAnswer(str(error), final=not error.temporary) from None
        allowed = [one for one in addresses if allow_private or is_public(ip_address(one))]
        if not allowed:
            raise NoAnswer(f"{host} leads to no public address ({', '.join(addresses[:3])})", final=True)
        return allowed

    async def _to(self, address: str, url: Url, request: bytes) -> Answer:
        try:
            handshake = self._tls.to(url.host) if url.secure else None
        except TlsUnusable as error:
            raise NoAnswer(str(error)) from None
        kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        exchange = Exchange(self._reactor, request, handshake)
        try:
            await kind(self._reactor, address, url.port, CONNECT).connect(_Once(exchange))
            return await exchange.answer
        except (CancelledError, NoAnswer):
            raise
        except ConnectingCancelledError:
            raise CancelledError from None
        except ConnectError as error:
            raise NoAnswer(f"{address}: {words(error)}") from None
        except Exception as error:
            raise NoAnswer(f"{address}: {type(error).__name__}") from None
        finally:
            exchange.drop()


class _Once(Factory):
    """For one connection; without the two lines in the log that each would have with Twisted's own."""

    noisy = False

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def buildProtocol(self, addr: IAddress | None) -> Exchange:
        return self._exchange


def _request(url: Url, headers: Mapping[str, str], body: bytes) -> bytes:
    fields = {"Host": url.authority, "User-Agent": "Zonerelay", "Connection": "close", **headers}
    if url.login:
        fields["Authorization"] = url.login.decode("ascii")
    fields["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return b"POST " + url.target + b" HTTP/1.1\r\n" + lines.encode("ascii") + b"\r\n" + body
