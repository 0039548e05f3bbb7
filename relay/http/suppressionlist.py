"""The list of those who get no mail, in the shapes that clients of ZoneMTA know: `/suppressionlist`."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import msgspec
from klein import Klein
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IRequest

from relay.http.answer import answer, failure, iso, refusal, shielded
from relay.http.slices import Slices
from relay.suppression import whom
from relay.suppression.entry import Entry
from relay.suppression.ids import is_id
from relay.suppression.suppressions import Suppressions

_PAGE = 1000
_PATH = "/suppressionlist"
_NOTHING = {"error": "No address or domain defined"}
_NO_ID = {"error": "Invalid entry ID"}


class SuppressionListApi:
    """The resource."""

    def __init__(self, suppressions: Suppressions, clock: IReactorTime) -> None:
        self._list = suppressions
        self._clock = clock

    def add_routes(self, app: Klein) -> None:
        app.route(_PATH, methods=["GET"], endpoint="suppressionlist")(self.listed)
        app.route(_PATH, methods=["POST"], endpoint="suppress")(self.add)
        app.route(_PATH, methods=["DELETE"], endpoint="unsuppress")(self.delete)

    async def listed(self, request: IRequest) -> bytes:
        """`{"suppressed": [...]}`, newest first: the first 1,000, and the cursor for `?cursor=` behind them."""
        after = request.args.get(b"cursor", [b""])[-1].decode("ascii", "replace").lower()
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
        body: dict[str, object] = {"suppressed": [shown(entry) for entry in found[:_PAGE]]}
        if len(found) > _PAGE:
            body["cursor"] = found[_PAGE - 1].id
        return answer(request, body)

    async def add(self, request: IRequest) -> bytes:
        """An address, a domain, or both, which are two entries then. The answer has the first one's id, once all is on
        disk."""
        fields = _fields(request)
        about = []
        for name, made in (("address", whom.address), ("domain", whom.domain)):
            if fields.get(name):
                try:
                    about.append((name, made(fields[name])))
                except ValueError as error:
                    raise failure(400, f"Bad {name}: {error}") from None
        if not about:
            return answer(request, _NOTHING)
        first, *_ = await shielded(self._list.add_all([Entry(one) for _, one in about]))
        return answer(request, {"suppressed": {"id": first.entry.id, **dict(about)}})

    async def delete(self, request: IRequest) -> bytes:
        """What has that id, in the body or the query, is off the list, whether it was on it or not."""
        id = _fields(request).get("id", "")
        if not is_id(id.lower()):
            return answer(request, _NO_ID)
        await shielded(self._list.remove(id.lower()))
        return answer(request, {"deleted": id})


def shown(entry: Entry) -> dict[str, object]:
    """An entry as the list shows it; that of a tenant says so."""
    what = "address" if entry.address else "domain"
    tenant = {"tenant": entry.tenant} if entry.tenant else {}
    return {"id": entry.id, "created": iso(entry.created), what: entry.whom, **tenant}


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
