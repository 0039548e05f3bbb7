"""What the relay has decided about the flow of mail, and why."""

from __future__ import annotations

from typing import Annotated, Protocol

import msgspec
from msgspec import UNSET, Meta, UnsetType

from relay.access.caller import Scope as Access
from relay.dispatch.decisions import Page, Record
from relay.http.answer import Moment, iso
from relay.http.frame import Call
from relay.http.operation import operation
from relay.zone.decision import Scope

_LAST = 1 << 52


class DecisionQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which decisions."""

    after: Annotated[int, Meta(ge=0, le=_LAST, description="Only those behind that number")] | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    kind: Annotated[str, Meta(description="Only those of that kind, such as suspended")] = ""


class DecisionShown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A decision, with what it names. `until` null: until something else is decided. It was made `count` times, the
    `last` time then."""

    number: int
    kind: str
    zone: str = ""
    domain: str = ""
    site: str = ""
    address: str = ""
    user: str = ""
    reason: str
    time: Moment
    until: Moment | None
    count: int
    last: Moment


class DecisionList(msgspec.Struct, frozen=True):
    """Decisions, the oldest first. `next` is what to ask `after` for those to come; `missed`: some in between are
    forgotten."""

    decisions: list[DecisionShown]
    next: int
    missed: bool


class Recorded(Protocol):
    """What the API needs of the record."""

    def since(self, cursor: int | None, limit: int, kind: str = "") -> Page:
        """At most `limit` records behind `cursor`, or (None) the latest, oldest first."""


class DecisionsApi:
    """The resource of decisions."""

    def __init__(self, decisions: Recorded) -> None:
        self._decisions = decisions

    @operation("GET", "/v1/decisions", scope=Access.READ, tag="shaping", query=DecisionQuery, answer=DecisionList)
    def decisions(self, call: Call) -> DecisionList:
        """Shows what the relay has decided about the flow of mail.

        The latest, or those behind a number.
        """
        query: DecisionQuery = call.query
        after = None if isinstance(query.after, UnsetType) else query.after
        page = self._decisions.since(after, query.limit, query.kind)
        return DecisionList([described(record) for record in page.records], page.next, page.missed)


def described(record: Record) -> DecisionShown:
    """A decision as the API shows it."""
    decision = record.decision
    return DecisionShown(
        number=record.number,
        kind=decision.kind,
        **{name: getattr(decision.scope, name) for name in Scope.__struct_fields__},
        reason=decision.reason,
        time=iso(decision.made),
        until=iso(decision.until) if decision.until else None,
        count=record.count,
        last=iso(record.last),
    )
