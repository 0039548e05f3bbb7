"""Sites that can't be reached: left alone for a while, and then tried by one delivery. Pure.

A host that is down would otherwise cost each delivery to it a time-out, and connections that
others could use. `now` is in ms since the epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from relay.zone.decision import Decision, Scope
from relay.zone.fading import Fading
from relay.zone.trouble import Outage, Trouble, quoted

#: A probe that isn't heard of for so long was lost (ms); an attempt may take long.
PATIENCE = 1800_000
#: An outage that nobody has asked about for so long after its pause is forgotten (ms).
MEMORY = 3600_000


class Outages:
    """All sites that can't be reached."""

    def __init__(self, pauses: Sequence[int], most: int, decided: Callable[[Decision], None]) -> None:
        """`pauses` are in ms; the last one repeats."""
        self._pauses = pauses
        self._decided = decided
        self.sites: Fading[tuple[str, str], Outage] = Fading(most)

    def __len__(self) -> int:
        return len(self.sites)

    def unreachable(self, zone: str, site: str, reply: str, now: int, begun: int | None = None) -> None:
        """See relay.zone.backoff.Backoff, as for all of these."""
        outage = self.sites.get((zone, site))
        level, first = 0, now
        if outage is not None:
            of_probe = outage.probed > 0 if begun is None else begun >= outage.until
            if not of_probe:
                return
            level, first = outage.level + 1, outage.first or outage.since
        pause = self._pauses[min(level, len(self._pauses) - 1)]
        level = min(level, len(self._pauses))
        outage = Outage(zone, site, quoted(reply), now, now + pause, level, first=first)
        self._put(outage)
        self._decided(Decision("unreachable", Scope(zone=zone, site=site), outage.reason, now, outage.until))

    def reachable(self, zone: str, site: str, now: int) -> None:
        if self.sites.drop((zone, site)) is not None:
            self._decided(Decision("reachable", Scope(zone=zone, site=site), "a host of it answers", now))

    def closed(self, zone: str, site: str, now: int) -> int | None:
        outage = self.sites.get((zone, site))
        if outage is None:
            return None
        if now < outage.until:
            return outage.until
        return outage.probed + PATIENCE if _probing(outage, now) else None

    def probe(self, zone: str, site: str, now: int) -> bool:
        outage = self.sites.get((zone, site))
        if outage is None:
            return True
        if now < outage.until or _probing(outage, now):
            return False
        self._put(msgspec.structs.replace(outage, probed=now))
        return True

    def probe_lost(self, zone: str, site: str) -> None:
        outage = self.sites.get((zone, site))
        if outage is not None and outage.probed:
            self._put(msgspec.structs.replace(outage, probed=0))

    def forget(self, now: int) -> None:
        """Nobody has mail for them, or they would have been tried."""
        for _ in self.sites.ended(now):
            pass

    def drop(self, zone: str, site: str) -> None:
        """It is over, untold."""
        self.sites.drop((zone, site))

    def get(self, zone: str, site: str) -> Outage | None:
        return self.sites.get((zone, site))

    def newest(self) -> Iterator[Outage]:
        return (outage for _, outage in self.sites.newest())

    def restore(self, outages: Sequence[Outage], now: int) -> None:
        """No probe is under way after a restart."""
        for outage in outages:
            until = min(outage.until, now + max(self._pauses))
            if until + MEMORY > now:
                since, first = min(outage.since, now), min(outage.first, now)
                reason = quoted(outage.reason)
                self._put(
                    msgspec.structs.replace(outage, reason=reason, since=since, until=until, probed=0, first=first)
                )

    def _put(self, outage: Outage) -> None:
        end = max(outage.until, outage.probed) + MEMORY
        self.sites.put((outage.zone, outage.site), outage, end)


def described(outage: Outage, now: int) -> Trouble:
    """An outage as it is listed."""
    waits = now < outage.until
    until = outage.until if waits else outage.probed + PATIENCE if _probing(outage, now) else now
    return Trouble(
        outage.zone, outage.site, "", "unreachable", outage.reason, outage.since, until, 0 if waits else 1
    )


def _probing(outage: Outage, now: int) -> bool:
    return 0 < outage.probed <= now < outage.probed + PATIENCE
