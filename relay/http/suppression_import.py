"""`POST /v1/suppressions/import`: a list of any length as CSV, read as it comes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Annotated

import msgspec
from msgspec import Meta
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.access.caller import Scope
from relay.http.answer import RETRY_AFTER, failure, shielded
from relay.http.frame import Call
from relay.http.operation import operation
from relay.http.suppression_fields import tenant_of
from relay.queue.store import StoreError
from relay.suppression import table
from relay.suppression.entry import Entry, fit_reason
from relay.suppression.suppressions import Added, Suppressions
from relay.suppression.table import Line

#: Longest file (bytes).
_LONGEST = 1024 * 1024 * 1024
#: Lines that are named for what is wrong with them; others are counted.
_NAMED = 1000
#: Entries that are put on the list together.
_PAGE = 300
#: Bytes that are taken ahead of those that are read.
_AHEAD = 256 * 1024


class ImportQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What goes for lines that don't say it themselves."""

    tenant: Annotated[str, Meta(description="Whose mail they get no more; empty: anybody's")] = ""
    reason: str = ""


class LineFault(msgspec.Struct, frozen=True):
    """Why a line, from 1 on, was left out."""

    line: int
    message: str


class Imported(msgspec.Struct, frozen=True):
    """What became of a file; the first 1,000 bad lines are named."""

    added: int
    unchanged: int
    bad: int
    faults: list[LineFault]


class ListUpload:
    """One file on its way to the list: a page is read while the page before it is written."""

    limit = _LONGEST

    def __init__(self, reader: table.Reader, suppressions: Suppressions) -> None:
        self._reader = reader
        self._list = suppressions
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._page: list[Entry] = []
        self._written: Deferred[list[Added]] | None = None
        self._busy = False
        self._waiter: Deferred[None] | None = None
        self._over = False
        self._error: Exception | None = None
        self._added = self._unchanged = self._bad = 0
        self._faults: list[LineFault] = []

    # -- the body comes

    def write(self, data: bytes) -> None:
        """Takes the next piece."""
        if not self._over:
            self._pieces.append(data)
            self._held += len(data)
            self._read_on()

    def wait(self) -> Deferred[None] | None:
        """None: give more. Else hold the client back until it fires."""
        return self._caught_up() if self._held > _AHEAD else None

    def abandon(self) -> None:
        """The client is gone: what was not read yet is forgotten, what was is on the list."""
        self._over = True
        self._pieces.clear()

    async def finish(self) -> Imported:
        """The end: what came of it, once all of it is on disk. Raises what has stopped it: StoreError."""
        if self._busy:
            await self._caught_up()
        await self._take(self._reader.end())
        await self._write_page()
        await self._settle()
        if self._error is not None:
            raise self._error
        return Imported(self._added, self._unchanged, self._bad, self._faults)

    # -- inside

    def _caught_up(self) -> Deferred[None]:
        """Fires when all that came was read."""
        if self._waiter is None:
            self._waiter = Deferred()
        return self._waiter

    def _read_on(self) -> None:
        if not self._busy:
            self._busy = True
            Deferred.fromCoroutine(self._read()).addErrback(self._failed).addBoth(self._rest)

    async def _read(self) -> None:
        while self._pieces:
            data = self._pieces.popleft()
            await self._take(self._reader.feed(data))
            self._held -= len(data)

    def _failed(self, failed: Failure) -> None:
        self._error = self._error or failed.value  # type: ignore[assignment]
        self._over = True
        self._pieces.clear()

    def _rest(self, _: object) -> None:
        self._busy = False
        self._held = 0
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)

    async def _take(self, lines: Iterator[Line]) -> None:
        for line in lines:
            if self._over:
                return
            if line.entry is None:
                self._bad += 1
                if len(self._faults) < _NAMED:
                    self._faults.append(LineFault(line.number, line.fault))
            else:
                self._page.append(line.entry)
                if len(self._page) >= _PAGE:
                    await self._write_page()

    async def _write_page(self) -> None:
        """The next page, when the one before it is on disk."""
        await self._settle()
        page, self._page = self._page, []
        if page and self._error is None:
            self._written = self._list.add_all(page)

    async def _settle(self) -> None:
        written, self._written = self._written, None
        if written is not None:
            added = await written
            changed = sum(one.changed for one in added)
            self._added += changed
            self._unchanged += len(added) - changed


class ImportApi:
    """The resource."""

    def __init__(self, suppressions: Suppressions, now: Callable[[], int]) -> None:
        """`now` gives ms since the epoch."""
        self._list = suppressions
        self._now = now

    def begin(self, call: Call) -> ListUpload:
        """Begins an import that a request brings. Raises Problem."""
        query: ImportQuery = call.query
        tenant = tenant_of(query.tenant, call.caller)
        reader = table.Reader(self._now, tenant, fit_reason(query.reason), alone=bool(call.caller.tenant))
        return ListUpload(reader, self._list)

    @operation(
        "POST",
        "/v1/suppressions/import",
        scope=Scope.OPERATE,
        tag="suppressions",
        query=ImportQuery,
        takes={"text/csv": None},
        upload="begin",
        answer=Imported,
        by_tenant=True,
        audit="suppression.imported",
    )
    async def import_list(self, call: Call) -> Imported:
        """Puts a list of any length on the list: CSV, an address or a domain to the line.

        The first line may name columns: recipient, tenant, reason, source, created, expires. All is on disk then; 503:
        only a part of it is. Of a file that a tenant's caller brings, lines for another tenant are bad ones.
        """
        upload = call.request.upload
        assert isinstance(upload, ListUpload)
        try:
            told = await shielded(Deferred.fromCoroutine(upload.finish()))
        except StoreError as error:
            text = f"Only a part is on the list: {error}; send it again"
            raise failure(503, text, RETRY_AFTER) from None
        call.about = f"{told.added} of {told.added + told.unchanged + told.bad}"
        return told
