"""Who gets no mail."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from relay_client.ask import Ask, Listing, do, get
from relay_client.edge import E, Group, asks, lists, takes

_PATH = "/v1/suppressions"


class Suppression(Struct, frozen=True, kw_only=True):
    """An entry: an `address` or a `domain`. `tenant` None: from nobody; `expires` None: never."""

    id: str
    address: str = ""
    domain: str = ""
    tenant: str | None = None
    reason: str = ""
    source: str
    created: datetime
    expires: datetime | None = None


class LookedUp(Struct, frozen=True, kw_only=True):
    """Whether an address gets no mail, and the entry that says so."""

    address: str
    suppressed: bool
    suppression: Suppression | None = None


class Fault(Struct, frozen=True, kw_only=True):
    """Why a line was left out."""

    line: int
    message: str


class Imported(Struct, frozen=True, kw_only=True):
    """What became of a file."""

    added: int
    unchanged: int
    bad: int
    faults: tuple[Fault, ...]


class _EntryPage(Struct, frozen=True):
    suppressions: tuple[Suppression, ...]
    cursor: str | None = None


class Suppressions(Group[E]):
    """The list."""

    @lists
    def all(
        self, *, tenant: str | None = None, source: str | None = None, domain: str | None = None
    ) -> Listing[Suppression]:
        """The newest first.

            >>> complained = [entry.address for entry in relay.suppressions.all(source="complaint")]
        """
        query = {"tenant": tenant, "source": source, "domain": domain, "limit": 1000}
        return Listing(
            get(_PATH, _EntryPage, query=query),
            lambda told: told.suppressions,
            lambda ask, told: None if told.cursor is None else ask.but(cursor=told.cursor),
        )

    @asks
    def check(self, address: str, *, tenant: str | None = None) -> Ask[LookedUp]:
        """Whether that address gets mail.

            >>> relay.suppressions.check("you@example.org").suppressed
            False
        """
        return get(_PATH, LookedUp, query={"address": address, "tenant": tenant})

    @asks
    def add(
        self,
        *,
        address: str | None = None,
        domain: str | None = None,
        tenant: str | None = None,
        reason: str | None = None,
        duration: str | None = None,
        expires: datetime | None = None,
    ) -> Ask[Suppression]:
        """Either an address or a domain; one that is there already stays as it was.

            >>> relay.suppressions.add(address="you@example.org", reason="asked by telephone", duration="90d")
        """
        body = {"address": address, "domain": domain, "tenant": tenant, "reason": reason, "duration": duration}
        return do("POST", _PATH, Suppression, body={**body, "expires": expires}, repeatable=True)

    @asks
    def remove(
        self, *, address: str | None = None, domain: str | None = None, tenant: str | None = None
    ) -> Ask[Suppression]:
        """Takes the entry off the list; the answer is what it was."""
        return do("DELETE", _PATH, Suppression, query={"address": address, "domain": domain, "tenant": tenant})

    @asks
    def load(
        self, csv: bytes | Iterable[bytes], *, tenant: str | None = None, reason: str | None = None
    ) -> Ask[Imported]:
        """Puts a CSV file of whatever length on the list; a file that is open for reading bytes will do.

            >>> with open("list.csv", "rb") as file:
            ...     print(relay.suppressions.load(file, reason="from the old system").added)
        """
        query = {"tenant": tenant, "reason": reason}
        return do("POST", f"{_PATH}/import", Imported, body=csv, kind="text/csv", query=query, repeatable=True)

    @takes
    def export(self, *, tenant: str | None = None, source: str | None = None, domain: str | None = None) -> Ask[bytes]:
        """The list as CSV, in pieces.

            >>> with open("list.csv", "wb") as file:
            ...     file.writelines(relay.suppressions.export())
        """
        return get(f"{_PATH}/export", bytes, query={"tenant": tenant, "source": source, "domain": domain})
