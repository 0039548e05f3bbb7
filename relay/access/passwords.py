"""Passwords against what is kept of them: slow by design, so in threads of its own, few at a time."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from relay.access.scram import Keys, derive

#: 19 MiB and two passes: some 20 ms.
HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_THREADS = 2
#: Checks that may wait; a good one isn't made again for a while (see relay.access.cache).
MOST = 100


class Passwords:
    """Checks passwords without holding up the reactor."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pool: ThreadPool | None = None
        self._nobody = ""
        #: Checks that threads do or have yet to do, whether or not somebody still waits for them.
        self.waiting = 0

    def matches(self, password: str, kept: str, keys: Keys | None) -> Deferred[bool]:
        """Whether it is the password of `kept` (argon2, "" for none) or of `keys`. Where there is
        neither it takes as long as if there were, and it isn't. Not to be cancelled: no thread can be."""
        return self._in_thread(self._check, password, kept, keys)

    def hashed(self, password: str) -> Deferred[str]:
        """What is kept of a password (argon2). Not to be cancelled, either."""
        return self._in_thread(HASHER.hash, password)

    def _in_thread(self, work: Callable[..., Any], *arguments: object) -> Deferred[Any]:
        pool = self._pool
        if pool is None:
            pool = self._pool = ThreadPool(0, _THREADS, "passwords")
            pool.start()
        self.waiting += 1
        done: Deferred[Any] = deferToThreadPool(self._reactor, pool, work, *arguments)
        return done.addBoth(self._checked)

    def _checked(self, result: Any) -> Any:
        self.waiting -= 1
        return result

    def _check(self, password: str, kept: str, keys: Keys | None) -> bool:
        if kept:
            return _verify(kept, password)
        if keys is not None:
            derived = derive(password, keys.salt, keys.iterations)
            return hmac.compare_digest(derived.stored, keys.stored)
        self._nobody = self._nobody or HASHER.hash("nobody has this password")
        _verify(self._nobody, password)
        return False

    def stop(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.stop()
            self._pool = None


def _verify(kept: str, password: str) -> bool:
    try:
        return HASHER.verify(kept, password)
    except (VerificationError, InvalidHashError):
        return False
