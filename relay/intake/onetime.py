"""Requests under an Idempotency-Key: what one has done isn't done again, its answer is given once more.

The answer is remembered by the store, in the batch of the messages that it tells of. A request that comes while the
first is still at work waits for it; if that one comes to nothing, the next is done. The same key with something else to
say is a mistake of the client, who has to hear of it: one of the two would be lost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred

from relay.intake.composing import MAX_KEY
from relay.message.mark import Mark, Taken
from relay.queue.store import Store

#: Does what a request asks, has it remembered, and returns what it is told.
Work = Callable[[], Coroutine[Deferred[Any], Any, bytes]]


class BadKey(ValueError):
    """What can't be a key; the text says why."""


class Conflict(Exception):
    """The key stands for another request."""


class Key(NamedTuple):
    """`token` stands for the key and whose it is, `digest` for what the request says."""

    token: bytes
    digest: bytes

    def mark(self, queue_id: str, now: int, answer: bytes) -> Mark:
        """What is remembered: the first message of the request, when it came (ms), what it was told."""
        return Mark(self.token, Taken(queue_id, now, self.digest, answer))


def key_of(whose: tuple[str, ...], key: str, said: tuple[bytes, ...]) -> Key:
    """`whose`: who has such keys; `said`: everything that makes the request this one. Raises BadKey."""
    if not 1 <= len(key) <= MAX_KEY or not (key.isascii() and key.isprintable()):
        raise BadKey(f"expected 1 to {MAX_KEY} printable ASCII characters")
    # No X-Idempotency-Key is empty, so that none of a message has the same token.
    token = hashlib.sha256("\0".join(("", "", *whose, key)).encode())
    digest = hashlib.sha256()
    for one in said:
        digest.update(len(one).to_bytes(8, "big") + one)
    return Key(token.digest(), digest.digest())


class OneTime:
    """Of all requests."""

    def __init__(self, store: Store, now: Callable[[], int], remembered: int) -> None:
        """`remembered`: for how long a key is (ms), 0: not at all."""
        self._store = store
        self._now = now
        self._remembered = remembered
        self._under_way: dict[bytes, tuple[bytes, list[Deferred[bytes | None]]]] = {}

    async def answer(self, key: Key, work: Work) -> bytes:
        """What the request is told: by `work`, which has it remembered, or as it was told before. When this is
        cancelled, `work` goes on. Raises Conflict; StoreError: nobody knows now; and what `work` raises."""
        if not self._remembered:
            return await work()
        while (under_way := self._under_way.get(key.token)) is not None:
            digest, waiting = under_way
            if digest != key.digest:
                raise Conflict
            end: Deferred[bytes | None] = Deferred()
            waiting.append(end)
            told = await end
            if told is not None:
                return told
        known = self._store.recall(key.token, self._now() - self._remembered)
        if known is None:
            return await self._first(key, work)
        if known.digest != key.digest:
            raise Conflict
        return known.answer

    def _first(self, key: Key, work: Work) -> Deferred[bytes]:
        self._under_way[key.token] = (key.digest, [])
        told: Deferred[bytes] = Deferred()

        def done(said: Any) -> Any:
            _, waiting = self._under_way.pop(key.token)
            for one in waiting:
                if not one.called:
                    one.callback(said if isinstance(said, bytes) else None)
            return said

        Deferred.fromCoroutine(work()).addBoth(done).addCallbacks(told.callback, told.errback)
        return told
