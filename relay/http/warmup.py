"""`GET /v1/warmup`: where each address in a warm-up plan stands today, and what its sites got."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from relay.access.caller import Scope
from relay.http.answer import Moment, iso, refusal
from relay.http.frame import Call
from relay.http.operation import operation
from relay.zone.standing import Standing

_Name = Annotated[str, Meta(max_length=300)]


class WarmupQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of it."""

    address: Annotated[_Name, Meta(description="One local address")] = ""
    site: _Name = ""


class WarmSite(msgspec.Struct, frozen=True):
    """What a site got today, and what is left for it. After a crash `sent` is what was reserved."""

    site: str
    sent: int
    left: int


class WarmupShown(msgspec.Struct, frozen=True, kw_only=True):
    """Where an address stands.

    `day` is 1 on the first of the plan's `days`, 0 before. `amount`, for each site today, is null when the address is
    `warm`. `closed`: nothing goes by it today, for it isn't known what was sent. `counted` sites have a count; `sites`
    are those of them that got most.
    """

    address: str
    plan: str
    since: Annotated[str, Meta(extra_json_schema={"format": "date"})]
    day: int
    days: int
    amount: int | None
    warm: bool
    closed: bool
    counted: int
    sites: list[WarmSite]


class WarmupList(msgspec.Struct, frozen=True):
    """All of them; the amounts hold `until` then."""

    time: Moment
    until: Moment
    addresses: list[WarmupShown]


class Warmth(Protocol):
    """What is in warm-up."""

    def listed(self, address: str, site: str) -> Sequence[Standing]:
        """All addresses in a plan, or the one named; with those 1,000 sites, over all of them, that got most,
        or with the one named."""

    def next_change(self) -> int:
        """When all amounts change (ms since the epoch)."""


class WarmupApi:
    """The resource that shows warm-up."""

    def __init__(self, warmth: Warmth, now: Callable[[], int]) -> None:
        self._warmth = warmth
        self._now = now

    @operation(
        "GET", "/v1/warmup", scope=Scope.READ, tag="shaping", query=WarmupQuery, answer=WarmupList, errors=(404,)
    )
    def warmup(self, call: Call) -> WarmupList:
        """Shows where each address in a warm-up plan stands today.

        All of them, or one, with the 1,000 sites that got most, or with one.
        """
        query: WarmupQuery = call.query
        rows = self._warmth.listed(query.address, query.site)
        if query.address and not rows:
            raise refusal(404, "ResourceNotFound", f"address: no plan is given to {query.address!a}")
        until = iso(self._warmth.next_change())
        return WarmupList(iso(self._now()), until, [_described(row) for row in rows])


def _described(row: Standing) -> WarmupShown:
    return WarmupShown(
        address=row.address,
        plan=row.plan,
        since=row.since,
        day=row.day,
        days=row.days,
        amount=row.amount,
        warm=row.amount is None,
        closed=row.closed,
        counted=row.counted,
        sites=[WarmSite(*one) for one in row.sites],
    )
