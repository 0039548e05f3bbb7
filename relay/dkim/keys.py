"""Which domains have signing keys, and in which files: what the directory of keys holds now."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from twisted.logger import Logger

from relay.dkim.names import KeyName, of_file

_CHECK_SECONDS = 1.0
#: Of what was changed less long ago the time may not tell a further change (seconds): the times
#: of file systems come in steps, of up to two seconds.
_COARSE = 2.0


class Clock(Protocol):
    def seconds(self) -> float:
        """Seconds on a clock that goes on."""


class KeyIndex:
    """The files `{domain}.{selector}.pem` in a directory, as they come and go; what isn't named so is nothing.

    The directory is looked at for each use, and read when it was changed; once a second when it had been so just
    before it was read last. One that is missing holds no keys; one that can't be read is logged and keeps what was
    known.
    """

    log = Logger()

    def __init__(self, directory: str, clock: Clock, now: Callable[[], float] = time.time) -> None:
        """`now` gives the time as the file system knows it, in seconds since 1970."""
        self._directory = directory
        self._clock = clock
        self._now = now
        self._keys: dict[str, tuple[KeyName, ...]] = {}
        self._names: dict[str, KeyName | None] = {}
        self._changed: int | None = None
        self._next_check = float("-inf")
        self._settled = self._failed = False

    def may_sign(self, domain: str) -> bool:
        """Whether there is a key file for `domain` (lower case, A-labels)."""
        self._look()
        return domain in self._keys

    def any(self) -> bool:
        """Whether there is a key file for any domain."""
        self._look()
        return bool(self._keys)

    def keys(self) -> Mapping[str, tuple[KeyName, ...]]:
        """The keys of each domain that has any, in the order of their selectors. It isn't changed any more:
        what comes and goes is in the next one."""
        self._look()
        return self._keys

    def _look(self) -> None:
        """What was changed is read at once; what may be, though the time is still the same, once a second."""
        now = self._clock.seconds()
        try:
            # The time is taken first: a change while the names are read is seen next time.
            changed = os.stat(self._directory).st_mtime_ns
            if changed != self._changed or (not self._settled and now >= self._next_check):
                self._next_check = now + _CHECK_SECONDS
                self._settled = self._now() - changed / 1e9 >= _COARSE
                # Of thousands of names most were there before.
                known = self._names
                files = sorted(os.listdir(self._directory))
                self._names = {file: known[file] if file in known else of_file(file) for file in files}
                self._keys = _by_domain(self._names.values())
                self._changed = changed
        except FileNotFoundError:
            self._keys, self._changed = {}, None
        except OSError as error:
            self._changed = None
            if not self._failed:
                self.log.error("keys can't be read", directory=self._directory, reason=str(error))
            self._failed = True
            return
        self._failed = False


def _by_domain(names: Iterable[KeyName | None]) -> dict[str, tuple[KeyName, ...]]:
    """Of two files that differ in case alone the first is taken."""
    found: dict[str, dict[str, KeyName]] = {}
    for name in names:
        if name is not None:
            found.setdefault(name.domain, {}).setdefault(name.selector, name)
    return {domain: tuple(keys[selector] for selector in sorted(keys)) for domain, keys in found.items()}
