"""Which signing keys can't be used: what children come upon and what a look at new files shows.

It begins with a look at all keys, so that a bad one is told of before mail needs it. Afterwards it looks at what
has come to the directory, and at those that are bad until they are good; one that turns bad where it lies is found
by the child that wants to sign with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from relay.channel.frames import BadKey
from relay.config.schema import Dkim
from relay.dkim.keyfile import KeyUnusable, load
from relay.dkim.keys import KeyIndex
from relay.dkim.names import KeyName, is_domain, of_file
from relay.zone.decision import Decision, Scope

_log = Logger()

#: How often the directory is looked at, and the keys that are bad (seconds).
EVERY = 5.0
#: Bad keys that are remembered.
_MOST = 10_000
#: A key that is missing, and that no mail has missed for so long, isn't (ms): retries are hours apart.
_MISSED = 6 * 3_600_000
_LONGEST = 300


class Bad(NamedTuple):
    """A key that can't be used, since when and until when it is known (ms), and why; `file` is "" where a domain has
    none and should."""

    domain: str
    file: str
    since: int
    last: int
    reason: str


class KeyWatch:
    """One for the relay."""

    def __init__(
        self,
        options: Dkim,
        decided: Callable[[Decision], None],
        clock: IReactorTime,
        now: Callable[[], int],
        in_thread: Callable[..., Deferred[Any]],
    ) -> None:
        """`decided` is told what has turned bad, good, or is gone; `now` gives milliseconds since the epoch;
        `in_thread` runs a function where it may take a while."""
        self._directory = options.keys
        self._required = {domain.lower() for domain in options.required_domains}
        self._index = KeyIndex(options.keys, clock)
        self._decided = decided
        self._clock = clock
        self._now = now
        self._in_thread = in_thread
        self._known: dict[str, KeyName] = {}
        self._bad: dict[str, Bad] = {}
        self._looking: Deferred[None] | None = None
        self._once_more = False
        self._call: Any = None

    @property
    def directory(self) -> str:
        """Where the keys are."""
        return self._directory

    @property
    def count(self) -> int:
        """How many keys there are."""
        return len(self._known)

    def bad(self) -> list[Bad]:
        """Those that can't be used, or are missing."""
        return list(self._bad.values())

    def start(self) -> None:
        self._look()

    def look(self) -> None:
        """Look at them now; what a look under way has passed by already is for the next one."""
        if self._call is not None:
            self._call.cancel()
            self._look()
        elif self._looking is not None:
            self._once_more = True

    def stop(self) -> None:
        """Nothing is looked at any more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()

    def told(self, frame: BadKey) -> None:
        """A child could not use a key. What it says is looked at, for it lives with strangers."""
        if not is_domain(frame.domain) or (frame.file and of_file(frame.file) is None):
            return
        reason = "".join(letter if letter.isprintable() else "?" for letter in frame.reason[:_LONGEST])
        self._is_bad(frame.domain, frame.file, reason)

    # -- inside

    def _look(self) -> None:
        self._call = None
        looking = self._looking = Deferred.fromCoroutine(self._compare())
        looking.addErrback(_unless_cancelled).addCallback(lambda _: self._again(looking))

    def _again(self, looking: Deferred[None]) -> None:
        if self._looking is looking:
            self._looking = None
            again, self._once_more = self._once_more, False
            self._call = self._clock.callLater(0 if again else EVERY, self._look)

    async def _compare(self) -> None:
        """What has come, gone, and changed since the last look."""
        keys = self._index.keys()
        files = {name.file: name for names in keys.values() for name in names}
        gone = {file: self._known[file].domain for file in self._known.keys() - files.keys()}
        gone |= {bad.file: bad.domain for bad in self._bad.values() if bad.file and bad.file not in files}
        for file, domain in gone.items():
            self._bad.pop(file, None)
            self._say("key-gone", domain, f"{file} is gone; {_left(len(keys.get(domain, ())))}")
        suspects = [name for file, name in files.items() if file not in self._known or file in self._bad]
        self._known = files
        for name in suspects:
            reason = await self._in_thread(_reason, os.path.join(self._directory, name.file))
            if reason:
                self._is_bad(name.domain, name.file, reason)
            else:
                self._is_good(name.file)
        for domain in self._required:
            if domain not in keys:
                self._is_bad(domain, "", f"{domain} has no key, and is in required_domains")
        for what, bad in list(self._bad.items()):
            if not bad.file and (bad.domain in keys or bad.last < self._now() - _MISSED):
                self._is_good(what)

    def _is_bad(self, domain: str, file: str, reason: str) -> None:
        what = file or domain
        known = self._bad.get(what)
        if known is None and len(self._bad) >= _MOST:
            return
        now = self._now()
        self._bad[what] = Bad(domain, file, now if known is None else known.since, now, reason)
        if known is None or known.reason != reason:
            self._say("bad-key", domain, f"{file}: {reason}" if file else reason)

    def _is_good(self, what: str) -> None:
        bad = self._bad.pop(what, None)
        if bad is not None:
            self._say("good-key", bad.domain, f"{what}: it can be used again, or isn't missed any more")

    def _say(self, kind: str, domain: str, reason: str) -> None:
        if kind == "good-key":
            _log.info("signing key: {reason}", reason=reason)
        else:
            _log.warn("signing key: {reason}", reason=reason)
        self._decided(Decision(kind, Scope(domain=domain), reason, self._now()))


def _reason(path: str) -> str:
    """Why a key can't be used, "" when it can. One that everybody can read is good and told of."""
    try:
        key = load(path)
    except KeyUnusable as error:
        return str(error)
    if key.open_to:
        _log.warn("signing key: {path}: {who} can read it; expected mode 0600", path=path, who=key.open_to)
    return ""


def _left(others: int) -> str:
    return f"other keys of the domain: {others}" if others else "it was the last one of the domain"


def _unless_cancelled(failure: Any) -> None:
    if not isinstance(failure.value, CancelledError):
        _log.failure("The signing keys were not looked at", failure)
