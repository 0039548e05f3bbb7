"""What went by one address in warm-up on one day, site by site. Pure."""

from __future__ import annotations

#: Stands for all sites that aren't counted one by one.
OTHERS = "*"


class DayCount:
    """Of each site three numbers: `spent`, what was counted; `asked`, what is to be on disk; `durable`, what is
    there. A day before `day` is over: it can't be known any more what was sent on it."""

    __slots__ = ("asked", "day", "durable", "spent", "told", "told_day")

    def __init__(self, day: int) -> None:
        #: The sites that were told to be full on `told_day`; "" for all of them.
        self.told: set[str] = set()
        self.told_day = day
        self.begin(day)

    def begin(self, day: int) -> None:
        """Nothing was sent on that day yet."""
        self.day = day
        self.spent: dict[str, int] = {}
        self.asked: dict[str, int] = {}
        self.durable: dict[str, int] = {}

    def restore(self, sites: dict[str, int]) -> None:
        """All that was on disk counts as sent."""
        self.spent, self.asked, self.durable = dict(sites), dict(sites), dict(sites)

    def name(self, site: str) -> str:
        """Under which name the site is counted."""
        return site if site in self.spent else OTHERS

    def of(self, site: str) -> int:
        """The most that the site may have got: what all the others have, where it is one of them."""
        return self.spent.get(site, self.spent.get(OTHERS, 0))

    def left(self, site: str, day: int, amount: int) -> int:
        """What is left of a day's amount."""
        if day != self.day:
            return amount if day > self.day else 0
        return max(0, amount - self.of(site))

    def covered(self, site: str, day: int) -> int:
        """What is on disk and not spent."""
        if day != self.day:
            return 0
        return max(0, self.durable.get(self.name(site), 0) - self.of(site))

    def first_told(self, site: str, day: int) -> bool:
        """Whether this is the first time on that day that it is told."""
        if self.told_day != day:
            self.told_day, self.told = day, set()
        new = site not in self.told
        self.told.add(site)
        return new
