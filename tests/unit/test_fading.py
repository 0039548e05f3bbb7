"""A table whose entries end, against one that looks at all of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.zone.fading import Fading

MOST = 4


class FadingTests(SynchronousTestCase):
    @given(st.lists(st.tuples(st.sampled_from("pppdn"), st.integers(0, 6), st.integers(0, 10)), max_size=80))
    def test_as_a_plain_list(self, steps: list[tuple[str, int, int]]) -> None:
        table, model, now = Fading[int, int](MOST), list[tuple[int, int, int]](), 0
        for number, (what, key, time) in enumerate(steps):
            if what == "n":
                now += time
                gone = [(k, v) for k, v, end in model if end <= now]
                self.assertEqual(sorted(table.ended(now)), sorted(gone))
                model = [entry for entry in model if entry[2] > now]
                continue
            old = [value for k, value, _ in model if k == key]
            model = [entry for entry in model if entry[0] != key]
            if what == "p":
                table.put(key, number, now + time)
                model = [*model, (key, number, now + time)][-MOST:]
            else:
                self.assertEqual(table.drop(key), old[0] if old else None)
            self.assertEqual(list(table.newest()), [(k, v) for k, v, _ in reversed(model)])
            known = {k: v for k, v, _ in model}
            self.assertEqual([table.get(k) for k in range(7)], [known.get(k) for k in range(7)])

    def test_what_was_put_anew_a_thousand_times_takes_no_more_room(self) -> None:
        table = Fading[int, int](MOST)
        for number in range(1000):
            table.put(number % 3, number, 10_000 - number)
            table.drop(number % 2)
        self.assertLessEqual(len(table._ends), 2 * MOST + 64)
        self.assertEqual(list(table.ended(10_000)), [(0, 999), (2, 998)])
        self.assertEqual(len(table), 0)
