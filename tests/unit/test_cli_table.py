"""Tables, bars and times for a terminal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.cli.table import Column, ago, bar, cells_of, shortened, span, table

COLUMNS = (Column("NAME"), Column("N", right=True), Column("ZONE", least=4, spare=True), Column("TO", least=6))
ROWS = [("a.001", 5, "default", "somebody@example.org"), ("b.001", 1234, "bulk", "x@y.z")]


class TableTests(SynchronousTestCase):
    def lines(self, width: int) -> list[str]:
        return list(table(COLUMNS, ROWS, width))

    def test_as_wide_as_it_is(self) -> None:
        expected = [
            "NAME      N  ZONE     TO",
            "a.001     5  default  somebody@example.org",
            "b.001  1234  bulk     x@y.z",
        ]
        for width in (0, 200, 42):
            self.assertEqual(self.lines(width), expected)

    def test_cut(self) -> None:
        self.assertEqual(
            self.lines(30),
            ["NAME      N  ZONE     TO", "a.001     5  default  somebod…", "b.001  1234  bulk     x@y.z"],
        )
        self.assertEqual(
            self.lines(25), ["NAME      N  ZONE  TO", "a.001     5  def…  someb…", "b.001  1234  bulk  x@y.z"]
        )

    def test_left_out(self) -> None:
        self.assertEqual(
            self.lines(24), ["NAME      N  TO", "a.001     5  somebody@e…", "b.001  1234  x@y.z"]
        )
        self.assertEqual(self.lines(12), ["NAME      N…", "a.001     5…", "b.001  1234…"])

    def test_nothing_in_it(self) -> None:
        self.assertEqual(list(table(COLUMNS, [], 80)), ["NAME  N  ZONE  TO"])

    def test_text_from_outside(self) -> None:
        [_, line] = table((Column("TO"), Column("N")), [("a\x1b[2J\n\u202eb", None)])
        self.assertEqual(line, "a\\u001b[2J\\n\\u202eb")

    @given(st.lists(st.tuples(*[st.text(max_size=30)] * 4), max_size=5), st.integers(1, 60))
    def test_no_line_is_too_long(self, rows: list[tuple[str, ...]], width: int) -> None:
        lines = list(table(COLUMNS, rows, width))
        self.assertEqual(len(lines), len(rows) + 1)
        for line in lines:
            self.assertLessEqual(cells_of(line), width)
            self.assertTrue(line.isprintable())

    def test_wide_characters(self) -> None:
        self.assertEqual(cells_of("日本e\u0301"), 5)
        self.assertEqual(shortened("日本語", 5), "日本…")
        self.assertEqual(shortened("日本語", 4), "日…")


class WordTests(SynchronousTestCase):
    def test_bars(self) -> None:
        self.assertEqual([bar(share, 4) for share in (-1, 0, 0.5, 1, 7)], ["░░░░", "░░░░", "██░░", "████", "████"])

    def test_times(self) -> None:
        said = [span(seconds) for seconds in (-5, 0, 119.9, 120, 7199, 7200, 172799, 172800, 8640000)]
        self.assertEqual(said, ["0s", "0s", "119s", "2m", "119m", "2h", "47h", "2d", "100d"])
        self.assertEqual(ago("2026-12-01T08:00:00.000Z", 1796112030.0), "30s")
        self.assertEqual(ago("2026-12-01T08:00:00.000Z", 1796111400.0), "in 10m")
