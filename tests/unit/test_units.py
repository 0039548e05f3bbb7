"""Sizes and durations as the configuration writes them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from relay.config import units


class Units(TestCase):
    def test_sizes(self) -> None:
        for text, number in {
            "0B": 0,
            "1KB": 1024,
            "30MB": 30 * 1024 * 1024,
            "30mb": 30 * 1024 * 1024,
            " 1.5 GB ": 3 * 2**29,
            "1024TB": 2**50,
        }.items():
            self.assertEqual(units.size(text), number, text)

    def test_durations(self) -> None:
        for text, number in {
            "500ms": 0.5,
            "0s": 0.0,
            "5m": 300.0,
            "4h": 14400.0,
            "1d": 86400.0,
            "1.5H": 5400.0,
            "2w": 1209600.0,
        }.items():
            self.assertEqual(units.duration(text), number, text)

    def test_no_amounts(self) -> None:
        """G01: neither guessed at nor let through."""
        bad = [
            "",
            " ",
            "4",
            "h",
            "-4h",
            "+4h",
            "4 x",
            "1e3s",
            "1_0s",
            "٣s",
            "nan",
            "inf",
            "1.2.3h",
            ".h",
            "4h30m",
        ]
        for text in [*bad, "9" * 400 + "s"]:
            self.assertRaises(units.UnitError, units.duration, text)
            self.assertRaises(units.UnitError, units.size, text)
        self.assertRaises(units.UnitError, units.size, "4h")
        self.assertRaises(units.UnitError, units.duration, "4MB")
        self.assertRaises(units.UnitError, units.size, "1025TB")
        self.assertRaises(units.UnitError, units.duration, "3651d")

    @given(st.integers(0, 1023), st.sampled_from(sorted(units.SIZES)))
    def test_size_is_number_times_unit(self, number: int, unit: str) -> None:
        self.assertEqual(units.size(f"{number}{unit.upper()}"), number * units.SIZES[unit])

    @given(st.integers(0, 500), st.sampled_from(sorted(units.DURATIONS)))
    def test_duration_is_number_times_unit(self, number: int, unit: str) -> None:
        self.assertAlmostEqual(units.duration(f"{number} {unit}"), number * units.DURATIONS[unit])

    @given(st.text(max_size=30))
    def test_any_text_is_an_amount_or_an_error(self, text: str) -> None:
        for read, most in ((units.size, units.MAX_SIZE), (units.duration, units.MAX_SECONDS)):
            try:
                self.assertTrue(0 <= read(text) <= most)
            except units.UnitError:
                pass
