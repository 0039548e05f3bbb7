"""Requests under an Idempotency-Key: what one has done isn't done again, its answer is given once more.

The answer is remembered by the store, in the batch of the messages that it tells of. A request that comes while the first
is still at work waits for it; if that one comes to nothing, the next is done. The same key with something else to say is
a mistake of the client, which it has to hear of: one of the two would be lost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from relay.intake.composing import MAX_KEY
from relay.queue.store import Mark, Store, StoreError, Taken

_log = Logger()


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
    token = hashlib.sha256("\0".join(("request", *whose, key)).encode())
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

    async def answer(self, key: Key, work: Callable[[], Coroutine[Deferred[Any], Any, bytes]]) -> bytes:
        """What the request is told: by `work`, which has it kept, or as it was told before. When it is cancelled, work
        goes on. Raises Conflict; StoreError: it isn't known; and what `work` raises."""
        while self._remembered:
            under_way = self._under_way.get(key.token)
            if under_way is None:
                break
            if under_way[0] != key.digest:
                raise Conflict
            first: Deferred[bytes | None] = Deferred()
            under_way[1].append(first)
            told = await first
            if told is not None:
                return told
        else:
            return await work()
        known = self._store.recall(key.token, self._now() - self._remembered)
        if known is not None:
            if known.digest != key.digest:
                raise Conflict
            return known.answer
        return await self._first(key, work)

    def _first(self, key: Key, work: Callable[[], Coroutine[Deferred[Any], Any, bytes]]) -> Deferred[bytes]:
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
