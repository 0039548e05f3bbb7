"""Who asks something of the API, and what they may."""

from __future__ import annotations

import enum

import msgspec


class Scope(enum.StrEnum):
    """What a caller may do. None contains another."""

    #: Hand over mail.
    SUBMIT = "submit"
    #: See queue, events, state.
    READ = "read"
    #: Act on the queue: hold, release, send now, move, bounce, delete.
    OPERATE = "operate"
    #: Change who may do what, and how the relay works.
    ADMIN = "admin"
    #: Say for which user and address mail is handed over.
    IMPERSONATE = "impersonate"


class Caller(msgspec.Struct, frozen=True):
    """Who asks. With a `tenant` they see and touch only what is that tenant's; with `domains` they send only from
    these. `by` says by what it is known who they are, such as "session"; "" for whoever shows nothing."""

    name: str
    scopes: frozenset[Scope]
    tenant: str = ""
    domains: tuple[str, ...] = ()
    by: str = ""

    def may(self, scope: Scope) -> bool:
        """Whether they have that scope."""
        return scope in self.scopes


#: A program of this machine, where the configuration lets these in without a key.
LOCAL = Caller("local", frozenset(Scope))
#: Who has shown nothing.
NOBODY = Caller("", frozenset())
