"""Which hosts take mail for a domain, best first (RFC 5321 5.1, RFC 7505).

What the DNS can't tell now defers the mail, what it denies bounces it, and neither is ever
taken for the other: least of all is an MX that can't be looked up taken for none. Of each host it is
told what the DNS has proven of it, on which DANE stands (RFC 7672 2.2).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

from relay.message.internet import is_public, meant
from relay.message.values import Result
from relay.net.dns import DnsError, Family, Found, NoData, NullMX

#: Most addresses tried for one delivery.
MAX_ADDRESSES = 20


class Proven(NamedTuple):
    """What validated answers say of a host, all the way from the domain of the mail to its name.

    Attributes:
        bases: the names below which its TLSA records may be believed, in the order to look there: what its name is
            an alias of, then its name.
        domains: other names that its certificate may bear: the domain of the mail, and what that is an alias of.
    """

    bases: tuple[str, ...]
    domains: tuple[str, ...]


class Host(NamedTuple):
    """Where to connect: one address of one host, or the path of a socket on this machine.

    `proven` is what the DNS proves of it, None where that is nothing. `meant`: nobody between can have said that it
    takes this mail: it was configured, a validated answer names it, or it is called what the recipient's domain is
    (RFC 8689 4.2.1).
    """

    name: str
    address: str
    preference: int = 0
    proven: Proven | None = None
    meant: bool = False

    @property
    def is_path(self) -> bool:
        return self.address[:1] == "/"


#: In place of a host where there is none.
NOWHERE = Host("", "")


class Unroutable(Exception):
    """There is no host to try; `result` and `category` are the outcome's, the text its response."""

    def __init__(self, result: Result, text: str, category: str = "dns") -> None:
        super().__init__(text)
        self.result = result
        self.category = category


class Resolver(Protocol):
    """What is needed of `relay.net.dns`."""

    async def exchangers(self, domain: str) -> Found[tuple[int, str]]: ...

    async def locate(self, host: str, families: Iterable[Family]) -> Found[str]: ...

    async def alias(self, name: str) -> list[str]: ...

    async def tlsa(self, name: str) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Settings:
    """How a zone chooses among addresses.

    `own` are addresses on which this relay itself takes mail. Hosts in `blocked`, lower-case names, and
    those below them are never connected to. `random` shuffles hosts of the same preference.
    """

    ignore_ipv6: bool = False
    prefer_ipv6: bool = False
    block_local_addresses: bool = True
    own: frozenset[str] = frozenset()
    blocked: frozenset[str] = frozenset()
    random: Random = field(default_factory=Random)

    @property
    def families(self) -> tuple[Family, ...]:
        """The kinds of address to look for, preferred first."""
        if self.ignore_ipv6:
            return (4,)
        return (6, 4) if self.prefer_ipv6 else (4, 6)


#: Those of a domain's exchangers (preference, name) that may have its mail; raises Unroutable when none may.
Meant = Callable[[list[tuple[int, str]]], Awaitable[list[tuple[int, str]]]]


async def find(resolver: Resolver, domain: str, settings: Settings, meant: Meant | None = None) -> list[Host]:
    """The hosts for mail to `domain`, in the order to try them, MAX_ADDRESSES at most. None is looked up that `meant`
    leaves out.

    Raises Unroutable.
    """
    literal = _literal(domain)
    if literal is not None:
        return _allowed([Host(domain, literal, meant=True)], domain, settings)
    try:
        found = await resolver.exchangers(domain)
    except NoData as error:
        found = Found([(0, domain)], error.secure)
    except NullMX as error:
        raise Unroutable(Result.BOUNCED, f"5.1.10 {error}") from error
    except DnsError as error:
        raise _unroutable(error) from error
    exchangers = _unblocked(found.items, domain, settings.blocked)
    if meant is not None:
        exchangers = await meant(exchangers)
    settings.random.shuffle(exchangers)
    # No more look-ups than there may be tries.
    exchangers = sorted(exchangers, key=_preference)[:MAX_ADDRESSES]
    domains = tuple(filter(None, (domain, found.alias))) if found.secure else ()
    asked = [Deferred.fromCoroutine(_located(resolver, name, domains, settings)) for _, name in exchangers]
    hosts: list[Host] = []
    errors: list[DnsError] = []
    for (preference, name), deferred in zip(exchangers, asked, strict=True):
        located = await deferred
        if isinstance(located, DnsError):
            errors.append(located)
        else:
            addresses, proven = located
            certain = found.secure or _same(name, domain)
            hosts.extend(Host(name, address, preference, proven, certain) for address in addresses)
    if not hosts:
        raise _unroutable(next((error for error in errors if error.temporary), errors[0]))
    hosts.sort(key=lambda host: (host.preference, (":" in host.address) != settings.prefer_ipv6))
    return _allowed(_distinct(hosts), domain, settings)


async def next_hop(resolver: Resolver, host: str, settings: Settings) -> list[Host]:
    """The addresses of a configured next hop: never an MX, and local ones are welcome. A path is its own.

    Raises Unroutable, which always defers: a next hop that can't be found is for the operator
    to repair, and no reason to bounce anybody's mail.
    """
    literal = host if host[:1] == "/" else _literal(host)
    if literal is not None:
        return [Host(host, literal, meant=True)]
    if host.rstrip(".").lower() == "localhost":
        return [Host(host, "127.0.0.1", meant=True), Host(host, "::1", meant=True)]
    try:
        found = await resolver.locate(host, settings.families)
    except DnsError as error:
        category = "dns" if error.temporary else "ours"
        raise Unroutable(Result.DEFERRED, f"Next hop can't be found: {error}", category) from error
    return _distinct(Host(host, address, meant=True) for address in found.items)[:MAX_ADDRESSES]


def _unblocked(
    exchangers: list[tuple[int, str]], domain: str, blocked: frozenset[str]
) -> list[tuple[int, str]]:
    """Those that aren't blocked, as configured. Raises Unroutable when none is left."""
    if not blocked:
        return exchangers
    left = [exchanger for exchanger in exchangers if blocked.isdisjoint(_above(exchanger[1]))]
    if not left:
        shown = ", ".join(name for _, name in exchangers[:3])
        raise Unroutable(Result.BOUNCED, f"5.4.4 Every host of {domain} is blocked here ({shown})")
    return left


def _above(host: str) -> Iterator[str]:
    """A host's name, and the domains that it is in."""
    name = host.rstrip(".").lower()
    while name:
        yield name
        name = name.partition(".")[2]


async def _located(
    resolver: Resolver, name: str, domains: tuple[str, ...], settings: Settings
) -> tuple[list[str], Proven | None] | DnsError:
    """The addresses of an exchanger, and what is proven of it; nothing when the way to it is not (no `domains`). One
    that is an address, against the rules, is its own."""
    literal = _literal(name)
    if literal is not None:
        return [literal], None
    try:
        found = await resolver.locate(name, settings.families)
        # Where a host lives in an unsigned zone, its name may still be one in a signed one (RFC 7672 2.2.2).
        signed = bool(domains) and (found.secure or (bool(found.alias) and bool(await resolver.alias(name))))
    except DnsError as error:
        return error
    bases = (found.alias, name) if found.alias and found.secure else (name,)
    return found.items, Proven(bases, domains) if signed else None


def _unroutable(error: DnsError) -> Unroutable:
    if error.temporary:
        return Unroutable(Result.DEFERRED, f"4.4.3 {error}")
    return Unroutable(Result.BOUNCED, f"5.1.2 {error}")


def _same(name: str, other: str) -> bool:
    return name.rstrip(".").lower() == other.rstrip(".").lower()


def _preference(exchanger: tuple[int, str]) -> int:
    return exchanger[0]


def _distinct(hosts: Iterable[Host]) -> list[Host]:
    """Each address once, where it stands first; but hosts that each have TLSA records of their own, maybe, are others
    behind the same address, too."""
    distinct: dict[tuple[str, Proven | None], Host] = {}
    for host in hosts:
        distinct.setdefault((host.address, host.proven), host)
    return list(distinct.values())


def _allowed(hosts: list[Host], domain: str, settings: Settings) -> list[Host]:
    """Those of `hosts` that may be connected to, MAX_ADDRESSES at most. Raises Unroutable."""
    if settings.block_local_addresses:
        ours = [host.preference for host in hosts if host.address in settings.own]
        if ours:
            # Hosts that are no better than ourselves would send it back (RFC 5321 5.1).
            hosts = [host for host in hosts if host.preference < min(ours)]
            if not hosts:
                raise Unroutable(Result.BOUNCED, f"5.4.6 Mail for {domain} loops back to this host")
    allowed = [host for host in hosts if not blocked(host.address, settings.block_local_addresses)]
    if not allowed:
        shown = ", ".join(host.address for host in hosts[:3])
        raise Unroutable(Result.BOUNCED, f"5.1.2 {domain} leads to no public address ({shown})")
    return allowed[:MAX_ADDRESSES]


def blocked(text: str, block_local: bool) -> bool:
    """Whether no mail goes to this address: never to one that is no host's at all, and not to
    one that isn't public when these are blocked."""
    address = meant(ipaddress.ip_address(text))
    if address.is_unspecified or address.is_multicast or text == "255.255.255.255":
        return True
    return block_local and not is_public(address)


def _literal(text: str) -> str | None:
    """The address that `text` is, in brackets (RFC 5321 4.1.3) or without; else None."""
    inner = text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text
    if inner[:5].lower() == "ipv6:":
        inner = inner[5:]
    try:
        return str(ipaddress.ip_address(inner))
    except ValueError:
        return None
