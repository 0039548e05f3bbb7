"""What requests say of entries of the list, and how entries are shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from relay.access.caller import Caller
from relay.config.plain import shown
from relay.http.answer import Moment, iso
from relay.http.fields import wrong
from relay.http.moments import ending
from relay.http.theirs import anothers
from relay.message.flow import known_as
from relay.suppression import table, whom
from relay.suppression.entry import SOURCES, Entry, Source, fit_reason

Keep = Callable[[Entry], bool]


class NewEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is to get no mail: an address, or all of a domain; from one tenant, or from anybody. For a `duration`, until
    it `expires`, or for good. Callers of a tenant say it for that one."""

    address: Annotated[str, Meta(examples=["user@example.com"])] = ""
    domain: str = ""
    tenant: str = ""
    reason: str = ""
    source: Annotated[str, Meta(description=", ".join(SOURCES))] = ""
    duration: Annotated[str, Meta(examples=["30d"])] = ""
    expires: Annotated[str, Meta(description="ISO 8601, with an offset", examples=["2026-12-01T08:00:00Z"])] = ""


class EntryQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which entries."""

    tenant: Annotated[str, Meta(description="Empty: those for anybody's mail")] | UnsetType = UNSET
    source: Annotated[str, Meta(description=", ".join(SOURCES))] | UnsetType = UNSET
    domain: str | UnsetType = UNSET

    def keep(self, caller: Caller) -> Keep:
        """Lets pass what is named, and there for the caller. Raises Problem."""
        everything = self.tenant is UNSET and not caller.tenant
        tenant = UNSET if everything else tenant_of(self.tenant or "", caller)
        source = self.source if self.source is UNSET else _source(self.source)
        domain = self.domain if self.domain is UNSET else about("", self.domain)

        def keep(entry: Entry) -> bool:
            return (
                (tenant is UNSET or entry.tenant == tenant)
                and (source is UNSET or entry.source == source)
                and (domain is UNSET or entry.domain == domain)
            )

        return keep


class EntryShown(msgspec.Struct, frozen=True, kw_only=True):
    """An entry. `tenant` null: everybody's mail; `expires` null: never."""

    id: str
    address: str | UnsetType = UNSET
    domain: str | UnsetType = UNSET
    tenant: str | None
    reason: str
    source: Source
    created: Moment
    expires: Moment | None


def entry_of(new: NewEntry, caller: Caller, now: int) -> Entry:
    """What the caller wants to be on the list, at `now` (ms). Raises Problem."""
    return Entry(
        about(new.address, new.domain),
        tenant_of(new.tenant, caller),
        fit_reason(new.reason),
        _source(new.source) if new.source else "manual",
        expires=ending(new.duration, new.expires, "expires", now),
    )


def described(entry: Entry) -> EntryShown:
    """An entry as the API shows it."""
    return EntryShown(
        id=entry.id,
        address=entry.address or UNSET,
        domain=UNSET if entry.address else entry.whom,
        tenant=entry.tenant or None,
        reason=entry.reason,
        source=entry.source,
        created=iso(entry.created),
        expires=iso(entry.expires) if entry.expires else None,
    )


def about(address: str, domain: str) -> str:
    """The one that is named. Raises Problem: neither is, both are, or it is none."""
    if bool(address) == bool(domain):
        raise wrong("address", "expected either it or domain")
    name, given, made = ("address", address, whom.address) if address else ("domain", domain, whom.domain)
    try:
        return made(given)
    except ValueError as error:
        raise wrong(name, f"{error}, got {shown(given)}") from None


def tenant_of(given: str, caller: Caller) -> str:
    """Whose list is meant, as it is kept; a tenant's caller always means its own. Raises Problem."""
    try:
        named = table.tenant_of(given)
    except ValueError as error:
        raise wrong("tenant", str(error).removeprefix("tenant: ")) from None
    own = known_as(caller.tenant)
    if own and named not in ("", own):
        raise anothers("tenant", given)
    return own or named


def is_there_for(caller: Caller, entry: Entry) -> bool:
    """Whether the caller may know of an entry, and change it."""
    return not caller.tenant or entry.tenant == known_as(caller.tenant)


def _source(given: str) -> Source:
    """Raises Problem."""
    for source in SOURCES:
        if source == given:
            return source
    raise wrong("source", f"expected one of {', '.join(SOURCES)}, got {shown(given)}")
