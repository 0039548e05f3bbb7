"""Which hold is in the way? Asked for each delivery that may go, so the answer must not grow with the holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from relay.zone.decision import Scope
from relay.zone.hold import Hold

#: What a hold names of zone, domain, site and user, in lower case; "" is any.
_Key = tuple[str, str, str, str]
#: Which of the four a key names.
_Shape = tuple[bool, bool, bool, bool]
_FOR_EVER = 1 << 62


class HoldIndex:
    """The holds in force, found by what they name.

    A look-up makes one key for each shape that some hold has (sixteen at most).
    """

    def __init__(self) -> None:
        self._holds: dict[str, Hold] = {}
        self._by_key: dict[_Key, dict[str, Hold]] = {}
        self._shapes: Counter[_Shape] = Counter()
        self._longest: dict[_Key, Hold] = {}
        self._addresses: dict[_Key, frozenset[str]] = {}

    def __len__(self) -> int:
        return len(self._holds)

    def get(self, id: str) -> Hold | None:
        return self._holds.get(id)

    def all(self) -> Collection[Hold]:
        """In the order in which they came."""
        return self._holds.values()

    def matching(self, zone: str, domain: str, site: str, user: str) -> Hold | None:
        """The hold in the way of all that is called so, whatever its address; of several, the one
        that lasts longest."""
        if not self._longest:
            return None
        found = None
        for key in self._keys(zone, domain, site, user):
            hold = self._longest.get(key)
            if hold is not None and (found is None or _lasts(hold) > _lasts(found)):
                found = hold
        return found

    def addresses(self, zone: str, domain: str, site: str, user: str) -> frozenset[str]:
        """The local addresses that are held for what is called so."""
        if not self._addresses:
            return frozenset()
        sets = [self._addresses.get(key, frozenset()) for key in self._keys(zone, domain, site, user)]
        return frozenset[str]().union(*sets)

    def change(self, new: Iterable[Hold], gone: Iterable[str]) -> None:
        """Puts holds in force and takes others, by their ids, out of it."""
        touched: set[_Key] = set()
        for hold in new:
            key = _key(hold.scope)
            if key not in self._by_key:
                self._by_key[key] = {}
                self._shapes[_shape(key)] += 1
            self._holds[hold.id] = self._by_key[key][hold.id] = hold
            touched.add(key)
        for id in gone:
            ended = self._holds.pop(id, None)
            if ended is not None:
                key = _key(ended.scope)
                del self._by_key[key][id]
                touched.add(key)
        for key in touched:
            self._refresh(key)

    def _refresh(self, key: _Key) -> None:
        """Answers anew what is asked of a key."""
        holds = self._by_key[key]
        if not holds:
            del self._by_key[key]
            shape = _shape(key)
            self._shapes[shape] -= 1
            if not self._shapes[shape]:
                del self._shapes[shape]
        self._longest.pop(key, None)
        self._addresses.pop(key, None)
        stops = [hold for hold in holds.values() if not hold.scope.address]
        if stops:
            self._longest[key] = max(stops, key=_lasts)
        addresses = frozenset(hold.scope.address for hold in holds.values() if hold.scope.address)
        if addresses:
            self._addresses[key] = addresses

    def _keys(self, zone: str, domain: str, site: str, user: str) -> list[_Key]:
        zone, domain, site, user = zone.lower(), domain.lower(), site.lower(), user.lower()
        return [
            (zone if by_zone else "", domain if by_domain else "", site if by_site else "", user if by_user else "")
            for by_zone, by_domain, by_site, by_user in self._shapes
        ]


def _key(scope: Scope) -> _Key:
    return scope.zone.lower(), scope.domain.lower(), scope.site.lower(), scope.user.lower()


def _shape(key: _Key) -> _Shape:
    zone, domain, site, user = key
    return bool(zone), bool(domain), bool(site), bool(user)


def _lasts(hold: Hold) -> tuple[int, str]:
    """What holds are compared by; the id only makes it the same one each time."""
    return hold.until or _FOR_EVER, hold.id
