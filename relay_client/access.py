"""API keys, and the organisations that the relay's mail is for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from relay_client.ask import Ask, Listing, do, get, paged
from relay_client.edge import E, Group, asks, lists


class Key(Struct, frozen=True, kw_only=True):
    """A key. `tenant` None: the relay's own; `used` is up to an hour behind."""

    id: str
    name: str
    scopes: tuple[str, ...]
    tenant: str | None
    domains: tuple[str, ...]
    networks: tuple[str, ...]
    rates: tuple[str, ...]
    created: datetime
    expires: datetime | None
    used: datetime | None


class NewKey(Key, frozen=True, kw_only=True):
    """A key that was just made: `key` is what is shown with each request, told this once."""

    key: str

    def __repr__(self) -> str:
        return f"NewKey(id={self.id!r}, name={self.name!r})"


class Tenant(Struct, frozen=True, kw_only=True):
    """An organisation."""

    id: str
    name: str
    domains: tuple[str, ...]
    created: datetime


class Member(Struct, frozen=True, kw_only=True):
    """Somebody who logs in for an organisation."""

    user: str
    tenant: str
    role: str
    created: datetime


class _KeyPage(Struct, frozen=True):
    items: tuple[Key, ...]
    next: str | None


class _TenantPage(Struct, frozen=True):
    items: tuple[Tenant, ...]
    next: str | None


class _MemberPage(Struct, frozen=True):
    items: tuple[Member, ...]
    next: str | None


class Keys(Group[E]):
    """Who may ask."""

    @lists
    def all(self) -> Listing[Key]:
        """In the order of their ids."""
        return paged(get("/v1/keys", _KeyPage, query={"limit": 1000}), lambda told: told.items)

    @asks
    def one(self, id: str) -> Ask[Key]:
        return get("/v1/keys/{id}", Key, id)

    @asks
    def add(
        self,
        name: str,
        scopes: Sequence[str],
        *,
        tenant: str | None = None,
        domains: Sequence[str] = (),
        networks: Sequence[str] = (),
        rates: Sequence[str] = (),
        duration: str | None = None,
        expires: datetime | None = None,
    ) -> Ask[NewKey]:
        """The scopes are submit, read, operate, admin, impersonate.

            >>> made = relay.keys.add("shop", ["submit"], domains=["example.com"], rates=["10/s"], duration="90d")
            >>> made.key
            'zr_…'
        """
        bounds = {"tenant": tenant, "domains": domains, "networks": networks, "rates": rates}
        body = {"name": name, "scopes": list(scopes), **bounds, "duration": duration, "expires": expires}
        return do("POST", "/v1/keys", NewKey, body=body)

    @asks
    def revoke(self, id: str) -> Ask[Key]:
        """It opens nothing any more, from now on."""
        return do("DELETE", "/v1/keys/{id}", Key, id)


class Tenants(Group[E]):
    """Organisations."""

    @lists
    def all(self) -> Listing[Tenant]:
        """In the order of their ids."""
        return paged(get("/v1/tenants", _TenantPage, query={"limit": 1000}), lambda told: told.items)

    @asks
    def one(self, id: str) -> Ask[Tenant]:
        return get("/v1/tenants/{id}", Tenant, id)

    @asks
    def add(self, id: str, *, name: str | None = None, domains: Sequence[str] = ()) -> Ask[Tenant]:
        """`domains`: what its mail may come from; none: any.

            >>> relay.tenants.add("shop", name="The shop", domains=["example.com"])
        """
        return do("POST", "/v1/tenants", Tenant, body={"id": id, "name": name, "domains": domains})

    @asks
    def change(self, id: str, *, name: str | None = None, domains: Sequence[str] | None = None) -> Ask[Tenant]:
        """What is None stays."""
        return do("PATCH", "/v1/tenants/{id}", Tenant, id, body={"name": name, "domains": domains})

    @asks
    def remove(self, id: str) -> Ask[Tenant]:
        """With its members and its keys."""
        return do("DELETE", "/v1/tenants/{id}", Tenant, id)

    @lists
    def members(self, id: str) -> Listing[Member]:
        """In the order of their names."""
        ask = get("/v1/tenants/{id}/members", _MemberPage, id, query={"limit": 1000})
        return paged(ask, lambda told: told.items)

    @asks
    def add_member(self, id: str, user: str, password: str, role: str) -> Ask[Member]:
        """Somebody who is to log in."""
        body = {"user": user, "password": password, "role": role}
        return do("POST", "/v1/tenants/{id}/members", Member, id, body=body)

    @asks
    def change_member(
        self, id: str, user: str, *, password: str | None = None, role: str | None = None
    ) -> Ask[Member]:
        """What is None stays; another password ends the sessions."""
        body = {"password": password, "role": role}
        return do("PATCH", "/v1/tenants/{id}/members/{user}", Member, id, user, body=body)

    @asks
    def remove_member(self, id: str, user: str) -> Ask[Member]:
        """Ends the sessions, too."""
        return do("DELETE", "/v1/tenants/{id}/members/{user}", Member, id, user)
