"""What goes on between the relay and the hosts: connections, and the limits in use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated

import msgspec
from msgspec import Meta

from relay.access.caller import Scope as Access
from relay.dispatch.connection import Connection, State
from relay.dispatch.gates import Connections, Gate, Rate
from relay.dispatch.ledger import Ledger
from relay.http.fields import wrong
from relay.http.frame import Call
from relay.http.operation import operation
from relay.zone.decision import Scope

_MOST = 1000
_STATES = {state.name.lower(): state for state in State}
_Text = Annotated[str, Meta(max_length=512)]


class ConnectionQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which connections."""

    zone: _Text = ""
    domain: _Text = ""
    site: _Text = ""
    address: Annotated[_Text, Meta(description="A local address")] = ""
    state: Annotated[_Text, Meta(description="One of " + ", ".join(_STATES))] = ""
    limit: Annotated[int, Meta(ge=1, le=_MOST)] = 100
    cursor: Annotated[int, Meta(ge=0, le=1 << 53)] = 0


class ConnectionShown(msgspec.Struct, frozen=True):
    """A connection to a host. `host` is the address it has reached, "" before. `sent`: deliveries it was given."""

    number: int
    zone: str
    child: str
    domain: str
    site: str
    host: str
    addresses: list[str]
    state: str
    sent: int


class ConnectionList(msgspec.Struct, frozen=True):
    """In the order in which they were opened. `next` is the cursor of those behind, null: there are none."""

    items: list[ConnectionShown]
    next: int | None


class LimitQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which limits."""

    zone: _Text = ""
    domain: _Text = ""
    site: _Text = ""
    address: _Text = ""
    user: _Text = ""
    waiting: Annotated[bool, Meta(description="Only those that something waits at")] = False
    limit: Annotated[int, Meta(ge=1, le=_MOST)] = 100


class LimitShown(msgspec.Struct, frozen=True):
    """A limit that counts something. `kind`: connections, new connections, messages, bytes; `most` of it, at a time or
    in so many `seconds`. `open`: connections now; `wait`: seconds until the next may pass a rate. `waiting`: lanes that
    stand there."""

    kind: str
    scope: Scope
    most: float
    seconds: float | None
    open: int | None
    wait: float | None
    waiting: int
    limit: str


class LimitList(msgspec.Struct, frozen=True):
    """Those where most wait first; `more`: there are others."""

    limits: list[LimitShown]
    more: bool


class TrafficApi:
    """The resources of that."""

    def __init__(self, ledger: Ledger, gates: Callable[[], Iterable[Gate]], seconds: Callable[[], float]) -> None:
        """`gates` are the limits that count anything; `seconds` is a clock that never jumps."""
        self._ledger = ledger
        self._gates = gates
        self._seconds = seconds

    @operation("GET", "/v1/connections", scope=Access.READ, tag="state", query=ConnectionQuery, answer=ConnectionList)
    def connections(self, call: Call) -> ConnectionList:
        """The connections to hosts that are open or being opened, idle ones too."""
        query: ConnectionQuery = call.query
        if query.state and query.state not in _STATES:
            raise wrong("state", "expected one of " + ", ".join(_STATES))
        all_of_them = sorted(self._ledger.connections(), key=lambda one: one.number)
        found = [one for one in all_of_them if one.number > query.cursor and _fits(one, query)]
        page = found[: query.limit]
        return ConnectionList([_shown(one) for one in page], page[-1].number if len(found) > len(page) else None)

    @operation("GET", "/v1/limits", scope=Access.READ, tag="state", query=LimitQuery, answer=LimitList)
    def limits(self, call: Call) -> LimitList:
        """The limits in use: what they allow, what is used of it, and how many lanes wait there.

        A limit that nothing has met lately isn't there.
        """
        query: LimitQuery = call.query
        asked = {name: getattr(query, name).lower() for name in Scope.__struct_fields__}
        found = [
            gate
            for gate in self._gates()
            if isinstance(gate, Connections | Rate)
            and all(not value or getattr(gate.scope, name).lower() == value for name, value in asked.items())
            and (len(gate.ring) or not query.waiting)
        ]
        found.sort(key=lambda gate: (-len(gate.ring), gate.kind, str(gate.scope)))
        now = self._seconds()
        return LimitList([_limit(gate, now) for gate in found[: query.limit]], len(found) > query.limit)


def _fits(one: Connection, query: ConnectionQuery) -> bool:
    return (
        query.zone.lower() in ("", one.child.zone)
        and query.domain.lower() in ("", one.domain)
        and query.site.lower() in ("", one.way.site)
        and query.address in ("", one.local.address, one.local.address6)
        and query.state in ("", one.state.name.lower())
    )


def _shown(one: Connection) -> ConnectionShown:
    addresses = [address for address in (one.local.address, one.local.address6) if address]
    return ConnectionShown(
        one.number,
        one.child.zone,
        one.child.key,
        one.domain,
        one.way.site,
        one.faces,
        addresses,
        one.state.name.lower(),
        one.sent,
    )


def _limit(gate: Connections | Rate, now: float) -> LimitShown:
    waiting, words = len(gate.ring), gate.words()
    if isinstance(gate, Connections):
        return LimitShown(gate.kind, gate.scope, gate.most, None, gate.open, None, waiting, words)
    bucket = gate.bucket
    wait = round(bucket.wait(now), 3)
    return LimitShown(gate.kind, gate.scope, bucket.amount, bucket.unit, None, wait, waiting, words)
