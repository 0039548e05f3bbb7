"""`GET /test-auth`: a login service to try things out with, as `access.url` would ask a real one.

Off unless `access.demo` says otherwise: whoever can reach it knows a password.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable

import msgspec

from relay.access.caller import Scope
from relay.http.answer import Moment, Problem, iso, refusal
from relay.http.frame import Call
from relay.http.operation import operation

#: ZoneMTA's README says the one, its configuration the other.
_PAIRS = ("zone:test", "test:zone")


class LoginShown(msgspec.Struct, frozen=True):
    """Who has logged in."""

    user: str
    time: Moment


class TestAuthApi:
    """The resource, where it is switched on."""

    def __init__(self, on: bool, now: Callable[[], int]) -> None:
        """`now` gives ms since the epoch."""
        self._on = on
        self._now = now

    @operation("GET", "/test-auth", scope=Scope.READ, tag="trials", answer=LoginShown, errors=(404,))
    def test_auth(self, call: Call) -> LoginShown:
        """Says whether the name and password of Basic authentication are right.

        It stands in for a login service where `access.demo` says so; elsewhere it doesn't exist.
        """
        if not self._on:
            raise refusal(404, "ResourceNotFound", "/test-auth does not exist")
        time = iso(self._now())
        user = _user(call.request.getHeader(b"authorization") or b"")
        if user is None:
            wanted = {b"WWW-Authenticate": b'Basic realm="Secure Area"'}
            raise Problem(401, {"time": time, "error": "Authentication required"}, wanted)
        return LoginShown(user, time)


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
