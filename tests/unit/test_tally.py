"""Rows and periods of counts: what a count is of, and that there are never too many."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.events.tally import (
    HOURS,
    MINUTES,
    OTHER,
    Period,
    Row,
    count_of,
    number_of,
    packed,
    row_for,
    row_of,
)
from relay.message.event import Event

words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50)


class RowTests(SynchronousTestCase):
    def test_the_site_that_is_known_or_the_domain(self) -> None:
        known = Event("delivered", 1, zone="a", recipient="x@B.test", site="mx.test", category="")
        self.assertEqual(row_for(known), Row("a", "mx.test", "delivered", ""))
        self.assertEqual(row_for(Event("bounced", 1, recipient="x@B.test", category="spam")).site, "b.test")
        self.assertEqual(row_for(Event("queued", 1)), Row("", "", "queued", ""))
        self.assertEqual(row_for(Event("decision", 1, what="held")).reason, "held")

    @given(st.integers(0, 2**32 - 1), st.builds(Row, words, words, words, words))
    def test_keys(self, number: int, row: Row) -> None:
        key = MINUTES.key(number, row)
        self.assertEqual((number_of(key), row_of(key)), (number, row))
        self.assertTrue(MINUTES.begin(number) < key)
        if number < 2**32 - 1:
            self.assertTrue(key < MINUTES.begin(number + 1))

    @given(st.builds(Row, *[st.text(max_size=600)] * 4))
    def test_a_key_has_a_bound_whatever_a_row_says(self, row: Row) -> None:
        key = HOURS.key(1, row)
        self.assertLess(len(key), 1024)
        self.assertEqual(len(row_of(key)), 4)

    def test_what_is_no_row_or_count(self) -> None:
        self.assertRaises(ValueError, row_of, MINUTES.begin(1) + b"a\0b")
        self.assertRaises(ValueError, count_of, b"1")
        self.assertEqual(count_of(packed(7)), 7)


class PeriodTests(SynchronousTestCase):
    def test_only_what_has_changed_is_to_be_kept(self) -> None:
        one, two = Row("a", "x", "delivered", ""), Row("a", "y", "delivered", "")
        period = Period(MINUTES, {one: 5, two: 1})
        period.add(one)
        period.add(one)
        self.assertEqual(period.changes(), {one: 7})
        self.assertEqual(period.changes(), {})

    def test_sites_beyond_the_bound_are_counted_together_but_prominent_ones(self) -> None:
        period = Period(MINUTES, {}, ["big.test"])
        for number in range(200):
            period.add(Row("a", f"{number}.test", "delivered", ""))
        for _ in range(3):
            period.add(Row("a", "big.test", "bounced", "spam"))
            period.add(Row("a", "", "queued", ""))
        counts = period.changes()
        self.assertEqual(counts[Row("a", "big.test", "bounced", "spam")], 3)
        self.assertEqual(counts[Row("a", "", "queued", "")], 3)
        self.assertEqual(counts[Row("a", OTHER, "delivered", "")], 200 - (MINUTES.sites - 1))
        self.assertEqual(sum(counts.values()), 206)
        self.assertEqual(len({row.site for row in counts}), MINUTES.sites + 2)

    def test_a_named_site_stays_named(self) -> None:
        period = Period(MINUTES, {Row("a", f"{n}.test", "delivered", ""): 1 for n in range(MINUTES.sites)})
        period.add(Row("a", "3.test", "bounced", "spam"))
        period.add(Row("a", "new.test", "delivered", ""))
        self.assertEqual(
            period.changes(), {Row("a", "3.test", "bounced", "spam"): 1, Row("a", OTHER, "delivered", ""): 1}
        )

    def test_rows_have_a_bound_whatever_zones_there_are(self) -> None:
        period = Period(MINUTES, {})
        for number in range(3000):
            period.add(Row(f"zone{number}", "x", "delivered", ""))
        counts = period.changes()
        self.assertEqual((len(counts), sum(counts.values())), (MINUTES.rows + 1, 3000))

    def test_who_has_most(self) -> None:
        counts = {Row("a", f"{n}.test", "delivered", ""): n for n in range(100)}
        more = {Row("b", "1.test", "bounced", ""): 500, Row("a", OTHER, "queued", ""): 9000}
        period = Period(MINUTES, {**counts, **more})
        self.assertEqual(period.prominent()[:3], ["1.test", "99.test", "98.test"])
        self.assertEqual(len(period.prominent()), MINUTES.sites // 2)
