"""How the relay stands."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from relay_client.ask import Ask, Listing, get, paged
from relay_client.edge import E, Group, asks, lists


class Address(Struct, frozen=True, kw_only=True):
    """A local address, and the name that is said there."""

    address: str
    name: str


class Child(Struct, frozen=True, kw_only=True):
    """A sender process: transactions of how many places, and connections that wait for their hosts."""

    id: str
    busy: int
    places: int
    silent: int
    idle: int


class Zone(Struct, frozen=True, kw_only=True):
    """A sending zone. `ended`: deliveries since the relay's start; `connections`: how many in each state."""

    name: str
    disabled: bool
    pool: str
    addresses: tuple[Address, ...]
    next_hop: str
    queued: int
    deferred: int
    held: int
    ended: int
    processes: int
    children: tuple[Child, ...]
    connections: dict[str, int]


class Pool(Struct, frozen=True, kw_only=True):
    """Local addresses, and the zones that send from them."""

    name: str
    addresses: tuple[Address, ...]
    zones: tuple[str, ...]


class Connection(Struct, frozen=True, kw_only=True):
    """A connection to a host. `host` is "" until it is reached; `sent`: deliveries it was given."""

    number: int
    zone: str
    child: str
    domain: str
    site: str
    host: str
    addresses: tuple[str, ...]
    state: str
    sent: int


class Limit(Struct, frozen=True, kw_only=True):
    """A limit in use, in words too (`limit`); `waiting` lanes stand there."""

    kind: str
    most: float
    seconds: float | None
    open: int | None
    wait: float | None
    waiting: int
    limit: str


class Health(Struct, frozen=True, kw_only=True):
    """`status` is "ok", or "unfit" for `reasons`."""

    status: str
    reasons: tuple[str, ...]


class Backoff(Struct, frozen=True, kw_only=True):
    """What is held back because a site complained or can't be reached. `allowance`: connections there may be, `until`
    that changes."""

    zone: str
    site: str
    address: str = ""
    kind: str
    reason: str
    since: datetime
    until: datetime
    allowance: int


class _ZoneList(Struct, frozen=True):
    zones: tuple[Zone, ...]


class _PoolList(Struct, frozen=True):
    pools: tuple[Pool, ...]


class _ConnectionPage(Struct, frozen=True):
    items: tuple[Connection, ...]
    next: int | None


class _LimitList(Struct, frozen=True):
    limits: tuple[Limit, ...]


class _BackoffList(Struct, frozen=True):
    backoff: tuple[Backoff, ...]


class Zones(Group[E]):
    """Sending zones and their pools."""

    @lists
    def all(self) -> Listing[Zone]:
        """By name.

            >>> for zone in relay.zones.all():
            ...     print(zone.name, zone.queued, zone.deferred, zone.held)
        """
        return Listing(get("/v1/zones", _ZoneList), lambda told: told.zones, lambda ask, told: None)

    @asks
    def one(self, name: str) -> Ask[Zone]:
        return get("/v1/zones/{zone}", Zone, name)

    @lists
    def pools(self) -> Listing[Pool]:
        """Those that a zone sends from."""
        return Listing(get("/v1/pools", _PoolList), lambda told: told.pools, lambda ask, told: None)


class State(Group[E]):
    """Health, connections, limits and back-offs."""

    @asks
    def live(self) -> Ask[Health]:
        """Whether it runs: it does, if it answers."""
        return get("/v1/health/live", Health)

    @asks
    def ready(self) -> Ask[Health]:
        """Whether mail can be brought.

            >>> relay.state.ready().status
            'ok'
        """
        # It says 503 where it isn't: that is an answer, too.
        ask = get("/v1/health/ready", Health)
        return replace(ask, good=(503,))

    @lists
    def connections(
        self,
        *,
        zone: str | None = None,
        domain: str | None = None,
        site: str | None = None,
        address: str | None = None,
        state: str | None = None,
    ) -> Listing[Connection]:
        """To hosts, those that are being opened and idle ones too.

            >>> busy = sum(1 for _ in relay.state.connections(domain="example.org", state="sending"))
        """
        query = {"zone": zone, "domain": domain, "site": site, "address": address, "state": state, "limit": 1000}
        return paged(get("/v1/connections", _ConnectionPage, query=query), lambda told: told.items)

    @lists
    def limits(
        self,
        *,
        zone: str | None = None,
        domain: str | None = None,
        site: str | None = None,
        address: str | None = None,
        user: str | None = None,
        waiting: bool = False,
        limit: int = 1000,
    ) -> Listing[Limit]:
        """Those in use, where most wait first; `waiting`: only where something does."""
        query = {"zone": zone, "domain": domain, "site": site, "address": address, "user": user, "limit": limit}
        ask = get("/v1/limits", _LimitList, query={**query, "waiting": waiting or None})
        return Listing(ask, lambda told: told.limits, lambda ask, told: None)

    @lists
    def backoffs(
        self, *, zone: str | None = None, site: str | None = None, address: str | None = None
    ) -> Listing[Backoff]:
        """The newest first."""
        ask = get("/v1/backoff", _BackoffList, query={"zone": zone, "site": site, "address": address})
        return Listing(ask, lambda told: told.backoff, lambda ask, told: None)
