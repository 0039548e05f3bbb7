"""Which limits stand in the way of a delivery: those of its zone, domain, site and user, and of the
address that it leaves by.

They are made from the configuration when they are first met, and each is one for all children, so
that what they count is exact. They are forgotten with the last lane and connection that they hold
for; rates not before they have filled again, and those of addresses never.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import NamedTuple, Protocol
from weakref import WeakValueDictionary

from relay.config import schema
from relay.config.units import byte_rate, rate
from relay.dispatch.gates import NEW_CONNECTIONS, Connections, Gate, Rate
from relay.dispatch.target import Target
from relay.zone.decision import Scope
from relay.zone.rates import Bucket
from relay.zone.zones import Zone, Zones

DEFAULT = "default"
#: Scopes with rates that are remembered before those of no more use are looked for.
_REMEMBERED = 20_000
#: Ways that are remembered.
_WAYS = 4096


class Sections(Protocol):
    """What a configuration says of sites."""

    def section(self, site: str) -> schema.Site: ...
    def is_named(self, site: str) -> bool: ...


class Senders:
    """What a configuration says of users."""

    def __init__(self, sections: Mapping[str, schema.Sender]) -> None:
        self._sections = {name.lower(): section for name, section in sections.items()}
        self._any = self._sections.get(DEFAULT, schema.Sender())

    def section(self, user: str) -> schema.Sender:
        """That of a user without a table of his own, and of mail of nobody, is `[senders.default]`; of its limits mail
        of nobody has none."""
        return self._sections.get(user.lower(), self._any)

    def weight(self, user: str) -> float:
        """The share of a user beside the others; 1.0 is the usual one."""
        return self.section(user).weight / schema.Sender().weight

    def urgency(self, user: str) -> str:
        """The priority of a user's mail, "" where the way in decides."""
        return self.section(user).priority


class Scoped:
    """The limits of one scope.

    Attributes:
        key: its name among the limits, None for one that isn't among them.
        kept: something has passed its rates, and they may not have filled again.
    """

    __slots__ = (
        "__weakref__", "connections", "gates", "kept", "key", "opening", "rates", "sending", "volume",
    )  # fmt: skip

    def __init__(
        self,
        connections: tuple[Connections, ...] = (),
        opening: tuple[Rate, ...] = (),
        sending: tuple[Rate, ...] = (),
        volume: tuple[Rate, ...] = (),
        key: Hashable = None,
    ) -> None:
        self.key = key
        self.kept = False
        self.connections = connections
        self.opening = opening
        self.sending = sending
        self.volume = volume
        self.rates = (*opening, *sending, *volume)
        self.gates: tuple[Gate, ...] = (*connections, *self.rates)


NONE = Scoped()


class Way(NamedTuple):
    """All that stands in the way of one lane.

    `counted` count each open connection, idle ones too, `busy` only those in use. `opening` are
    rates of new connections, `sending` of messages, `volume` of bytes; `rated`: there is any. `reach` is
    whom a connection reaches, the domain or a fixed next hop; `place` the site or the next hop, which is who
    complains, and for whom warm-up counts. `target` answers or doesn't: the hosts of a domain
    that is of a provider's site are its own, whatever its DNS says of them. `reuse` is how many deliveries one
    connection may take, 0: as many as the zone says.
    """

    domain: str
    site: str
    user: str
    reach: str
    place: str
    target: Target
    counted: tuple[Connections, ...]
    busy: tuple[Connections, ...]
    opening: tuple[Rate, ...]
    sending: tuple[Rate, ...]
    volume: tuple[Rate, ...]
    rated: bool
    reuse: int
    gates: tuple[Gate, ...]
    scopes: tuple[Scoped, ...]

    @property
    def own(self) -> Scoped:
        """The limits of the domain alone."""
        return self.scopes[0]

    def joined(self, other: Way) -> Way:
        """The same, counted for another domain of the site as well, which has no rates."""
        own = other.own
        more = tuple(gate for gate in own.connections if gate not in self.counted)
        if not more:
            return self
        return self._replace(
            counted=(*self.counted, *more), gates=(*self.gates, *more), scopes=(*self.scopes, own)
        )


class Limits:
    """All of them."""

    def __init__(self, zones: Zones, sites: Sections, senders: Senders, seconds: Callable[[], float]) -> None:
        self._zones = zones
        self._sites = sites
        self._senders = senders
        self._seconds = seconds
        self.weight: Callable[[str], float] = senders.weight
        self.urgency: Callable[[str], str] = senders.urgency
        # Whoever may still count by it holds it, so that there is never a second one.
        self._scoped: WeakValueDictionary[Hashable, Scoped] = WeakValueDictionary()
        # Lanes that stand there have no way that would hold these; they are no more than the configuration has.
        self._addresses: dict[tuple[str, str], Scoped] = {}
        self._kept: dict[Hashable, Scoped] = {}
        self._most_kept = _REMEMBERED
        self._targets: WeakValueDictionary[tuple[str, str], Target] = WeakValueDictionary()
        self._ways: OrderedDict[tuple[str, str, str, str], Way] = OrderedDict()

    def way(self, zone: Zone, domain: str, site: str, user: str) -> Way:
        """The limits of a lane. `site` is "" with a fixed next hop."""
        key = (zone.name, domain, site, user)
        way = self._ways.get(key)
        if way is None:
            way = self._ways[key] = self._make(zone, domain, site, user)
            if len(self._ways) > _WAYS:
                self._ways.popitem(last=False)
        return way

    def target(self, zone: str, name: str) -> Target:
        """Who is reached by this name, a site or a next hop, from a zone."""
        key = (zone, name)
        target = self._targets.get(key)
        if target is None:
            target = self._targets[key] = Target(zone, name, self.weight)
        return target

    def are_at_addresses(self, zone: Zone) -> bool:
        """Whether a zone limits its local addresses at all."""
        return zone.options.address != _UNLIMITED

    def at(self, zone: Zone, address: str) -> Scoped:
        """The limits of a local address of a zone."""
        known = self._addresses.get((zone.name, address))
        if known is None:
            scope = Scope(zone=zone.name, address=address)
            known = self._of(zone.options.address, scope, wide=True) if self.are_at_addresses(zone) else NONE
            self._addresses[zone.name, address] = known
        return known

    def _make(self, zone: Zone, domain: str, site: str, user: str) -> Way:
        name = zone.name
        domain_section, site_section = self._zones.domain(domain), self._sites.section(site)
        whole = self._of(zone.options, Scope(zone=name), wide=True)
        there = self._of(domain_section, Scope(zone=name, domain=domain))
        around = self._of(site_section, Scope(zone=name, site=site)) if site else NONE
        theirs = self._of(self._senders.section(user), Scope(user=user), wide=True) if user else NONE
        scopes = (there, around, whole, theirs)
        target = self.target(name, zone.next_hop or (domain if self._sites.is_named(site) else site))
        return Way(
            domain,
            site,
            user,
            zone.next_hop or domain,
            zone.next_hop or site,
            target,
            (*there.connections, *around.connections, *whole.connections),
            theirs.connections,
            _joined(one.opening for one in scopes),
            _joined(one.sending for one in scopes),
            _joined(one.volume for one in scopes),
            any(one.rates for one in scopes),
            min((n for n in (domain_section.reuse, site_section.reuse if site else 0) if n), default=0),
            (*(gate for one in scopes for gate in one.gates), target),
            scopes,
        )

    def _of(self, section: schema.Limits, scope: Scope, wide: bool = False) -> Scoped:
        key = (scope.zone, scope.domain, scope.site, scope.address, scope.user)
        known = self._scoped.get(key)
        if known is None:
            known = self._scoped[key] = self._scope(section, scope, wide, key)
        return known

    def gates(self) -> list[Gate]:
        """Those that count anything, each once."""
        scoped = {id(one): one for one in (*self._scoped.values(), *self._addresses.values())}
        return [gate for one in scoped.values() for gate in one.gates]

    def keep(self, scoped: Scoped) -> None:
        """Something has passed its rates: they are remembered until they have filled again, whoever else knows
        of them."""
        scoped.kept = True
        self._kept[scoped.key] = scoped
        if len(self._kept) > self._most_kept:
            self._forget()

    def _scope(self, section: schema.Limits, scope: Scope, wide: bool, key: Hashable) -> Scoped:
        def rates(kind: str, read: Callable[[str], tuple[float, float]], texts: tuple[str, ...]) -> tuple[Rate, ...]:
            return tuple(Rate(kind, scope, Bucket(*read(text)), self.weight, wide) for text in texts)

        most = section.max_connections
        return Scoped(
            (Connections(scope, most, self.weight),) if most else (),
            rates(NEW_CONNECTIONS, rate, section.new_connections),
            rates("messages", rate, section.messages),
            rates("bytes", byte_rate, section.bytes),
            key=key,
        )

    def _forget(self) -> None:
        """Those go whose rates are as if nothing had ever passed."""
        now = self._seconds()
        for key, scoped in list(self._kept.items()):
            if all(rate.bucket.full(now) for rate in scoped.rates):
                scoped.kept = False
                del self._kept[key]
        # Where slow rates keep many, not all are looked at for each new one.
        self._most_kept = max(_REMEMBERED, 2 * len(self._kept))


_UNLIMITED = schema.Limits()


def _joined(parts: Iterable[tuple[Rate, ...]]) -> tuple[Rate, ...]:
    return tuple(rate for part in parts for rate in part)

