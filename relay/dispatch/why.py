"""Why a delivery is where it is: its state, the next try, and the one thing it waits for.

Nothing is computed here that dispatch would not ask itself: the lane says where it stands and
since when, the gate it stands at says what its limit is and what opens it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec
from msgspec.structs import replace
from twisted.internet.interfaces import IReactorTime

from relay.bounce.diagnosis import Diagnosis
from relay.dispatch.connection import Connection, State
from relay.dispatch.gates import Gate
from relay.dispatch.ledger import Ledger, Limit
from relay.dispatch.lines import Turn
from relay.dispatch.turns import Turns
from relay.message.flow import read_flow
from relay.message.values import Delivery
from relay.queue.leases import Lease, Leases
from relay.queue.schedule import Lane, Schedule
from relay.queue.store import LaneKey, Store
from relay.zone.decision import Scope
from relay.zone.zones import Zone


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """What is waited for. `kind` is a word (docs/shaping.md has them all), `limit` says it for people,
    `scope` for what it counts, `since` and `until` when it began and when it may end by itself (ms since
    the epoch; `until` 0: not by time alone), `freed_by` what would end it."""

    kind: str
    limit: str
    freed_by: str
    since: int = 0
    until: int = 0
    scope: Scope = Scope()


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `state` is `sending`, `waiting`, `deferred` or `put aside`; `next_try` in ms since the epoch,
    0 when it is due. `site` is "" while it isn't known; `before` is how many deliveries of its own lane go
    first, -1 when that isn't known without reading the queue; `diagnosis` is what the last reply means, by the rules
    of now, if a host gave one."""

    delivery: Delivery
    state: str
    next_try: int
    waits_for: Wait
    user: str
    priority: str
    site: str = ""
    before: int = -1
    diagnosis: Diagnosis | None = None


#: What ends a wait, by the kind of what is waited for.
_FREED_BY = {
    "connections": "one of these connections ends, or falls idle and is given back",
    "new connections": "time",
    "messages": "time",
    "bytes": "time",
    "answer": "one of its hosts answers, or an attempt ends",
    "look-up": "the answer of the DNS, or a few seconds without one",
    "hold": "the hold ends, or is released",
    "unreachable": "an attempt that is made when the pause is over, or somebody who ends the back-off",
    "address": "an address that may be used again",
    "warm-up": "the disk",
    "back-off": "connections to it that end, time without complaint, or somebody who ends the back-off",
}

#: The same for what stops a zone as a whole.
_ZONE = {
    Limit.ZONE: ("zone", "a transaction of the zone ends, or another sender process"),
    Limit.TRYING: ("unproven", "one of the targets being tried answers or gives up"),
    Limit.NO_CHILD: ("no child", "a sender process of the zone that is up"),
}

#: What a connection is waited with for, by its state.
_SENDING = {
    State.TRYING: ("connecting", "its host is being connected to", "the host answers, or a time-out"),
    State.OPENING: ("connecting", "its host is being connected to", "the host answers, or a time-out"),
    State.WAITING: ("zone", "its host has answered; the process has as many transactions as it may", "one ends"),
    State.SENDING: ("transaction", "it is being sent", "the host's answer"),
    State.QUIET: ("silence", "its host has said nothing for a while", "the host answers, or a time-out"),
    State.IDLE: ("result", "its outcome is being written down", "the disk"),
}


class Reasons:
    """Asked about single deliveries."""

    def __init__(
        self,
        store: Store,
        schedule: Schedule,
        leases: Leases,
        ledger: Ledger,
        turns: Turns,
        diagnose: Callable[[str], Diagnosis],
        clock: IReactorTime,
        now: Callable[[], int],
    ) -> None:
        """`now` gives milliseconds since the epoch."""
        self._store = store
        self._schedule = schedule
        self._leases = leases
        self._ledger = ledger
        self._turns = turns
        self._diagnose = diagnose
        self._clock = clock
        self._now = now

    def why(self, queue_id: str, seq: int) -> Why | None:
        """None for a delivery that isn't in the queue. Raises StoreError."""
        row = self._store.delivery(queue_id, seq)
        return None if row is None else self._of(row)

    def whys(self, queue_id: str, most: int) -> list[Why]:
        """Of the first deliveries of a message. Raises StoreError."""
        return [self._of(row) for row in self._store.deliveries(queue_id, 0, most)]

    def waiting(self) -> Counter[str]:
        """How many lanes that are due wait for what, by kind; `turn` is those in their zones' lines."""
        turns = [lane.turn for lane in self._schedule.lanes() if lane.turn is not None]
        return Counter("turn" if turn.gate is None else turn.gate.kind for turn in turns)

    def _of(self, row: Delivery) -> Why:
        now = self._now()
        work = self._schedule.work(row.id, row.seq)
        lease = self._leases.get(work.lease) if work is not None and work.lease else None
        lane = self._schedule.known(LaneKey(row.zone, row.domain, row.flow))
        site, before = "", -1
        if lease is not None:
            connection = self._ledger.get(lease.connection)
            state, wait = "sending", self._sending(lease, connection)
            site = connection.way.site if connection is not None else ""
        elif row.held:
            state = "put aside"
            wait = Wait(kind="put aside", limit=row.held, freed_by="somebody who sends it now, or deletes it")
        elif row.due > now:
            state, wait = "deferred", self._deferred(row)
        elif work is not None and work in self._turns.suspects:
            state = "waiting"
            wait = Wait(
                kind="suspect",
                limit=f"{work.crashes} sender processes crashed with it: such deliveries are tried one at a time",
                freed_by="its turn, when the one that is being tried has come to an end",
                scope=Scope(zone=row.zone),
            )
        elif work is not None and lane is not None and work not in lane.ready:
            state = "waiting"
            wait = Wait(kind="result", limit="what became of it is being written down", freed_by="the disk")
        else:
            state, wait = "waiting", self._standing(row.zone, lane)
            if work is not None and lane is not None:
                before = lane.ready.index(work)
            if lane is not None and lane.turn is not None and lane.turn.way is not None:
                site = lane.turn.way.site
        flow = read_flow(row.flow)
        return Why(
            delivery=row,
            state=state,
            next_try=row.due if row.due > now else 0,
            waits_for=wait,
            user=flow.user,
            priority=flow.priority,
            site=site,
            before=before,
            diagnosis=self._diagnose(row.response) if _is_reply(row.response) else None,
        )

    def _sending(self, lease: Lease, connection: Connection | None) -> Wait:
        since = self._wall(lease.since)
        if connection is None:
            return Wait(kind="transaction", limit="it is being sent", freed_by="the host's answer", since=since)
        for gate in (*connection.way.gates, *connection.address.gates):
            if connection in getattr(gate, "parked", ()):
                return self._at(gate, since)
        state = State.SENDING if connection.slow and connection.settled else connection.state
        kind, limit, freed_by = _SENDING.get(state, _SENDING[State.SENDING])
        if state is State.WAITING and connection.slow:
            limit, freed_by = "its host has answered; the process has as many silent connections as it may", "one ends"
        scope = Scope(zone=connection.child.zone, domain=connection.domain, site=connection.way.site)
        return Wait(kind=kind, limit=limit, freed_by=freed_by, since=since, scope=scope)

    def _deferred(self, row: Delivery) -> Wait:
        if row.attempts or row.first_failure:
            limit = f"attempt {row.attempts} failed: {row.response}"
            return Wait(kind="retry", limit=limit, freed_by="time", since=row.last_failure, until=row.due)
        limit = row.response or "it is not to be sent before"
        return Wait(kind="later", limit=limit, freed_by="time", until=row.due)

    def _standing(self, zone: str, lane: Lane | None) -> Wait:
        line = self._turns.line(zone)
        if line is None:
            return Wait(
                kind="no zone", limit=f"zone {zone} is disabled or not configured", freed_by="the configuration",
                scope=Scope(zone=zone),
            )  # fmt: skip
        if not self._turns.may():
            return Wait(kind="store", limit="the queue can't be written now", freed_by="the disk")
        turn: Turn | None = lane.turn if lane is not None else None
        if turn is None:
            return Wait(kind="turn", limit="its lane is about to be looked at", freed_by="the next moment")
        since = self._wall(turn.since)
        # What has been shut since it came to where it stands will stop it next.
        shut = self._turns.closed(zone, turn.way) if turn.way is not None else None
        if shut is not None and shut is not turn.gate:
            return self._at(shut, 0)
        if turn.gate is not None:
            return _with_rests(line.zone, self._at(turn.gate, since))
        stopped = line.trying if turn.ring is line.trial else line.full
        if stopped is None:
            limit = f"the {len(turn.ring)} lanes of the zone take turns"
            return Wait(kind="turn", limit=limit, freed_by="its turn", since=since, scope=Scope(zone=zone))
        kind, freed_by = _ZONE[stopped]
        wait = Wait(kind=kind, limit=stopped.value, freed_by=freed_by, since=since, scope=Scope(zone=zone))
        return _with_rests(line.zone, wait)

    def _at(self, gate: Gate, since: int) -> Wait:
        opens = gate.opens(self._clock.seconds())
        return Wait(
            kind=gate.kind,
            limit=gate.words(),
            freed_by=_FREED_BY[gate.kind],
            since=since,
            until=0 if opens is None else self._now() + round(opens * 1000),
            scope=gate.scope,
        )

    def _wall(self, seconds: float) -> int:
        """A moment of the clock that never jumps, in ms since the epoch."""
        return self._now() - round((self._clock.seconds() - seconds) * 1000)


def _is_reply(text: str) -> bool:
    """Whether a host has said it: words of ours begin with no code."""
    return text[:1] in ("3", "4", "5") and text[:3].isdigit() and not text[3:4].strip()


def _with_rests(zone: Zone, wait: Wait) -> Wait:
    """With throttling a connection that is waited for may be at rest."""
    if not zone.gap or wait.kind not in ("connections", "zone"):
        return wait
    return replace(wait, limit=f"{wait.limit}; each rests for {zone.gap:g} s between deliveries (throttling)")
