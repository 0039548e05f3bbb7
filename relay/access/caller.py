"""Who asks something of the relay by its API, and what is open to them."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Scope(StrEnum):
    """What a key or a member may do."""

    SUBMIT = "submit"
    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"
    IMPERSONATE = "impersonate"


class Caller(msgspec.Struct, frozen=True):
    """One who asks.

    `name` says who it is in logs and audit events. A caller with a `tenant` sees and touches only what is that
    tenant's; "": all. `domains` are those that a message submitted may come from; (): any. `by` says how it is known:
    "key" with an id, "session"; "" for whoever shows nothing.
    """

    name: str
    scopes: frozenset[Scope]
    tenant: str = ""
    domains: tuple[str, ...] = ()
    by: str = ""

    def may(self, scope: Scope) -> bool:
        """Whether that is open to them."""
        return scope in self.scopes


#: A program of this machine that shows no key, where those are let in.
LOCAL = Caller("local", frozenset(Scope))
