"""The list of those who get no mail: looked up, paged through, added to, taken from, written out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from klein import Klein
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IRequest
from twisted.web.server import Request

from relay.config.plain import shown
from relay.http.answer import Problem, answer, refusal, shielded
from relay.http.bodystream import BodyStream
from relay.http.fields import body_of, number, query_of, wrong
from relay.http.slices import Slices
from relay.http.suppression_fields import FIELDS, FILTERS, Keep, about, described, entry_of, filter_of, tenant_of
from relay.http.suppression_import import Imports
from relay.queue.store import StoreError, Unreadable
from relay.suppression import table
from relay.suppression.entry import Entry
from relay.suppression.ids import is_id
from relay.suppression.suppressions import Suppressions

_PATH = "/v1/suppressions"
#: Entries of a page, unless the request says how many.
_PAGE, _LONGEST_PAGE = 100, 1000
#: Entries that are looked at for one page; a filter that few pass gives shorter ones.
_SEEN = 20_000
#: Entries in one array.
_BULK = 1000
#: Content types of one JSON object to the line.
_BY_LINE = (b"application/x-ndjson", b"application/jsonl", b"application/x-jsonlines")
_decode = msgspec.json.Decoder(dict[str, object]).decode


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
        self.imports = Imports(suppressions, now)

    def add_routes(self, app: Klein) -> None:
        app.route(_PATH, methods=["GET"], endpoint="suppressions")(self.suppressions)
        app.route(_PATH, methods=["POST"], endpoint="add-suppression")(self.add)
        app.route(_PATH, methods=["DELETE"], endpoint="remove-suppression")(self.remove)
        app.route(f"{_PATH}/export", methods=["GET"], endpoint="export-suppressions")(self.export)
        app.route(f"{_PATH}/import", methods=["POST"], endpoint="import-suppressions")(self.imports.take)
        app.route(f"{_PATH}/<id>", methods=["GET"], endpoint="suppression")(self.suppression)
        app.route(f"{_PATH}/<id>", methods=["DELETE"], endpoint="remove-suppression-by-id")(self.remove_by_id)

    # -- looking

    async def suppressions(self, request: IRequest) -> bytes:
        """With `address`: whether it gets mail, of a tenant's if there is one. Else the next page, newest first, with
        the cursor for the one behind it, if there may be one."""
        fields = query_of(request, ("address", "cursor", "limit", *FILTERS))
        if "address" in fields:
            return answer(request, self._look_up(fields))
        keep = filter_of(fields)
        limit = number(fields, "limit", 1, _LONGEST_PAGE) or _PAGE
        after, found, seen, more = _cursor(fields), list[Entry](), 0, True
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
        body: dict[str, object] = {"count": self._list.count, "suppressions": [described(entry) for entry in found]}
        if more:
            body["cursor"] = after
        return answer(request, body)

    def _look_up(self, fields: dict[str, str]) -> dict[str, object]:
        for name in fields:
            if name not in ("address", "tenant"):
                raise wrong(name, "not with address")
        address = about({"address": fields["address"]})
        stop = self._list.find(tenant_of(fields.get("tenant", "")), address)
        entry = None if stop is None else described(self._list.told(stop))
        return {"address": address, "suppressed": stop is not None, "suppression": entry}

    def suppression(self, request: IRequest, id: str) -> bytes:
        """One entry."""
        entry = self._list.entry(id.lower()) if is_id(id.lower()) else None
        if entry is None or self._list.is_over(entry):
            raise _missing(shown(id))
        return answer(request, described(entry))

    async def export(self, request: Request) -> None:
        """All entries as CSV (relay.suppression.table), newest first, or those that the filters let pass."""
        keep = filter_of(query_of(request, FILTERS))
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

    async def add(self, request: Any) -> bytes:
        """One entry, or several, in an array or one to the line. 201 where the one is new or another than before, once
        it is on disk. Of several the bad ones are named, and the good ones taken."""
        content = request.content.getvalue()
        if content.lstrip()[:1] == b"[":
            return await self._add_all(request, _array(content))
        if (request.getHeader(b"content-type") or b"").partition(b";")[0].strip().lower() in _BY_LINE:
            return await self._add_all(request, content.split(b"\n"))
        added = await shielded(self._list.add(entry_of(body_of(request, FIELDS), self._now())))
        request.setHeader(b"Location", f"{_PATH}/{added.entry.id}".encode("ascii"))
        return answer(request, described(added.entry), 201 if added.changed else 200)

    async def _add_all(self, request: Any, items: Sequence[bytes | msgspec.Raw]) -> bytes:
        items = [item for item in items if bytes(item).strip()]
        if len(items) > _BULK:
            raise refusal(400, "InvalidContent", f"Expected {_BULK} entries at most, or an import")
        entries: list[Entry] = []
        faults: list[dict[str, object]] = []
        for place, item in enumerate(items, 1):
            try:
                entries.append(entry_of(_decode(item), self._now()))
            except Problem as problem:
                faults.append({"entry": place, "message": problem.body["message"]})
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                faults.append({"entry": place, "message": f"expected a JSON object: {error}"})
        added = await shielded(self._list.add_all(entries))
        changed = sum(one.changed for one in added)
        unchanged = len(added) - changed
        return answer(request, {"added": changed, "unchanged": unchanged, "bad": len(faults), "faults": faults})

    async def remove(self, request: IRequest) -> bytes:
        """The entry for that address or domain, and that tenant or everybody; what it was, once that is on disk."""
        fields = query_of(request, ("address", "domain", "tenant"))
        whom = about(fields)
        entry = await shielded(self._list.remove_exact(tenant_of(fields.get("tenant", "")), whom))
        if entry is None:
            raise _missing(whom)
        return answer(request, described(entry))

    async def remove_by_id(self, request: IRequest, id: str) -> bytes:
        """What it was, once that is on disk."""
        entry = await shielded(self._list.remove(id.lower())) if is_id(id.lower()) else None
        if entry is None:
            raise _missing(shown(id))
        return answer(request, described(entry))


def _array(content: bytes) -> list[msgspec.Raw]:
    """Raises Problem."""
    try:
        return msgspec.json.decode(content, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise refusal(400, "InvalidContent", f"Expected an array of JSON objects: {error}") from None


def _cursor(fields: dict[str, str]) -> str:
    """Raises Problem."""
    cursor = fields.get("cursor", "").lower()
    if cursor and not is_id(cursor):
        raise refusal(400, "InvalidArgument", "cursor is none of ours")
    return cursor


def _missing(what: str) -> Problem:
    return refusal(404, "ResourceNotFound", f"There is no entry for {what}")
