"""What the resources of keys, organisations and members read and show."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from ipaddress import ip_network
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta
from twisted.internet.defer import Deferred

from relay.access.apikey import ApiKey
from relay.access.caller import Caller, Scope
from relay.access.register import Full
from relay.access.roll import Taken
from relay.access.tenant import Member, Role, Tenant
from relay.config import units
from relay.config.plain import shown
from relay.http.answer import RETRY_AFTER, Problem, failure, iso, refusal, shielded
from relay.http.fields import wrong
from relay.message.address import parse
from relay.queue.store import StoreError

_T = TypeVar("_T")

#: Of domains and of networks, in one list.
_MOST = 100
#: Shortest and longest password (characters).
PASSWORD = (8, 1024)

#: As `relay.message.labels` has a tenant; the name of a key stands in logs. These patterns mean the same to those who
#: read the document and to Python, where `$` alone would let a line end pass.
TenantId = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9._:+-]{1,64}(?!\n)$", description="1 to 64 letters, digits and ._:+-")
]
KeyName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}(?!\n)$", description="What it is for")]
#: By which somebody logs in.
UserName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,254}(?!\n)$", description="In any case")]
PasswordText = Annotated[str, Meta(min_length=PASSWORD[0], max_length=PASSWORD[1])]
Text = Annotated[str, Meta(max_length=200)]
Domains = Annotated[
    list[str], Meta(max_length=_MOST, description="What mail may come from: MAIL FROM and From; none: any")
]


class Paging(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of a list."""

    limit: Annotated[int, Meta(ge=1, le=1000, description="How many at most")] = 100
    cursor: Annotated[str, Meta(max_length=300, description="`next` of the part before")] = ""


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key that is to be made."""

    name: KeyName
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=len(Scope))]
    tenant: Annotated[str, Meta(max_length=64, description="Whose it is; none: the relay's own")] = ""
    domains: Domains = []
    networks: Annotated[
        list[str],
        Meta(max_length=_MOST, description="From where it may be used; none: anywhere", examples=[["192.0.2.0/24"]]),
    ] = []
    rates: Annotated[
        list[str], Meta(max_length=5, description="How often it may be used", examples=[["10/s", "1000/h"]])
    ] = []
    duration: Annotated[str, Meta(description="How long it is good", examples=["90d"])] = ""
    expires: Annotated[str, Meta(description="Until when it is good", examples=["2027-12-01T08:00:00Z"])] = ""


class KeyShown(msgspec.Struct, frozen=True):
    """A key. `used` is up to an hour behind."""

    id: str
    name: str
    scopes: list[Scope]
    tenant: str | None
    domains: list[str]
    networks: list[str]
    rates: list[str]
    created: str
    expires: str | None
    used: str | None


class KeyMade(KeyShown, frozen=True, kw_only=True):
    """A new key: `key` is what is to be shown with each request, and is told this once."""

    key: str


class KeyList(msgspec.Struct, frozen=True):
    """A part of them."""

    items: list[KeyShown]
    next: str | None


class NewTenant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An organisation that is to be made."""

    id: TenantId
    name: Text = ""
    domains: Domains = []


class TenantChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be otherwise."""

    name: Text | None = None
    domains: Domains | None = None


class TenantShown(msgspec.Struct, frozen=True):
    """An organisation."""

    id: str
    name: str
    domains: list[str]
    created: str


class TenantList(msgspec.Struct, frozen=True):
    """A part of them."""

    items: list[TenantShown]
    next: str | None


class NewMember(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody who is to log in for an organisation."""

    user: UserName
    password: PasswordText
    role: Role


class MemberChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be otherwise; another password ends the sessions."""

    role: Role | None = None
    password: PasswordText | None = None


class MemberShown(msgspec.Struct, frozen=True):
    """A member."""

    user: str
    tenant: str
    role: Role
    created: str


class MemberList(msgspec.Struct, frozen=True):
    """A part of them."""

    items: list[MemberShown]
    next: str | None


def key_shown(key: ApiKey) -> KeyShown:
    return KeyShown(
        key.id,
        key.name,
        list(key.scopes),
        key.tenant or None,
        list(key.domains),
        list(key.networks),
        list(key.rates),
        iso(key.created),
        iso(key.expires) if key.expires else None,
        iso(key.used) if key.used else None,
    )


def key_made(key: ApiKey, text: str) -> KeyMade:
    return KeyMade(**msgspec.structs.asdict(key_shown(key)), key=text)


def tenant_shown(tenant: Tenant) -> TenantShown:
    return TenantShown(tenant.id, tenant.name, list(tenant.domains), iso(tenant.created))


def member_shown(member: Member) -> MemberShown:
    return MemberShown(member.user, member.tenant, member.role, iso(member.created))


def domains_of(given: Sequence[str]) -> tuple[str, ...]:
    """Domains as mail's are compared, each once. Raises Problem."""
    found: dict[str, None] = {}
    for number, text in enumerate(given):
        try:
            found[parse(f"x@{text}").domain] = None
        except ValueError:
            raise wrong(f"domains[{number}]", f'expected a domain such as "example.com", got {shown(text)}') from None
    return tuple(found)


def networks_of(given: Sequence[str]) -> tuple[str, ...]:
    """Networks and addresses, each once. Raises Problem."""
    found: dict[str, None] = {}
    for number, text in enumerate(given):
        try:
            found[str(ip_network(text))] = None
        except ValueError:
            expected = 'expected a network such as "192.0.2.0/24", or an address'
            raise wrong(f"networks[{number}]", f"{expected}, got {shown(text)}") from None
    return tuple(found)


def rates_of(given: Sequence[str]) -> tuple[str, ...]:
    """Rates as they are read. Raises Problem."""
    for number, text in enumerate(given):
        try:
            units.rate(text)
        except units.UnitError as error:
            raise wrong(f"rates[{number}]", f"expected {error}, got {shown(text)}") from None
    return tuple(given)


def check_theirs(caller: Caller, tenant: str, what: str) -> None:
    """What belongs to that tenant is there for the caller. Raises Problem: 404, as for what isn't."""
    if caller.tenant and caller.tenant != tenant:
        raise missing(what)


def missing(what: str) -> Problem:
    return refusal(404, "ResourceNotFound", f"There is no {what}")


async def done(change: Awaitable[_T] | Deferred[_T]) -> _T:
    """What a change gives once it is on disk. Raises Problem: 503: it isn't made."""
    assert isinstance(change, Deferred)
    try:
        return await shielded(change)
    except StoreError as error:
        raise failure(503, str(error) or "The queue can't be used now", RETRY_AFTER) from None


def clash(error: Taken | Full) -> Problem:
    """409, as somebody is there already, or no room."""
    return refusal(409, "Taken" if isinstance(error, Taken) else "TooMany", f"Nothing was made: {error}")
