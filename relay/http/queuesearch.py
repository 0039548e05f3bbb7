"""The queue as a list: all of it, or what fits, a page at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta
from twisted.internet.interfaces import IReactorTime

from relay.access.caller import Scope
from relay.http.delivery import DeliveryShown, described
from relay.http.fields import wrong
from relay.http.frame import Call
from relay.http.operation import operation
from relay.http.seal import Broken, Seal
from relay.http.slices import Slices
from relay.http.wanted import Wanted, filter_of
from relay.queue.search import BadCursor, Cursor, Search
from relay.queue.store import Store

_MOST = 1000
#: Looks before the reactor may have its turn, and seconds of an answer after which it is given as it is.
_LOOKS, _SECONDS = 200, 0.02

_cursor = msgspec.json.Decoder(Cursor).decode


class QueueQuery(Wanted, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which deliveries, how many, and behind which page."""

    limit: Annotated[int, Meta(ge=1, le=_MOST)] = 100
    cursor: Annotated[str, Meta(max_length=6000, description="`next` of the page before")] = ""


class DeliveryPage(msgspec.Struct, frozen=True):
    """Deliveries. `next` is the cursor of the next page, null: that was all. A page may have fewer than asked for, or
    none, and not be the last: so much was looked through."""

    items: list[DeliveryShown]
    next: str | None


class QueueSearchApi:
    """The resource."""

    def __init__(self, search: Search, store: Store, clock: IReactorTime, now: Callable[[], int]) -> None:
        """`now` gives ms since the epoch."""
        self._search = search
        self._store = store
        self._clock = clock
        self._now = now
        self._seal = Seal()

    @operation(
        "GET", "/v1/queue", scope=Scope.READ, tag="queue", query=QueueQuery, answer=DeliveryPage, by_tenant=True
    )
    async def deliveries(self, call: Call) -> DeliveryPage:
        """Lists what is in the queue, or what of it fits all that is named.

        In the order of their age, or where a domain, site, zone or state is what leads to them soonest, as they are
        due in each of its lanes. A cursor is good for the same query alone, that of a tenant's caller also for the
        same life of the relay.
        """
        query: QueueQuery = call.query
        tenant = call.caller.tenant
        wanted = filter_of(query, call.caller, self._now())
        cursor, slices = self._read(query.cursor, tenant), Slices(self._clock)
        items: list[DeliveryShown] = []
        until = self._clock.seconds() + _SECONDS
        while True:
            try:
                page = self._search.page(wanted, cursor, query.limit - len(items), _LOOKS)
            except BadCursor as error:
                raise wrong("cursor", str(error)) from None
            items += [described(one, self._store) for one in page.found]
            cursor = page.next
            if cursor is None:
                return DeliveryPage(items, None)
            if len(items) == query.limit or self._clock.seconds() >= until:
                return DeliveryPage(items, self._seal.shut(msgspec.json.encode(cursor), tenant))
            await slices.breathe()

    def _read(self, text: str, tenant: str) -> Cursor | None:
        """Raises Problem."""
        if not text:
            return None
        try:
            return _cursor(self._seal.open(text, tenant))
        except (Broken, ValueError, msgspec.MsgspecError):
            raise wrong("cursor", "it is none of ours") from None
