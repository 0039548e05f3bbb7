"""The record of decisions: numbered, bounded, a line of the log each, and not full of one thing."""

from __future__ import annotations

import io
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from relay.dispatch import decisions as decisions_module
from relay.dispatch.decisions import Decisions
from relay.logs.maillog import MailLog
from relay.zone.decision import Decision, Scope
from tests.unit.journey_rig import START, a_clock, milliseconds

SITE = Scope(zone="bulk", site="gmail", address="192.0.2.1")
NOW = int(START * 1000)


class Record(SynchronousTestCase):
    def setUp(self) -> None:
        self.file = io.BytesIO()
        self.clock = a_clock()
        self.now = milliseconds(self.clock)
        self.log = MailLog(self.clock, self.now, self.file)
        self.decisions = Decisions(self.log, self.now)

    def decide(self, kind: str = "suspended", scope: Scope = SITE, reason: str = "421 slow", until: int = 0) -> None:
        self.decisions(Decision(kind, scope, reason, self.now(), until))

    def lines(self) -> list[str]:
        self.log.flush()
        return self.file.getvalue().decode().splitlines()

    def seen(self, cursor: int | None = None, limit: int = 100, kind: str = "") -> list[Any]:
        return [(one.decision.kind, one.count) for one in self.decisions.since(cursor, limit, kind).records]

    def test_a_line_for_each(self) -> None:
        self.decide(until=NOW + 60_000)
        self.decide("held", Scope(domain="x.test", user="al b"))
        first, second = self.lines()
        self.assertEqual(
            first,
            f"2023-11-14T22:13:20.000Z decision id={NOW + 1} kind=suspended zone=bulk site=gmail "
            'address=192.0.2.1 reason="421 slow" until=2023-11-14T22:14:20Z',
        )
        self.assertEqual(second.partition(" decision ")[2],
                         f'id={NOW + 2} kind=held domain=x.test user="al b" reason="421 slow"')  # fmt: skip

    def test_repeated_within_a_minute(self) -> None:
        self.decide(until=NOW + 5)
        for end in (NOW + 9, NOW + 7):
            self.clock.advance(29)
            self.decide(until=end)
        (one,) = self.decisions.since(None, 10).records
        self.assertEqual((one.count, one.decision.made, one.last), (3, NOW, NOW + 58_000))
        self.assertEqual(one.decision.until, NOW + 9)
        self.decide(until=0)
        self.assertEqual(self.decisions.since(None, 10).records[0].decision.until, 0)
        self.clock.advance(2)
        self.decide()
        self.assertEqual(self.seen(), [("suspended", 4), ("suspended", 1)])
        self.assertEqual(len(self.lines()), 2)

    def test_what_is_no_repetition(self) -> None:
        self.decide()
        self.decide(reason="another")
        self.decide(scope=Scope(zone="bulk"), reason="another")
        self.decide("recovered", scope=Scope(zone="bulk"), reason="another")
        self.assertEqual([count for _, count in self.seen()], [1, 1, 1, 1])

    def test_the_order_of_what_alternates_is_kept(self) -> None:
        """What is decided of others meanwhile is nothing to it."""
        for kind in ("held", "released", "held"):
            self.decide(kind)
            self.decide("held", Scope(zone="other"))
        self.assertEqual(self.seen(), [("held", 1), ("held", 3), ("released", 1), ("held", 1)])

    def test_pages(self) -> None:
        for number in range(10):
            self.decide(("held", "released")[number % 2], reason=str(number))
        self.assertEqual(
            [one.decision.reason for one in self.decisions.since(None, 3).records], ["7", "8", "9"]
        )
        for kind, expected in (("", "0123456789"), ("held", "02468"), ("released", "13579"), ("odd", "")):
            cursor, read = NOW, ""
            for _ in range(8):
                page = self.decisions.since(cursor, 2, kind)
                self.assertFalse(page.missed)
                self.assertLessEqual(len(page.records), 2)
                read += "".join(one.decision.reason for one in page.records)
                cursor = page.next
            self.assertEqual((read, cursor), (expected, NOW + 10))
        self.decide("held", reason="later")
        self.assertEqual(self.seen(cursor), [("held", 1)])
        self.assertEqual(self.decisions.since(None, 10, "odd").next, NOW + 11)

    def test_bounded(self) -> None:
        """The oldest goes; whoever hasn't read it is told so."""
        self.patch(decisions_module, "MOST", 3)
        for number in range(5):
            self.decide(scope=Scope(domain=f"d{number}.test"))
        page = self.decisions.since(NOW, 100)
        self.assertEqual([one.number - NOW for one in page.records], [3, 4, 5])
        self.assertTrue(page.missed)
        self.assertFalse(self.decisions.since(NOW + 2, 100).missed)
        self.assertEqual(len(self.decisions._latest), 3)
        self.decide(scope=Scope(domain="d0.test"))
        self.assertEqual(len(self.seen()), 3)

    def test_a_scope_decided_of_again_and_again_is_forgotten_with_its_last(self) -> None:
        self.patch(decisions_module, "MOST", 2)
        for number in range(5):
            self.decide(reason=str(number))
        self.decide(reason="4")
        self.assertEqual(self.seen(), [("suspended", 1), ("suspended", 2)])

    def test_a_cursor_from_before_a_restart(self) -> None:
        self.decide()
        cursor = self.decisions.since(None, 1).next
        self.clock.advance(5)
        self.decisions = Decisions(self.log, self.now)
        page = self.decisions.since(cursor, 10)
        self.assertEqual((page.records, page.missed), ([], True))
        self.decide("held")
        self.assertEqual(self.seen(page.next), [("held", 1)])
        page = self.decisions.since(page.next + 1_000_000, 10)
        self.assertEqual((len(page.records), page.missed), (1, True))
