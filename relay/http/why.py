"""Why a delivery is where it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
from klein import Klein
from twisted.web.iweb import IRequest

from relay.dispatch.why import Why
from relay.http.answer import answer, failure, iso, refusal
from relay.message.queueid import parse_name

#: Deliveries of one message that are told of at once.
_MOST = 100


class Knowing(Protocol):
    """See relay.dispatch.why.Reasons."""

    def why(self, queue_id: str, seq: int) -> Why | None: ...

    def whys(self, queue_id: str, most: int) -> Sequence[Why]: ...


class WhyApi:
    """The resource of that."""

    def __init__(self, reasons: Knowing) -> None:
        self._reasons = reasons

    def add_routes(self, app: Klein) -> None:
        app.route("/v1/deliveries/<name>/why", methods=["GET"])(self.why)

    def why(self, request: IRequest, name: str) -> bytes:
        """Of one delivery, `id.seq`; of a message, `id`: `{"deliveries": [...]}`, the first 100 of it."""
        parsed = parse_name(name)
        if parsed is None:
            raise refusal(400, "InvalidArgument", 'expected the name of a delivery, "id.seq", or of a message, "id"')
        queue_id, seq = parsed
        if seq is None:
            found = self._reasons.whys(queue_id, _MOST)
            if found:
                return answer(request, {"deliveries": [told(each) for each in found]})
        else:
            why = self._reasons.why(queue_id, seq)
            if why is not None:
                return answer(request, told(why))
        raise failure(404, "Not in the queue: it was delivered, bounced or deleted, or never was there")


def told(why: Why) -> dict[str, object]:
    """As the API says it."""
    row, wait, diagnosis = why.delivery, why.waits_for, why.diagnosis
    return {
        "id": row.id,
        "seq": f"{row.seq:03x}",
        "recipient": row.recipient,
        "zone": row.zone,
        "domain": row.domain,
        "site": why.site or None,
        "user": why.user or None,
        "priority": why.priority,
        "state": why.state,
        "due": iso(row.due),
        "next_try": iso(why.next_try) if why.next_try else None,
        "attempts": row.attempts,
        "last_reply": row.response if row.attempts else None,
        "category": row.category or None,
        "meaning": diagnosis.message if diagnosis is not None else None,
        "fault": diagnosis.fault if diagnosis is not None else None,
        "before": why.before if why.before >= 0 else None,
        "waits_for": {
            "kind": wait.kind,
            "limit": wait.limit,
            "scope": msgspec.to_builtins(wait.scope),
            "since": iso(wait.since) if wait.since else None,
            "until": iso(wait.until) if wait.until else None,
            "freed_by": wait.freed_by,
        },
    }
