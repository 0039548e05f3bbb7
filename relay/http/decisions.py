"""What the relay has decided about the flow of mail, and why."""

from __future__ import annotations

from typing import Protocol

from klein import Klein
from twisted.web.iweb import IRequest

from relay.dispatch.decisions import Page, Record
from relay.http.answer import answer, iso
from relay.http.fields import number, query_of
from relay.zone.decision import Scope

_LIMIT = 100
_MOST = 1000
_LAST = 1 << 52


class Recorded(Protocol):
    """What the API needs of the record."""

    def since(self, cursor: int | None, limit: int, kind: str = "") -> Page:
        """At most `limit` records behind `cursor`, or (None) the latest, oldest first."""


class DecisionsApi:
    """The resource of decisions."""

    def __init__(self, decisions: Recorded) -> None:
        self._decisions = decisions

    def add_routes(self, app: Klein) -> None:
        app.route("/v1/decisions", methods=["GET"])(self.decisions)

    def decisions(self, request: IRequest) -> bytes:
        """The latest 100, or `?limit=` up to 1,000; with `?after=` those behind that number. `next` is
        what to ask `after` for those to come; `missed`: some in between are forgotten."""
        fields = query_of(request, ("after", "limit", "kind"))
        limit = number(fields, "limit", 1, _MOST) or _LIMIT
        page = self._decisions.since(number(fields, "after", 0, _LAST), limit, fields.get("kind", ""))
        return answer(
            request,
            {
                "decisions": [described(record) for record in page.records],
                "next": page.next,
                "missed": page.missed,
            },
        )


def described(record: Record) -> dict[str, object]:
    """A decision as the API shows it, with what it names; `until` null: until something else is decided."""
    decision = record.decision
    named = {name: value for name in Scope.__struct_fields__ if (value := getattr(decision.scope, name))}
    return {
        "number": record.number,
        "kind": decision.kind,
        **named,
        "reason": decision.reason,
        "time": iso(decision.made),
        "until": iso(decision.until) if decision.until else None,
        "count": record.count,
        "last": iso(record.last),
    }
