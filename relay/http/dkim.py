"""How the signing keys are: whether each can sign."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from relay.access.caller import Scope
from relay.dispatch.keywatch import Bad
from relay.http.answer import Moment, iso
from relay.http.frame import Call
from relay.http.operation import operation


class BadKey(msgspec.Struct, frozen=True):
    """A key that can't be used, or (`file` null) is missing."""

    domain: str
    file: str | None
    reason: str
    since: Moment


class KeysState(msgspec.Struct, frozen=True):
    """How many keys there are, and those that can't sign."""

    status: Literal["ok", "degraded"]
    keys: int
    bad: list[BadKey]


class Keys(Protocol):
    """What the API needs of the watch over keys."""

    @property
    def count(self) -> int: ...
    def bad(self) -> Sequence[Bad]: ...


class DkimApi:
    """The resource of signing keys."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    @operation("GET", "/v1/dkim", scope=Scope.READ, tag="dkim", answer=KeysState)
    def dkim(self, call: Call) -> KeysState:
        """Shows whether all signing keys can sign."""
        bad = [BadKey(one.domain, one.file or None, one.reason, iso(one.since)) for one in self._keys.bad()]
        return KeysState("degraded" if bad else "ok", self._keys.count, bad)
