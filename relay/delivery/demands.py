"""What the TLSA records of hosts ask of those who call them, looked up and remembered (RFC 7672 2.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

from relay.delivery.exchangers import Host, Proven
from relay.delivery.security import Approach
from relay.message.tls import TlsFailure, TlsPolicy
from relay.net.dane import Dane
from relay.net.dns import DnsError
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
        self._latest: dict[Proven, Dane | None] = {}

    async def of(self, hosts: Iterable[Proven]) -> dict[Proven, Dane | DnsError | None]:
        """What the first of each host's names that has records asks for; None when none has. A temporary DnsError: that
        can't be told, and so the host is not to be called."""
        asked = {host: Deferred.fromCoroutine(self._ask(host)) for host in dict.fromkeys(hosts)}
        return {host: await deferred for host, deferred in asked.items()}

    def need(self, host: Proven, approach: Approach) -> Approach | None:
        """How safe a connection to this host that stands has to be for what would go by `approach` without records, as
        `of` has found them last; None: it hasn't, or long ago, and there may be some."""
        return approach._replace(dane=self._latest[host]) if host in self._latest else None

    async def _ask(self, host: Proven) -> Dane | DnsError | None:
        dane = None
        try:
            for base in host.bases:
                records = await self._resolver.tlsa(self._prefix + base)
                if records:
                    dane = Dane(base, tuple(dict.fromkeys((base, *host.domains))), usable(map(read, records)))
                    break
        except DnsError as error:
            return error
        self._latest.pop(host, None)
        if len(self._latest) >= REMEMBERED:
            del self._latest[next(iter(self._latest))]
        self._latest[host] = dane
        return dane


class Lack(NamedTuple):
    """Why a host is not called: in the words of TLS reports, and in ours."""

    failure: TlsFailure
    text: str


def lacking(host: Host, dane: Dane | DnsError | None, required: bool) -> Lack | None:
    """What is missing to call `host`, None when nothing is. `required`: it has to have records that can be used."""
    if isinstance(dane, DnsError):
        return Lack("dnssec-invalid", f"the TLSA records of {host.name} can't be looked up: {dane}")
    if not required or (dane is not None and dane.records):
        return None
    if dane is not None:
        return Lack("tlsa-invalid", f"{host.name} has no TLSA record that can be used")
    lack = "is not proven by the DNS to be the host" if host.proven is None else "has no TLSA record"
    return Lack("dane-required", f"{host.name} {lack}")


def under(dane: Dane | None, host: Host, approach: Approach) -> Approach:
    """How `host` is called that would be called by `approach` without records, and under which policy that is told."""
    if dane is None:
        return approach
    reported = approach.reported and TlsPolicy(
        approach.reported.domain, "tlsa", tuple(map(str, dane.records)), (host.name,)
    )
    # What another policy has against the host is none of what is told under this one.
    return approach._replace(dane=dane, reported=reported, flaw="")
