"""The checks' own count: nothing that failed, broke or did not run may pass."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from tests.run import Count, count


class Counting(TestCase):
    def test_passed(self) -> None:
        self.assertEqual(Count(5), count("...\nPASSED (successes=5)\n", 0))
        self.assertEqual(Count(3, 0, 2), count("PASSED (skips=2, successes=2, expectedFailures=1)\n", 0))

    def test_failed(self) -> None:
        self.assertEqual(Count(1, 5, 1), count("FAILED (skips=1, failures=2, errors=3, successes=1)\n", 1))
        self.assertEqual(Count(1, 1), count("PASSED (unexpectedSuccesses=1, successes=1)\n", 0))

    def test_broken(self) -> None:
        """No summary, no tests, an unexplained exit code: a failure."""
        self.assertEqual(Count(0, 1), count("Traceback ...\n", 1))
        self.assertEqual(Count(0, 1), count("", 0))
        self.assertEqual(Count(0, 1), count("PASSED\n", 0))
        self.assertEqual(Count(5, 1), count("PASSED (successes=5)\n", 1))
        self.assertEqual(Count(0, 1, 4), count("PASSED (skips=4)\n", 0))

    def test_the_last_summary_counts(self) -> None:
        """A test that prints a summary is not believed."""
        self.assertEqual(Count(0, 1), count("PASSED (successes=5)\nFAILED (errors=1)\n", 1))
