"""A policy from its policy host: HTTPS from a host that proves who it is, or nothing (RFC 8461 3.3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore, TimeoutError

from relay.delivery.exchangers import blocked
from relay.delivery.sts.policy import HOST, LARGEST, PATH, BadPolicy, StsPolicy, parse
from relay.message.tls import TlsFailure
from relay.net.client_tls import ClientTls, TlsUnusable
from relay.net.dns import DnsError, Family, Resolver

#: Addresses of a policy host that are tried.
_ADDRESSES = 4
#: Most that a policy host may say in all, the header of its answer included (bytes).
_MOST = LARGEST + 32 * 1024
#: Fetches under way in one process; others wait in turn.
_AT_ONCE = 100


class Unfetched(Exception):
    """There is no policy to be had; the text says why, and can be logged. `failure` is the kind of that (RFC 8460
    4.3.2.2)."""

    def __init__(self, text: str, failure: TlsFailure = "sts-policy-fetch-error") -> None:
        super().__init__(text)
        self.failure: TlsFailure = failure


class Fetching:
    """Fetches policies. Each call takes no longer than it may."""

    def __init__(
        self,
        reactor: Any,
        resolver: Resolver,
        tls: ClientTls,
        timeout: float,
        families: Iterable[Family] = (4, 6),
        block_local: bool = True,
    ) -> None:
        """
        Args:
            reactor: what policy hosts are called by; it may lead through a proxy.
            timeout: for all of it (seconds).
            families: kinds of addresses that are called, preferred first.
            block_local: addresses that aren't public are never called.
        """
        self._reactor = reactor
        self._resolver = resolver
        self._tls = tls
        self._timeout = timeout
        self._families = tuple(families)
        self._block_local = block_local
        self._turns = DeferredSemaphore(_AT_ONCE)

    async def __call__(self, domain: str) -> StsPolicy:
        """The policy of `domain`. Raises Unfetched."""
        fetched = Deferred.fromCoroutine(self._in_turn(HOST + domain))
        try:
            return parse(await fetched.addTimeout(self._timeout, self._reactor))
        except TimeoutError:
            raise Unfetched(f"{HOST}{domain}: not within {self._timeout:g} s") from None
        except BadPolicy as error:
            raise Unfetched(f"{HOST}{domain}: {error}", "sts-policy-invalid") from None
        except (DnsError, TlsUnusable) as error:
            raise Unfetched(str(error)) from None

    async def _in_turn(self, host: str) -> bytes:
        await self._turns.acquire()
        try:
            return await self._get(host, await self._addresses(host))
        finally:
            self._turns.release()

    async def _addresses(self, host: str) -> list[str]:
        found = await self._resolver.addresses(host, self._families)
        allowed = [address for address in found if not blocked(address, self._block_local)]
        if not allowed:
            raise Unfetched(f"{host} has no public address ({', '.join(found[:3])})")
        return allowed[:_ADDRESSES]

    async def _get(self, host: str, addresses: list[str]) -> bytes:
        # Most children never see a policy, and twisted.web takes a megabyte.
        from relay.delivery.sts.https import Failed, Untrusted, get

        try:
            answer = await get(self._reactor, host, PATH, addresses, self._tls.to(host), _MOST)
        except Untrusted as error:
            raise Unfetched(f"{host}: {error}", "sts-webpki-invalid") from None
        except Failed as error:
            raise Unfetched(f"{host}: {error}") from None
        if answer.status != 200:
            raise Unfetched(f"{host}: status {answer.status}")
        if answer.kind != "text/plain":
            raise Unfetched(f"{host}: it is no text/plain")
        return answer.body
