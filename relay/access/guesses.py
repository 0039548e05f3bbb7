"""Failed logins, counted so that guessing takes too long. Pure: asked with "now", in seconds.

Three counts, each of which fades `lock_out` seconds after its last failure: of a user from one
network (`attempts` lock it out), of a network whatever the user (four times as many), and of a
user from wherever (ten times as many: a guess spread over many machines). Whoever has logged in
well from a network in the last week is held up by the first count alone, so that nobody can lock
a user out from afar, or the neighbours behind one address.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

#: Counts that are remembered; the oldest go first.
_REMEMBERED = 20_000
#: Of a name (characters); nobody in the users' file has a longer one.
LONGEST_NAME = 255
_WELL_KNOWN = 7 * 86400.0
_NETWORK, _USER = 4, 10
#: Before a refusal, per failure so far, and at most (seconds).
_PAUSE, _LONGEST_PAUSE = 0.5, 5.0


class Guesses:
    """All counts of this relay."""

    def __init__(self, attempts: int, lock_out: float) -> None:
        self._attempts = attempts
        self._lock_out = lock_out
        self._failures: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        self._good: OrderedDict[tuple[str, str], float] = OrderedDict()

    def locked(self, address: str, name: str, now: float) -> float:
        """For how long nobody may log in as `name` from there (seconds), 0 when they may."""
        network, name = network_of(address), _key(name)
        left = self._left((network, name), self._attempts, now)
        if now - self._good.get((network, name), -_WELL_KNOWN) < _WELL_KNOWN:
            return left
        left = max(left, self._left((network, ""), self._attempts * _NETWORK, now))
        return max(left, self._left(("", name), self._attempts * _USER, now))

    def failed(self, address: str, name: str, now: float) -> float:
        """A wrong guess, or words that name nobody (""). How long to wait before saying so (seconds)."""
        network, name = network_of(address), _key(name)
        count = self._add((network, ""), now)
        if name:
            count = max(count, self._add((network, name), now))
            self._add(("", name), now)
        return min(count * _PAUSE, _LONGEST_PAUSE)

    def succeeded(self, address: str, name: str, now: float) -> None:
        """They knew it."""
        key = (network_of(address), _key(name))
        self._failures.pop(key, None)
        self._good[key] = now
        self._good.move_to_end(key)
        if len(self._good) > _REMEMBERED:
            self._good.popitem(last=False)

    def _left(self, key: tuple[str, str], limit: int, now: float) -> float:
        count, last = self._failures.get(key, (0, 0.0))
        return max(0.0, last + self._lock_out - now) if count >= limit else 0.0

    def _add(self, key: tuple[str, str], now: float) -> int:
        count, last = self._failures.get(key, (0, now))
        if now - last >= self._lock_out:
            count = 0
        self._failures[key] = (count + 1, now)
        self._failures.move_to_end(key)
        if len(self._failures) > _REMEMBERED:
            self._failures.popitem(last=False)
        return count + 1


def _key(name: str) -> str:
    """A name as counts know it: in any case and of any length, for the file knows none longer."""
    return name.lower()[:LONGEST_NAME]


def network_of(address: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 an IPv6 address is in."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
