"""Requests under an Idempotency-Key."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from relay.intake.onetime import BadKey, Conflict, Key, OneTime, key_of
from relay.queue.memory import MemoryStore
from relay.queue.store import StoreError, Unreadable

NOW = 1_700_000_000_000
KEY = key_of(("local", "user"), "k", (b"POST", b"/send", b"body"))
OTHER = key_of(("local", "user"), "k", (b"POST", b"/send", b"other"))


class Keys(SynchronousTestCase):
    def test_what_tells_them_apart(self) -> None:
        same = key_of(("local", "user"), "k", (b"POST", b"/send", b"body"))
        self.assertEqual(KEY, same)
        self.assertEqual(KEY.token, OTHER.token)
        self.assertNotEqual(KEY.digest, OTHER.digest)
        tokens = {key_of(whose, key, ()).token for whose in (("a", ""), ("", "a"), ("b", "")) for key in "kl"}
        self.assertEqual(len(tokens), 6)
        self.assertNotEqual(key_of((), "k", (b"ab", b"c")).digest, key_of((), "k", (b"a", b"bc")).digest)

    def test_none(self) -> None:
        for key in ("", "x" * 257, "é", "a\nb", "\0"):
            self.assertRaises(BadKey, key_of, (), key, ())


class Answers(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = MemoryStore()
        self.now = NOW
        self.once = OneTime(self.store, lambda: self.now, 1000)
        self.working: list[Deferred[bytes]] = []

    def ask(self, key: Key = KEY) -> Deferred[bytes]:
        async def work() -> bytes:
            done: Deferred[bytes] = Deferred()
            self.working.append(done)
            answer = await done
            await self.store.append_all([], key.mark(f"{len(self.working):018x}", self.now, answer))
            return answer

        return Deferred.fromCoroutine(self.once.answer(key, work))

    def test_H26_once_and_told_again(self) -> None:
        first = self.ask()
        self.working[0].callback(b"done")
        self.assertEqual(self.successResultOf(first), b"done")
        self.assertEqual(self.successResultOf(self.ask()), b"done")
        # As after a restart: only the store remembers.
        self.once = OneTime(self.store, lambda: self.now, 1000)
        self.assertEqual(self.successResultOf(self.ask()), b"done")
        self.failureResultOf(self.ask(OTHER), Conflict)
        self.assertEqual(len(self.working), 1)

    def test_not_for_ever(self) -> None:
        first = self.ask()
        self.working[0].callback(b"done")
        self.successResultOf(first)
        self.now += 1001
        again = self.ask(OTHER)
        self.working[1].callback(b"other")
        self.assertEqual(self.successResultOf(again), b"other")

    def test_nothing_is_remembered_where_that_is_off(self) -> None:
        self.once = OneTime(self.store, lambda: self.now, 0)
        self.ask()
        self.ask()
        self.assertEqual(len(self.working), 2)

    def test_those_that_come_meanwhile_wait(self) -> None:
        asked = [self.ask() for _ in range(3)]
        self.failureResultOf(self.ask(OTHER), Conflict)
        self.assertEqual(len(self.working), 1)
        self.working[0].callback(b"done")
        self.assertEqual([self.successResultOf(one) for one in asked], [b"done"] * 3)

    def test_when_the_first_fails_the_next_is_done(self) -> None:
        first, second, third = (self.ask() for _ in range(3))
        self.working[0].errback(StoreError("full"))
        self.failureResultOf(first, StoreError)
        self.assertEqual(len(self.working), 2)
        self.working[1].callback(b"done")
        self.assertEqual([self.successResultOf(one) for one in (second, third)], [b"done"] * 2)

    def test_a_client_that_goes_away_stops_nothing(self) -> None:
        first, second, third = (self.ask() for _ in range(3))
        for gone in (first, second):
            gone.cancel()
            self.failureResultOf(gone, CancelledError)
        self.working[0].callback(b"done")
        self.assertEqual(self.successResultOf(third), b"done")
        self.assertEqual(self.successResultOf(self.ask()), b"done")

    def test_a_store_that_can_not_tell(self) -> None:
        def recall(token: bytes, since: int) -> Any:
            raise Unreadable("bad checksum")

        self.patch(self.store, "recall", recall)
        self.failureResultOf(self.ask(), Unreadable)
        self.assertEqual(self.working, [])
