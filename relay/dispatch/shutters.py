"""What keeps mail from being tried at all: its site is not known yet, somebody holds it, or none of its
hosts answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol
from weakref import WeakValueDictionary

from relay.dispatch.gates import Gate, Shut
from relay.dispatch.ledger import Target
from relay.dispatch.limits import Way
from relay.zone.decision import Scope


class Sites(Protocol):
    """Knows which domains share their mail exchangers.

    Attributes:
        found: called with each domain whose site has become known after it was not.
    """

    found: Callable[[str], None]

    def known(self, domain: str) -> str | None:
        """The site of a domain; None: `found` will tell when it is known."""


class Shutters:
    """All of them.

    Attributes:
        opened: told of each gate that has opened.
    """

    def __init__(self, sites: Sites, weight: Callable[[str], float]) -> None:
        self.opened: Callable[[Shut], None] = lambda gate: None
        self._sites = sites
        self._weight = weight
        self._lookups: WeakValueDictionary[str, Shut] = WeakValueDictionary()
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

    def _found(self, domain: str) -> None:
        gate = self._lookups.pop(domain, None)
        if gate is not None:
            self.opened(gate)

    def closed(self, way: Way, target: Target) -> Gate | None:
        """What has shut a way, if anything has."""
        return None
