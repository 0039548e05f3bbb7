"""What of all that comes back puts somebody on the list."""

from __future__ import annotations

from msgspec.structs import replace
from twisted.internet.defer import fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Suppression
from relay.message.event import KINDS, Event, Numbered
from relay.queue.store import StoreError
from relay.suppression.entry import Entry
from relay.suppression.policy import entry_of
from relay.suppression.sweeping import EVERY, Sweeping
from relay.suppression.taking import Taking
from tests.unit.journey_rig import START, a_clock
from tests.unit.suppression_rig import FakeShelf, a_list

NOW = int(START * 1000)
DAY = 86_400_000
ID = "1a20169d1ea0007acc"
BOUNCED = Event(
    "bounced", NOW, ID, 1, recipient="Gone@to.test", reply="550 5.1.1 no such user", category="recipient",
    action="reject", fault="recipient", user="Ann",
)  # fmt: skip
COMPLAINT = Event("complaint", NOW, ID, 1, recipient="x@to.test", user="Ann", reason="abuse")
ON = Suppression(bounces="recipient")


class Policy(SynchronousTestCase):
    def test_a_hard_bounce(self) -> None:
        reason = f"{ID}.001 550 5.1.1 no such user"
        entry = Entry("gone@to.test", "", reason, "bounce", NOW, NOW + 90 * DAY)
        self.assertEqual(entry_of(BOUNCED, ON), entry)
        tenants = entry_of(BOUNCED, Suppression(bounces="recipient", bounce_scope="tenant", bounce_for=0.0))
        assert tenants is not None
        self.assertEqual((tenants.tenant, tenants.expires), ("ann", 0))
        theirs = entry_of(replace(BOUNCED, tenant="Acme"), Suppression(bounces="recipient", bounce_scope="tenant"))
        assert theirs is not None
        self.assertEqual(theirs.tenant, "acme")
        self.assertIsNone(entry_of(BOUNCED, Suppression()))
        self.assertIsNotNone(entry_of(replace(BOUNCED, kind="bounce-returned"), ON))

    def test_of_an_organisation_it_is_that_ones(self) -> None:
        """And not the key's or the user's, of which it may have several."""
        entry = entry_of(replace(COMPLAINT, tenant="acme"), Suppression())
        assert entry is not None
        self.assertEqual(entry.tenant, "acme")

    def test_others_are_not_hard(self) -> None:
        for change in ({"category": "capacity"}, {"action": "defer"}, {"fault": "sender"}, {"recipient": ""}):
            self.assertIsNone(entry_of(replace(BOUNCED, **change), ON))
        for kind in KINDS - {"bounced", "bounce-returned", "complaint", "unsubscribed"}:
            self.assertIsNone(entry_of(replace(BOUNCED, kind=kind), ON))

    def test_complaints_and_unsubscribed(self) -> None:
        entry = Entry("x@to.test", "ann", f"{ID}.001 abuse", "complaint", NOW)
        self.assertEqual(entry_of(COMPLAINT, Suppression()), entry)
        gone = entry_of(replace(COMPLAINT, kind="unsubscribed", id="", reason=""), Suppression(complaint_for=3600.0))
        assert gone is not None
        self.assertEqual((gone.source, gone.reason, gone.expires), ("unsubscribe", "unsubscribe", NOW + 3_600_000))
        self.assertIsNone(entry_of(COMPLAINT, Suppression(complaints=False)))
        self.assertIsNone(entry_of(replace(COMPLAINT, kind="unsubscribed"), Suppression(unsubscribes=False)))


class Taken(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = a_clock()
        self.shelf = FakeShelf()
        self.list = a_list(self.shelf, self.clock)

    def take(self, policy: Suppression, *events: Event, first: int = 1) -> None:
        some = [Numbered(number, event) for number, event in enumerate(events, first)]
        self.assertIsNone(self.successResultOf(Taking(self.list, policy).take(some)))

    def test_each_is_put_on_the_list(self) -> None:
        self.take(ON, BOUNCED, Event("delivered", NOW, recipient="y@to.test"), COMPLAINT)
        self.assertEqual(sorted(entry.whom for entry in self.list.listed("")), ["gone@to.test", "x@to.test"])

    def test_what_was_put_there_by_hand_stays(self) -> None:
        mine = self.successResultOf(self.list.add(Entry("gone@to.test", reason="mine"))).entry
        self.take(ON, BOUNCED)
        self.assertEqual(self.list.listed(""), [mine])

    def test_only_after_so_many(self) -> None:
        policy = Suppression(bounces="recipient", after=2)
        self.take(policy, BOUNCED)
        self.take(policy, BOUNCED)  # the same again
        self.assertEqual(self.list.count, 0)
        self.take(policy, BOUNCED, first=2)
        self.assertEqual(self.list.count, 1)

    def test_what_has_been_over_for_long_is_passed_over(self) -> None:
        self.take(ON, replace(BOUNCED, time=NOW - 100 * DAY))
        self.assertEqual(self.list.count, 0)

    def test_a_disk_that_fails_has_it_given_again(self) -> None:
        self.shelf.error = StoreError("no space")
        taken = Taking(self.list, ON).take([Numbered(1, BOUNCED), Numbered(2, COMPLAINT)])
        self.assertIs(self.failureResultOf(taken).value, self.shelf.error)


class Swept(SynchronousTestCase):
    def test_each_minute_all_that_is_over(self) -> None:
        clock: Clock = a_clock()
        shelf = FakeShelf()
        listed = a_list(shelf, clock)
        listed.add_all([Entry(f"x{n}@to.test", expires=NOW + 1000) for n in range(250)])
        listed.add(Entry("stays.test"))
        sweeping = Sweeping(listed, clock)
        sweeping.start()
        self.assertEqual(listed.count, 251)
        clock.advance(EVERY)
        self.assertEqual(listed.count, 1)
        listed.add(Entry("y@to.test", expires=NOW + 1))
        self.patch(shelf, "write", lambda put, delete: fail(StoreError("no space")))
        clock.advance(EVERY)
        sweeping.stop()
        self.assertEqual((listed.count, clock.getDelayedCalls()), (2, []))
