"""How the relay stands: its zones and pools, and whether it can do its work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from relay.access.caller import Scope as Access
from relay.dispatch.capacity import Capacity
from relay.dispatch.connection import Connection, State
from relay.dispatch.ledger import Ledger
from relay.http.answer import refusal
from relay.http.frame import Call
from relay.http.health import Health, health
from relay.http.operation import operation
from relay.queue.store import ZoneCount
from relay.zone.pool import Named
from relay.zone.zones import Zone, Zones


class Address(msgspec.Struct, frozen=True):
    """A local address, and the name that is said there."""

    address: str
    name: str


class ChildShown(msgspec.Struct, frozen=True):
    """A sender process: its transactions, of how many it may have, and the connections that wait for their hosts."""

    id: str
    busy: int
    places: int
    silent: int
    idle: int


class ZoneShown(msgspec.Struct, frozen=True):
    """A sending zone. `next_hop` is "" where mail goes to the recipients' own hosts. `ended`: deliveries since the
    start."""

    name: str
    disabled: bool
    pool: str
    addresses: list[Address]
    next_hop: str
    queued: int
    deferred: int
    held: int
    ended: int
    processes: int
    children: list[ChildShown]
    connections: dict[str, int]


class ZoneList(msgspec.Struct, frozen=True):
    """All zones, by name."""

    zones: list[ZoneShown]


class PoolShown(msgspec.Struct, frozen=True):
    """A pool, as far as it is used, and the zones that send from it."""

    name: str
    addresses: list[Address]
    zones: list[str]


class PoolList(msgspec.Struct, frozen=True):
    """All pools that a zone sends from."""

    pools: list[PoolShown]


class Sources(NamedTuple):
    """Where all of this is known. `counted` asks the queue about a zone, `ended` how many of its deliveries have ended;
    `now` gives ms since the epoch; `writable` and `accepting` are the queue's."""

    zones: Zones
    ledger: Ledger
    counted: Callable[[str, int], ZoneCount]
    ended: Callable[[str], int]
    now: Callable[[], int]
    writable: Callable[[], bool]
    accepting: Callable[[], bool]


class StateApi:
    """The resources of that."""

    def __init__(self, sources: Sources) -> None:
        self._of = sources

    @operation("GET", "/v1/zones", scope=Access.READ, tag="state", answer=ZoneList)
    def zones(self, call: Call) -> ZoneList:
        """All sending zones: their deliveries, processes and connections."""
        connections = _by_zone(self._of.ledger.connections())
        return ZoneList([self._zone(self._of.zones[name], connections) for name in self._of.zones.names()])

    @operation("GET", "/v1/zones/{zone}", scope=Access.READ, tag="state", answer=ZoneShown)
    def zone(self, call: Call, zone: str) -> ZoneShown:
        """One sending zone."""
        found = self._of.zones.get(zone.lower())
        if found is None:
            raise refusal(404, "ResourceNotFound", "There is no such zone")
        return self._zone(found, _by_zone(self._of.ledger.connections()))

    @operation("GET", "/v1/pools", scope=Access.READ, tag="state", answer=PoolList)
    def pools(self, call: Call) -> PoolList:
        """The pools of local addresses that zones send from."""
        pools: dict[str, PoolShown] = {}
        for name in self._of.zones.names():
            zone = self._of.zones[name]
            pool = pools.setdefault(zone.options.pool, PoolShown(zone.options.pool, _addresses(zone), []))
            pool.zones.append(name)
        return PoolList([pools[name] for name in sorted(pools)])

    @operation("GET", "/v1/health/live", scope=None, tag="health", answer=Health)
    def live(self, call: Call) -> Health:
        """Whether the relay runs: it does, if it answers."""
        return Health("ok", [])

    @operation("GET", "/v1/health/ready", scope=None, tag="health", answer=Health, also=(503,))
    def ready(self, call: Call) -> Health:
        """Whether mail can be brought here: 200, or 503 with the reasons, for balancers."""
        of = self._of
        senders = {zone.name: len(of.ledger.children(zone.name)) for zone in of.zones.active()}
        found = health(writable=of.writable(), accepting=of.accepting(), senders=senders)
        call.status = 200 if found.status == "ok" else 503
        return found

    def _zone(self, zone: Zone, connections: dict[str, Counter[State]]) -> ZoneShown:
        of, name = self._of, zone.name
        count = of.counted(name, of.now())
        states = connections.get(name, Counter())
        return ZoneShown(
            name,
            zone.options.disabled,
            zone.options.pool,
            _addresses(zone),
            zone.next_hop,
            count.queued,
            count.deferred,
            count.held,
            of.ended(name),
            zone.options.processes,
            [_child(child) for child in of.ledger.children(name)],
            {state.name.lower(): states[state] for state in State},
        )


def _by_zone(connections: Sequence[Connection]) -> dict[str, Counter[State]]:
    found: dict[str, Counter[State]] = {}
    for one in connections:
        found.setdefault(one.child.zone, Counter())[one.state] += 1
    return found


def _addresses(zone: Zone) -> list[Address]:
    return [_address(one) for one in dict.fromkeys((*zone.pool.ipv4, *zone.pool.ipv6))]


def _address(one: Named) -> Address:
    return Address(one.address, one.name)


def _child(child: Capacity) -> ChildShown:
    return ChildShown(child.key, child.busy, child.connections, child.silent, len(child.idle))
