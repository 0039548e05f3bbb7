"""What keeps mail from being tried at all: its site is not known yet, somebody holds it, or none of its
hosts answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol
from weakref import WeakValueDictionary

from relay.dispatch.gates import Gate, Shut
from relay.dispatch.limits import Way
from relay.dispatch.target import Target
from relay.zone.backoff import Backoff
from relay.zone.decision import Scope
from relay.zone.hold import Hold

#: The kind of the gates that operators have shut.
HOLD = "hold"


class Sites(Protocol):
    """Knows which domains share their mail exchangers, wholly or as far as limits go.

    Attributes:
        found: called with each domain whose site has become known after it was not.
    """

    found: Callable[[str], None]

    def known(self, domain: str) -> str | None:
        """The site of a domain; None: `found` will tell when it is known."""

    def are_alike(self, one: str, other: str) -> bool:
        """Whether two domains are known to have the same exchangers."""


class Holds(Protocol):
    """Knows what an operator has put on hold."""

    def matching(self, zone: str, domain: str, site: str, user: str) -> Hold | None: ...


class Shutters:
    """All of them.

    Attributes:
        opened: told of each gate that has opened.
        now: milliseconds since the epoch.
    """

    def __init__(
        self,
        sites: Sites,
        holds: Holds,
        backoff: Backoff,
        weight: Callable[[str], float],
        seconds: Callable[[], float],
        now: Callable[[], int],
    ) -> None:
        """`seconds` is a clock that never jumps, `now` gives milliseconds since the epoch."""
        self.opened: Callable[[Shut], None] = lambda gate: None
        self._sites = sites
        self._holds = holds
        self._backoff = backoff
        self._weight = weight
        self._seconds = seconds
        self.now = now
        self._lookups: WeakValueDictionary[str, Shut] = WeakValueDictionary()
        self._held: WeakValueDictionary[str, Shut] = WeakValueDictionary()
        self._silent: WeakValueDictionary[tuple[str, str], Shut] = WeakValueDictionary()
        sites.found = self._found

    def site(self, domain: str) -> str | Gate:
        """The site of a domain, or the gate that opens when it is known."""
        site = self._sites.known(domain)
        if site is not None:
            return site
        gate = self._lookups.get(domain)
        if gate is None:
            why = f"the mail exchangers of {domain} are being looked up"
            gate = self._lookups[domain] = Shut("look-up", Scope(domain=domain), why, self._weight)
        return gate

    def are_alike(self, one: str, other: str) -> bool:
        """Whether two domains are known to have the same hosts."""
        return self._sites.are_alike(one, other)

    def _found(self, domain: str) -> None:
        gate = self._lookups.pop(domain, None)
        if gate is not None:
            self.opened(gate)

    def closed(self, zone: str, way: Way) -> Gate | None:
        """What has shut a way, if anything has."""
        hold = self._holds.matching(zone, way.domain, way.site, way.user)
        if hold is not None:
            return self._hold(hold)
        if self._backoff:
            return self._unreachable(zone, way.target.scope.site)
        return None

    def may_try(self, zone: str, target: Target) -> Gate | None:
        """Asked just before a new connection is opened: after an outage one attempt has to show that somebody
        answers. What has to be waited for, if another is under way."""
        site = target.scope.site
        if self._backoff and not self._backoff.probe(zone, site, self.now()):
            return self._unreachable(zone, site) or target
        return None

    def tried_nothing(self, zone: str, target: Target) -> None:
        """The attempt that `may_try` allowed was not made."""
        if self._backoff:
            self._backoff.probe_lost(zone, target.scope.site, self.now())

    def look_again(self) -> None:
        """Holds have come or gone, or somebody has ended a back-off."""
        for gate in (*self._held.values(), *self._silent.values()):
            self.opened(gate)

    def answered(self, target: Target) -> None:
        """Somebody has answered there."""
        if self._backoff:
            self._backoff.reachable(target.scope.zone, target.scope.site, self.now())
            self.moved(target)

    def moved(self, target: Target) -> None:
        """Whether its hosts may be tried has changed."""
        gate = self._silent.get((target.scope.zone, target.scope.site))
        if gate is not None:
            self.opened(gate)

    def _hold(self, hold: Hold) -> Gate:
        gate = self._held.get(hold.id)
        if gate is None:
            why = f"on hold ({hold.scope}): {hold.reason}"
            gate = self._held[hold.id] = Shut(HOLD, hold.scope, why, self._weight)
        gate.until = self._clock_of(hold.until) if hold.until else None
        return gate

    def _clock_of(self, wall: int) -> float:
        """When to look again at what ends at a time of day (ms since the epoch); that clock may jump."""
        return self._seconds() + max(0.05, (wall - self.now()) / 1000)

    def _unreachable(self, zone: str, site: str) -> Gate | None:
        wall = self.now()
        until = self._backoff.closed(zone, site, wall)
        if until is None:
            return None
        gate = self._silent.get((zone, site))
        if gate is None:
            gate = self._silent[zone, site] = Shut("unreachable", Scope(zone=zone, site=site), "", self._weight)
        trouble = self._backoff.why(zone, site, "", wall)
        gate.reason = f"no host of {site} answers" + (f': "{trouble.reason}"' if trouble is not None else "")
        gate.until = self._clock_of(until)
        gate.since = self._backoff.first(zone, site)
        return gate
