"""Mail for those who get none is struck off where an attempt was about to be made, and the rest goes on."""

from __future__ import annotations

from typing import ClassVar

from relay.channel import frames
from relay.config.schema import Zone
from relay.dispatch import suppressing as module
from relay.events.steps import Steps
from relay.message.values import Message, Result
from relay.queue.store import Unreadable
from relay.suppression import keys
from relay.suppression.entry import Entry
from tests.unit.dispatch_rig import DispatchRig


class Case(DispatchRig):
    def setUp(self) -> None:
        super().setUp()
        self.results._steps = Steps(True, self.now)

    def on_list(self, whom: str, tenant: str = "", **more: object) -> Entry:
        return self.successResultOf(self.suppressions.add(Entry(whom, tenant, **more))).entry  # type: ignore[arg-type]

    def suppressed(self) -> list[str]:
        """The names that the log says are suppressed."""
        return [line.split("id=")[1].split()[0] for line in self.lines() if " suppressed " in line]


class Struck(Case):
    def test_no_attempt_no_bounce_one_line(self) -> None:
        entry = self.on_list("to1@d.test", reason="asked for it")
        child = self.join()
        message = self.accept("d.test")
        self.assertEqual((self.offers(child), self.suppressed()), ([], []))
        self.tell()
        [line] = [line for line in self.lines() if "suppressed" in line]
        self.assertIn(f"suppressed id={message.id}.001 zone=default sender=<from@sender.test> to=<to1@d.test>", line)
        self.assertIn(f'entry={entry.id} source=manual reason="asked for it"', line)
        self.assertEqual((self.tally.results, self.tally.bounces), ([Result.DROPPED], 0))
        self.assertEqual(self.tally.suppressions, {"attempt": 1, "submission": 0})
        [event] = [one.event for one in self.store.events(0, 100) if one.event.kind != "queued"]
        self.assertEqual((event.kind, event.name, event.recipient), ("suppressed", f"{message.id}.001", "to1@d.test"))
        self.assertEqual(event.reason, "address on the suppression list, manual: asked for it")
        self.everything_is_free()

    def test_why_it_is_everybodys_is_not_told_to_a_tenant(self) -> None:
        self.on_list("to1@d.test", reason="550 said to another")
        self.on_list("to1@e.test", tenant="acme", reason="their own")
        self.join()
        for domain in ("d.test", "e.test"):
            self.accept(domain, tenant="Acme")
        self.tell()
        told = {one.event.recipient: one.event.reason for one in self.store.events(0, 100) if one.event.seq}
        self.assertEqual(
            told,
            {
                "to1@d.test": "address on the suppression list",
                "to1@e.test": "address on the suppression list, manual: their own",
            },
        )

    def test_the_rest_of_the_message_and_of_the_lane_goes(self) -> None:
        self.on_list("to2@d.test")
        child = self.join()
        self.accept("d.test", "d.test", "e.test")
        self.accept("d.test")
        self.tell()
        self.assertEqual(len(self.suppressed()), 1)
        seen = []
        while offers := self.offers(child):
            for offer in offers:
                seen.append((offer.domain, offer.seq))
                self.begin(child, offer)
                self.done(child, offer)
            self.tell()
        self.assertEqual(sorted(seen), [("d.test", 1), ("d.test", 1), ("e.test", 3)])
        self.everything_is_free()

    def test_whatever_has_come_since_it_was_queued(self) -> None:
        """What waited for its retry when it came on the list isn't tried again."""
        child = self.join()
        self.accept("d.test", due=self.now() + 60_000)
        self.on_list("d.test")
        self.clock.advance(60)
        self.turn()
        self.tell()
        self.assertEqual((self.offers(child), len(self.suppressed())), ([], 1))
        self.everything_is_free()

    def test_only_the_tenants(self) -> None:
        self.on_list("to1@d.test", tenant="ann")
        child = self.join()
        self.accept("d.test", flow="1ann")
        other = self.accept("d.test", flow="1bob")
        self.tell()
        self.assertEqual([offer.id for offer in self.offers(child)], [other.id])
        self.assertEqual(len(self.suppressed()), 1)

    def test_an_organisations_whoever_of_it_sends(self) -> None:
        """What one of its keys was told holds for the others, and for nobody else of that name."""
        self.on_list("to1@d.test", tenant="acme")
        child = self.join()
        self.accept("d.test", flow="1shop", tenant="acme")
        other = self.accept("d.test", flow="1acme", tenant="emca")
        self.tell()
        self.assertEqual([offer.id for offer in self.offers(child)], [other.id])
        self.assertEqual(len(self.suppressed()), 1)

    def test_what_a_child_crashed_with(self) -> None:
        child = self.join()
        self.accept("d.test")
        [offer] = self.offers(child)
        self.begin(child, offer)
        self.on_list("to1@d.test")
        self.dispatcher.gone(child, [], True)
        self.join("00000005-2")
        self.turn()
        self.tell()
        self.assertEqual(len(self.suppressed()), 1)
        self.everything_is_free()

    def test_a_damaged_entry_holds_up_nobody_else(self) -> None:
        """It is put off, for it may be about this one; it must not stop the zone."""
        entry = self.on_list("to1@d.test")
        own, place = keys.entry(entry.id), keys.place("", "to1@d.test")
        child = self.join()
        for key in (place, own):
            kept, self.shelf.kept[key] = self.shelf.kept[key], b"\xc1"
            self.suppressions._known.clear()
            self.accept("d.test")
            other = self.accept("e.test")
            self.tell()
            self.assertEqual([offer.id for offer in self.offers(child)][-1], other.id)
            self.assertEqual((self.suppressed(), self.tally.results[-1]), ([], Result.DEFERRED))
            self.shelf.kept[key] = kept

    def test_where_the_list_cannot_be_read_it_is_tried_later(self) -> None:
        self.on_list("other@d.test")
        child = self.join()
        self.shelf.unreadable = Unreadable("bad checksum")
        message = self.accept("d.test")
        self.tell()
        self.assertEqual(self.offers(child), [])
        self.assertEqual(self.tally.results, [Result.DEFERRED])
        self.shelf.unreadable = None
        self.clock.advance(60)
        self.turn()
        self.assertEqual([offer.id for offer in self.offers(child)], [message.id])

    def test_where_the_entry_cannot_be_read_it_is_tried_later(self) -> None:
        self.on_list("to1@d.test", reason="asked for it")
        self.suppressions.find("", "to1@d.test")  # It is known from now on.
        child = self.join()
        self.shelf.unreadable = Unreadable("bad checksum")
        self.accept("d.test")
        self.tell()
        self.assertEqual((self.offers(child), self.tally.results), ([], [Result.DEFERRED]))
        self.shelf.unreadable = None
        self.clock.advance(60)
        self.turn()
        self.tell()
        self.assertEqual((self.offers(child), len(self.suppressed())), ([], 1))
        self.everything_is_free()

    def test_no_more_wait_for_the_disk_than_may(self) -> None:
        self.patch(module, "_UNDER_WAY", 3)
        self.on_list("d.test")
        self.join()
        self.dispatcher.stop()
        for _ in range(8):
            self.accept("d.test")
        self.dispatcher.start()
        self.turn()
        self.assertEqual(self.store.untold, 3)
        ended = 0
        for _ in range(4):
            ended += self.store.untold
            self.tell()
        self.assertEqual((ended, len(self.suppressed())), (8, 8))
        self.everything_is_free()

    def test_a_domain_that_is_struck_off_does_not_hold_up_the_others(self) -> None:
        self.on_list("d.test")
        child = self.join()
        self.dispatcher.stop()
        for _ in range(30):
            self.accept("d.test")
        other = self.accept("e.test")
        self.dispatcher.start()
        self.turn()
        self.assertEqual([offer.id for offer in self.offers(child)], [other.id])
        self.tell()
        self.assertEqual(len(self.suppressed()), 30)


class Fellows(Case):
    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=2, recipients_per_transaction=5)}

    def accepted(self) -> Message:
        return self.accept(*["d.test"] * 4)

    def test_nobody_on_the_list_travels_along(self) -> None:
        self.on_list("to3@d.test")
        child = self.join()
        message = self.accepted()
        [offer] = self.offers(child)
        self.assertEqual([offer.seq, *(one.seq for one in offer.fellows)], [1, 2, 4])
        self.tell()
        self.assertEqual(self.suppressed(), [f"{message.id}.003"])
        self.assertEqual(child.heard(frames.Offer), [])
