"""What the TLSA records of hosts ask of those who call them, looked up and remembered (RFC 7672 2.2)."""

from __future__ import annotations

from typing import Protocol

from relay.delivery.exchangers import Proven
from relay.net.dane import Dane
from relay.net.tlsa import read, usable

#: Hosts of which it is remembered what was asked last.
REMEMBERED = 10_000


class Resolver(Protocol):
    """What is needed of `relay.net.dns`."""

    async def tlsa(self, name: str) -> list[str]: ...


class Demands:
    """Asks the DNS for what hosts ask for. How long an answer holds is the resolver's business; what is remembered here
    only tells whether a connection was made under what is asked now."""

    def __init__(self, resolver: Resolver, port: int) -> None:
        """`port` is where hosts are called, and their records stand."""
        self._resolver = resolver
        self._prefix = f"_{port}._tcp."
        self._latest: dict[Proven, Dane] = {}

    async def of(self, host: Proven) -> Dane | None:
        """What the first of the host's names that has records asks for; None when none has. Raises a temporary
        DnsError: that can't be told, and so the host is not to be called."""
        dane = None
        for base in host.bases:
            records = await self._resolver.tlsa(self._prefix + base)
            if records:
                dane = Dane(base, tuple(dict.fromkeys((base, *host.domains))), usable(map(read, records)))
                break
        self._latest.pop(host, None)
        if dane is not None:
            if len(self._latest) >= REMEMBERED:
                del self._latest[next(iter(self._latest))]
            self._latest[host] = dane
        return dane

    def latest(self, host: Proven) -> Dane | None:
        """What `of` has found last for this host, None when that was nothing or is long ago."""
        return self._latest.get(host)
