"""`POST /report-bounce` and `GET /bounces`: a server for bounces to try things out with, as ZoneMTA has it."""

from __future__ import annotations

from collections import deque
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from klein import Klein
from twisted.web.iweb import IRequest

from relay.http.answer import answer, refusal

#: So many are remembered, in memory, and so many characters of each field.
MOST = 150
_LONGEST = 2000
_FIELDS = ("id", "to", "returnPath", "seq", "category", "time", "response", "fbl")


class BouncesApi:
    """Both resources."""

    def __init__(self) -> None:
        self._bounces: deque[dict[str, str]] = deque(maxlen=MOST)

    def add_routes(self, app: Klein) -> None:
        app.route("/report-bounce", methods=["POST"])(self.report)
        app.route("/bounces", methods=["GET"])(self.bounces)

    def report(self, request: Any) -> bytes:
        """A form or a JSON object; 202 with its id. What ZoneMTA doesn't know isn't remembered."""
        given = _given(request)
        bounce = {name: given[name][:_LONGEST] for name in _FIELDS if name in given}
        self._bounces.append(bounce)
        return answer(request, bounce.get("id"), 202)

    def bounces(self, request: IRequest) -> bytes:
        """Those that were reported last, the oldest first."""
        return answer(request, {"bounces": list(self._bounces)})


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
