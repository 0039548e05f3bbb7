"""What attempts teach about the way: who answers, who doesn't, and who complains of an address."""

from __future__ import annotations

from collections.abc import Callable

from relay.bounce.diagnosis import Diagnosis
from relay.dispatch.connection import Connection
from relay.dispatch.shutters import Shutters
from relay.message.values import Delivery, Outcome, Result
from relay.zone.backoff import Backoff
from relay.zone.trouble import Witness

#: Stages of an attempt before anybody has said anything.
_BEFORE_ANSWER = ("connect", "banner")
#: Two clocks don't agree to the millisecond, and what waits for the end of a pause begins just then (ms).
_NEARLY = 20


class Lessons:
    """Draws them."""

    def __init__(
        self, backoff: Backoff, shutters: Shutters, is_of: Callable[[str, str], bool], now: Callable[[], int]
    ) -> None:
        """`is_of` says whether a host (by its name) speaks for a site; `now` gives milliseconds since the epoch."""
        self._backoff = backoff
        self._is_of = is_of
        self._shutters = shutters
        self._now = now

    def answered(self, connection: Connection) -> None:
        """A host has greeted us."""
        self._shutters.answered(connection.target)

    def nothing(self, connection: Connection) -> None:
        """A connection is gone, and has shown nothing."""
        if not connection.greeted and self._backoff:
            self._shutters.tried_nothing(connection.child.zone, connection.target)
            self._shutters.moved(connection.target)

    def ended(
        self, connection: Connection, delivery: Delivery, outcome: Outcome, diagnosis: Diagnosis | None, took: float
    ) -> None:
        """An attempt has come to an end, `took` seconds after it was handed out. `diagnosis` is what its reply means,
        if it was one."""
        now = self._now()
        if outcome.result is Result.DELIVERED:
            if self._backoff:
                address = connection.local.facing(outcome.host_address)
                self._backoff.taken(connection.child.zone, connection.way.place, address, now)
            return
        begun = now - round(took * 1000) + _NEARLY
        zone, target = connection.child.zone, connection.target.scope.site
        silent = outcome.category == "network" and outcome.stage in _BEFORE_ANSWER and not outcome.code
        # Whom a host doesn't let in is no better off than before a closed door, and is locked out by knocking.
        if silent or outcome.category == "auth":
            if not connection.greeted:
                self._backoff.unreachable(zone, target, outcome.response, now, begun)
                self._shutters.moved(connection.target)
            return
        self.nothing(connection)
        kind = diagnosis.complaint if diagnosis is not None and outcome.code >= 400 else ""
        if kind:
            address = connection.local.facing(outcome.host_address)
            witness = Witness(delivery.id, delivery.seq, delivery.domain)
            way, reply = connection.way, outcome.response
            if address and (not way.site or self._is_of(way.site, outcome.host)):
                self._backoff.complained(zone, way.place, address, kind, reply, now, witness, begun)
