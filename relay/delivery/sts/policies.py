"""The policies of domains as they are in force now (RFC 8461 3.3, 5.1).

One that was fetched holds for its max_age, whatever then fails: no record, no policy host, a policy that is damaged. A
new id in the record leads to a new fetch, and one that holds for long is fetched anew each day, whether there is mail
or not, so that nobody who stands in the way for a while can wait for its end. Where none holds, whoever can't fetch one
delivers without. A fetch that has failed is not tried again for some minutes, and all who want the same share one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from heapq import nsmallest
from typing import Any, Literal, NamedTuple

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.delivery.sts.fetching import Unfetched
from relay.delivery.sts.policy import RECORD, Mode, StsPolicy, record_id
from relay.delivery.sts.shelf import Kept, Shelf
from relay.message.tls import TlsFailure
from relay.net.dns import DnsError

_log = Logger()

#: Domains that are remembered, most of which have no policy.
MOST = 20_000
#: How long what was fetched, or could not be, isn't fetched again: of a new id, and of the one that is known (seconds).
AGAIN = 300.0
AGAIN_KNOWN = 3600.0
#: Ids of one domain's records that this is remembered of.
IDS = 4
#: How long a new policy is waited for where an older one holds (seconds).
PATIENCE = 5.0
#: How long an answer may stand for a look (seconds).
FRESH = 300.0
#: A policy is fetched anew after so long (milliseconds), or half its life.
RENEW = 86_400_000
#: How often it is looked which are to be, and how many are begun then (seconds).
SWEEP = 60.0
AT_ONCE = 5
#: How often the directory is tidied (seconds).
TIDY = 86_400.0


class Answer(NamedTuple):
    """The policy of a domain that is in force. None: there is none, and `reason` says why; `failure` is its kind where
    there should be one. `unsure`: there may be one, nobody could tell."""

    policy: StsPolicy | None
    reason: str = ""
    failure: TlsFailure | Literal[""] = ""
    unsure: bool = False

    @property
    def enforced(self) -> bool:
        """Whether mail goes to those hosts alone that it allows."""
        return self.policy is not None and self.policy.mode is Mode.ENFORCE

    @property
    def lack(self) -> str:
        """Why nothing is enforced."""
        return self.reason if self.policy is None else f'its mode is "{self.policy.mode}"'


class _Entry:
    """What is known of a domain.

    Attributes:
        kept: its policy, maybe one that is over.
        looked: when its record was looked for last.
        reason: why there is no policy.
        failure: the kind of that, as far as it is one.
        unsure: there may be a policy.
    """

    __slots__ = ("_again", "failure", "kept", "looked", "reason", "unsure")

    def __init__(self) -> None:
        self.kept: Kept | None = None
        self.looked = float("-inf")
        self.reason = ""
        self.failure: TlsFailure | Literal[""] = ""
        self.unsure = False
        self._again: dict[str, float] = {}

    def holding(self, now: int) -> Kept | None:
        kept = self.kept
        return kept if kept is not None and kept.holds(now) else None

    def tried(self, record: str, again: float) -> None:
        """The policy that goes with this record was fetched, or could not be; not before `again` once more."""
        self._again.pop(record, None)
        if len(self._again) >= IDS:
            del self._again[next(iter(self._again))]
        self._again[record] = again

    def again(self, record: str) -> float:
        """From when on it may be fetched; the longer it wasn't tried the smaller."""
        return self._again.get(record, float("-inf"))


class Policies:
    """See the module. One for each process."""

    def __init__(
        self,
        txt: Callable[[str], Awaitable[list[str]]],
        fetch: Callable[[str], Awaitable[StsPolicy]],
        shelf: Shelf,
        clock: Any,
        now: Callable[[], int],
        in_thread: Callable[..., Deferred[Any]],
    ) -> None:
        """
        Args:
            txt: the texts at a name; raises DnsError.
            fetch: the policy of a domain from its policy host; raises Unfetched, in bounded time.
            now: milliseconds since the epoch.
            in_thread: calls a function in a thread.
        """
        self._txt = txt
        self._fetch = fetch
        self._shelf = shelf
        self._clock = clock
        self._now = now
        self._in_thread = in_thread
        self._entries: dict[str, _Entry] = {}
        self._fetching: dict[str, list[Deferred[None]]] = {}

    def start(self) -> None:
        """Renew policies before they are over, and keep the directory tidy."""
        for seconds, work in ((SWEEP, self._sweep), (TIDY, self._tidy)):
            loop = LoopingCall(work)
            loop.clock = self._clock
            loop.start(seconds)

    def known(self, domain: str) -> Answer | None:
        """What holds for `domain` by a look that is not long ago, without asking anybody; None: there was none."""
        entry = self._entries.get(domain)
        if entry is None or entry.looked + FRESH < self._clock.seconds():
            return None
        return self._answer(entry)

    async def of(self, domain: str) -> Answer:
        """What holds for `domain`. It takes as long as a look-up in the DNS; where no policy holds and the record is
        new, as long as a fetch."""
        entry = self._entry(domain)
        reason, record, unsure = "", None, False
        try:
            record = record_id(await self._txt(RECORD + domain))
            reason = "" if record else "it has no MTA-STS record"
        except DnsError as error:
            unsure = error.temporary
            reason = f"its MTA-STS record is not to be had: {error}" if unsure else "it has no MTA-STS record"
        entry.unsure = unsure
        kept = entry.holding(self._now())
        if kept is None or kept.id != record:
            kept = self._shared(domain, entry)
        if record is None:
            entry.reason, entry.failure = reason, ""
        elif kept is None or kept.id != record:
            await self._wait(domain, record, entry, None if kept is None else PATIENCE)
        entry.looked = self._clock.seconds()
        return self._answer(entry)

    # -- inside

    def _answer(self, entry: _Entry) -> Answer:
        kept = entry.holding(self._now())
        if kept is not None:
            return Answer(kept.policy)
        return Answer(None, entry.reason, entry.failure, entry.unsure or bool(entry.failure))

    def _entry(self, domain: str) -> _Entry:
        """That of a domain, which is now the one asked for last."""
        entry = self._entries.pop(domain, None)
        if entry is None:
            entry = _Entry()
            if len(self._entries) >= MOST:
                del self._entries[next(iter(self._entries))]
        self._entries[domain] = entry
        return entry

    def _shared(self, domain: str, entry: _Entry) -> Kept | None:
        """What holds, when that is taken which another process may have fetched since."""
        other = self._shelf.read(domain)
        if other is not None and (entry.kept is None or other.fetched >= entry.kept.fetched):
            entry.kept = other
        return entry.holding(self._now())

    async def _wait(self, domain: str, record: str, entry: _Entry, seconds: float | None) -> None:
        """Until the policy that goes with the record is fetched, or that has failed, or for so long."""
        waiting: Deferred[None] = Deferred()
        others = self._fetching.get(domain)
        if others is not None:
            others.append(waiting)
        elif entry.again(record) <= self._clock.seconds():
            self._begin(domain, record, entry, [waiting])
        else:
            return
        if seconds is not None:
            waiting.addTimeout(seconds, self._clock).addErrback(lambda failure: failure.trap(TimeoutError) and None)
        await waiting

    def _begin(self, domain: str, record: str, entry: _Entry, waiting: list[Deferred[None]]) -> None:
        """On its own, so that whoever gives up ends no wait but his own."""
        self._fetching[domain] = waiting
        done = Deferred.fromCoroutine(self._renew(domain, record, entry))
        done.addErrback(lambda failure: _log.failure("MTA-STS policy of {domain}", failure, domain=domain))
        done.addBoth(self._told, domain)

    def _told(self, result: object, domain: str) -> None:
        for waiting in self._fetching.pop(domain):
            if not waiting.called:
                waiting.callback(None)

    async def _renew(self, domain: str, record: str, entry: _Entry) -> None:
        """Take what another process has fetched meanwhile, or fetch it."""
        former = entry.holding(self._now())
        shared = self._shared(domain, entry)
        if shared is not None and shared != former and shared.id == record:
            return
        again = AGAIN_KNOWN if former is not None and former.id == record else AGAIN
        try:
            policy = await self._fetch(domain)
        except Unfetched as error:
            entry.reason, entry.failure = f"its MTA-STS policy can't be fetched: {error}", error.failure
            if former is not None and former.mode is not Mode.NONE:
                _log.warn("MTA-STS policy of {domain} not renewed: {error}", domain=domain, error=str(error))
            else:
                _log.info("no MTA-STS policy of {domain}: {error}", domain=domain, error=str(error))
            return
        finally:
            entry.tried(record, self._clock.seconds() + again)
        kept = entry.kept = Kept(domain, record, self._now(), policy.mode, policy.mx, policy.max_age)
        entry.reason, entry.failure = f"its MTA-STS policy held for {policy.max_age} s", ""
        _log.info(
            "MTA-STS policy of {domain}: {mode}, id {id}, for {max_age} s",
            domain=domain, mode=str(policy.mode), id=record, max_age=policy.max_age,
        )  # fmt: skip
        self._in_thread(self._shelf.write, kept).addErrback(self._unwritten, domain)

    def _unwritten(self, failure: Failure, domain: str) -> None:
        _log.error("MTA-STS policy of {domain} not kept: {error}", domain=domain, error=failure.getErrorMessage())

    def _sweep(self) -> None:
        """Those first that weren't tried for the longest time: a host that is down, and a life that is short, use up no
        turns of others."""
        for _, domain, record in nsmallest(AT_ONCE, self._due()):
            self._begin(domain, record, self._entries[domain], [])

    def _due(self) -> Iterator[tuple[float, str, str]]:
        """When they might be fetched, domains, and the ids of their records. What a clock that was ahead has fetched is
        among them."""
        now, seconds = self._now(), self._clock.seconds()
        for domain, entry in self._entries.items():
            kept = entry.holding(now)
            if kept is None or 0 <= now - kept.fetched < min(RENEW, kept.max_age * 500):
                continue
            again = entry.again(kept.id)
            if again <= seconds and domain not in self._fetching:
                yield again, domain, kept.id

    def _tidy(self) -> None:
        self._in_thread(self._shelf.tidy, self._now()).addErrback(
            lambda failure: _log.warn("MTA-STS policies not tidied: {error}", error=failure.getErrorMessage())
        )
