"""How the signing keys are: whether each can sign."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from klein import Klein
from twisted.web.iweb import IRequest

from relay.dispatch.keywatch import Bad
from relay.http.answer import answer, iso


class Keys(Protocol):
    """What the API needs of the watch over keys."""

    @property
    def count(self) -> int: ...
    def bad(self) -> Sequence[Bad]: ...


class DkimApi:
    """The resource of signing keys."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def add_routes(self, app: Klein) -> None:
        app.route("/v1/dkim", methods=["GET"])(self.dkim)

    def dkim(self, request: IRequest) -> bytes:
        """`status` is "ok" or "degraded"; `bad` are the keys that can't be used or are missing."""
        bad = self._keys.bad()
        shown = [
            {"domain": one.domain, "file": one.file or None, "reason": one.reason, "since": iso(one.since)}
            for one in bad
        ]
        return answer(request, {"status": "degraded" if bad else "ok", "keys": self._keys.count, "bad": shown})
