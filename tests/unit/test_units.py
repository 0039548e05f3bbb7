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

    def test_rates(self) -> None:
        for text, rate in {
            "100/s": (100.0, 1.0),
            "2.5/m": (2.5, 60.0),
            "1000/h": (1000.0, 3600.0),
            " 50000 / d ": (50000.0, 86400.0),
            "100 messages/second": (100.0, 1.0),
            "1 message / minutes": (1.0, 60.0),
            "7/hours": (7.0, 3600.0),
        }.items():
            self.assertEqual(units.rate(text), rate, text)
        for text in ("", "100", "0/s", "-1/s", "1e3/s", "100/w", "100/", "/s", "x/s", "10MB/s", "1_0/s", "٣/s"):
            self.assertRaises(units.UnitError, units.rate, text)

    def test_byte_rates(self) -> None:
        self.assertEqual(units.byte_rate("10MB/s"), (10 * 2**20, 1.0))
        self.assertEqual(units.byte_rate("1.5GB/day"), (1.5 * 2**30, 86400.0))
        for text in ("", "10/s", "0MB/s", "10MB", "10MB/fortnight", "2000TB/s"):
            self.assertRaises(units.UnitError, units.byte_rate, text)
