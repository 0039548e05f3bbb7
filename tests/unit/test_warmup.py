"""Warm-up against a slow model: what the plan says, no more, whatever the clock and the power do."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Warmup
from relay.zone.decision import Decision, Scope
from relay.zone.plan import DAY, ahead, date_of, day_of
from relay.zone.warmup import OTHERS, Saved, Spend, Warmups

PLAN = (3, 5, 199, 200, 450, 1000)
FIRST = day_of("2026-12-01")
COLD = "192.0.2.1"
LATER = "2001:db8::1"
WARM = "192.0.2.9"
HOUR = DAY // 24


def at(day: int, hour: float = 0.0) -> int:
    """ms since the epoch, on a day of the plan (1 is the first)."""
    return (FIRST + day - 1) * DAY + int(hour * HOUR)


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.told: list[Decision] = []

    def made(self, saved: Saved = [], now: int = 0, plan: tuple[int, ...] = PLAN) -> Warmups:  # noqa: B006
        warmups = Warmups(
            {"slow": Warmup(days=plan)},
            {COLD: ("slow", "2026-12-01"), LATER: ("slow", "2026-12-03")},
            self.told.append,
        )
        warmups.restore(saved, now)
        return warmups

    def written(self, warmups: Warmups) -> Saved:
        done = warmups.reserve()
        warmups.reserved(done)
        return done.saved


class WarmupTests(Case):
    def test_an_address_without_a_plan(self) -> None:
        warmups = self.made()
        self.assertIsNone(warmups.room(WARM, "gmail", at(1)))
        self.assertIs(warmups.spend(WARM, "gmail", at(1)), Spend.GO)
        self.assertFalse(warmups.give_back(WARM, "gmail", FIRST))
        self.assertEqual((self.told, warmups.unsaved), ([], False))

    def test_four_weeks(self) -> None:
        """There is more to send than may be: each site gets each day what the plan says, the rest overflows."""
        plan = tuple(3 + day * day for day in range(24))
        warmups = self.made(plan=plan)
        sent: Counter[tuple[int, str]] = Counter()
        overflow: Counter[int] = Counter()
        demand = 40
        for day in range(-1, 29):
            for hour in range(24):
                for site in ("gmail", "yahoo"):
                    for _ in range(demand):
                        if warmups.room(COLD, site, at(day, hour)) == 0:
                            overflow[day] += 1
                            continue
                        warmups.spend(COLD, site, at(day, hour))
                        sent[day, site] += 1
        for day in range(-1, 29):
            allowed = 0 if day < 1 else plan[day - 1] if day <= len(plan) else 10**9
            each = min(allowed, 24 * demand)
            self.assertEqual((sent[day, "gmail"], sent[day, "yahoo"]), (each, each), day)
            self.assertEqual(overflow[day], 2 * (24 * demand - each), day)
        self.assertEqual(
            Counter(decision.kind for decision in self.told), {"warmup-full": 2 + 2 * len(plan), "warm": 1}
        )

    def test_what_is_told(self) -> None:
        warmups = self.made()
        for site in ("gmail", "yahoo"):
            self.assertEqual(warmups.room(COLD, site, at(0, 5)), 0)
        early = Decision(
            "warmup-full", Scope(address=COLD), 'the plan "slow" begins on 2026-12-01', at(0, 5), at(1)
        )
        self.assertEqual(self.told, [early])
        for _ in range(5):
            warmups.spend(COLD, "gmail", at(1, 2))
        full = Decision(
            "warmup-full",
            Scope(address=COLD, site="gmail"),
            '3 messages sent on day 1 of the plan "slow"',
            at(1, 2),
            at(2),
        )
        self.assertEqual(self.told, [early, full])
        self.assertEqual(warmups.room(COLD, "yahoo", at(1, 2)), 3)
        self.assertIsNone(warmups.room(COLD, "gmail", at(7)))
        self.assertIsNone(warmups.room(COLD, "gmail", at(7)))
        warm = Decision("warm", Scope(address=COLD), 'it has got through the 6 days of the plan "slow"', at(7))
        self.assertEqual(self.told, [early, full, warm])

    def test_a_message_that_never_went(self) -> None:
        warmups = self.made()
        for _ in range(3):
            warmups.spend(COLD, "gmail", at(1))
        self.assertIs(warmups.spend(COLD, "gmail", at(1)), Spend.FULL)
        self.assertEqual(warmups.give_back(COLD, "gmail", FIRST), "gmail")
        self.assertEqual(warmups.room(COLD, "gmail", at(1)), 1)
        for address, site, day in ((COLD, "gmail", FIRST - 1), (COLD, "yahoo", FIRST), (LATER, "gmail", FIRST)):
            self.assertIsNone(warmups.give_back(address, site, day))
        for left in (2, 3, 3):  # Only the first was news, and more than all that were sent don't come back.
            self.assertIsNone(warmups.give_back(COLD, "gmail", FIRST))
            self.assertEqual(warmups.room(COLD, "gmail", at(1)), left)
        self.assertEqual(warmups.room(COLD, "gmail", at(1)), 3)

    def test_what_waits_for_the_disk(self) -> None:
        warmups = self.made()
        self.assertIs(warmups.spend(COLD, "gmail", at(1)), Spend.WAIT)
        self.assertEqual(self.written(warmups), [(COLD, FIRST, {"gmail": 1})])
        self.assertIs(warmups.spend(COLD, "gmail", at(1)), Spend.WAIT)
        # A thousand are reserved in blocks of twenty, the next one when half is used.
        self.assertIs(warmups.spend(COLD, "gmail", at(6)), Spend.WAIT)
        self.assertEqual(warmups.covered(COLD, "gmail", at(6)), 0)
        self.assertEqual(self.written(warmups), [(COLD, FIRST + 5, {"gmail": 20})])
        self.assertEqual(warmups.covered(COLD, "gmail", at(6)), 19)
        for _ in range(8):
            self.assertIs(warmups.spend(COLD, "gmail", at(6)), Spend.GO)
        self.assertFalse(warmups.unsaved)
        self.assertIs(warmups.spend(COLD, "gmail", at(6)), Spend.GO)
        self.assertTrue(warmups.unsaved)
        self.assertEqual(self.written(warmups), [(COLD, FIRST + 5, {"gmail": 40})])
        warmups.settle()
        self.assertEqual(warmups.saved(), [(COLD, FIRST + 5, {"gmail": 10})])

    def test_a_write_that_failed_is_done_again(self) -> None:
        warmups = self.made()
        warmups.spend(COLD, "gmail", at(1))
        failed = warmups.reserve()
        self.assertFalse(warmups.unsaved)
        warmups.not_reserved(failed)
        self.assertEqual(warmups.reserve(), failed)

    def test_a_write_that_ends_on_the_next_day(self) -> None:
        warmups = self.made()
        warmups.spend(COLD, "gmail", at(5))
        late = warmups.reserve()
        warmups.spend(COLD, "gmail", at(6))
        warmups.reserved(late)
        self.assertIs(warmups.spend(COLD, "gmail", at(6)), Spend.WAIT)

    @given(st.integers(0, 10_000), st.integers(1, 10_000))
    def test_how_far_ahead(self, spent: int, amount: int) -> None:
        spent = min(spent, amount)
        reserved = ahead(spent, amount)
        self.assertLessEqual(spent, reserved)
        self.assertLessEqual(reserved, min(amount, spent + amount * 3 // 100) if amount >= 200 else spent)


class ClockTests(Case):
    def test_back_over_midnight(self) -> None:
        """What an address has left is over for it; another one may not have left it."""
        warmups = self.made()
        warmups.spend(COLD, "gmail", at(3))
        self.assertEqual(warmups.room(COLD, "gmail", at(2, 23)), 0)
        self.assertEqual(self.told[-1].until, at(3))
        self.assertEqual(warmups.room(COLD, "gmail", at(3)), PLAN[2] - 1)

    def test_far_ahead_and_back(self) -> None:
        """It was warm for a moment: today is over, tomorrow goes by the plan."""
        warmups = self.made()
        for _ in range(3):
            warmups.spend(COLD, "gmail", at(1))
        self.assertIsNone(warmups.room(COLD, "gmail", at(1000)))
        self.assertEqual(warmups.room(COLD, "gmail", at(1)), 0)
        self.assertEqual(warmups.room(COLD, "yahoo", at(1)), 0)
        self.assertEqual(warmups.room(COLD, "gmail", at(2)), 5)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["send"] * 6 + ["many", "write", "fail", "crash", "give back"]),
                st.sampled_from([0, HOUR, HOUR, HOUR, 7 * HOUR, DAY, -HOUR, -DAY, -3 * DAY, 40 * DAY, -40 * DAY]),
                st.sampled_from([COLD, LATER]),
                st.sampled_from(["a", "b", "c"]),
            ),
            max_size=150,
        )
    )
    def test_never_more_than_the_plan(self, steps: list[tuple[str, int, str, str]]) -> None:
        """Sent is what went by a covered count, or after a write; at any point all but the disk may be lost."""
        self.told.clear()
        now, disk = at(1), []
        warmups = self.made()
        warmups.most = 3
        sent: Counter[tuple[str, int, str]] = Counter()
        waiting: list[tuple[str, int, str]] = []
        undone: list[tuple[str, int, str]] = []
        for what, jump, address, site in steps:
            now += jump
            day = now // DAY
            for _ in range({"send": 1, "many": 150}.get(what, 0)):
                left = warmups.room(address, site, now)
                outcome = warmups.spend(address, site, now)
                self.assertEqual(outcome is Spend.FULL, left == 0)
                if outcome is Spend.WAIT:
                    waiting.append((address, day, site))
                elif outcome is Spend.GO:
                    sent[address, day, site] += 1
                    undone.append((address, day, site))
            if what == "write":
                disk = self.written(warmups)
                sent.update(waiting)
                undone += waiting
                waiting = []
            elif what == "fail":
                warmups.not_reserved(warmups.reserve())
                for one in waiting:
                    warmups.give_back(one[0], one[2], one[1])
                waiting = []
            elif what == "give back" and undone:
                one = undone.pop()
                warmups.give_back(one[0], one[2], one[1])
                sent[one] -= 1
            elif what == "crash":
                warmups, waiting, undone = self.made(disk, now), [], []
                warmups.most = 3
            for (where, when, _), count in sent.items():
                number = when - day_of("2026-12-01" if where == COLD else "2026-12-03")
                if number < len(PLAN):
                    self.assertLessEqual(count, PLAN[number] if number >= 0 else 0)

    @given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from("ab"), st.integers(1, 120)), max_size=60))
    def test_exactly_the_plan_while_the_clock_goes_on(self, steps: list[tuple[int, str, int]]) -> None:
        warmups, now = self.made(), at(1)
        model: Counter[tuple[int, str]] = Counter()
        for hours, site, count in steps:
            now += hours * HOUR
            day = now // DAY - FIRST
            for _ in range(count):
                left = PLAN[day] - model[day, site] if day < len(PLAN) else None
                self.assertEqual(warmups.room(COLD, site, now), left)
                if left != 0:
                    warmups.spend(COLD, site, now)
                    model[day, site] += 1


class RestartTests(Case):
    def test_what_was_reserved_counts_as_sent(self) -> None:
        warmups = self.made()
        for _ in range(12):
            warmups.spend(COLD, "gmail", at(6))
        disk = self.written(warmups)
        again = self.made(disk, at(6))
        self.assertEqual(again.room(COLD, "gmail", at(6)), 1000 - 40)
        self.assertEqual(again.room(COLD, "yahoo", at(6)), 1000)
        self.assertIs(again.spend(COLD, "gmail", at(6)), Spend.WAIT)

    def test_small_plans_lose_nothing(self) -> None:
        """Sent one by one with a crash behind each, a plan below two hundred is used to the last message."""
        disk: Saved = []
        for number in range(199):
            warmups = self.made(disk, at(3))
            self.assertEqual(warmups.room(COLD, "gmail", at(3)), 199 - number)
            warmups.spend(COLD, "gmail", at(3))
            disk = self.written(warmups)
        self.assertEqual(self.made(disk, at(3)).room(COLD, "gmail", at(3)), 0)

    def test_an_address_taken_out_and_put_back(self) -> None:
        warmups = self.made()
        warmups.spend(COLD, "gmail", at(1))
        without = Warmups({}, {}, self.told.append)
        without.restore(self.written(warmups), at(1))
        self.assertIsNone(without.room(COLD, "gmail", at(1)))
        self.assertEqual(self.made(without.saved(), at(1)).room(COLD, "gmail", at(1)), 2)
        without.restore(without.saved(), at(2))
        later = Warmups({}, {}, self.told.append)
        later.restore(without.saved(), at(2))
        self.assertEqual(later.saved(), [])

    def test_what_is_no_count_of_ours(self) -> None:
        for saved in (
            [(COLD, FIRST, {"a": -1})],
            [(COLD, FIRST, {"a": 1 << 32})],
            [(COLD, FIRST, {"": 1})],
            [(COLD, FIRST, {"x" * 301: 1})],
            [(COLD, -1, {})],
            [(COLD, 1 << 32, {})],
            [(COLD, FIRST, {}), (COLD, FIRST, {})],
        ):
            warmups = self.made()
            self.assertRaises(ValueError, warmups.restore, saved, at(1))
            self.assertEqual(warmups.saved(), [])

    def test_counts_that_are_lost(self) -> None:
        warmups = self.made()
        warmups.close(at(1))
        self.assertEqual(warmups.room(COLD, "gmail", at(1)), 0)
        self.assertEqual(warmups.room(COLD, "gmail", at(2)), 5)
        self.assertEqual(self.told[-1].until, at(2))
        self.assertIn("isn't known", self.told[-1].reason)

    def test_a_configuration_that_makes_no_sense(self) -> None:
        for plans, since, error in (({}, "2026-12-01", KeyError), ({"slow": Warmup()}, "soon", ValueError)):
            self.assertRaises(error, Warmups, plans, {COLD: ("slow", since)}, self.told.append)


class BoundTests(Case):
    def counting(self, most: int) -> Warmups:
        warmups = self.made()
        warmups.most = most
        return warmups

    def test_sites_beyond_the_bound_share_one_count(self) -> None:
        warmups = self.counting(2)
        for site in ("a", "b", "c", "d"):
            warmups.spend(COLD, site, at(1))
        self.assertEqual(warmups.saved()[0][2], {"a": 1, "b": 1, OTHERS: 2})
        self.assertEqual([warmups.room(COLD, site, at(1)) for site in "abcde"], [2, 2, 1, 1, 1])
        warmups.spend(COLD, "c", at(1))
        self.assertEqual(warmups.room(COLD, "e", at(1)), 0)
        self.assertEqual(warmups.give_back(COLD, "c", FIRST), "", "for any that shares the count")
        self.assertEqual(warmups.room(COLD, "e", at(1)), 1)

    def test_the_next_day_has_place_again(self) -> None:
        warmups = self.counting(1)
        warmups.spend(COLD, "a", at(1))
        warmups.spend(COLD, "b", at(2))
        self.assertEqual(warmups.saved()[0][2], {"b": 1})

    def test_a_site_that_gets_a_count_of_its_own_begins_with_that_of_the_others(self) -> None:
        warmups = self.counting(1)
        for site in ("a", "b", "b"):
            warmups.spend(LATER, site, at(3))
        warmups.most = 9
        warmups.spend(LATER, "b", at(3))
        self.assertEqual(warmups.room(LATER, "b", at(3)), 0)

    def test_a_name_that_could_not_be_restored(self) -> None:
        warmups = self.made()
        for site in ("", "x" * 301):
            warmups.spend(COLD, site, at(1))
        self.assertEqual(self.made(warmups.saved(), at(1)).room(COLD, "", at(1)), 1)


class ListedTests(Case):
    def rows(self, warmups: Warmups, now: int, **which: Any) -> list[Any]:
        return [(one.address, one.day, one.amount, one.closed, one.counted, one.sites)
                for one in warmups.listed(now, **which)]  # fmt: skip

    def test_listed(self) -> None:
        warmups = self.made()
        for site in ("a", "b", "b"):
            warmups.spend(COLD, site, at(1))
        self.assertEqual(
            self.rows(warmups, at(1)),
            [(COLD, 1, 3, False, 2, [("b", 2, 1), ("a", 1, 2)]), (LATER, 0, 0, False, 0, [])],
        )
        self.assertEqual(self.rows(warmups, at(1), limit=1)[0][4:], (2, [("b", 2, 1)]))
        self.assertEqual(
            [row[-1] for row in self.rows(warmups, at(1), site="x")], [[("x", 0, 3)], [("x", 0, 0)]]
        )
        self.assertEqual([row[0] for row in self.rows(warmups, at(1), address=LATER)], [LATER])
        self.assertEqual(self.rows(warmups, at(2))[0], (COLD, 2, 5, False, 0, []))
        self.assertEqual(self.rows(warmups, at(0), site="b")[0], (COLD, 0, 0, True, 0, [("b", 0, 0)]))
        self.assertEqual(self.rows(warmups, at(7))[0], (COLD, 7, None, False, 0, []))

    def test_the_limit_is_one_for_all(self) -> None:
        warmups = self.made()
        for address in (COLD, LATER):
            for site in "abc":
                warmups.spend(address, site, at(3))
        self.assertEqual([len(one.sites) for one in warmups.listed(at(3), limit=4)], [3, 1])

    def test_dates(self) -> None:
        self.assertEqual(date_of(FIRST), "2026-12-01")
        self.assertEqual(self.made().listed(at(1))[1].since, "2026-12-03")
