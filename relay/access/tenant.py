"""Organisations and their members, as they are kept.

What belongs to an organisation (a tenant) is seen and touched by its own members and keys alone, and by the relay's:
these are the members of OWN, which is always there, and all keys without a tenant.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from relay.access.caller import Scope

#: The organisation whose members look after the relay itself.
OWN = "relay"


class Role(StrEnum):
    """What a member may do."""

    OWNER = "owner"
    OPERATOR = "operator"
    VIEWER = "viewer"

    @property
    def scopes(self) -> frozenset[Scope]:
        return _SCOPES[self]


_SCOPES = {
    Role.OWNER: frozenset((Scope.SUBMIT, Scope.READ, Scope.OPERATE, Scope.ADMIN)),
    Role.OPERATOR: frozenset((Scope.SUBMIT, Scope.READ, Scope.OPERATE)),
    Role.VIEWER: frozenset((Scope.READ,)),
}


class Tenant(msgspec.Struct, frozen=True, gc=False):
    """An organisation. `domains` are those that its mail may come from, (): any. `created` is ms since the epoch."""

    id: str
    name: str
    domains: tuple[str, ...] = ()
    created: int = 0


class Member(msgspec.Struct, frozen=True, gc=False):
    """Somebody who logs in for an organisation: by a name that nobody else in any of them has, in lower case.

    `hash` is that of the password (argon2). Sessions from before `since` (ms) are over: then it was made, or given
    another password.
    """

    user: str
    tenant: str
    role: Role
    hash: str
    created: int = 0
    since: int = 0
