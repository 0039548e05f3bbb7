"""Everything that says when mail may go, and by which address, put together.

Its memory lies beside the queue: holds.json (what an operator has put on hold), backoff.json (who has
complained of which address), warmup.json (what addresses in warm-up have sent today).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from relay.config.schema import Config
from relay.dispatch.addresses import Addresses
from relay.dispatch.decisions import Decisions
from relay.dispatch.holds import Holds
from relay.dispatch.lessons import Lessons
from relay.dispatch.limits import Limits, Senders
from relay.dispatch.shutters import Shutters
from relay.dispatch.sites import KnownSites
from relay.dispatch.warmup import Warming
from relay.keep import Keep
from relay.logs.maillog import MailLog
from relay.net.dns import Resolver
from relay.net.plumbed import Plumbed
from relay.zone.backoff import Backoff
from relay.zone.decision import Decision
from relay.zone.sites import Sites
from relay.zone.warmup import Warmups
from relay.zone.zones import Zones

#: Decisions that are worth writing down before a crash could forget them.
_GRAVE = frozenset(("suspended", "blacklisted", "released"))
#: Those after which mail may go that has waited.
_ANEW = frozenset(("released", "address-gone", "address-back"))


class Shaping:
    """One for the relay."""

    def __init__(
        self,
        config: Config,
        zones: Zones,
        log: MailLog,
        reactor: Any,
        now: Callable[[], int],
        in_thread: Callable[..., Deferred[Any]],
        counted: Callable[[str], None] = lambda kind: None,
        told: Callable[[Decision], None] = lambda decision: None,
    ) -> None:
        """`counted` is told of the kind of each decision, `told` of each that is new. `now` gives milliseconds since
        the epoch; `in_thread` runs a function where it may block."""
        queue = Path(config.queue.path)
        sites = Sites(config.sites)
        addresses = [address for pool in config.pools.values() for address in pool]
        cold = {one.address: (one.warmup, one.warmup_since) for one in addresses if one.warmup}
        self._counted = counted
        self._told = told
        self._zones = zones
        self.decisions = Decisions(log, now)
        self.limits = Limits(zones, sites, Senders(config.senders), reactor.seconds)
        self.sites = KnownSites(sites, Resolver(reactor, config.dns), reactor)
        self.backoff = Backoff(config.backoff, self._decided)
        self._keep = Keep(self.backoff, queue / "backoff.json", reactor, now, "back-offs", in_thread)
        self.holds = Holds(queue / "holds.json", reactor, now, in_thread, self._decided, self._look_again)
        self.plumbed = Plumbed(zones.addresses(), self._decided, reactor, now)
        self.warming = Warming(
            Warmups(config.warmups, cold, self._decided),
            queue / "warmup.json",
            reactor,
            now,
            in_thread,
            lambda address, site: self.addresses.has_room(address, site),
        )
        self.addresses = Addresses(
            zones, self.limits, self.backoff, self.plumbed, self.holds, self.warming, frozenset(cold), now, reactor
        )
        self.shutters = Shutters(
            self.sites, self.holds, self.backoff, self.limits.weight, reactor.seconds, now
        )
        self.lessons = Lessons(self.backoff, self.shutters, sites.is_of, now)

    def start(self) -> None:
        """Go on from what was kept. Raises HoldsUnusable."""
        self.holds.start()
        self._keep.start()
        self.warming.start()
        self.plumbed.start()

    def stop(self) -> None:
        """Nothing is looked up or looked at any more."""
        self.sites.stop()
        self.plumbed.stop()

    def write(self) -> Deferred[Any]:
        """All outcomes are in: fires when everything is on disk, or has failed."""
        self._keep.stop()
        return gatherResults([self.holds.stop(), Deferred.fromCoroutine(self.warming.stop())], consumeErrors=True)

    def site_of(self, zone: str, domain: str) -> str:
        """The site of a zone's mail to a domain, as far as it is known already; a zone with a fixed next hop has
        none."""
        section = self._zones.get(zone)
        return "" if section is not None and section.is_fixed else self.sites.remembered(domain)

    def decided(self, decision: Decision) -> None:
        """Keep a decision, whoever has made it."""
        self._decided(decision)

    def _decided(self, decision: Decision) -> None:
        self._counted(decision.kind)
        if self.decisions(decision):
            self._told(decision)
        if decision.kind in _GRAVE:
            self._keep.soon()
        if decision.kind in _ANEW:
            self._look_again()

    def _look_again(self) -> None:
        self.shutters.look_again()
        self.addresses.look_again()
