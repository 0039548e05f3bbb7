"""The list of those who get no mail, in the shapes that clients of ZoneMTA know: `/suppressionlist`."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qsl

import msgspec
from msgspec import UNSET, Meta, UnsetType
from twisted.internet.interfaces import IReactorTime

from relay.access.caller import Scope
from relay.http.answer import Moment, failure, iso, refusal, shielded
from relay.http.frame import Call
from relay.http.operation import FORM, JSON, operation
from relay.http.slices import Slices
from relay.suppression import whom
from relay.suppression.entry import Entry
from relay.suppression.ids import is_id
from relay.suppression.suppressions import Suppressions

_PAGE = 1000
_PATH = "/suppressionlist"


class ListQuery(msgspec.Struct, frozen=True):
    """Where to go on."""

    cursor: Annotated[str, Meta(description="What the page before has given")] = ""


class IdQuery(msgspec.Struct, frozen=True):
    """Which entry, unless the body says so."""

    id: str = ""


class SuppressedShown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who gets no mail: of a tenant, or of anybody."""

    id: str
    created: Moment
    address: str = ""
    domain: str = ""
    tenant: str = ""


class SuppressedList(msgspec.Struct, frozen=True):
    """Who they are, and the `cursor` for those behind them, if there are any."""

    suppressed: list[SuppressedShown]
    cursor: str | UnsetType = UNSET


class ToSuppress(msgspec.Struct, frozen=True):
    """An address, a domain, or both, which are two entries then."""

    address: str = ""
    domain: str = ""


class SuppressedNow(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is on the list now; the id is that of the first."""

    id: str
    address: str = ""
    domain: str = ""


class Suppressed(msgspec.Struct, frozen=True):
    """What was put on the list."""

    suppressed: SuppressedNow


class Unsuppressed(msgspec.Struct, frozen=True):
    """The id that isn't on the list."""

    deleted: str


class NotDone(msgspec.Struct, frozen=True):
    """Why nothing was done, though with 200, as ZoneMTA says it."""

    error: str


class SuppressionListApi:
    """The resource."""

    def __init__(self, suppressions: Suppressions, clock: IReactorTime) -> None:
        self._list = suppressions
        self._clock = clock

    @operation("GET", _PATH, scope=Scope.READ, tag="suppressions", query=ListQuery, answer=SuppressedList)
    async def suppressed(self, call: Call) -> SuppressedList:
        """Lists who gets no mail, 1,000 at once.

        The newest comes first.
        """
        after = call.query.cursor.lower()
        if after and not is_id(after):
            raise refusal(400, "InvalidArgument", "cursor is none of ours")
        slices = Slices(self._clock)
        found: list[Entry] = []
        more = True
        while more and len(found) <= _PAGE:
            page = self._list.listed(after)
            found += (entry for entry in page if not self._list.is_over(entry))
            more = bool(page)
            after = page[-1].id if page else ""
            await slices.breathe()
        cursor = found[_PAGE - 1].id if len(found) > _PAGE else UNSET
        return SuppressedList([shown(entry) for entry in found[:_PAGE]], cursor)

    @operation(
        "POST",
        _PATH,
        scope=Scope.OPERATE,
        tag="suppressions",
        takes={JSON: ToSuppress, FORM: ToSuppress},
        answer=Suppressed | NotDone,
    )
    async def suppress(self, call: Call) -> Suppressed | NotDone:
        """Puts an address or a domain on the list, or both.

        All is on disk then.
        """
        fields = _fields(call.request)
        about = []
        for name, made in (("address", whom.address), ("domain", whom.domain)):
            if fields.get(name):
                try:
                    about.append((name, made(fields[name])))
                except ValueError as error:
                    raise failure(400, f"Bad {name}: {error}") from None
        if not about:
            return NotDone("No address or domain defined")
        first, *_ = await shielded(self._list.add_all([Entry(one) for _, one in about]))
        return Suppressed(SuppressedNow(first.entry.id, **dict(about)))

    @operation(
        "DELETE", _PATH, scope=Scope.OPERATE, tag="suppressions", query=IdQuery, answer=Unsuppressed | NotDone
    )
    async def unsuppress(self, call: Call) -> Unsuppressed | NotDone:
        """Takes the entry with that id off the list, whether it was on it or not.

        The id may be in the body, too.
        """
        id = _fields(call.request).get("id", "")
        if not is_id(id.lower()):
            return NotDone("Invalid entry ID")
        await shielded(self._list.remove(id.lower()))
        return Unsuppressed(id)


def shown(entry: Entry) -> SuppressedShown:
    """An entry as the list shows it; that of a tenant says so."""
    return SuppressedShown(
        id=entry.id,
        created=iso(entry.created),
        address=entry.address,
        domain="" if entry.address else entry.whom,
        tenant=entry.tenant,
    )


def _fields(request: Any) -> dict[str, str]:
    """The strings in the query and in the body, a JSON object or a form; what the body says counts. Raises Problem."""
    content: bytes = request.content.getvalue()
    fields: dict[str, object] = {
        name.decode("utf-8", "replace"): values[-1].decode("utf-8", "replace") for name, values in request.args.items()
    }
    if content.lstrip()[:1] == b"{":
        try:
            fields |= msgspec.json.decode(content, type=dict[str, object])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise refusal(400, "InvalidContent", f"Invalid JSON: {error}") from None
    else:
        try:
            fields |= parse_qsl(content.decode("utf-8", "replace"), max_num_fields=100)
        except ValueError:
            raise refusal(400, "InvalidContent", "Too many fields") from None
    return {name: value for name, value in fields.items() if isinstance(value, str)}
