"""Which domains have a signing key: decides at acceptance whether a body hash is worth making."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Protocol

from twisted.logger import Logger

_CHECK_SECONDS = 1.0
#: Of what was changed less long ago the time may not tell a further change (seconds): the times
#: of file systems come in steps, of up to two seconds.
_COARSE = 2.0


class Clock(Protocol):
    def seconds(self) -> float:
        """Seconds on a clock that goes on."""


class KeyIndex:
    """The domains of the files `{domain}.{selector}.pem` in a directory, as they come and go.

    The directory is looked at once a second at most, and read when it was changed, or had been
    so just before it was read last. One that is missing holds no keys; one that can't be read
    is logged and keeps what was known.
    """

    log = Logger()

    def __init__(self, directory: str, clock: Clock, now: Callable[[], float] = time.time) -> None:
        """`now` gives the time as the file system knows it, in seconds since 1970."""
        self._directory = directory
        self._clock = clock
        self._now = now
        self._domains: frozenset[str] = frozenset()
        self._changed: int | None = None
        self._next_check = float("-inf")
        self._failed = False

    def may_sign(self, domain: str) -> bool:
        """Whether there is a key file for `domain` (lower case, A-labels)."""
        self._look()
        return domain in self._domains

    def any(self) -> bool:
        """Whether there is a key file for any domain."""
        self._look()
        return bool(self._domains)

    def _look(self) -> None:
        now = self._clock.seconds()
        if now >= self._next_check:
            self._next_check = now + _CHECK_SECONDS
            self._refresh()

    def _refresh(self) -> None:
        try:
            # The time is taken first: a change while the names are read is seen next time.
            changed = os.stat(self._directory).st_mtime_ns
            if changed != self._changed:
                settled = self._now() - changed / 1e9 >= _COARSE
                self._domains = frozenset(_domains(os.listdir(self._directory)))
                self._changed = changed if settled else None
        except FileNotFoundError:
            self._domains, self._changed = frozenset(), None
        except OSError as error:
            self._changed = None
            if not self._failed:
                self.log.error("keys can't be read", directory=self._directory, reason=str(error))
            self._failed = True
            return
        self._failed = False


def _domains(names: list[str]) -> list[str]:
    """The selector is the last label before `.pem`, so that domains may have any number."""
    stems = (name[:-4].rpartition(".") for name in names if name.endswith(".pem"))
    return [domain.lower() for domain, _, selector in stems if domain and selector]
