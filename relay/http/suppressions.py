"""The list of those who get no mail: looked up, paged through, added to, taken from, written out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from twisted.internet.interfaces import IReactorTime

from relay.access.caller import Caller, Scope
from relay.config.plain import shown
from relay.http.answer import Problem, refusal, shielded
from relay.http.bodystream import BodyStream
from relay.http.fields import wrong
from relay.http.frame import BodyReader, Call
from relay.http.operation import JSON, operation
from relay.http.seal import Broken, Seal
from relay.http.slices import Slices
from relay.http.suppression_fields import (
    EntryQuery,
    EntryShown,
    Keep,
    NewEntry,
    about,
    described,
    entry_of,
    is_there_for,
    tenant_of,
)
from relay.http.suppression_shapes import PAGE, AddedEntries, EntryFault, EntryPage, ListQuery, LookedUp, WhomQuery
from relay.queue.store import StoreError, Unreadable
from relay.suppression import table
from relay.suppression.entry import Entry
from relay.suppression.ids import is_id
from relay.suppression.suppressions import Suppressions

_PATH = "/v1/suppressions"
#: Entries that are looked at for one page; a filter that few pass gives shorter ones.
_SEEN = 20_000
#: Entries in one array.
_BULK = 1000
#: Content types of one JSON object to the line.
_BY_LINE = ("application/x-ndjson", "application/jsonl", "application/x-jsonlines")
_entry = BodyReader(NewEntry)
_One = Annotated[Any, Meta(description="As one alone; one that can't stand is named in the answer")]


class SuppressionsApi:
    """The resources."""

    def __init__(
        self, suppressions: Suppressions, clock: IReactorTime, now: Callable[[], int], timeout: float
    ) -> None:
        """`now` gives ms since the epoch; a client that takes nothing for `timeout` seconds is cut off."""
        self._list = suppressions
        self._clock = clock
        self._now = now
        self._timeout = timeout
        self._seal = Seal()

    # -- looking

    @operation(
        "GET", _PATH, scope=Scope.READ, tag="suppressions", query=ListQuery, answer=EntryPage | LookedUp, by_tenant=True
    )
    async def suppressions(self, call: Call) -> EntryPage | LookedUp:
        """Lists who gets no mail, or says whether one address does.

        The newest comes first. A page may be shorter than is asked for, where few are wanted: as long as there is a
        cursor, there may be more. Callers of a tenant see its own, and of everybody's whether an address is stopped.
        """
        query: ListQuery = call.query
        caller = call.caller
        if not isinstance(query.address, UnsetType):
            return self._look_up(query, query.address, caller)
        keep, limit = query.keep(caller), query.limit or PAGE
        after, found, seen, more = self._after(query.cursor or "", caller), list[Entry](), 0, True
        slices = Slices(self._clock)
        while more and len(found) < limit and seen < _SEEN:
            page = self._list.listed(after)
            more = bool(page)
            for entry in page:
                seen += 1
                after = entry.id
                if keep(entry) and not self._list.is_over(entry):
                    found.append(entry)
                    if len(found) == limit:
                        break
            await slices.breathe()
        count = UNSET if caller.tenant else self._list.count
        return EntryPage([described(entry) for entry in found], count, self._cursor(after, caller) if more else UNSET)

    def _cursor(self, after: str, caller: Caller) -> str:
        return self._seal.shut(after.encode(), caller.tenant) if caller.tenant else after

    def _after(self, cursor: str, caller: Caller) -> str:
        """Raises Problem."""
        try:
            opened = self._seal.open(cursor, caller.tenant).decode() if cursor and caller.tenant else cursor.lower()
        except Broken:
            opened = "broken"
        if opened and not is_id(opened):
            raise refusal(400, "InvalidArgument", "cursor is none of ours")
        return opened

    def _look_up(self, query: ListQuery, asked: str, caller: Caller) -> LookedUp:
        for name in ("source", "domain", "cursor", "limit"):
            if getattr(query, name) is not UNSET:
                raise wrong(name, "not with address")
        address = about(asked, "")
        stop = self._list.find(tenant_of(query.tenant or "", caller), address)
        entry = None if stop is None else self._list.told(stop)
        shows = entry is not None and is_there_for(caller, entry)
        return LookedUp(address, stop is not None, described(entry) if entry is not None and shows else None)

    @operation(
        "GET", f"{_PATH}/{{id}}", scope=Scope.READ, tag="suppressions", answer=EntryShown, by_tenant=True
    )
    def suppression(self, call: Call, id: str) -> EntryShown:
        """Shows one entry."""
        entry = self._entry(id, call.caller)
        if entry is None or self._list.is_over(entry):
            raise _missing(shown(id))
        return described(entry)

    def _entry(self, id: str, caller: Caller) -> Entry | None:
        """One that is there for the caller, over or not. Its tenant never changes. Raises StoreError."""
        entry = self._list.entry(id.lower()) if is_id(id.lower()) else None
        return None if entry is None or not is_there_for(caller, entry) else entry

    @operation(
        "GET", f"{_PATH}/export", scope=Scope.READ, tag="suppressions", query=EntryQuery, gives="text/csv",
        by_tenant=True,
    )  # fmt: skip
    async def export(self, call: Call) -> None:
        """Writes the list out as CSV, all of it or what the query names.

        The newest comes first. What comes out can be imported.
        """
        request, keep = call.request, call.query.keep(call.caller)
        request.setHeader(b"Content-Type", b"text/csv; charset=utf-8; header=present")
        request.setHeader(b"Content-Disposition", b"attachment; filename=suppressions.csv")
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        request.setHeader(b"Cache-Control", b"no-store")
        request.write(table.HEADING)
        pages = self._pages(keep)
        await BodyStream(request, self._clock, self._timeout).send(pages)

    def _pages(self, keep: Keep) -> Iterator[bytes]:
        """Raises Unreadable."""
        after = ""
        try:
            while page := self._list.listed(after):
                after = page[-1].id
                yield table.written(entry for entry in page if keep(entry) and not self._list.is_over(entry))
        except StoreError as error:
            raise Unreadable(str(error)) from None

    # -- changing

    @operation(
        "POST",
        _PATH,
        scope=Scope.OPERATE,
        tag="suppressions",
        takes={JSON: NewEntry | list[_One], _BY_LINE[0]: None},
        answer=EntryShown | AddedEntries,
        status=201,
        also=(200,),
        by_tenant=True,
        audit="suppression.added",
    )
    async def add(self, call: Call) -> EntryShown | AddedEntries:
        """Puts an entry on the list, or several.

        Several come in an array, or as an object to the line; of those the bad ones are named, and the good ones taken.
        201 where one alone is new or another than before. All is on disk then.
        """
        request = call.request
        content: bytes = request.content.getvalue()
        kind = (request.getHeader(b"content-type") or b"").partition(b";")[0].strip().lower().decode("ascii", "replace")
        many = content.split(b"\n") if kind in _BY_LINE else None
        if content.lstrip()[:1] == b"[":
            many = _array(content)
        if many is not None:
            call.status = 200
            return await self._add_all(many, call)
        added = await shielded(self._list.add(entry_of(_entry(content), call.caller, self._now())))
        call.about = _told(added.entry)
        request.setHeader(b"Location", f"{_PATH}/{added.entry.id}".encode("ascii"))
        call.status = 201 if added.changed else 200
        return described(added.entry)

    async def _add_all(self, items: Sequence[bytes], call: Call) -> AddedEntries:
        items = [item for item in items if item.strip()]
        if len(items) > _BULK:
            raise refusal(400, "InvalidContent", f"Expected {_BULK} entries at most, or an import")
        entries: list[Entry] = []
        faults: list[EntryFault] = []
        for place, item in enumerate(items, 1):
            try:
                entries.append(entry_of(_entry(item), call.caller, self._now()))
            except Problem as problem:
                faults.append(EntryFault(place, problem.body["message"]))
        added = await shielded(self._list.add_all(entries))
        changed = sum(one.changed for one in added)
        call.about = f"{changed} of {len(items)}"
        return AddedEntries(changed, len(added) - changed, len(faults), faults)

    @operation(
        "DELETE", _PATH, scope=Scope.OPERATE, tag="suppressions", query=WhomQuery, answer=EntryShown, errors=(404,),
        by_tenant=True, audit="suppression.removed",
    )  # fmt: skip
    async def remove(self, call: Call) -> EntryShown:
        """Takes the entry for an address or a domain off the list; the answer is what it was.

        That of a tenant, or without one that for everybody. It is off the list on disk then.
        """
        query: WhomQuery = call.query
        whom = about(query.address, query.domain)
        entry = await shielded(self._list.remove_exact(tenant_of(query.tenant, call.caller), whom))
        if entry is None:
            raise _missing(whom)
        call.about = _told(entry)
        return described(entry)

    @operation(
        "DELETE", f"{_PATH}/{{id}}", scope=Scope.OPERATE, tag="suppressions", answer=EntryShown, by_tenant=True,
        audit="suppression.removed",
    )  # fmt: skip
    async def remove_by_id(self, call: Call, id: str) -> EntryShown:
        """Takes an entry off the list; the answer is what it was."""
        found = self._entry(id, call.caller)
        entry = None if found is None else await shielded(self._list.remove(found.id))
        if entry is None:
            raise _missing(shown(id))
        call.about = _told(entry)
        return described(entry)


def _array(content: bytes) -> list[bytes]:
    """Raises Problem."""
    try:
        return [bytes(item) for item in msgspec.json.decode(content, type=list[msgspec.Raw])]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise refusal(400, "InvalidContent", f"Expected an array of JSON objects: {error}") from None


def _told(entry: Entry) -> str:
    """As it is written down who has changed what."""
    return f"{entry.whom} of {entry.tenant}" if entry.tenant else entry.whom


def _missing(what: str) -> Problem:
    return refusal(404, "ResourceNotFound", f"There is no entry for {what}")
