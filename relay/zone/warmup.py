"""Warm-up of new addresses: how many messages a site gets from each of them today.

Pure: asked with "now", in milliseconds since the epoch; a day is one of UTC. What a crash must not forget is
counted on disk before it happens: of each count there is an amount that is *reserved* there, and a message that
isn't covered by it waits until more is. After a crash all that was reserved counts as sent, so that the plan is
never exceeded and a little of it may be lost.

A day that an address has left never begins again, whatever the clock does: its counts are gone.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from relay.config.plain import shown
from relay.config.schema import Warmup
from relay.zone.daycount import OTHERS, DayCount
from relay.zone.decision import Decision, Scope
from relay.zone.plan import DAY, Plan, ahead, date_of, day_of
from relay.zone.standing import Standing, standing_of

_LONGEST = 300

#: What is kept over a restart, for each address: the day (since the epoch) and what is reserved, by site.
Saved = list[tuple[str, int, dict[str, int]]]


class Spend(enum.Enum):
    """What becomes of a message: it may go; it is counted, but has to wait until that is on disk; it may not go
    by this address today, and isn't counted."""

    GO = enum.auto()
    WAIT = enum.auto()
    FULL = enum.auto()


class Reservation(NamedTuple):
    """One write: all that has to be kept, and what of it is new, as (address, day, site, amount)."""

    saved: Saved
    new: tuple[tuple[str, int, str, int], ...]


class Warmups:
    """The counts of all addresses that have a plan."""

    #: Sites counted one by one, over all addresses. Those beyond share one count of each address: together they
    #: get what each might have got alone.
    most = 100_000

    def __init__(
        self,
        plans: Mapping[str, Warmup],
        addresses: Mapping[str, tuple[str, str]],
        decided: Callable[[Decision], None],
    ) -> None:
        """`addresses` gives of each address in a plan the plan's name and its first day ("2026-12-01").

        Raises:
            KeyError, ValueError: no such plan, no such date.
        """
        self._plans = {
            address: Plan(name, day_of(since), plans[name].days) for address, (name, since) in addresses.items()
        }
        self._counts = {address: DayCount(-1) for address in self._plans}
        self._decided = decided
        self._sites = 0
        self._new: set[tuple[str, str]] = set()

    def __len__(self) -> int:
        """How many addresses have a plan."""
        return len(self._plans)

    def __iter__(self) -> Iterator[str]:
        """The addresses that have one."""
        return iter(self._plans)

    # -- for each message

    def room(self, address: str, site: str, now: int) -> int | None:
        """How many more messages the site may get by the address today; None where that isn't limited."""
        plan = self._plans.get(address)
        if plan is None:
            return None
        day, count = now // DAY, self._counts[address]
        amount = plan.amount(day)
        if amount is None:
            self._tell_warm(address, plan, count, now)
            return None
        left = count.left(site, day, amount)
        if not left:
            self._tell_full(address, site, plan, amount, now)
        return left

    def covered(self, address: str, site: str, now: int) -> int | None:
        """As `room`, of what is reserved already."""
        left = self.room(address, site, now)
        return left and min(left, self._counts[address].covered(site, now // DAY))

    def spend(self, address: str, site: str, now: int) -> Spend:
        """Count one message. One that is to WAIT may go when a reservation made after this is on disk."""
        left = self.room(address, site, now)
        if left is None:
            return Spend.GO
        if not left:
            return Spend.FULL
        day, count = now // DAY, self._counts[address]
        if count.day < day:
            self._begin(count, day)
        spent, amount = count.of(site) + 1, count.of(site) + left
        counted = site in count.spent or (self._sites < self.most and 0 < len(site) <= _LONGEST)
        name = site if counted else OTHERS
        self._sites += name not in count.spent
        count.spent[name] = spent
        wanted = ahead(spent, amount)
        if wanted > count.asked.get(name, 0):
            count.asked[name] = wanted
            self._new.add((address, name))
        return Spend.GO if spent <= count.durable.get(name, 0) else Spend.WAIT

    def give_back(self, address: str, site: str, day: int) -> str | None:
        """A message that was counted on that day (`now // DAY`) never reached MAIL. Which site has room now that had
        none, "" for any; None: no news. There is nothing to give back when the address was warm, or the day is over."""
        count, plan = self._counts.get(address), self._plans.get(address)
        name = count.name(site) if count is not None else ""
        if count is None or plan is None or count.day != day or not count.spent.get(name):
            return None
        amount = plan.amount(day)
        was_full = amount is not None and not count.left(site, day, amount)
        count.spent[name] -= 1
        return None if not was_full else "" if name == OTHERS else site

    def next_change(self, now: int) -> int:
        """When all amounts change: the next midnight, UTC."""
        return (now // DAY + 1) * DAY

    # -- on disk

    @property
    def unsaved(self) -> bool:
        """Whether there is something to reserve."""
        return bool(self._new)

    def reserve(self) -> Reservation:
        """What is to be written now."""
        new, self._new = self._new, set()
        counts = [(address, site, self._counts[address]) for address, site in new]
        what = tuple((a, count.day, site, count.asked[site]) for a, site, count in counts if site in count.asked)
        return Reservation(self.saved(), what)

    def reserved(self, done: Reservation) -> None:
        """It is on disk."""
        for address, day, site, amount in done.new:
            count = self._counts[address]
            if count.day == day:
                count.durable[site] = amount

    def not_reserved(self, failed: Reservation) -> None:
        """It may not be on disk: it is to be written again."""
        self._new.update((address, site) for address, _, site, _ in failed.new)

    def settle(self) -> None:
        """Nothing more will be sent: what was reserved ahead is given up."""
        for count in self._counts.values():
            count.restore(count.spent)

    def saved(self) -> Saved:
        """What is to be kept."""
        return [(address, count.day, dict(count.asked)) for address, count in self._counts.items() if count.day >= 0]

    def restore(self, saved: Iterable[tuple[str, int, dict[str, int]]], now: int) -> None:
        """Go on from what was kept, before anything is counted. An address that has no plan any more is kept for
        the day, should it get one again.

        Raises:
            ValueError: these are no counts of ours; nothing is restored.
        """
        counts: dict[str, DayCount] = {}
        for address, day, sites in saved:
            if address in counts or not 0 <= day < 1 << 32:
                raise ValueError(f"expected each address once, with a day, got {shown(address)}, day {day}")
            for site, amount in sites.items():
                if not 0 < len(site) <= _LONGEST or not 0 <= amount < 1 << 32:
                    raise ValueError(f"expected sites and their counts, got {shown(site)}: {amount}")
            if address in self._plans or day >= now // DAY:
                counts[address] = DayCount(day)
                counts[address].restore(sites)
        self._counts.update(counts)
        self._sites = sum(len(count.spent) for count in self._counts.values())

    def close(self, now: int) -> None:
        """What was sent today isn't known: nothing more goes by an address in its plan until midnight."""
        for address in self._plans:
            count = self._counts[address]
            self._begin(count, max(count.day, now // DAY + 1))

    # -- for people

    def listed(self, now: int, address: str = "", site: str = "", limit: int = 1000) -> list[Standing]:
        """All addresses in a plan, or one of them, with so many sites in all, or with one site each."""
        found: list[Standing] = []
        for name, plan in sorted(self._plans.items()):
            if address in ("", name):
                found.append(standing_of(name, plan, self._counts[name], now // DAY, site, limit))
                limit -= len(found[-1].sites)
        return found

    # -- inside

    def _begin(self, count: DayCount, day: int) -> None:
        self._sites -= len(count.spent)
        count.begin(day)

    def _tell_warm(self, address: str, plan: Plan, count: DayCount, now: int) -> None:
        """Once, of an address by which something went while it was cold. Its counts are of no more use; the day
        they belong to is over for it, should the clock be wrong now."""
        if count.spent:
            self._begin(count, count.day + 1)
            reason = f"it has got through the {len(plan.days)} days of the plan {shown(plan.name)}"
            self._decided(Decision("warm", Scope(address=address), reason, now))

    def _tell_full(self, address: str, site: str, plan: Plan, amount: int, now: int) -> None:
        """Once a day: of the site, or of the address where there is no room for any."""
        day, count = now // DAY, self._counts[address]
        whole = not amount or day < count.day
        if not count.first_told("" if whole else count.name(site), day):
            return
        scope, until = Scope(address=address), self.next_change(now)
        if not amount:
            until = plan.first * DAY
            reason = f"the plan {shown(plan.name)} begins on {date_of(plan.first)}"
        elif whole:
            until = count.day * DAY
            reason = "what was sent today isn't known: the clock went back, or the count was lost"
        else:
            scope = Scope(address=address, site=site)
            reason = f"{amount} messages sent on day {plan.number(day)} of the plan {shown(plan.name)}"
        self._decided(Decision("warmup-full", scope, reason, now, until))
