"""`GET /test-auth`: a login service to try things out with, as `access.url` would ask a real one.

Off unless `access.demo` says otherwise: whoever can reach it knows a password.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable
from typing import Any

from klein import Klein

from relay.http.answer import answer, iso, refusal

#: ZoneMTA's README says the one, its configuration the other.
_PAIRS = ("zone:test", "test:zone")


class TestAuthApi:
    """The resource, where it is switched on."""

    def __init__(self, on: bool, now: Callable[[], int]) -> None:
        """`now` gives ms since the epoch."""
        self._on = on
        self._now = now

    def add_routes(self, app: Klein) -> None:
        app.route("/test-auth", methods=["GET"])(self.test_auth)

    def test_auth(self, request: Any) -> bytes:
        """Whether the name and password of Basic authentication are right."""
        if not self._on:
            raise refusal(404, "ResourceNotFound", "/test-auth does not exist")
        time = iso(self._now())
        user = _user(request.getHeader(b"authorization") or b"")
        if user is None:
            request.setHeader(b"WWW-Authenticate", b'Basic realm="Secure Area"')
            return answer(request, {"time": time, "error": "Authentication required"}, 401)
        return answer(request, {"user": user, "time": time})


def _user(header: bytes) -> str | None:
    scheme, _, token = header.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        given = base64.b64decode(token.strip(), validate=True)
    except ValueError:
        return None
    right = [hmac.compare_digest(given, pair.encode()) for pair in _PAIRS]
    return given.decode().partition(":")[0] if any(right) else None
