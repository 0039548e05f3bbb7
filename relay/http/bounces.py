"""`POST /report-bounce` and `GET /bounces`: a server for bounces to try things out with, as ZoneMTA has it."""

from __future__ import annotations

from collections import deque
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from msgspec import UNSET, UnsetType

from relay.access.caller import Scope
from relay.http.answer import refusal
from relay.http.frame import Call
from relay.http.operation import FORM, JSON, operation

#: So many are remembered, in memory, and so many characters of each field.
MOST = 150
_LONGEST = 2000


class ReportedBounce(msgspec.Struct, frozen=True, rename="camel"):
    """What was said of it, of the fields that ZoneMTA knows."""

    id: str | UnsetType = UNSET
    to: str | UnsetType = UNSET
    return_path: str | UnsetType = UNSET
    seq: str | UnsetType = UNSET
    category: str | UnsetType = UNSET
    time: str | UnsetType = UNSET
    response: str | UnsetType = UNSET
    fbl: str | UnsetType = UNSET


class ReportedBounces(msgspec.Struct, frozen=True):
    """Those that were reported last, the oldest first."""

    bounces: list[ReportedBounce]


_FIELDS = ReportedBounce.__struct_encode_fields__


class BouncesApi:
    """Both resources."""

    def __init__(self) -> None:
        self._bounces: deque[ReportedBounce] = deque(maxlen=MOST)

    @operation(
        "POST",
        "/report-bounce",
        scope=Scope.SUBMIT,
        tag="trials",
        takes={FORM: dict[str, str], JSON: dict[str, Any]},
        answer=str | None,
        status=202,
    )
    def report(self, call: Call) -> str | None:
        """Takes a report of a bounce, and remembers it for a while.

        The answer is its `id`. What ZoneMTA doesn't know isn't remembered.
        """
        given = _given(call.request)
        bounce = {name: given[name][:_LONGEST] for name in _FIELDS if name in given}
        self._bounces.append(msgspec.convert(bounce, ReportedBounce))
        return bounce.get("id")

    @operation("GET", "/bounces", scope=Scope.READ, tag="trials", answer=ReportedBounces)
    def bounces(self, call: Call) -> ReportedBounces:
        """Shows the last 150 bounces that were reported."""
        return ReportedBounces(list(self._bounces))


def _given(request: Any) -> dict[str, str]:
    data: bytes = request.content.getvalue()
    kind = (request.getHeader(b"content-type") or b"").partition(b";")[0].strip().lower()
    try:
        if kind != b"application/json":
            return dict(parse_qsl(data.decode("utf-8"), keep_blank_values=True, max_num_fields=100))
        body = msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:
        raise refusal(400, "InvalidContent", f"Expected a form or a JSON object: {error}") from None
    if not isinstance(body, dict):
        raise refusal(400, "InvalidContent", "Expected a JSON object")
    return {name: value if isinstance(value, str) else str(value) for name, value in body.items()}
