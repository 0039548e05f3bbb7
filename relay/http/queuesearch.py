"""The queue as a list: all of it, or what fits, a page at a time."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
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

    @operation(
        "GET", "/v1/queue", scope=Scope.READ, tag="queue", query=QueueQuery, answer=DeliveryPage, by_tenant=True
    )
    async def deliveries(self, call: Call) -> DeliveryPage:
        """Lists what is in the queue, or what of it fits all that is named.

        In the order of their age, or where a domain, site, zone or state is what leads to them soonest, as they are
        due in each of its lanes. A cursor is good for the same query alone.
        """
        query: QueueQuery = call.query
        wanted = filter_of(query, call.caller, self._now())
        cursor, slices = _read(query.cursor), Slices(self._clock)
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
                return DeliveryPage(items, _written(cursor))
            await slices.breathe()


def _written(cursor: Cursor) -> str:
    return urlsafe_b64encode(msgspec.json.encode(cursor)).decode("ascii").rstrip("=")


def _read(text: str) -> Cursor | None:
    """Raises Problem."""
    if not text:
        return None
    try:
        return _cursor(urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)))
    except (ValueError, msgspec.MsgspecError):
        raise wrong("cursor", "it is none of ours") from None
