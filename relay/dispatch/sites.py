"""Which site each recipient domain is of, found out by the DNS and remembered.

Mail waits for the answer a short while at most. Where there is none the domain is its own
site, and what is the matter with it its delivery finds out.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.net.dns import DnsError, NoData
from relay.zone.sites import Sites, is_literal

_log = Logger()

#: Look-ups under way at a time.
LOOK_UPS = 500
#: How long one may take, and how long a domain waits for its first answer (seconds).
PATIENCE = 3.0
#: Domains remembered, and domains that wait to be looked up.
REMEMBERED = 100_000
#: How long an answer holds, and none (seconds).
HOLDS, FAILURE_HOLDS = 3600.0, 60.0


class Resolver(Protocol):
    """What is needed of `relay.net.dns`."""

    async def mx(self, domain: str) -> list[tuple[int, str]]: ...


class KnownSites:
    """Answers at once, or never for this time: then `found` says when to ask again.

    A domain's site stays what it is until a look-up has found another. A site that was found longer
    ago than it holds is still told, and looked up anew beside that.

    Attributes:
        found: called with a domain when `known` has an answer it didn't have before, be it the first or
            another one; never within `known`.
    """

    def __init__(self, sites: Sites, resolver: Resolver, clock: Any) -> None:
        self.found: Callable[[str], None] = lambda domain: None
        self._sites = sites
        self._resolver = resolver
        self._clock = clock
        # The domain looked at last comes last: its site, and until when it holds.
        self._kept: OrderedDict[str, tuple[str, float]] = OrderedDict()
        # Each domain that is to be looked up, those under way too, and the order of the others.
        self._asked: set[str] = set()
        self._queue: deque[str] = deque()
        self._under_way: dict[str, Deferred[list[tuple[int, str]]]] = {}
        # Domains without an answer, and when each has waited long enough.
        self._waiting: OrderedDict[str, float] = OrderedDict()
        self._next: Any = None
        self._alarm: Any = None
        self._stopped = False

    def known(self, domain: str) -> str | None:
        """The site of a domain; None while it is looked up, and then `found` tells.

        An address literal is its own site, and so is, for now, a domain when too many wait already.
        """
        kept = self._kept.get(domain)
        if kept is not None:
            self._kept.move_to_end(domain)
            if kept[1] <= self._clock.seconds():
                self._ask(domain)
            return kept[0]
        if is_literal(domain) or not self._ask(domain):
            return self._own(domain)
        return None

    def stop(self) -> None:
        """Give up what is under way, and look up nothing more: what isn't remembered is its own site."""
        self._stopped = True
        self._asked.clear()
        self._queue.clear()
        self._waiting.clear()
        for call in (self._next, self._alarm):
            if call is not None and call.active():
                call.cancel()
        self._next = self._alarm = None
        for asking in list(self._under_way.values()):
            asking.cancel()

    # -- inside

    def _own(self, domain: str) -> str:
        return self._sites.site_of((), domain)

    def _ask(self, domain: str) -> bool:
        """Whether the domain is being looked up, or will be."""
        if domain not in self._asked:
            if self._stopped or len(self._queue) >= REMEMBERED:
                return False
            self._asked.add(domain)
            self._queue.append(domain)
            self._go_on()
        if domain not in self._kept and domain not in self._waiting:
            self._waiting[domain] = self._clock.seconds() + PATIENCE
            if self._alarm is None:
                self._alarm = self._clock.callLater(PATIENCE, self._impatient)
        return True

    def _go_on(self) -> None:
        """Begin in the next turn of the reactor, so that no answer comes in the midst of a question."""
        if self._next is None and self._queue and len(self._under_way) < LOOK_UPS and not self._stopped:
            self._next = self._clock.callLater(0, self._begin)

    def _begin(self) -> None:
        # A fixed number a turn, though answers that are remembered come at once: others have work, too.
        for _ in range(min(LOOK_UPS - len(self._under_way), len(self._queue))):
            domain = self._queue.popleft()
            asking = Deferred.fromCoroutine(self._resolver.mx(domain))
            self._under_way[domain] = asking
            asking.addTimeout(PATIENCE, self._clock)
            asking.addCallbacks(self._answered, self._failed, callbackArgs=(domain,), errbackArgs=(domain,))
            if self._stopped:
                return
        self._next = None
        self._go_on()

    def _answered(self, exchangers: list[tuple[int, str]], domain: str) -> None:
        self._settle(domain, self._sites.site_of(exchangers, domain), HOLDS)

    def _failed(self, failure: Failure, domain: str) -> None:
        if failure.check(NoData):
            self._settle(domain, self._own(domain), HOLDS)
            return
        if not self._stopped and not failure.check(DnsError, TookTooLong):
            _log.failure("{domain}: its site could not be looked up", failure, domain=domain)
        kept = self._kept.get(domain)
        self._settle(domain, self._own(domain) if kept is None else kept[0], FAILURE_HOLDS)

    def _settle(self, domain: str, site: str, seconds: float) -> None:
        """The end of a look-up."""
        del self._under_way[domain]
        self._asked.discard(domain)
        self._waiting.pop(domain, None)
        if not self._stopped:
            self._remember(domain, site, seconds)
            self._go_on()

    def _impatient(self) -> None:
        """Whoever has waited long enough goes as its own site; it stays where it is in the queue."""
        self._alarm = None
        now = self._clock.seconds()
        while self._waiting:
            domain, until = next(iter(self._waiting.items()))
            if until > now:
                break
            del self._waiting[domain]
            self._remember(domain, self._own(domain), 0)
        if self._waiting and self._alarm is None:
            first = next(iter(self._waiting.values()))
            self._alarm = self._clock.callLater(first - now, self._impatient)

    def _remember(self, domain: str, site: str, seconds: float) -> None:
        former = self._kept.get(domain)
        self._kept[domain] = (site, self._clock.seconds() + seconds)
        if len(self._kept) > REMEMBERED:
            self._kept.popitem(last=False)
        if former is not None and former[0] == site:
            return
        try:
            self.found(domain)
        except Exception:
            _log.failure("{domain}: its site is known, and what waited for it failed", domain=domain)
