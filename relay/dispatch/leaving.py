"""The addresses a delivery leaves by, one for IPv4 hosts and one for IPv6 hosts, and what limits them.

Which of the two it is shows when a host has answered. Until then a connection counts for both, so that neither
has more than it may; from then on for the one that it uses.
"""

from __future__ import annotations

from typing import NamedTuple

from relay.dispatch.limits import NONE, Scoped
from relay.zone.pool import Local


class Leaving(NamedTuple):
    """The addresses, and the limits that hold for a connection of theirs: `limits` is what counts it, `each` what that
    is of the IPv4 address and of the IPv6 address."""

    local: Local
    limits: Scoped = NONE
    each: tuple[Scoped, Scoped] = (NONE, NONE)

    @property
    def open(self) -> bool:
        """Whether it is still to be seen which of two addresses is used, and that matters."""
        return self.limits is not NONE and bool(self.local.address and self.local.address6)

    def towards(self, host: str) -> Scoped:
        """The limits of the address that a host sees."""
        return self.each[":" in host] if self.open else self.limits

    def beside(self, host: str) -> Scoped:
        """Those of the one that it doesn't see."""
        return self.each[":" not in host] if self.open else NONE

    def only(self, host: str) -> Leaving:
        """By the address alone that a host sees, where that makes a difference."""
        return self._of(":" in host) if self.open else self

    def _of(self, six: bool) -> Leaving:
        limits = self.each[six]
        return Leaving(self.local.of_kind(six), limits, (NONE, limits) if six else (limits, NONE))

    def with_limits(self, address: str, limits: Scoped) -> Leaving:
        """The same, this address of it having other limits now."""
        four, six = self.each
        return by(self.local, limits, six) if address == self.local.address else by(self.local, four, limits)

    def usable(self, now: float) -> Leaving:
        """Without IPv6 where no message may go by that now: there is IPv4."""
        if self.open and (six := self.each[1]) is not NONE:
            if any(gate.above(now) or len(gate.ring) for gate in six.connections):
                return self._of(six=False)
            if any(len(rate.ring) or not rate.room(now) for rate in (*six.sending, *six.volume)):
                return self._of(six=False)
        return self

    def callable(self, now: float) -> Leaving:
        """Without IPv6 where no new connection may be opened by that now."""
        if self.open and (six := self.each[1]) is not NONE:
            if any(gate.full(now) for gate in six.connections):
                return self._of(six=False)
            if any(len(rate.ring) or not rate.ready(now) for rate in six.opening):
                return self._of(six=False)
        return self


def by(local: Local, four: Scoped, six: Scoped) -> Leaving:
    """By these addresses, that of each kind with its limits."""
    if six is NONE or four is NONE:
        return Leaving(local, four if six is NONE else six, (four, six))
    both = Scoped(
        (*four.connections, *six.connections),
        (*four.opening, *six.opening),
        (*four.sending, *six.sending),
        (*four.volume, *six.volume),
    )
    return Leaving(local, both, (four, six))
