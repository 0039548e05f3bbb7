"""The resources of organisations and their members."""

from __future__ import annotations

import msgspec.structs

from relay.access.access import Access
from relay.access.caller import Caller, Scope
from relay.access.refused import Refused
from relay.access.register import Full
from relay.access.roll import Roll, Taken
from relay.access.tenant import OWN, Member, Tenant
from relay.config.plain import shown
from relay.http.access_fields import (
    MemberChange,
    MemberList,
    MemberShown,
    NewMember,
    NewTenant,
    Paging,
    TenantChange,
    TenantList,
    TenantShown,
    check_theirs,
    clash,
    domains_of,
    done,
    member_shown,
    missing,
    tenant_shown,
)  # fmt: skip
from relay.http.answer import RETRY_AFTER, failure, refusal
from relay.http.fields import wrong
from relay.http.frame import Call
from relay.http.operation import operation


class TenantsApi:
    """The resources of organisations. That of the relay's own members is `relay`."""

    def __init__(self, roll: Roll) -> None:
        self._roll = roll

    @operation("GET", "/v1/tenants", scope=Scope.ADMIN, tag="tenants", query=Paging, answer=TenantList, by_tenant=True)
    def tenants(self, call: Call) -> TenantList:
        """Organisations, in the order of their ids. Who belongs to one sees that one."""
        own, query = call.caller.tenant, call.query
        page = self._roll.tenants.page(query.cursor, query.limit + 1, lambda one: not own or one.id == own)
        items = [tenant_shown(tenant) for _, tenant in page[: query.limit]]
        return TenantList(items, items[-1].id if len(page) > query.limit else None)

    @operation(
        "POST", "/v1/tenants", scope=Scope.ADMIN, tag="tenants", body=NewTenant, answer=TenantShown, status=201,
        errors=(409,), audit="tenant.created",
    )  # fmt: skip
    async def make(self, call: Call) -> TenantShown:
        """Makes an organisation."""
        asked: NewTenant = call.body
        tenant = Tenant(asked.id, _printable(asked.name) or asked.id, domains_of(asked.domains))
        try:
            made = await done(self._roll.add_tenant(tenant))
        except (Taken, Full) as error:
            raise clash(error) from None
        call.about = made.id
        call.request.setHeader(b"Location", f"/v1/tenants/{made.id}".encode("ascii"))
        return tenant_shown(made)

    @operation("GET", "/v1/tenants/{id}", scope=Scope.ADMIN, tag="tenants", answer=TenantShown, by_tenant=True)
    def tenant(self, call: Call, id: str) -> TenantShown:
        """One organisation."""
        return tenant_shown(tenant_of(self._roll, call.caller, id))

    @operation(
        "PATCH", "/v1/tenants/{id}", scope=Scope.ADMIN, tag="tenants", body=TenantChange, answer=TenantShown,
        errors=(409,), audit="tenant.changed",
    )  # fmt: skip
    async def change(self, call: Call, id: str) -> TenantShown:
        """Gives an organisation another name, or other domains, which bind its keys and members at once."""
        tenant, asked = tenant_of(self._roll, call.caller, id), call.body
        _check_not_own(id)
        if asked.name is not None:
            tenant = msgspec.structs.replace(tenant, name=_printable(asked.name) or tenant.id)
        if asked.domains is not None:
            tenant = msgspec.structs.replace(tenant, domains=domains_of(asked.domains))
        return tenant_shown(await done(self._roll.change_tenant(tenant)))

    @operation(
        "DELETE", "/v1/tenants/{id}", scope=Scope.ADMIN, tag="tenants", answer=TenantShown, errors=(409,),
        audit="tenant.deleted",
    )  # fmt: skip
    async def drop(self, call: Call, id: str) -> TenantShown:
        """Ends an organisation, with its keys and its members. Its mail stays."""
        tenant = tenant_of(self._roll, call.caller, id)
        _check_not_own(id)
        await done(self._roll.drop_tenant(id))
        return tenant_shown(tenant)


class MembersApi:
    """The resources of members."""

    def __init__(self, roll: Roll, access: Access) -> None:
        self._roll = roll
        self._access = access

    @operation(
        "GET", "/v1/tenants/{id}/members", scope=Scope.ADMIN, tag="members", query=Paging, answer=MemberList,
        by_tenant=True,
    )  # fmt: skip
    def members(self, call: Call, id: str) -> MemberList:
        """The members of an organisation, in the order of their names."""
        tenant_of(self._roll, call.caller, id)
        query = call.query
        page = self._roll.members.page(query.cursor, query.limit + 1, lambda one: one.tenant == id)
        items = [member_shown(member) for _, member in page[: query.limit]]
        return MemberList(items, items[-1].user if len(page) > query.limit else None)

    @operation(
        "POST", "/v1/tenants/{id}/members", scope=Scope.ADMIN, tag="members", body=NewMember, answer=MemberShown,
        status=201, errors=(409,), by_tenant=True, audit="member.created",
    )  # fmt: skip
    async def make(self, call: Call, id: str) -> MemberShown:
        """Makes somebody a member: a name that nobody else in any organisation has, a password, a role."""
        asked: NewMember = call.body
        _check_role(call.caller, asked.role.scopes)
        _check_bound(call.caller, tenant_of(self._roll, call.caller, id))
        user = asked.user.lower()
        hash = await self._hashed(asked.password)
        tenant_of(self._roll, call.caller, id)  # It may have gone meanwhile.
        try:
            made = await done(self._roll.add_member(user, id, asked.role, hash))
        except (Taken, Full) as error:
            raise clash(error) from None
        call.about = f"{made.user} of {id}"
        call.request.setHeader(b"Location", f"/v1/tenants/{id}/members/{made.user}".encode("ascii"))
        return member_shown(made)

    @operation(
        "PATCH", "/v1/tenants/{id}/members/{user}", scope=Scope.ADMIN, tag="members", body=MemberChange,
        answer=MemberShown, by_tenant=True, audit="member.changed",
    )  # fmt: skip
    async def change(self, call: Call, id: str, user: str) -> MemberShown:
        """Gives a member another role, or another password."""
        member, asked = self._member(call.caller, id, user), call.body
        _check_role(call.caller, member.role.scopes)
        _check_bound(call.caller, tenant_of(self._roll, call.caller, id))
        if asked.role is not None:
            _check_role(call.caller, asked.role.scopes)
        hash = "" if asked.password is None else await self._hashed(asked.password)
        member = self._member(call.caller, id, user)  # It may be another meanwhile.
        _check_role(call.caller, member.role.scopes)
        changed = await done(self._roll.change_member(member, asked.role, hash))
        call.about = f"{changed.user} of {id}"
        return member_shown(changed)

    @operation(
        "DELETE", "/v1/tenants/{id}/members/{user}", scope=Scope.ADMIN, tag="members", answer=MemberShown,
        by_tenant=True, audit="member.deleted",
    )  # fmt: skip
    async def drop(self, call: Call, id: str, user: str) -> MemberShown:
        """Ends a membership, and its sessions."""
        member = self._member(call.caller, id, user)
        _check_role(call.caller, member.role.scopes)
        await done(self._roll.drop_member(member.user))
        call.about = f"{member.user} of {id}"
        return member_shown(member)

    def _member(self, caller: Caller, id: str, user: str) -> Member:
        tenant_of(self._roll, caller, id)
        member = self._roll.members.get(user.lower())
        if member is None or member.tenant != id:
            raise missing(f"member {shown(user)} of {shown(id)}")
        return member

    async def _hashed(self, password: str) -> str:
        try:
            return await self._access.hashed(password)
        except Refused:
            raise failure(503, "Too many passwords are being looked at", RETRY_AFTER) from None


def tenant_of(roll: Roll, caller: Caller, id: str) -> Tenant:
    """An organisation that is there for the caller. Raises Problem: 404."""
    tenant = roll.tenant(id)
    if tenant is None:
        raise missing(f"organisation {shown(id)}")
    check_theirs(caller, id, f"organisation {shown(id)}")
    return tenant


def _check_not_own(id: str) -> None:
    if id == OWN:
        raise refusal(409, "TheRelaysOwn", "The organisation of the relay itself stays as it is")


def _check_role(caller: Caller, scopes: frozenset[Scope]) -> None:
    """Nobody gives more than they have, nor takes it from who has more. Raises Problem: 403."""
    if not scopes <= caller.scopes:
        raise refusal(403, "Forbidden", "That role may more than you")


def _check_bound(caller: Caller, tenant: Tenant) -> None:
    """Members may send from all that their organisation may. Raises Problem: 403."""
    if caller.domains and not (tenant.domains and set(tenant.domains) <= set(caller.domains)):
        raise refusal(403, "Forbidden", "A member may send from more domains than you")


def _printable(text: str) -> str:
    if not text.isprintable():
        raise wrong("name", "expected printable characters")
    return text.strip()
