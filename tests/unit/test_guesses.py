"""Guessing takes too long, and locks out nobody who knows (S48)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from relay.access.guesses import Guesses, network_of


class GuessesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.guesses = Guesses(attempts=5, lock_out=900.0)

    def fail_(self, times: int, address: str = "192.0.2.1", name: str = "alice", now: float = 0.0) -> list[float]:
        return [self.guesses.failed(address, name, now) for _ in range(times)]

    def test_pauses_grow_and_end_in_a_lock_S48(self) -> None:
        pauses = self.fail_(4)
        self.assertEqual(pauses, sorted(pauses))
        self.assertGreater(pauses[0], 0)
        self.assertEqual(self.guesses.locked("192.0.2.1", "alice", 0.0), 0)
        self.fail_(1)
        self.assertEqual(self.guesses.locked("192.0.2.1", "alice", 0.0), 900)
        self.assertEqual(self.guesses.locked("192.0.2.1", "alice", 899.0), 1)
        self.assertEqual(self.guesses.locked("192.0.2.1", "alice", 900.0), 0)

    def test_long_names_and_any_case_S48(self) -> None:
        for name in ("n" * 150, "n" * 1024):
            self.fail_(5, name=name)
            self.assertEqual(self.guesses.locked("192.0.2.1", name.upper(), 0.0), 900)

    def test_words_that_name_nobody_count_once(self) -> None:
        self.fail_(19, name="")
        self.assertEqual(self.guesses.locked("192.0.2.1", "alice", 0.0), 0)
        self.assertEqual(self.guesses.locked("192.0.2.2", "", 0.0), 0)
        self.fail_(1, name="")
        self.assertEqual(self.guesses.locked("192.0.2.1", "alice", 0.0), 900)

    def test_counts_fade(self) -> None:
        self.fail_(4)
        self.fail_(1, now=900.0)
        self.assertEqual(self.guesses.locked("192.0.2.1", "alice", 900.0), 0)

    def test_one_machine_many_users(self) -> None:
        for number in range(20):
            self.fail_(1, name=f"user{number}")
        self.assertGreater(self.guesses.locked("192.0.2.1", "another", 0.0), 0)
        self.assertEqual(self.guesses.locked("192.0.2.2", "another", 0.0), 0)

    def test_many_machines_one_user(self) -> None:
        self.guesses.succeeded("198.51.100.7", "alice", 0.0)
        for number in range(50):
            self.fail_(1, address=f"192.0.2.{number}")
        self.assertGreater(self.guesses.locked("203.0.113.1", "alice", 0.0), 0)
        self.assertEqual(self.guesses.locked("198.51.100.7", "alice", 0.0), 0, "who knew it before is not locked out")

    def test_a_success_clears_the_count(self) -> None:
        self.fail_(4)
        self.guesses.succeeded("192.0.2.1", "alice", 0.0)
        self.fail_(1)
        self.assertEqual(self.guesses.locked("192.0.2.1", "alice", 0.0), 0)

    def test_networks(self) -> None:
        self.assertEqual(network_of("192.0.2.1"), "192.0.2.1")
        self.assertEqual(network_of("::ffff:192.0.2.1"), "192.0.2.1")
        self.assertEqual(network_of("2001:db8::1"), network_of("2001:db8::ffff:1"))
        self.assertNotEqual(network_of("2001:db8::1"), network_of("2001:db8:0:1::1"))
        self.assertEqual(network_of("somewhere"), "somewhere")
