"""Submissions under an X-Idempotency-Key: whoever comes first is taken, the others hear its id.

What was taken is remembered by the store, in the same batch as the message. One that comes while
the first is still being written waits for it; if that one fails, the next is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.listener.door import Refused
from relay.message.values import Message
from relay.queue.store import Store, StoreError
from relay.smtp.reply import reply

_log = Logger()

NO_SPACE = reply(452, "4.3.1 The queue can't take mail now, try again later")
BUSY = reply(452, "4.3.1 The queue can't be read now, try again later")


class Candidate(Protocol):
    """A submission that is complete."""

    def keep(self, token: bytes) -> Deferred[Message]:
        """Write it down, and the token with it (b"": none)."""

    def repeated(self, queue_id: str) -> Message:
        """It is here already, by this id: forget this one."""

    def refuse(self, refused: Refused) -> Deferred[Message]:
        """It can't be told: forget it."""


class Repeats:
    """Of all ways in."""

    def __init__(self, store: Store, now: Callable[[], int], remembered: int) -> None:
        """`remembered`: for how long a key is (ms), 0: not at all."""
        self._store = store
        self._now = now
        self._remembered = remembered
        self._under_way: dict[bytes, list[Deferred[str]]] = {}

    def once(self, token: bytes, candidate: Candidate) -> Deferred[Message]:
        """What comes of a submission under a key."""
        if not self._remembered:
            return candidate.keep(b"")
        waiting = self._under_way.get(token)
        if waiting is not None:
            first: Deferred[str] = Deferred()
            waiting.append(first)
            return first.addCallback(partial(self._told, token, candidate))
        try:
            known = self._store.recall(token, self._now() - self._remembered)
        except StoreError as error:
            _log.warn("idempotency keys can't be read: {error}", error=str(error))
            return candidate.refuse(Refused(BUSY))
        if known is not None:
            return succeed(candidate.repeated(known.id))
        self._under_way[token] = []
        kept = candidate.keep(token)
        return kept.addCallbacks(partial(self._taken, token), partial(self._failed, token))

    def _told(self, token: bytes, candidate: Candidate, queue_id: str) -> Message | Deferred[Message]:
        return candidate.repeated(queue_id) if queue_id else self.once(token, candidate)

    def _taken(self, token: bytes, message: Message) -> Message:
        self._tell(token, message.id)
        return message

    def _failed(self, token: bytes, failure: Failure) -> Failure:
        self._tell(token, "")
        return failure

    def _tell(self, token: bytes, queue_id: str) -> None:
        """What came of the first; after a failure ("") the next one makes itself the first."""
        for waiter in self._under_way.pop(token):
            waiter.callback(queue_id)
