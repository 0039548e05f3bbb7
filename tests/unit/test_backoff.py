"""Back-off against a slow model: never more than the schedule says, and it always heals."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Backoff as Section
from relay.zone.backoff import Backoff
from relay.zone.decision import Decision, Scope
from relay.zone.outages import MEMORY, PATIENCE
from relay.zone.trouble import Witness

T = 1795319890_000
S, M, H = 1000, 60_000, 3600_000
PATH = ("default", "example.net", "192.0.2.7")
SECTION = Section()


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.told: list[Decision] = []
        self.backoff = self.made()

    def made(self, section: Section = SECTION, **more: Any) -> Backoff:
        return Backoff(section, self.told.append, **more)

    def kinds(self) -> list[str]:
        told = [decision.kind for decision in self.told]
        self.told.clear()
        return told

    def allowed(self, *times: int) -> list[int | None]:
        return [self.backoff.allowance(*PATH, time) for time in times]


class PathTests(Case):
    def test_no_trouble(self) -> None:
        self.assertEqual(self.allowed(T), [None])
        self.assertIsNone(self.backoff.until(*PATH, T))
        self.assertIsNone(self.backoff.why(*PATH, T))
        self.assertEqual((self.told, len(self.backoff)), ([], 0))

    def test_a_pause_and_the_way_back(self) -> None:
        self.backoff.complained(*PATH, "rate", "421 4.7.0 too\r\nmuch", T)
        scope = Scope(zone="default", site="example.net", address="192.0.2.7")
        self.assertEqual(self.told, [Decision("suspended", scope, "too much: 421 4.7.0 too much", T, T + M)])
        self.told.clear()
        self.assertEqual(self.allowed(T, T + M - 1), [0, 0])
        self.assertEqual(self.backoff.until(*PATH, T), T + M)
        self.assertEqual(self.told, [])
        for rung in range(5):
            begin = T + M + rung * M
            self.assertEqual(self.allowed(begin, begin + M - 1), [1 << rung, 1 << rung])
            self.assertEqual(self.backoff.until(*PATH, begin + 17), begin + M)
        self.assertEqual(self.kinds(), ["climbing"])
        self.assertEqual(self.allowed(T + 6 * M), [None])
        self.assertEqual((self.kinds(), len(self.backoff)), (["recovered"], 0))

    def test_each_complaint_lengthens_the_next_pause(self) -> None:
        now, pauses = T, []
        for _ in range(7):
            self.backoff.complained(*PATH, "block", "550 no", now)
            until = self.backoff.until(*PATH, now)
            assert until is not None
            pauses.append((until - now) // M)
            now = until + 2 * M
        self.assertEqual(pauses, [1, 5, 15, 30, 60, 60, 60])
        now += 10 * M
        self.backoff.complained(*PATH, "block", "550 no", now)
        self.assertEqual(self.backoff.until(*PATH, now), now + M, "healed, it begins anew")

    def test_what_began_before_the_pause_was_over_says_nothing_new(self) -> None:
        for _ in range(50):
            self.backoff.complained(*PATH, "rate", "421 x", T)
        self.backoff.complained(*PATH, "rate", "421 x", T + 59 * S)
        self.backoff.complained(*PATH, "rate", "421 late", T + 70 * S, begun=T - 5 * S)
        self.assertEqual(self.kinds(), ["suspended"])
        self.assertEqual(self.backoff.until(*PATH, T), T + M)
        self.backoff.complained(*PATH, "rate", "421 x", T + 70 * S, begun=T + 65 * S)
        self.assertEqual(self.kinds(), ["suspended"])
        self.assertEqual(self.backoff.until(*PATH, T + 70 * S), T + 70 * S + 5 * M)

    def test_others_are_not_touched(self) -> None:
        self.backoff.complained(*PATH, "rate", "421 x", T)
        for path in (("other", *PATH[1:]), (PATH[0], "example.org", PATH[2]), (*PATH[:2], "192.0.2.8")):
            self.assertIsNone(self.backoff.allowance(*path, T))

    def test_a_blocklist(self) -> None:
        witness = Witness("1a20169d1ea0007acc", 2, "example.com")
        self.backoff.complained(*PATH, "rate", "421 x", T)
        self.backoff.complained(*PATH, "blacklist", "554 listed", T + S, witness)
        self.backoff.complained(*PATH, "blacklist", "554 again", T + 2 * S)
        self.backoff.complained(*PATH, "rate", "421 x", T + 3 * S)
        self.assertEqual(self.kinds(), ["suspended", "blacklisted"])
        (path,) = self.backoff.blacklisted(T + 3 * S)
        self.assertEqual((path.id, path.seq, path.domain, path.address), (*witness, "192.0.2.7"))
        self.assertEqual((path.reason, path.since), ("554 listed", T + S))
        end = T + S + 6 * H
        self.assertEqual(self.allowed(end - 1, end, end + 5 * M), [0, 1, None])
        self.assertEqual(self.backoff.blacklisted(end), [])

    def test_a_listing_ends_no_pause_early(self) -> None:
        self.backoff = self.made(Section(blacklist=1.0))
        self.backoff.complained(*PATH, "rate", "421 x", T)
        self.backoff.complained(*PATH, "blacklist", "554 x", T)
        self.assertEqual(self.backoff.until(*PATH, T), T + M)

    def test_why(self) -> None:
        self.backoff.complained(*PATH, "block", "550 \x00\udc80 no" + "x" * 1000, T)
        trouble = self.backoff.why(*PATH, T + S)
        assert trouble is not None
        self.assertEqual((trouble.kind, trouble.since, trouble.until, trouble.allowance), ("block", T, T + M, 0))
        self.assertEqual((trouble.reason[:12], len(trouble.reason)), ("550 ?? noxxx", 300))
        json.dumps(msgspec.to_builtins(trouble)).encode()
        trouble = self.backoff.why(*PATH, T + 2 * M)
        assert trouble is not None
        self.assertEqual((trouble.until, trouble.allowance), (T + 3 * M, 2))
        self.assertIsNone(self.backoff.why(*PATH, T + 6 * M))


class SummaryTests(Case):
    def test_nothing(self) -> None:
        kinds, first = self.backoff.summary(T)
        self.assertEqual((set(kinds.values()), first), ({0}, T))

    def test_each_kind_and_the_longest(self) -> None:
        pause = M
        self.backoff.unreachable("default", "gone.test", "timed out", T - H)
        for address, kind, when in (("a", "rate", T - 2 * pause), ("b", "block", T - 10), ("c", "blacklist", T - 5)):
            self.backoff.complained("default", "s", address, kind, "421 x", when)  # type: ignore[arg-type]
        kinds, first = self.backoff.summary(T)
        self.assertEqual(kinds, {"climbing": 1, "suspended": 1, "blacklisted": 1, "unreachable": 1})
        self.assertEqual(first, T - 2 * pause, "sites that are gone do not count")
        self.backoff.taken("default", "s", "a", T)
        self.assertEqual(self.backoff.summary(T)[1], T - 10)

    def test_what_has_healed_is_gone(self) -> None:
        self.backoff.complained(*PATH, "rate", "421 x", T)
        self.assertEqual(self.backoff.summary(T + 6 * M)[0].total(), 0)


class OutageTests(Case):
    SITE = PATH[:2]

    def test_pauses_grow_and_the_last_repeats(self) -> None:
        now, pauses = T, []
        self.backoff.unreachable(*self.SITE, "no route", now)
        for _ in range(8):
            until = self.backoff.closed(*self.SITE, now)
            assert until is not None
            pauses.append((until - now) // S)
            now = until + S
            self.assertTrue(self.backoff.probe(*self.SITE, now))
            self.backoff.unreachable(*self.SITE, "no route", now + S)
            now += S
        self.assertEqual(pauses, [30, 60, 120, 300, 600, 900, 900, 900])
        self.assertEqual(self.kinds(), ["unreachable"] * 9)

    def test_one_probe_at_a_time(self) -> None:
        self.backoff.unreachable(*self.SITE, "timed out", T)
        self.assertFalse(self.backoff.probe(*self.SITE, T + 29 * S))
        now = T + 30 * S
        self.assertIsNone(self.backoff.closed(*self.SITE, now))
        self.assertEqual([self.backoff.probe(*self.SITE, now) for _ in range(3)], [True, False, False])
        self.assertEqual(self.backoff.closed(*self.SITE, now), now + PATIENCE)
        self.backoff.probe_lost(*self.SITE, now + S)
        self.assertEqual([self.backoff.probe(*self.SITE, now + S) for _ in range(2)], [True, False])
        self.backoff.reachable(*self.SITE, now + 2 * S)
        self.assertIsNone(self.backoff.closed(*self.SITE, now + 2 * S))
        self.assertEqual([self.backoff.probe(*self.SITE, now + 2 * S) for _ in range(3)], [True] * 3)
        self.assertEqual(self.kinds(), ["unreachable", "reachable"])

    def test_a_probe_that_nobody_hears_of(self) -> None:
        self.backoff.unreachable(*self.SITE, "timed out", T)
        self.assertTrue(self.backoff.probe(*self.SITE, T + M))
        self.assertFalse(self.backoff.probe(*self.SITE, T + M + PATIENCE - 1))
        self.assertTrue(self.backoff.probe(*self.SITE, T + M + PATIENCE))

    def test_failures_of_before_say_nothing_new(self) -> None:
        self.backoff.unreachable(*self.SITE, "timed out", T)
        self.backoff.unreachable(*self.SITE, "timed out", T + 20 * S)
        self.backoff.unreachable(*self.SITE, "timed out", T + 40 * S)
        self.assertTrue(self.backoff.probe(*self.SITE, T + 41 * S))
        self.backoff.unreachable(*self.SITE, "timed out", T + 42 * S, begun=T - S)
        self.assertEqual(self.backoff.closed(*self.SITE, T + 42 * S), T + 41 * S + PATIENCE)
        self.backoff.unreachable(*self.SITE, "timed out", T + 43 * S, begun=T + 41 * S)
        self.assertEqual(self.backoff.closed(*self.SITE, T + 43 * S), T + 103 * S)
        self.assertEqual(self.kinds(), ["unreachable"] * 2)

    def test_forgotten_when_there_is_no_mail_for_it(self) -> None:
        self.backoff.unreachable(*self.SITE, "timed out", T)
        self.assertEqual(len(self.backoff.listed(T + 30 * S + MEMORY - 1)), 1)
        self.assertEqual(self.backoff.listed(T + 30 * S + MEMORY), [])
        self.assertEqual(len(self.backoff), 0)

    def test_why_a_path_waits(self) -> None:
        self.backoff.unreachable(*self.SITE, "timed out", T)
        trouble = self.backoff.why(*PATH, T + S)
        assert trouble is not None
        self.assertEqual((trouble.kind, trouble.reason, trouble.allowance), ("unreachable", "timed out", 0))


class ByHandTests(Case):
    def test_end(self) -> None:
        for zone in ("a", "b"):
            for address in ("192.0.2.7", "192.0.2.8"):
                self.backoff.complained(zone, "s", address, "rate", "421 x", T)
            self.backoff.unreachable(zone, "t", "timed out", T)
        self.told.clear()
        self.assertEqual(self.backoff.end(Scope(domain="s"), T), 0)
        self.assertEqual(self.backoff.end(Scope(zone="a", address="192.0.2.9"), T), 0)
        self.assertEqual(self.kinds(), [])
        self.assertEqual(self.backoff.end(Scope(zone="a", address="192.0.2.7"), T), 1)
        self.assertEqual([d.reason for d in self.told], ["ended by an operator: 1 back-offs"])
        self.assertIsNone(self.backoff.allowance("a", "s", "192.0.2.7", T))
        self.assertEqual(self.backoff.end(Scope(site="t"), T), 2)
        self.assertIsNone(self.backoff.closed("a", "t", T))
        self.assertEqual(self.backoff.end(Scope(), T), 3)
        self.assertEqual(self.backoff.listed(T), [])

    def test_an_address_by_another_spelling(self) -> None:
        self.backoff.complained("a", "s", "2001:DB8:0::7", "rate", "421 x", T)
        self.assertEqual(self.backoff.end(Scope(address="2001:db8::8"), T), 0)
        self.assertEqual(self.backoff.end(Scope(address="2001:db8::7"), T), 1)

    def test_listed(self) -> None:
        for number in range(5):
            self.backoff.complained("a", f"s{number}", "192.0.2.7", "rate", "421 x", T + number)
        self.backoff.unreachable("b", "s1", "timed out", T)
        sites = [trouble.site for trouble in self.backoff.listed(T + 5, most=3)]
        self.assertEqual(sites, ["s4", "s3", "s2"])
        found = self.backoff.listed(T + 5, Scope(site="s1"))
        self.assertEqual([(one.zone, one.kind) for one in found], [("a", "rate"), ("b", "unreachable")])
        self.told.clear()
        self.assertEqual([one.kind for one in self.backoff.listed(T + H)], ["unreachable"])
        self.assertEqual(self.kinds(), ["recovered"] * 5, "nobody had to ask about them")


class RestartTests(Case):
    def again(self, now: int, section: Section = SECTION) -> Backoff:
        """What comes back from the file."""
        data = msgspec.json.encode(self.backoff.saved(now))
        backoff = self.made(section)
        backoff.restore(msgspec.json.decode(data), now)
        return backoff

    def test_pauses_listings_and_outages(self) -> None:
        self.backoff.complained(*PATH, "rate", "421 x", T)
        self.backoff.complained("a", "s", "::1", "blacklist", "554 x", T, Witness("id", 1, "d"))
        self.backoff.unreachable("a", "u", "timed out", T)
        again = self.again(T + S)
        for now in (T + S, T + 31 * S, T + M, T + 3 * M):
            self.assertEqual(again.listed(now), self.backoff.listed(now))
        self.assertEqual(again.blacklisted(T + S), self.backoff.blacklisted(T + S))
        again.complained(*PATH, "rate", "421 x", T + 2 * M)
        self.assertEqual(again.until(*PATH, T + 2 * M), T + 7 * M, "it knows that it was the second time")

    def test_what_is_over_is_left_out(self) -> None:
        self.backoff.complained(*PATH, "rate", "421 x", T)
        self.assertEqual(len(self.again(T + 5 * M)), 1)
        data = self.backoff.saved(T + 5 * M)
        self.backoff = self.made()
        self.backoff.restore(data, T + 6 * M)
        self.assertEqual(len(self.backoff), 0)

    def test_a_probe_is_lost_by_a_restart(self) -> None:
        self.backoff.unreachable("a", "u", "timed out", T)
        self.assertTrue(self.backoff.probe("a", "u", T + M))
        self.assertTrue(self.again(T + M + S).probe("a", "u", T + M + S))

    def test_shorter_by_a_new_configuration_or_a_clock_put_right(self) -> None:
        self.backoff.complained(*PATH, "blacklist", "554 x", T)
        again = self.again(T, Section(blacklist=7200.0))
        self.assertEqual(again.until(*PATH, T), T + 2 * H)
        data = self.backoff.saved(T)
        self.backoff = self.made()
        self.backoff.restore(data, T - 1000 * H)
        self.assertEqual(self.backoff.until(*PATH, T - 1000 * H), T - 994 * H)

    def test_garbage(self) -> None:
        entry = ["z", "s", "a", "rate", "421 x", T, T, 0]
        bad = (
            None, 1, "x", [], {}, [[]], [[], [], []], [[1], []], [[[]], []], [[entry[:-1]], []], [[], [entry]],
            [[["z", "s", "a", "other", "421 x", T, T, 0]], []], [[["z" * 600, *entry[1:]]], []],
            [[[*entry[:5], -1, T, 0]], []], [[[*entry[:6], 1 << 60, 0]], []], [[[*entry[:7], 1 << 40]], []],
            [[[*entry[:4], "x" * 301, T, T, 0]], []], [[[*entry[:6], "1", 0]], []],
            [[[*entry[:6], float("nan"), 0]], []],
            [[[*entry, "id", 1, "d", True, "more"]], []],
        )  # fmt: skip
        for saved in bad:
            self.assertTrue(str(self.assertRaises(ValueError, self.backoff.restore, saved, T)), saved)
        small = self.made(most=2)
        self.assertRaises(ValueError, small.restore, [[entry] * 3, []], T)
        self.assertEqual((len(self.backoff), len(small)), (0, 0))
        self.backoff.restore([[[*entry[:4], "421\x00\nx", *entry[5:]]], []], T)
        trouble = self.backoff.why("z", "s", "a", T)
        assert trouble is not None
        self.assertEqual(trouble.reason, "421? x")

    @given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda a: st.lists(a), max_leaves=30))
    def test_any_json(self, saved: Any) -> None:
        backoff = Backoff(SECTION, lambda decision: None)
        try:
            backoff.restore(saved, T)
        except ValueError:
            self.assertEqual(len(backoff), 0)


STEPS = st.lists(
    st.tuples(
        st.integers(0, 3), st.sampled_from(["rate", "block", "blacklist", "ask", "end"]),
        st.sampled_from([0, S, 20 * S, M, 2 * M, 7 * M, H, 7 * H]),
    ),
    max_size=60,
)  # fmt: skip
PAUSES = [int(pause * S) for pause in SECTION.pauses]


class Model:
    """One path, by looking at all that ever happened to it."""

    def __init__(self) -> None:
        self.pauses: list[tuple[int, int, str]] = []
        self.level = 0

    def allowance(self, now: int) -> int | None:
        if not self.pauses:
            return None
        over = max(until for _, until, _ in self.pauses)
        if now < over:
            return 0
        allowed = 1
        while over + M <= now:
            over, allowed = over + M, allowed * 2
        return allowed if allowed <= 16 else None

    def complained(self, kind: str, now: int) -> None:
        allowed = self.allowance(now)
        if allowed is None:
            self.pauses, self.level = [], 0
        if kind == "blacklist":
            if allowed != 0 or self.pauses[-1][2] != kind:
                self.pauses.append((now, now + 6 * H, kind))
        elif allowed != 0:
            self.pauses.append((now, now + PAUSES[min(self.level, len(PAUSES) - 1)], kind))
            self.level += 1


class ModelTests(SynchronousTestCase):
    @given(STEPS)
    def test_as_the_schedule_says_and_healed_in_the_end(self, steps: list[tuple[int, str, int]]) -> None:
        told: list[Decision] = []
        backoff, models, now = Backoff(SECTION, told.append), [Model() for _ in range(4)], T
        for number, what, pause in steps:
            path, model = ("z", "s", f"192.0.2.{number}"), models[number]
            if what == "end":
                backoff.end(Scope(address=path[2]), now)
                models[number] = model = Model()
            elif what != "ask":
                backoff.complained(*path, what, "421 x", now)  # type: ignore[arg-type]
                model.complained(what, now)
            now += pause
            for other, model in enumerate(models):
                path = ("z", "s", f"192.0.2.{other}")
                allowed = model.allowance(now)
                # Asking may forget and tell, but never changes the answer.
                self.assertEqual([backoff.allowance(*path, now) for _ in range(2)], [allowed] * 2)
                until = backoff.until(*path, now)
                self.assertEqual(until is None, allowed is None)
                if until is not None:
                    self.assertEqual(model.allowance(until - 1), allowed)
                    self.assertNotEqual(model.allowance(until), allowed)
        now += 6 * H + 5 * M
        self.assertEqual(backoff.listed(now), [])
        self.assertEqual(len(backoff), 0)
        for number in range(4):
            self.assertIsNone(backoff.allowance("z", "s", f"192.0.2.{number}", now))

    @given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from([0, S, 10 * M]), st.booleans()), max_size=200))
    def test_bounded(self, steps: list[tuple[int, int, bool]]) -> None:
        backoff, now = Backoff(SECTION, lambda decision: None, most=5), T
        for number, pause, listing in steps:
            backoff.complained("z", f"s{number}", "a", "blacklist" if listing else "rate", "421 x", now)
            backoff.unreachable("z", f"s{number}", "timed out", now)
            self.assertEqual(backoff.allowance("z", f"s{number}", "a", now), 0, "the newest is never forgotten")
            now += pause
            self.assertLessEqual(len(backoff), 10)

    @given(st.lists(st.tuples(st.sampled_from(["fail", "old", "ok", "probe", "lost"]), st.integers(1, 2 * M))))
    def test_never_two_probes(self, steps: list[tuple[str, int]]) -> None:
        backoff, now, probing = Backoff(SECTION, lambda decision: None), T, False
        for what, pause in steps:
            closed = backoff.closed("z", "s", now)
            if what == "probe" and backoff.closed("z", "s", now) is None and len(backoff):
                self.assertFalse(probing)
                self.assertTrue(backoff.probe("z", "s", now))
                probing, begun = True, now
            elif what == "fail" and (probing or not len(backoff)):
                backoff.unreachable("z", "s", "timed out", now)
                probing = False
            elif what == "old":
                had = len(backoff)
                backoff.unreachable("z", "s", "timed out", now, begun=T - 1)
                if had:
                    self.assertEqual(backoff.closed("z", "s", now), closed)
            elif what == "ok":
                backoff.reachable("z", "s", now)
                probing = False
                self.assertIsNone(backoff.closed("z", "s", now))
            elif what == "lost" and probing:
                backoff.probe_lost("z", "s", now)
                probing = False
            self.assertEqual(probing, bool(probing and not backoff.probe("z", "s", now)))
            if probing and now + pause >= begun + PATIENCE:
                break
            now += pause
