"""Kept connections that wait for work, found by whom they reach and by the address that they leave by."""

from __future__ import annotations

from collections.abc import Iterator

from relay.dispatch.connection import Connection
from relay.zone.pool import Local


class Kept:
    """All of them."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, str], dict[Local, list[Connection]]] = {}

    def reaches(self, zone: str, reach: str) -> bool:
        """Whether any of a zone reaches a domain or next hop."""
        return (zone, reach) in self._places

    def to(self, zone: str, reach: str) -> Iterator[Connection]:
        """All that reach it."""
        for connections in self._places.get((zone, reach), {}).values():
            yield from connections

    def fitting(self, zone: str, reach: str, local: Local) -> Iterator[Connection]:
        """Those that reach it and leave by these addresses or by one of them, the latest first: so those that are no
        longer needed fall idle for good."""
        place = self._places.get((zone, reach))
        if place is not None:
            kinds = (local, local.of_kind(False), local.of_kind(True)) if local.address and local.address6 else (local,)
            for kind in kinds:
                yield from reversed(place.get(kind, ()))

    def add(self, connection: Connection) -> None:
        """It waits for work."""
        place = self._places.setdefault((connection.child.zone, connection.way.reach), {})
        place.setdefault(connection.local, []).append(connection)

    def remove(self, connection: Connection) -> None:
        """It doesn't any more."""
        at = (connection.child.zone, connection.way.reach)
        place = self._places[at]
        place[connection.local].remove(connection)
        if not place[connection.local]:
            del place[connection.local]
            if not place:
                del self._places[at]
