"""What may be asked of the list of those who get no mail, and how the answers look."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from relay.http.suppression_fields import EntryQuery, EntryShown

#: Entries of a page, unless the request says how many, and at most.
PAGE, _LONGEST_PAGE = 100, 1000


class ListQuery(EntryQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which entries, or whether an `address` gets mail."""

    address: Annotated[str, Meta(description="Only with tenant")] | UnsetType = UNSET
    cursor: Annotated[str, Meta(description="What the page before has given")] | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=_LONGEST_PAGE, description=f"{PAGE}, if it isn't there")] | UnsetType = UNSET


class WhomQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which entry."""

    address: str = ""
    domain: str = ""
    tenant: str = ""


class EntryPage(msgspec.Struct, frozen=True):
    """Entries, the `cursor` for those behind them, if there may be any, and how many there are in all, which callers of
    a tenant aren't told."""

    suppressions: list[EntryShown]
    count: int | UnsetType = UNSET
    cursor: str | UnsetType = UNSET


class LookedUp(msgspec.Struct, frozen=True):
    """Whether an address gets no mail, and the entry that says so, which a tenant's callers see where it is theirs."""

    address: str
    suppressed: bool
    suppression: EntryShown | None


class EntryFault(msgspec.Struct, frozen=True):
    """Why the entry at that place, from 1 on, was not put on the list."""

    entry: int
    message: str


class AddedEntries(msgspec.Struct, frozen=True):
    """What became of several."""

    added: int
    unchanged: int
    bad: int
    faults: list[EntryFault]
