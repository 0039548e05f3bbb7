"""Which local address a delivery leaves by: the one that its name has drawn, of those that may be used now."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol
from weakref import WeakSet, WeakValueDictionary

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from relay.dispatch.gates import Connections, Gate, Shut
from relay.dispatch.leaving import Leaving, by
from relay.dispatch.limits import NONE, Limits, Scoped, Way
from relay.queue.schedule import Work
from relay.zone.backoff import Backoff
from relay.zone.decision import Scope
from relay.zone.pool import Local
from relay.zone.zones import Zone, Zones

#: A gate whose opening isn't known is looked at after this long (seconds).
_SOME_TIME = 60.0
#: So long after an address has got room for one more message, lanes that wait for that are let go (seconds).
_SOON = 1.0
#: Paths in trouble that are remembered before those that have healed are looked for.
_PATHS = 10_000


class Gone(Protocol):
    """Knows which addresses are not on this machine."""

    @property
    def gone(self) -> Iterable[str]: ...


class Held(Protocol):
    """Knows which addresses an operator has put on hold."""

    def __bool__(self) -> bool: ...
    def addresses(self, zone: str, domain: str, site: str, user: str) -> frozenset[str]: ...


class Warming(Protocol):
    """Counts what addresses in warm-up may send (relay.dispatch.warmup)."""

    def room(self, address: str, site: str) -> int | None: ...
    def spend(self, address: str, site: str) -> bool | Deferred[bool]: ...
    def give_back(self, address: str, site: str, day: int) -> None: ...
    def next_change(self) -> int: ...
    def day(self) -> int: ...


class _PathLimit(Connections):
    """How many connections an address may have to a site that has complained; it grows by itself."""

    __slots__ = ("_backoff", "_now")

    def __init__(
        self, scope: Scope, backoff: Backoff, now: Callable[[], int], weight: Callable[[str], float]
    ) -> None:
        super().__init__(scope, 0, weight)
        self.kind = "back-off"
        self._backoff = backoff
        self._now = now

    def opens(self, now: float) -> float | None:
        """When the allowance changes, or in a moment."""
        soon = super().opens(now)
        if soon is not None:
            return soon
        scope, wall = self.scope, self._now()
        until = self._backoff.until(scope.zone, scope.site, scope.address, wall)
        return 0.0 if until is None else max(0.05, (until - wall) / 1000)

    def full(self, now: float) -> bool:
        allowance = self._allowance()
        return allowance is not None and self.open >= allowance

    def above(self, now: float) -> int:
        allowance = self._allowance()
        return 0 if allowance is None else max(0, self.open - allowance)

    def _allowance(self) -> int | None:
        """One at least: an address that is set aside is used only where there is no other."""
        scope = self.scope
        allowance = self._backoff.allowance(scope.zone, scope.site, scope.address, self._now())
        return None if allowance is None else max(1, allowance)

    def words(self) -> str:
        scope, wall = self.scope, self._now()
        trouble = self._backoff.why(scope.zone, scope.site, scope.address, wall)
        why = f': "{trouble.reason}"' if trouble is not None else ""
        return f"{scope.site} complained of {scope.address}{why}; {self.open} connections are open"


class Addresses:
    """Chooses."""

    def __init__(
        self,
        zones: Zones,
        limits: Limits,
        backoff: Backoff,
        plumbed: Gone,
        holds: Held,
        warming: Warming,
        cold: frozenset[str],
        now: Callable[[], int],
        clock: IReactorTime,
    ) -> None:
        """`cold` are the addresses that have a warm-up plan; `now` gives milliseconds since the epoch."""
        self.opened: Callable[[Gate], None] = lambda gate: None
        #: Asked for each path that has got into trouble: counts what is open on it already.
        self.adopt: Callable[[str, str, str, Scoped], None] = lambda *known: None
        self._zones = zones
        self._limits = limits
        self._backoff = backoff
        self._plumbed = plumbed
        self._holds = holds
        self._warming = warming
        self._now = now
        self._clock = clock
        self._roomy: set[tuple[str, str]] = set()
        self._cold = {
            zone.name: tuple(address for address in _all(zone) if address in cold) for zone in zones.active()
        }
        # Zones that have one address to leave by, and limit it in no way.
        self._only = {
            zone.name: Leaving(zone.pool.choose(""))
            for zone in zones.active()
            if len(zone.pool.ipv4) < 2 and len(zone.pool.ipv6) < 2 and not limits.are_at_addresses(zone)
        }
        self._quiet = not zones.any_disabled() and not cold
        self._paths: dict[tuple[str, str, str], Scoped] = {}
        # Those of paths that have healed too, as long as somebody stands there.
        self._path_gates: WeakSet[_PathLimit] = WeakSet()
        self._shut: WeakValueDictionary[tuple[str, str, str], Shut] = WeakValueDictionary()

    def choose(self, zone: Zone, way: Way, work: Work, now: float) -> Leaving | Gate:
        """The addresses of a delivery; or what opens when it may have one. `now` in seconds of the clock."""
        quiet = self._quiet and not self._plumbed.gone and not self._holds and not self._backoff
        if quiet and (only := self._only.get(zone.name)) is not None:
            return only
        out = _NOBODY if quiet else self._excluded(zone, way)
        key = zone.key_of(work.delivery.name, work.held.message.sender)
        local = zone.pool.choose(key, out)
        if not local.address and (zone.pool.ipv4 or not local.address6):
            return self._none_left(zone, way, now)
        return by(local, self._at(zone, way, local.address), self._at(zone, way, local.address6))

    def _at(self, zone: Zone, way: Way, address: str) -> Scoped:
        """The limits of an address on its way to a site, none of those of no address."""
        if not address:
            return NONE
        limits = self._limits.at(zone, address)
        return self._on_path(zone, way, address, limits) if self._backoff else limits

    def crowded(self, zone: str, way: Way, local: Local, now: float) -> list[Connections]:
        """Where these addresses have more connections open on their way to a site than it allows since it has
        complained."""
        if not self._backoff:
            return []
        limits = (self._at(self._zones[zone], way, address) for address in (local.address, local.address6))
        return [gate for each in limits for gate in each.connections if gate.above(now)]

    def count(self, zone: Zone, way: Way, local: Local, now: float) -> tuple[tuple[str, int], ...] | Gate:
        """Count a message against the warm-up of its addresses: these with the day; or what opens when that can
        be done."""
        cold = self._cold[zone.name]
        if not cold:
            return ()
        counted: list[tuple[str, int]] = []
        site = way.place
        for address in (local.address, local.address6):
            if address not in cold:
                continue
            day, told = self._warming.day(), self._warming.spend(address, site)
            if told is True:
                counted.append((address, day))
                continue
            self.uncount(site, counted)
            if told is False:
                return self._none_left(zone, way, now)
            return self._when_written(zone, site, address, day, told)
        return tuple(counted)

    def uncount(self, site: str, counted: Iterable[tuple[str, int]]) -> None:
        """Messages that were counted and never reached MAIL."""
        for address, day in counted:
            self._warming.give_back(address, site, day)

    def has_room(self, address: str, site: str) -> None:
        """The warm-up of an address leaves room for a site ("" for any) that it had none for. Lanes that wait for it
        are told in a while, all at once, since hosts that fail would have them tried again and again."""
        if not self._roomy:
            self._clock.callLater(_SOON, self._use_room)
        self._roomy.add((address, site))

    def _use_room(self) -> None:
        roomy, self._roomy = self._roomy, set()
        for gate in list(self._shut.values()):
            of = self._cold.get(gate.scope.zone, ())
            if any(address in of and site in ("", gate.scope.site) for address, site in roomy):
                self.opened(gate)

    def look_again(self) -> None:
        """What addresses may do has changed: all that wait for one get a turn."""
        for gate in (*self._shut.values(), *self._path_gates):
            if len(gate.ring):
                self.opened(gate)

    # -- inside

    def _excluded(self, zone: Zone, way: Way) -> frozenset[str]:
        name, domain, site = zone.name, way.domain, way.place
        out = self._zones.disabled(name, domain)
        if gone := self._gone(zone):
            out |= frozenset(gone)
        held = self._holds.addresses(name, domain, way.site, way.user)
        if held:
            out |= held
        if self._cold[name]:
            out |= {address for address in self._cold[name] if self._warming.room(address, site) == 0}
        if self._backoff:
            out |= self._set_aside(zone, site, out)
        return out

    def _gone(self, zone: Zone) -> Iterable[str]:
        """Addresses that aren't on this machine; a proxy's may be anywhere."""
        return _NOBODY if zone.options.egress else self._plumbed.gone

    def _set_aside(self, zone: Zone, site: str, out: frozenset[str]) -> frozenset[str]:
        """Addresses that are suspended for a site; those on its blocklist only while another is left."""
        backoff, now = self._backoff, self._now()
        shut = {address for address in _all(zone) if backoff.allowance(zone.name, site, address, now) == 0}
        if not shut:
            return frozenset()
        listed = {
            address
            for address in shut
            if (trouble := backoff.why(zone.name, site, address, now)) is not None and trouble.kind == "blacklist"
        }
        for kind in (zone.pool.ipv4, zone.pool.ipv6):
            names = {address for address, _ in kind}
            if names and not names - out - shut:
                shut -= names & listed
        return frozenset(shut)

    def _on_path(self, zone: Zone, way: Way, address: str, limits: Scoped) -> Scoped:
        """The limits of an address, and of its way to a site that has complained of it."""
        site = way.place
        key = (zone.name, site, address)
        if self._backoff.allowance(zone.name, site, address, self._now()) is None:
            self._paths.pop(key, None)
            return limits
        known = self._paths.get(key)
        if known is None:
            self._forget_paths()
            gate = _PathLimit(
                Scope(zone=zone.name, site=site, address=address), self._backoff, self._now, self._limits.weight
            )
            self._path_gates.add(gate)
            connections = (*limits.connections, gate)
            known = self._paths[key] = Scoped(connections, limits.opening, limits.sending, limits.volume)
            self.adopt(zone.name, site, address, known)
        return known

    def _forget_paths(self) -> None:
        """Those go, once there are many, that have healed without anybody asking."""
        if len(self._paths) >= _PATHS:
            allowance, now = self._backoff.allowance, self._now()
            self._paths = {path: known for path, known in self._paths.items() if allowance(*path, now) is not None}

    def _none_left(self, zone: Zone, way: Way, now: float) -> Shut:
        """No address may be used for this lane now."""
        site = way.place
        wall = self._now()
        every = _all(zone)
        whens = [self._backoff.until(zone.name, site, address, wall) for address in every]
        if self._cold[zone.name]:
            whens.append(self._warming.next_change())
        until = min((when for when in whens if when is not None and when > wall), default=None)
        wait = _SOME_TIME if until is None else max(0.05, (until - wall) / 1000)
        key = (zone.name, way.domain, site)
        gate = self._shut.get(key)
        if gate is None:
            scope = Scope(zone=zone.name, domain=way.domain, site=site)
            gate = self._shut[key] = Shut("address", scope, "", self._limits.weight)
        gate.reason, gate.until = self._why_none(zone, way, site, wall), now + wait
        firsts = [
            self._backoff.first(zone.name, site, address)
            for address in every
            if self._backoff.allowance(zone.name, site, address, wall) == 0
        ]
        # It is the other side's doing if that has set all of them aside.
        gate.since = max(firsts, default=0) if len(firsts) == len(every) else 0
        return gate

    def _when_written(self, zone: Zone, site: str, address: str, day: int, told: Deferred[bool]) -> Shut:
        gate = Shut(
            "warm-up", Scope(zone=zone.name, site=site, address=address),
            "the count of its warm-up is being written", self._limits.weight, None,
        )  # fmt: skip

        def written(counted: bool) -> None:
            if counted:
                self._warming.give_back(address, site, day)  # It is counted when it goes.
            self.opened(gate)

        told.addCallback(written)
        return gate

    def _why_none(self, zone: Zone, way: Way, site: str, wall: int) -> str:
        """For people: what is the matter with each address."""
        held = self._holds.addresses(zone.name, way.domain, way.site, way.user)
        said = []
        for address in _all(zone):
            trouble = self._backoff.why(zone.name, site, address, wall)
            if address in self._gone(zone):
                said.append(f"{address} is not on this machine")
            elif address in held:
                said.append(f"{address} is on hold")
            elif address in self._cold[zone.name] and self._warming.room(address, site) == 0:
                said.append(f"{address} has sent what its warm-up allows today")
            elif trouble is not None:
                said.append(f'{address} is set aside: "{trouble.reason}"')
            if len(said) == 5:
                said.append("and so on")
                break
        why = "; ".join(said) or "none is left"
        return f"no address of the zone may be used for {site} now: {why}"


_NOBODY: frozenset[str] = frozenset()


def _all(zone: Zone) -> list[str]:
    """Each address of a zone once."""
    return list(dict.fromkeys(address for address, _ in (*zone.pool.ipv4, *zone.pool.ipv6)))
