"""Which site each recipient domain is of, found out by the DNS and remembered.

Mail waits for the answer a short while at most. Where there is none the domain is its own
site, and what is the matter with it its delivery finds out.

Nobody's silent name servers hold up the look-ups of others. One that hasn't been answered at once leaves
its place to the next, and goes on beside it; of those that wait for a place the one that has waited longest and the
one that came last go in turn, so that neither is behind all of a crowd. To wait for a place is our doing and not the
DNS's, so mail has more patience with that: else the limits of a site would be passed by whoever has it looked
up behind a crowd.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.net.dns import DnsError, NoData
from relay.zone.sites import Sites, form, is_literal

_log = Logger()

#: Look-ups under way at a time that have just been begun, and all that are.
LOOK_UPS, UNDER_WAY = 500, 2000
#: How long one counts as just begun, and how long it may take (seconds).
PROMPT, PATIENCE = 0.5, 3.0
#: How long a domain of which nothing is known waits to be looked up (seconds).
QUEUED = 30.0
#: Domains remembered, and domains that wait to be looked up.
REMEMBERED = 100_000
#: How long an answer holds, and none (seconds).
HOLDS, FAILURE_HOLDS = 3600.0, 60.0


class Resolver(Protocol):
    """What is needed of `relay.net.dns`."""

    async def mx(self, domain: str) -> list[tuple[int, str]]: ...


class _Found(NamedTuple):
    """The site of a domain, and until when that holds. Domains with the same exchangers have the same `mark`, others
    hardly ever; 0 where they aren't known."""

    site: str
    until: float
    mark: int


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
        # The domain looked at last comes last.
        self._kept: OrderedDict[str, _Found] = OrderedDict()
        # Each domain that is to be looked up, those under way too, and the order of the others.
        self._asked: set[str] = set()
        self._queue: deque[str] = deque()
        self._newest = False
        self._under_way: dict[str, Deferred[list[tuple[int, str]]]] = {}
        # Those just begun, in order, and until when they count as that.
        self._prompt: OrderedDict[str, float] = OrderedDict()
        # Domains of which nothing is known in the queue, and when each has waited long enough.
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
            if kept.until <= self._clock.seconds():
                self._ask(domain)
            return kept.site
        if is_literal(domain) or not self._ask(domain):
            return self._own(domain)
        return None

    def remembered(self, domain: str) -> str:
        """The site of a domain as far as it is known already, "" where it isn't: nothing is looked up."""
        kept = self._kept.get(domain)
        return "" if kept is None else kept.site

    def are_alike(self, one: str, other: str) -> bool:
        """Whether it is remembered of two domains that they have the same exchangers, with the same preferences."""
        kept, beside = self._kept.get(one), self._kept.get(other)
        return kept is not None and beside is not None and kept.mark == beside.mark != 0

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
        if domain not in self._kept and domain not in self._under_way and domain not in self._waiting:
            self._waiting[domain] = self._clock.seconds() + QUEUED
            if self._alarm is None:
                self._alarm = self._clock.callLater(QUEUED, self._impatient)
        return True

    def _go_on(self) -> None:
        """Begin when there is room; in the next turn of the reactor at the soonest, so that no answer comes in the
        midst of a question."""
        if not self._queue or self._stopped or len(self._under_way) >= UNDER_WAY:
            return
        delay = 0.0
        if len(self._prompt) >= LOOK_UPS:
            delay = max(0.0, next(iter(self._prompt.values())) - self._clock.seconds())
        if self._next is None:
            self._next = self._clock.callLater(delay, self._begin)
        elif not delay and self._next.active():
            self._next.reset(0)

    def _begin(self) -> None:
        now = self._clock.seconds()
        while self._prompt and next(iter(self._prompt.values())) <= now:
            self._prompt.popitem(last=False)
        room = min(LOOK_UPS - len(self._prompt), UNDER_WAY - len(self._under_way))
        # A fixed number a turn, though answers that are remembered come at once: others have work, too.
        for _ in range(min(room, len(self._queue))):
            domain = self._queue.pop() if self._newest else self._queue.popleft()
            self._newest = not self._newest
            self._waiting.pop(domain, None)
            self._prompt[domain] = now + PROMPT
            asking = Deferred.fromCoroutine(self._resolver.mx(domain))
            self._under_way[domain] = asking
            asking.addTimeout(PATIENCE, self._clock)
            asking.addCallbacks(self._answered, self._failed, callbackArgs=(domain,), errbackArgs=(domain,))
            if self._stopped:
                return
        self._next = None
        self._go_on()

    def _answered(self, exchangers: list[tuple[int, str]], domain: str) -> None:
        mark = hash(frozenset((preference, form(host)) for preference, host in exchangers)) if exchangers else 0
        self._settle(domain, self._sites.site_of(exchangers, domain), HOLDS, mark)

    def _failed(self, failure: Failure, domain: str) -> None:
        if failure.check(NoData):
            self._settle(domain, self._own(domain), HOLDS)
            return
        if not self._stopped and not failure.check(DnsError, TookTooLong):
            _log.failure("{domain}: its site could not be looked up", failure, domain=domain)
        kept = self._kept.get(domain)
        if kept is None:
            self._settle(domain, self._own(domain), FAILURE_HOLDS)
        else:
            self._settle(domain, kept.site, FAILURE_HOLDS, kept.mark)

    def _settle(self, domain: str, site: str, seconds: float, mark: int = 0) -> None:
        """The end of a look-up."""
        del self._under_way[domain]
        self._prompt.pop(domain, None)
        self._asked.discard(domain)
        if not self._stopped:
            self._remember(domain, site, seconds, mark)
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

    def _remember(self, domain: str, site: str, seconds: float, mark: int = 0) -> None:
        former = self._kept.get(domain)
        self._kept[domain] = _Found(site, self._clock.seconds() + seconds, mark)
        if len(self._kept) > REMEMBERED:
            self._kept.popitem(last=False)
        if former is not None and former.site == site:
            return
        try:
            self.found(domain)
        except Exception:
            _log.failure("{domain}: its site is known, and what waited for it failed", domain=domain)
