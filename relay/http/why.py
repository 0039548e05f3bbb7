"""Why a delivery is where it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from relay.access.caller import Caller
from relay.access.caller import Scope as Access
from relay.dispatch.why import Wait, Why
from relay.http.answer import Moment, Problem, failure, iso, refusal
from relay.http.frame import Call
from relay.http.operation import operation
from relay.http.theirs import Kept, is_theirs
from relay.message.queueid import parse_name
from relay.zone.decision import Scope

#: Deliveries of one message that are told of at once.
_MOST = 100
#: What is waited for and says why in words that may be about another's mail, as those of a host are.
_QUOTING = frozenset({"address", "back-off", "hold", "unreachable"})


class WaitShown(msgspec.Struct, frozen=True, kw_only=True):
    """What is waited for: `limit` says it for people, `scope` for what it counts, `freed_by` what would end it. `until`
    null: not by time alone."""

    kind: str
    limit: str
    scope: Scope
    since: Moment | None
    until: Moment | None
    freed_by: str


class DeliveryWhy(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery, and the one thing that it waits for.

    `state` is `sending`, `waiting`, `deferred` or `put aside`; `next_try` null: it is due. `before` is how many go
    first of the same user to the same domain, null where that isn't known. `category`, `meaning` and `fault` are what
    the rules of now make of the last reply.
    """

    id: str
    seq: str
    recipient: str
    zone: str
    domain: str
    site: str | None
    user: str | None
    priority: str
    state: str
    due: Moment
    next_try: Moment | None
    attempts: int
    last_reply: str | None
    category: str | None
    meaning: str | None
    fault: str | None
    before: int | None
    waits_for: WaitShown


class WhyList(msgspec.Struct, frozen=True):
    """The first 100 deliveries of a message."""

    deliveries: list[DeliveryWhy]


class Knowing(Protocol):
    """See relay.dispatch.why.Reasons."""

    def why(self, queue_id: str, seq: int) -> Why | None: ...

    def whys(self, queue_id: str, most: int) -> Sequence[Why]: ...


class WhyApi:
    """The resource of that."""

    def __init__(self, reasons: Knowing, store: Kept) -> None:
        self._reasons = reasons
        self._store = store

    @operation(
        "GET", "/v1/deliveries/{name}/why", scope=Access.READ, tag="queue", answer=DeliveryWhy | WhyList, errors=(404,),
        by_tenant=True,
    )  # fmt: skip
    def why(self, call: Call, name: str) -> DeliveryWhy | WhyList:
        """Says why a delivery is where it is: its state, the next try, and what it waits for.

        Of a message, `id` without `.seq`, it says so of its first 100 deliveries.
        """
        parsed = parse_name(name)
        if parsed is None:
            raise refusal(400, "InvalidArgument", 'expected the name of a delivery, "id.seq", or of a message, "id"')
        queue_id, seq = parsed
        if not is_theirs(call.caller, self._store, queue_id):
            raise _gone()
        if seq is None:
            found = self._reasons.whys(queue_id, _MOST)
            if found:
                return WhyList([told(each, call.caller) for each in found])
        else:
            why = self._reasons.why(queue_id, seq)
            if why is not None:
                return told(why, call.caller)
        raise _gone()


def _gone() -> Problem:
    return failure(404, "Not in the queue: it was delivered, bounced or deleted, or never was there")


def told(why: Why, caller: Caller) -> DeliveryWhy:
    """As the API says it to the caller."""
    row, diagnosis = why.delivery, why.diagnosis
    return DeliveryWhy(
        id=row.id,
        seq=f"{row.seq:03x}",
        recipient=row.recipient,
        zone=row.zone,
        domain=row.domain,
        site=why.site or None,
        user=why.user or None,
        priority=why.priority,
        state=why.state,
        due=iso(row.due),
        next_try=iso(why.next_try) if why.next_try else None,
        attempts=row.attempts,
        last_reply=row.response if row.attempts else None,
        category=row.category or None,
        meaning=diagnosis.message if diagnosis is not None else None,
        fault=diagnosis.fault if diagnosis is not None else None,
        before=why.before if why.before >= 0 else None,
        waits_for=_waiting(why.waits_for, caller),
    )


def _waiting(wait: Wait, caller: Caller) -> WaitShown:
    return WaitShown(
        kind=wait.kind,
        limit=f"{wait.kind} ({wait.scope})" if caller.tenant and wait.kind in _QUOTING else wait.limit,
        scope=wait.scope,
        since=iso(wait.since) if wait.since else None,
        until=iso(wait.until) if wait.until else None,
        freed_by=wait.freed_by,
    )
