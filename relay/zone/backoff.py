"""Back-off that heals: how much may go from an address to a site that complained. Pure.

A complaint suspends the path from that address to that site, in its zone; the next one, which can
only come when something went again, for longer. After a pause there is one connection, and twice
as many with each `climb` without a complaint, until nothing is limited any more. Nobody has to
do anything for that: what is not asked about heals too. Times are ms since the epoch.

    complaint              pause over                                recovered
    |-------- 0 -----------|-- 1 --|-- 2 --|-- 4 --|-- 8 --|-- 16 --|  no limit
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from ipaddress import ip_address
from itertools import islice
from typing import Any

import msgspec

from relay.config.schema import Backoff as Section
from relay.zone.decision import Decision, Scope
from relay.zone.fading import Fading
from relay.zone.outages import Outages, described
from relay.zone.trouble import Kind, Path, Saved, Trouble, Witness, quoted

#: Paths remembered, and unreachable sites; the oldest make room.
MOST = 100_000
#: Rungs of the ladder: 1, 2, 4, 8, 16 connections.
RUNGS = 5

_NOBODY = Witness()
_SAID = {"rate": ("suspended", "too much"), "block": ("suspended", "blocked"), "blacklist": ("blacklisted", "listed")}


class Backoff:
    """All paths and sites that have trouble. Each decision is told to `decided` once."""

    def __init__(self, section: Section, decided: Callable[[Decision], None], most: int = MOST) -> None:
        self._pauses = _milliseconds(section.pauses)
        self._climb, self._blacklist = _milliseconds((section.climb, section.blacklist))
        self._decided = decided
        self._most = most
        self._paths: Fading[tuple[str, str, str], Path] = Fading(most)
        self._outages = Outages(_milliseconds(section.unreachable), most, decided)

    # -- paths: from an address to a site

    def complained(
        self,
        zone: str,
        site: str,
        address: str,
        kind: Kind,
        reply: str,
        now: int,
        witness: Witness = _NOBODY,
        begun: int | None = None,
    ) -> None:
        """A reply of the site says `kind` (relay.bounce.diagnosis): the path is suspended, or the address set
        aside for that site. `begun` is when the attempt began that heard it, if that is known: what began
        before the last pause was over says nothing new. Only a listing makes a running pause longer."""
        self._forget(now)
        path = self._paths.get((zone, site, address))
        level = path.level if path is not None else 0
        listing = kind == "blacklist"
        news = path is None or (listing and path.kind != "blacklist")
        if path is not None and not news and (now if begun is None else begun) < path.until:
            return
        if listing:
            until = max(now + self._blacklist, path.until if path is not None else 0)
        else:
            until = now + self._pauses[min(level, len(self._pauses) - 1)]
            level = min(level + 1, len(self._pauses))
        id, seq, domain = witness
        words = quoted(reply)
        first = (path.first or path.since) if path is not None else now
        path = Path(zone, site, address, kind, words, now, until, level, id, seq, quoted(domain, 255), first=first)
        self._put(path)
        said, why = _SAID[kind]
        self._tell(said, path, f"{why}: {words}", now, until)

    def taken(self, zone: str, site: str, address: str, now: int) -> None:
        """The site has taken mail from the address: whatever its trouble, it is not one of saying no to everything."""
        path = self._paths.get((zone, site, address))
        if path is not None:
            self._put(msgspec.structs.replace(path, first=now))

    def allowance(self, zone: str, site: str, address: str, now: int) -> int | None:
        """How many connections the path may have now: None, no limit; 0, it is suspended or set aside."""
        path = self._paths.get((zone, site, address))
        if path is None:
            return None
        allowed = self._allowed(path, now)
        if allowed is None:
            self._paths.drop((zone, site, address))
            self._recovered(path, now)
        elif allowed and not path.climbing:
            self._put(msgspec.structs.replace(path, climbing=True))
            self._tell("climbing", path, "the pause is over; it begins with one connection", now, self._end(path))
        return allowed

    def until(self, zone: str, site: str, address: str, now: int) -> int | None:
        """When the allowance next changes, if nothing comes; None, when there is no limit."""
        path = self._paths.get((zone, site, address))
        return self._until(path, now) if path is not None else None

    def first(self, zone: str, site: str, address: str = "") -> int:
        """When the trouble of a path began, or when the site last took mail from it in spite of that; without an
        address when the site was found not to answer. 0: there is no trouble."""
        entry = self._paths.get((zone, site, address)) if address else self._outages.get(zone, site)
        return (entry.first or entry.since) if entry is not None else 0

    def why(self, zone: str, site: str, address: str, now: int) -> Trouble | None:
        """What limits the path, the site's being unreachable included."""
        path = self._paths.get((zone, site, address))
        if path is not None and (trouble := self._described(path, now)) is not None:
            return trouble
        outage = self._outages.get(zone, site)
        return described(outage, now) if outage is not None else None

    # -- sites that can't be reached

    def unreachable(self, zone: str, site: str, reply: str, now: int, begun: int | None = None) -> None:
        """No host of the site gave a connection or a greeting: nothing is tried for the next of the pauses.
        That counts once: after the pause only the failure of the probe does. `begun` is when the attempt
        began, if that is known; without it a failure while there is a probe is the probe's."""
        self._outages.forget(now)
        self._outages.unreachable(zone, site, reply, now, begun)

    def reachable(self, zone: str, site: str, now: int) -> None:
        """A host of the site gave a greeting: it is open."""
        self._outages.reachable(zone, site, now)

    def closed(self, zone: str, site: str, now: int) -> int | None:
        """Until when nothing is tried; None, the site is open, or a probe may be taken: ask `probe`. While a
        probe is under way, when it would count as lost."""
        return self._outages.closed(zone, site, now)

    def probe(self, zone: str, site: str, now: int) -> bool:
        """Whether an attempt may begin. After a pause one may, which is then the probe: its outcome has to
        be told by `unreachable`, `reachable` or `probe_lost`. An open site always says yes."""
        return self._outages.probe(zone, site, now)

    def probe_lost(self, zone: str, site: str, now: int) -> None:
        """The probe came to nothing, and says nothing: another may be taken."""
        self._outages.probe_lost(zone, site)

    # -- by hand

    def end(self, scope: Scope, now: int) -> int:
        """End what matches everything that `scope` names; how many. A scope without names is all there is;
        domains and users have no back-off."""
        if scope.domain or scope.user:
            return 0
        self._forget(now)
        paths = [path for _, path in self._paths.newest() if _matches(scope, path.zone, path.site, path.address)]
        outages = [one for one in self._outages.newest() if _matches(scope, one.zone, one.site, "")]
        for path in paths:
            self._paths.drop((path.zone, path.site, path.address))
        for outage in outages:
            self._outages.drop(outage.zone, outage.site)
        count = len(paths) + len(outages)
        if count:
            self._decided(Decision("released", scope, f"ended by an operator: {count} back-offs", now))
        return count

    def listed(self, now: int, scope: Scope = Scope(), most: int = 1000) -> list[Trouble]:  # noqa: B008
        """What is in force and matches `scope`: the newest `most`, paths before unreachable sites."""
        self._forget(now)
        return list(islice(self._listed(scope, now), most))

    def _listed(self, scope: Scope, now: int) -> Iterator[Trouble]:
        for _, path in self._paths.newest():
            if _matches(scope, path.zone, path.site, path.address) and (trouble := self._described(path, now)):
                yield trouble
        for outage in self._outages.newest():
            if _matches(scope, outage.zone, outage.site, ""):
                yield described(outage, now)

    def blacklisted(self, now: int, most: int = 1000) -> list[Path]:
        """The addresses that are set aside: the newest `most`."""
        self._forget(now)
        paths = (path for _, path in self._paths.newest())
        return list(islice((path for path in paths if path.kind == "blacklist" and now < path.until), most))

    def summary(self, now: int) -> tuple[Counter[str], int]:
        """How many there are of each kind: paths that are `suspended`, `blacklisted` or `climbing`, and sites that are
        `unreachable`; and when the trouble of that path began, or it was last used in spite of that, which has had it
        longest (ms since the epoch; `now`: there is none)."""
        self._forget(now)
        kinds = Counter(suspended=0, blacklisted=0, climbing=0, unreachable=0)
        first = now
        for path, _ in self._paths.entries.values():
            kinds["climbing" if now >= path.until else _SAID[path.kind][0]] += 1
            first = min(first, path.first or path.since)
        kinds["unreachable"] = len(self._outages)
        return kinds, first

    def __bool__(self) -> bool:
        """Whether anything is remembered at all."""
        return bool(self._paths.entries or self._outages.sites.entries)

    def __len__(self) -> int:
        """Paths and sites that are remembered."""
        return len(self._paths) + len(self._outages)

    # -- over a restart

    def saved(self, now: int) -> Saved:
        """What is to be known again, as lists."""
        self._forget(now)
        return Saved(self._paths.oldest(), self._outages.sites.oldest())

    def restore(self, saved: Any, now: int) -> None:
        """Go on from what was saved; what is over by now is left out, and nothing lasts longer than the
        configuration says. Raises ValueError for what was never saved, and has changed nothing then."""
        kept = saved if isinstance(saved, Saved) else msgspec.convert(saved, Saved)
        for what, entries in (("paths", kept.paths), ("sites", kept.outages)):
            if len(entries) > self._most:
                raise ValueError(f"expected at most {self._most} {what}, got {len(entries)}")
        for path in kept.paths:
            longest = max(self._pauses)
            if path.kind == "blacklist":
                longest = max(longest, self._blacklist)
            path = msgspec.structs.replace(
                path,
                reason=quoted(path.reason),
                since=min(path.since, now),
                first=min(path.first, now),
                until=min(path.until, now + longest),
                level=min(path.level, len(self._pauses)),
            )
            if now < self._end(path):
                self._put(path)
        self._outages.restore(kept.outages, now)

    # -- inside

    def _allowed(self, path: Path, now: int) -> int | None:
        if now < path.until:
            return 0
        rung = (now - path.until) // self._climb
        return 1 << rung if rung < RUNGS else None

    def _until(self, path: Path, now: int) -> int | None:
        if now < path.until:
            return path.until
        change = now + self._climb - (now - path.until) % self._climb
        return change if now < self._end(path) else None

    def _end(self, path: Path) -> int:
        return path.until + RUNGS * self._climb

    def _described(self, path: Path, now: int) -> Trouble | None:
        allowed, until = self._allowed(path, now), self._until(path, now)
        if allowed is None or until is None:
            return None
        return Trouble(path.zone, path.site, path.address, path.kind, path.reason, path.since, until, allowed)

    def _put(self, path: Path) -> None:
        self._paths.put((path.zone, path.site, path.address), path, self._end(path))

    def _forget(self, now: int) -> None:
        """Whatever has healed, asked about or not."""
        for _, path in self._paths.ended(now):
            self._recovered(path, now)
        self._outages.forget(now)

    def _recovered(self, path: Path, now: int) -> None:
        self._tell("recovered", path, "no complaint since the pause", now, 0)

    def _tell(self, kind: str, path: Path, reason: str, now: int, until: int) -> None:
        scope = Scope(zone=path.zone, site=path.site, address=path.address)
        self._decided(Decision(kind, scope, reason, now, until))


def _milliseconds(seconds: Sequence[float]) -> list[int]:
    """At least one, and no more than thirty years."""
    return [max(1, int(min(one, 1e9) * 1000)) for one in seconds]


def _matches(scope: Scope, zone: str, site: str, address: str) -> bool:
    return (
        (not scope.zone or scope.zone == zone)
        and (not scope.site or scope.site == site)
        and (not scope.address or _plain(scope.address) == _plain(address))
    )


@lru_cache(1024)
def _plain(address: str) -> str:
    """An IPv6 address has many spellings; the configuration's is the one that paths have."""
    try:
        return str(ip_address(address)) if ":" in address else address
    except ValueError:
        return address
