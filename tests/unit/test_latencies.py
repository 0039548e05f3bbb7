"""How long things take, in buckets; and of ten thousand sites no more rows than of twenty (H30)."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client import Histogram as TheirHistogram
from prometheus_client.core import Metric
from twisted.trial.unittest import SynchronousTestCase

from relay.metrics.busiest import CHANGES, CLEARLY, COUNTED, OTHERS, PERIOD, Busiest
from relay.metrics.definitions import Metrics
from relay.metrics.histogram import Histogram, histogram
from relay.metrics.latencies import AGE, SITES, Latencies

#: A moment (ms since the epoch).
NOW = 1_800_000_000_000


def rows(families: Iterable[Metric]) -> dict[tuple[str, str], float]:
    """Values by name and labels."""
    samples = (sample for family in families for sample in family.samples)
    return {(sample.name, ",".join(sample.labels.values())): sample.value for sample in samples}


class HistogramTests(SynchronousTestCase):
    @given(st.lists(st.one_of(st.floats(0, 1e6), st.sampled_from(AGE))))
    def test_is_what_prometheus_client_has(self, values: list[float]) -> None:
        ours = Histogram(AGE)
        registry = CollectorRegistry()
        theirs = TheirHistogram("a_seconds", "What", ["zone"], buckets=AGE, registry=registry)
        theirs.labels("x")
        for value in values:
            ours.observe(value)
            theirs.labels("x").observe(value)
        [family] = registry.collect()
        expected = [one[:3] for one in family.samples if not one.name.endswith("_created")]
        [*found] = (one[:3] for one in histogram("a_seconds", "What", "zone", [("x", ours)]).samples)
        self.assertEqual(found, expected)


class Box:
    """Something of one's own."""

    def __init__(self) -> None:
        self.count = 0


def busy(most: int) -> Busiest[Box]:
    return Busiest(most, Box)


def names(busiest: Busiest[Box]) -> set[str]:
    return {name for name, _ in busiest.items()} - {OTHERS}


class BusiestTests(SynchronousTestCase):
    def test_the_first_ones_have_their_own(self) -> None:
        busiest = busy(2)
        one, two, three, four = (busiest.meet(name, NOW) for name in "abcd")
        self.assertEqual(len({one, two, three}), 3)
        self.assertIs(three, four)
        self.assertIs(busiest.meet("a", NOW), one)
        self.assertEqual([name for name, _ in busiest.items()], ["a", "b", OTHERS])

    def test_nobody_and_the_name_of_the_others_are_among_them(self) -> None:
        busiest = busy(2)
        self.assertIs(busiest.meet("", NOW), busiest.meet(OTHERS, NOW))
        self.assertEqual(names(busiest), set())

    def test_who_is_met_far_more_often_comes_in(self) -> None:
        busiest = busy(2)
        for name, times in (("a", 20), ("b", 30), ("c", 2 * 20 + CLEARLY), ("d", 2 * 20 + CLEARLY + 1)):
            for _ in range(times):
                busiest.meet(name, NOW)
        self.assertEqual(names(busiest), {"a", "b"})
        busiest.meet("b", NOW + PERIOD - 1)
        self.assertEqual(names(busiest), {"a", "b"}, "before its time")
        busiest.meet("b", NOW + PERIOD)
        self.assertEqual(names(busiest), {"d", "b"})

    def test_not_by_a_little(self) -> None:
        busiest = busy(1)
        for name, times in (("a", 20), ("b", 2 * 20 + CLEARLY)):
            for _ in range(times):
                busiest.meet(name, NOW)
        busiest.meet("a", NOW + PERIOD)
        self.assertEqual(names(busiest), {"a"})

    def test_who_is_gone_for_long_makes_room(self) -> None:
        busiest = busy(1)
        for _ in range(1000):
            busiest.meet("a", NOW)
        for look in range(1, 12):
            for _ in range(50):
                busiest.meet("b", NOW + look * PERIOD)
        self.assertEqual(names(busiest), {"b"})

    @given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, PERIOD)), max_size=300), st.integers(1, 5))
    def test_never_more_than_so_many_and_so_many_new_ones(self, meetings: list[tuple[int, int]], most: int) -> None:
        busiest, now, ever = busy(most), NOW, set[str]()
        for name, pause in meetings:
            now += pause
            for _ in range(30):
                busiest.meet(f"n{name % 40}", now).count += 1
            ever |= names(busiest)
            self.assertLessEqual(len(names(busiest)), most)
        self.assertLessEqual(len(ever), most + CHANGES * (1 + (now - NOW) // PERIOD))

    def test_a_busy_one_is_found_in_a_crowd(self) -> None:
        """However many there are, who is met more often than once in COUNTED is counted; and memory is bounded."""
        busiest = busy(1)
        busiest.meet("first", NOW)
        for number in range(20 * COUNTED):
            busiest.meet(f"n{number}", NOW)
            if number % 100 == 0:
                busiest.meet("busy", NOW)
            self.assertLessEqual(len(busiest._met), COUNTED)
        busiest.meet("n", NOW + PERIOD)
        self.assertEqual(names(busiest), {"busy"})


class LatencyTests(SynchronousTestCase):
    def test_an_attempt(self) -> None:
        latencies = Latencies(lambda: NOW)
        latencies.attempted("a", "site", NOW - 10_000, 2.0, first=True, delivered=False)
        latencies.attempted("a", "site", NOW - 100_000, 4.0, first=False, delivered=True)
        found = rows(latencies.collect())
        for name, count, total in (
            ("attempt_age", 2, 8.0 + 96.0),
            ("first_attempt", 1, 8.0),
            ("attempt", 2, 6.0),
            ("delivery", 1, 100.0),
        ):
            self.assertEqual(found[f"zonerelay_{name}_seconds_count", "a"], count, name)
            self.assertEqual(found[f"zonerelay_{name}_seconds_sum", "a"], total, name)
        self.assertEqual(found["zonerelay_site_delivery_seconds_sum", "site"], 100.0)
        self.assertEqual(found["zonerelay_first_attempt_seconds_bucket", "a,5.0"], 0)
        self.assertEqual(found["zonerelay_first_attempt_seconds_bucket", "a,10.0"], 1)

    def test_mail_of_the_future_is_of_age_nought(self) -> None:
        latencies = Latencies(lambda: NOW)
        latencies.attempted("a", "site", NOW + 5000, 2.0, first=True, delivered=True)
        found = rows(latencies.collect())
        self.assertEqual(found["zonerelay_first_attempt_seconds_sum", "a"], 0.0)
        self.assertEqual(found["zonerelay_delivery_seconds_sum", "a"], 2.0)

    def test_ways_in(self) -> None:
        latencies = Latencies(lambda: NOW)
        for transport in ("ESMTPSA", "SMTP", "HTTP", "LOCAL", "UTF8SMTP"):
            latencies.accepted(transport, 0.5)
        found = rows(latencies.collect())
        for interface, count in (("smtp", 3), ("http", 1), ("own", 1)):
            self.assertEqual(found["zonerelay_accept_seconds_count", interface], count)

    def test_what_was_announced_is_nought(self) -> None:
        latencies = Latencies(lambda: NOW)
        latencies.announce(["a", "b"])
        latencies.attempted("a", "", NOW, 1.0, first=True, delivered=True)
        latencies.announce(["a"])
        found = rows(latencies.collect())
        self.assertEqual(found["zonerelay_delivery_seconds_count", "a"], 1)
        self.assertEqual(found["zonerelay_delivery_seconds_count", "b"], 0)
        self.assertEqual(found["zonerelay_site_delivery_seconds_count", OTHERS], 1)

    def test_H30_ten_thousand_sites_are_no_more_than_twenty(self) -> None:
        metrics = Metrics(lambda: NOW)
        for number in range(SITES):
            metrics.attempted("a", f"site{number}", NOW, 1.0, first=True, delivered=True)
        few = len(metrics.exposition().splitlines())
        for number in range(10_000):
            metrics.attempted("a", f"site{number}", NOW, 1.0, first=True, delivered=True)
        text = metrics.exposition()
        self.assertEqual(len(text.splitlines()), few)
        self.assertIn(b'zonerelay_site_delivery_seconds_count{site="other"} %d.0\n' % (10_000 - SITES), text)

    def test_names_of_strangers_end_no_line(self) -> None:
        metrics = Metrics(lambda: NOW)
        metrics.attempted("a", 'x"\n} 1\nevil 1', NOW, 1.0, first=True, delivered=True)
        self.assertNotIn(b"\nevil", metrics.exposition())
