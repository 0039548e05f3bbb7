"""Queue ids: unique and growing whatever the clock does, and read back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.message.queueid import QueueIds, is_queue_id, parse_name, parse_seq, time_of

NOW = 1795319890_123


class QueueIdTests(SynchronousTestCase):
    @given(st.lists(st.integers(0, 2**44 - 1), min_size=2, max_size=50))
    def test_q15_ids_only_grow_whatever_the_clock_does(self, times: list[int]) -> None:
        clock = iter(times)
        ids = QueueIds(lambda: next(clock), 7)
        made = [ids.next() for _ in times]
        self.assertEqual(made, sorted(set(made)))
        self.assertTrue(all(map(is_queue_id, made)))

    def test_q15_clock_an_hour_back(self) -> None:
        times = iter([NOW, NOW - 3600_000, NOW - 3600_000, NOW + 1])
        ids = QueueIds(lambda: next(times), 7)
        made = [ids.next() for _ in range(4)]
        self.assertEqual([time_of(one) for one in made], [NOW, NOW, NOW, NOW + 1])
        self.assertEqual(len(set(made)), 4)

    def test_q15_above_what_the_queue_has_seen(self) -> None:
        ids = QueueIds(lambda: NOW - 3600_000, 7)
        seen = QueueIds(lambda: NOW, 0xFFFF).next()
        ids.start_above("")
        self.assertLess(ids.next(), seen)
        ids.start_above(seen)
        self.assertGreater(ids.next(), seen)

    def test_q16_many_in_one_millisecond(self) -> None:
        ids = QueueIds(lambda: NOW, 7)
        made = [ids.next() for _ in range(10_000)]
        self.assertEqual(made, sorted(set(made)))
        self.assertEqual(time_of(made[0]), NOW)
        self.assertEqual(time_of(made[-1]), NOW + 2)

    def test_q16_processes_differ(self) -> None:
        self.assertNotEqual(QueueIds(lambda: NOW, 1).next(), QueueIds(lambda: NOW, 2).next())
        self.assertGreater(len({QueueIds(lambda: NOW).next() for _ in range(50)}), 45)

    def test_layout(self) -> None:
        self.assertEqual(QueueIds(lambda: NOW, 0xACC).next(), f"{NOW * 4096:014x}0acc")

    def test_names(self) -> None:
        good = "1a20169d1ea0007acc"
        for text, expected in (
            (good, (good, None)),
            (good + ".001", (good, 1)),
            (good + ".10f", (good, 0x10F)),
            (good + ".12345678", (good, 0x12345678)),
            (good + ".", None),
            (good + ".000", None),
            (good + ".01", None),
            (good + ".123456789", None),
            (good + ".00A", None),
            (good.upper(), None),
            (good[:-1], None),
            (good[:-1] + "g", None),
            ("", None),
            (good + ".001.001", None),
        ):
            self.assertEqual(parse_name(text), expected, text)

    @given(st.text(max_size=30) | st.text("0123456789abcdef._-+ ", max_size=22))
    def test_never_raises(self, text: str) -> None:
        """H18: what stands in a path is an id or it is nothing."""
        found = parse_name(text)
        if found is not None:
            self.assertTrue(is_queue_id(found[0]))
        parse_seq(text)
