"""The resources of the file of users. What they prove themselves by is never told."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from relay.access.caller import Scope
from relay.access.directory import Directory, Listed
from relay.access.guesses import LONGEST_NAME
from relay.config.plain import shown
from relay.http.access_fields import check_theirs, missing
from relay.http.frame import Call
from relay.http.operation import operation


class UserQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which users, and which part of that list."""

    tenant: Annotated[str, Meta(max_length=64, description="Only those whose mail is this organisation's")] = ""
    limit: Annotated[int, Meta(ge=1, le=1000, description="How many at most")] = 100
    cursor: Annotated[str, Meta(max_length=LONGEST_NAME, description="`next` of the part before")] = ""


class LimitUsed(msgspec.Struct, frozen=True):
    """So many messages, or recipients, in so many seconds, and how much of that is used now."""

    what: str
    limit: int
    seconds: int
    used: int


class UserShown(msgspec.Struct, frozen=True):
    """A user of the file. Without `senders` and `from_domains` any may be named. `proofs` are "password" and "scram";
    without either a certificate is. `limits` are the user's own, or else those of everybody."""

    name: str
    tenant: str | None
    senders: list[str]
    from_domains: list[str]
    zone: str | None
    proofs: list[str]
    disabled: bool
    limits: list[LimitUsed]


class UserList(msgspec.Struct, frozen=True):
    """A part of them."""

    items: list[UserShown]
    next: str | None


class UsersApi:
    """The resources."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    @operation("GET", "/v1/users", scope=Scope.ADMIN, tag="users", query=UserQuery, answer=UserList, by_tenant=True)
    def users(self, call: Call) -> UserList:
        """The users of the file, in the order of their names, with what they have used of their limits.

        Who belongs to an organisation sees its users. Those whom an HTTP service knows are not listed.
        """
        query: UserQuery = call.query
        tenant = call.caller.tenant or query.tenant
        items: list[UserShown] = []
        if query.tenant not in ("", tenant):
            return UserList(items, None)
        for listed in self._directory.after(query.cursor):
            if tenant in ("", listed.user.tenant):
                if len(items) == query.limit:
                    return UserList(items, items[-1].name)
                items.append(_described(listed))
        return UserList(items, None)

    @operation("GET", "/v1/users/{user}", scope=Scope.ADMIN, tag="users", answer=UserShown, by_tenant=True)
    def user(self, call: Call, user: str) -> UserShown:
        """One user of the file."""
        listed, what = self._directory.get(user), f"user {shown(user)}"
        if listed is None:
            raise missing(what)
        check_theirs(call.caller, listed.user.tenant, what)
        return _described(listed)


def _described(listed: Listed) -> UserShown:
    user = listed.user
    return UserShown(
        user.name,
        user.tenant or None,
        list(user.senders),
        list(user.from_domains),
        user.zone or None,
        list(listed.proofs),
        listed.disabled,
        [LimitUsed(one.what, one.limit, round(one.span), one.used) for one in listed.limits],
    )
