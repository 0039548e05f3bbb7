"""Where an address in warm-up stands, as people are told. Pure."""

from __future__ import annotations

import heapq
from typing import NamedTuple

from relay.zone.daycount import DayCount
from relay.zone.plan import Plan, date_of


class SiteCount(NamedTuple):
    """What a site got today, and what is left for it. After a crash `sent` is what was reserved."""

    site: str
    sent: int
    left: int


class Standing(NamedTuple):
    """Where an address stands. `day` is 1 on the first of the plan's `days`, 0 before. `amount`, for each site
    today, is None when the address is warm. `closed`: nothing goes by it today, for it isn't known what was sent.
    `counted` sites have a count; `sites` are those of them that got most."""

    address: str
    plan: str
    since: str
    day: int
    days: int
    amount: int | None
    closed: bool
    counted: int
    sites: list[SiteCount]


def standing_of(address: str, plan: Plan, count: DayCount, day: int, site: str, limit: int) -> Standing:
    """With so many sites at most, or with the one that is named, whether or not it got anything."""
    amount, sent, sites = plan.amount(day), {}, []
    if amount is not None:
        if count.day == day:
            sent = count.spent
        names = [site][:limit] if site else heapq.nlargest(limit, sent, key=sent.__getitem__)
        for name in names:
            sites.append(SiteCount(name, count.of(name) if sent else 0, count.left(name, day, amount)))
    closed = amount is not None and day < count.day
    since, number = date_of(plan.first), plan.number(day)
    return Standing(address, plan.name, since, number, len(plan.days), amount, closed, len(sent), sites)
