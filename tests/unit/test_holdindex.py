"""Which hold is in the way: the index says what a look at every hold would say."""

from __future__ import annotations

from itertools import product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.config.units import MAX_SECONDS
from relay.zone.decision import Scope
from relay.zone.hold import LONGEST_NAME, LONGEST_REASON, BadHold, Hold, made
from relay.zone.holdindex import HoldIndex

_FOR_EVER = 1 << 62
_FOUR = ("zone", "domain", "site", "user")


def few(*names: str) -> st.SearchStrategy[str]:
    return st.sampled_from(("", *names))


scopes = st.builds(
    Scope, zone=few("a", "b"), domain=few("x.test", "y.test"), site=few("s", "T"), address=few("192.0.2.1", "::1"),
    user=few("Al", "bo"),
)  # fmt: skip
holds = st.lists(st.tuples(scopes, st.integers(0, 5)), max_size=60).map(
    lambda drawn: [Hold(f"h{n}", scope, "why", 0, until) for n, (scope, until) in enumerate(drawn)]
)
asked = st.tuples(few("a", "b", "c"), few("x.test", "y.test"), few("s", "t"), few("al", "AL", "Bo", "z"))


def fits(hold: Hold, names: tuple[str, str, str, str]) -> bool:
    """The slow way: every name that the hold has is the one that is asked for."""
    said = [getattr(hold.scope, field) for field in _FOUR]
    return all(not mine or mine.lower() == theirs.lower() for mine, theirs in zip(said, names, strict=True))


class Index(SynchronousTestCase):
    def agree(self, index: HoldIndex, left: list[Hold], names: tuple[str, str, str, str]) -> None:
        fitting = [hold for hold in left if fits(hold, names)]
        ends = [hold.until or _FOR_EVER for hold in fitting if not hold.scope.address]
        found = index.matching(*names)
        self.assertEqual(found and (found.until or _FOR_EVER), max(ends, default=None))
        if found is not None:
            self.assertIn(found, [hold for hold in fitting if not hold.scope.address])
        self.assertEqual(index.addresses(*names), {hold.scope.address for hold in fitting} - {""})

    @given(holds, st.data(), st.lists(asked, min_size=1, max_size=10))
    def test_as_the_slow_way(self, drawn: list[Hold], data: st.DataObject, questions: list[tuple[str, ...]]) -> None:
        index = HoldIndex()
        half = len(drawn) // 2
        index.change(drawn[:half], ())
        gone = data.draw(st.lists(st.sampled_from(drawn), unique_by=lambda hold: hold.id)) if drawn else []
        index.change(drawn[half:], [hold.id for hold in gone] + ["unknown"])
        left = [hold for hold in drawn if hold not in gone]
        self.assertCountEqual(index.all(), left)
        for names in questions:
            self.agree(index, left, names)  # type: ignore[arg-type]
        index.change((), [hold.id for hold in left])
        self.assertEqual((len(index), index._by_key, index._longest, index._addresses), (0, {}, {}, {}))
        self.assertFalse(index._shapes)

    def test_as_the_slow_way_with_many(self) -> None:
        """Every scope there is, three times, but those that hold everything for ever."""
        index, every = HoldIndex(), []
        names: Any = ("", "a", "b"), ("", "x.test", "y.test"), ("", "s"), ("", "192.0.2.1", "::1"), ("", "al"), range(3)
        for number, (zone, domain, site, address, user, until) in enumerate(product(*names)):
            scope = Scope(zone=zone, domain=domain, site=site, address=address, user=user)
            if until or (scope.zone and scope.user):
                every.append(Hold(f"h{number}", scope, "why", 0, until * number))
        index.change(every, ())
        for asked_for in product(("a", "b", "c"), ("x.test", "z.test"), ("", "s", "t"), ("", "al", "bo")):
            self.agree(index, every, asked_for)

    def test_what_nobody_holds_is_not_looked_for(self) -> None:
        """Without holds of a kind there are no keys made, whatever is asked."""
        index = HoldIndex()
        self.patch(index, "_keys", None)
        self.assertIsNone(index.matching("a", "x.test", "", ""))
        self.assertEqual(index.addresses("a", "x.test", "", ""), frozenset())

    def test_one_key_for_each_shape(self) -> None:
        index = HoldIndex()
        index.change([Hold(f"h{n}", Scope(domain=f"d{n}.test"), "why", 0) for n in range(500)], ())
        self.assertEqual(index._keys("a", "x.test", "s", "u"), [("", "x.test", "", "")])


class Making(SynchronousTestCase):
    def test_usual_form(self) -> None:
        said = Scope(zone="Bulk", domain="BÜCHER.example", site="Gmail", address="2001:DB8:0::1", user="Alice")
        hold = made("h", said, "  why ", 5, 6)
        usual = Scope(
            zone="bulk", domain="xn--bcher-kva.example", site="gmail", address="2001:db8::1", user="Alice"
        )
        self.assertEqual(hold, Hold("h", usual, "why", 5, 6))
        self.assertEqual(made("h", Scope(domain="[IPv6:::1]"), "x", 0).scope.domain, "[IPv6:::1]")

    def test_a_domain_literal_is_found(self) -> None:
        index = HoldIndex()
        index.change([made("h", Scope(domain="[ipv6:0::1]"), "why", 0)], ())
        self.assertIsNotNone(index.matching("default", "[IPv6:::1]", "", ""))

    def test_everything_is_said(self) -> None:
        self.assertEqual(made("h", Scope(), "why", 0, everything=True).scope, Scope())
        for scope, everything in ((Scope(), False), (Scope(zone="a"), True)):
            error = self.assertRaises(BadHold, made, "h", scope, "why", 0, 0, everything)
            self.assertEqual(error.field, "everything")

    def test_bounds(self) -> None:
        at_most = {"zone": "z" * LONGEST_NAME, "site": "s" * LONGEST_NAME, "user": "é" * LONGEST_NAME}
        made("h", Scope(**at_most), "é" * LONGEST_REASON, 1, 1 + int(MAX_SECONDS * 1000))
        for field in ("zone", "domain", "site", "address", "user"):
            for bad in ("x" * 256, "a\nb", "a\x7f", "a\u2028", " a", "\ud800"):
                error = self.assertRaises(BadHold, made, "h", Scope(**{field: bad}), "why", 0)
                self.assertEqual(error.field, field)
                self.assertTrue(str(error).startswith(f"{field}: expected ") and str(error).isprintable(), error)
        for field, bad in (
            ("domain", "@x.test"), ("domain", "a..b"), ("domain", "x.test."), ("domain", "[1.2.3]"),
            ("address", "x"), ("address", "192.0.2.0/24"), ("address", "fe80::1%eth0"),
        ):  # fmt: skip
            error = self.assertRaises(BadHold, made, "h", Scope(**{field: bad}), "why", 0)
            self.assertEqual(error.field, field)
        for bad in ("", "  ", "x" * (LONGEST_REASON + 1), "a\nb", "a\x1b[1m", "a\x9b", "a\u2028b", "\udc80"):
            self.assertEqual(self.assertRaises(BadHold, made, "h", Scope(zone="a"), bad, 0).field, "reason")
        for since, until, field in ((-1, 0, "since"), (1 << 60, 0, "since"), (9, 9, "until"), (9, -1, "until"),
                                    (0, int(MAX_SECONDS * 1000) + 1, "until")):  # fmt: skip
            error = self.assertRaises(BadHold, made, "h", Scope(zone="a"), "why", since, until)
            self.assertEqual(error.field, field)
