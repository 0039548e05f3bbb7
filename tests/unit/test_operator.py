"""What an operator does by hand, and what is left alone because a child holds it."""

from __future__ import annotations

from relay.config.schema import Zone
from relay.dispatch.actions import Action, Done, Verb
from relay.message.values import Result
from relay.queue.store import LaneKey, StoreError
from tests.unit.dispatch_rig import DEFERRED, DELIVERED, DispatchRig


class OperatorTests(DispatchRig):
    def deferred(self, *domains: str) -> str:
        """A message whose deliveries were all deferred."""
        child = self.join(f"0000000a-{self.number}")
        message = self.accept(*domains)
        while offers := self.offers(child):
            for offer in offers:
                self.begin(child, offer)
                self.done(child, offer, DEFERRED)
            self.tell()
        self.dispatcher.gone(child, [], False)
        self.tell()
        return message.id

    def test_delete_all(self) -> None:
        queue_id = self.deferred("a.test", "b.test")
        count = self.operator.delete(queue_id, None)
        self.assertNoResult(count)
        self.tell()
        self.assertEqual(self.successResultOf(count), 2)
        self.everything_is_free()
        deleted = [line for line in self.lines() if " deleted " in line]
        self.assertEqual(len(deleted), 2)

    def test_delete_one(self) -> None:
        queue_id = self.deferred("a.test", "b.test")
        count = self.operator.delete(queue_id, 2)
        self.tell()
        self.assertEqual(self.successResultOf(count), 1)
        self.assertEqual([name for _, name in self.store.rows], [1])

    def test_delete_what_waits_in_memory(self) -> None:
        message = self.accept("a.test")
        count = self.operator.delete(message.id, None)
        self.tell()
        self.assertEqual(self.successResultOf(count), 1)
        self.assertEqual(self.offers(self.join()), [])
        self.everything_is_free()

    def test_what_does_not_exist(self) -> None:
        for queue_id, seq in (("0" * 18, None), (self.accept("a.test").id, 9), ("nonsense", None)):
            self.assertEqual(self.successResultOf(self.operator.delete(queue_id, seq)), 0)
            self.assertEqual(self.successResultOf(self.operator.send_now(queue_id, seq)), 0)

    def test_N25_what_a_child_holds_is_left_alone(self) -> None:
        child = self.join()
        message = self.accept("a.test")
        [offer] = self.offers(child)
        self.assertEqual(self.successResultOf(self.operator.delete(message.id, None)), 0)
        self.assertEqual(self.successResultOf(self.operator.send_now(message.id, 1)), 0)
        self.begin(child, offer)
        self.done(child, offer, DELIVERED)
        self.assertEqual(self.successResultOf(self.operator.delete(message.id, None)), 0)
        self.tell()
        self.everything_is_free()

    def test_twice_at_once(self) -> None:
        queue_id = self.deferred("a.test")
        first, second = self.operator.delete(queue_id, None), self.operator.delete(queue_id, None)
        self.tell()
        self.assertEqual((self.successResultOf(first), self.successResultOf(second)), (1, 0))
        self.everything_is_free()

    def test_a_store_at_its_end(self) -> None:
        queue_id = self.deferred("a.test", "b.test")
        count = self.operator.delete(queue_id, None)
        self.store.die()
        self.failureResultOf(count, StoreError)
        self.assertEqual([line for line in self.lines() if " deleted " in line], [])

    def test_send_now_uses_up_no_step(self) -> None:
        queue_id = self.deferred("a.test")
        count = self.operator.send_now(queue_id, None)
        self.tell()
        self.assertEqual(self.successResultOf(count), 1)
        [offer] = self.offers(self.join())
        row = self.store.delivery(queue_id, 1)
        assert row is not None
        self.assertEqual((offer.id, row.attempts), (queue_id, 1))
        self.assertLessEqual(row.due, self.now())

    def test_send_now_releases_what_was_put_aside(self) -> None:
        message = self.accept("a.test")
        row = self.store.delivery(message.id, 1)
        assert row is not None
        work = self.schedule.claim(message, row)
        assert work is not None
        self.results.put_aside(work, "by hand")
        self.tell()
        child = self.join()
        self.assertEqual(self.offers(child), [])
        count = self.operator.send_now(message.id, None)
        self.tell()
        self.assertEqual((self.successResultOf(count), len(self.offers(child))), (1, 1))

    def test_send_now_of_what_is_due_changes_nothing(self) -> None:
        message = self.accept("a.test")
        self.assertEqual(self.successResultOf(self.operator.send_now(message.id, None)), 0)
        self.assertEqual(len(self.offers(self.join())), 1)

    def test_leased(self) -> None:
        child = self.join()
        message = self.accept("a.test")
        [_] = self.offers(child)
        began = self.now()
        self.clock.advance(5)
        info = self.operator.leased(message.id, 1)
        self.assertEqual(info, ("default", child.id, began))
        self.assertIsNone(self.operator.leased(message.id, 2))
        self.assertIsNone(self.operator.leased(self.accept("b.test").id, 9))


class ActionTests(DispatchRig):
    """Each verb, on a delivery that waits, is deferred, is put aside, is in a child's hands."""

    events_kept = True
    zones = {"default": Zone(connections=2), "other": Zone(connections=2)}

    def act(self, verb: Verb, queue_id: str, seq: int = 1, **more: str) -> Done:
        done = self.operator.act(Action(verb, **more), queue_id, seq)
        self.tell()
        result: Done = self.successResultOf(done)
        return result

    def kinds(self) -> list[str]:
        return [one.event.kind for one in self.store.events(0, 100)]

    def test_hold_and_release(self) -> None:
        message = self.accept("a.test")
        self.assertEqual(self.act(Verb.HOLD, message.id, reason="ticket 17"), Done.DONE)
        self.assertEqual(self.act(Verb.HOLD, message.id), Done.UNCHANGED)
        row = self.store.delivery(message.id, 1)
        assert row is not None
        self.assertEqual(row.held, "ticket 17")
        child = self.join()
        self.assertEqual(self.offers(child), [])
        self.assertEqual(self.act(Verb.RELEASE, message.id), Done.DONE)
        self.assertEqual(self.act(Verb.RELEASE, message.id), Done.UNCHANGED)
        self.assertEqual(len(self.offers(child)), 1)
        self.assertEqual(self.kinds(), ["held", "released"])

    def test_what_is_released_keeps_its_time(self) -> None:
        later = self.now() // 1000 * 1000 + 60_000
        message = self.accept("a.test", due=later)
        self.act(Verb.HOLD, message.id)
        self.act(Verb.RELEASE, message.id)
        row = self.store.delivery(message.id, 1)
        assert row is not None
        self.assertEqual((row.due, row.held), (later, ""))
        child = self.join()
        self.assertEqual(self.offers(child), [])
        self.clock.advance(61)
        self.assertEqual(len(self.offers(child)), 1)

    def test_bounce(self) -> None:
        message = self.accept("a.test")
        self.assertEqual(self.act(Verb.BOUNCE, message.id, reason="the list was stolen"), Done.DONE)
        self.assertEqual(self.act(Verb.BOUNCE, message.id), Done.GONE)
        [event] = [one.event for one in self.store.events(0, 10)]
        self.assertEqual((event.kind, event.category), ("bounced", "operator"))
        self.assertEqual(event.reply, "5.7.0 The operator of this relay has returned it: the list was stolen")
        self.assertEqual(self.tally.results, [Result.BOUNCED])
        self.everything_is_free()

    def test_move_to_another_zone(self) -> None:
        message = self.accept("a.test", "b.test")
        self.assertEqual(self.act(Verb.MOVE, message.id, zone="other"), Done.DONE)
        self.assertEqual(self.act(Verb.MOVE, message.id, zone="other"), Done.UNCHANGED)
        counts = [self.store.count(zone, self.now()).queued for zone in ("default", "other")]
        self.assertEqual(counts, [1, 1])
        self.assertEqual([lane for lane, _ in self.store.lanes(LaneKey("other", ""), 9)], [LaneKey("other", "a.test")])
        [offer] = self.offers(self.join(zone="other", key="00000005-2"))
        self.assertEqual((offer.id, offer.seq), (message.id, 1))
        [event] = [one.event for one in self.store.events(0, 10)]
        self.assertEqual((event.kind, event.zone, event.reason), ("moved", "other", "from zone default"))

    def test_delete_and_send_now(self) -> None:
        message = self.accept("a.test", "b.test", due=self.now() + 60_000)
        self.assertEqual(self.act(Verb.DELETE, message.id), Done.DONE)
        self.assertEqual(self.act(Verb.SEND_NOW, message.id), Done.GONE)
        self.assertEqual(self.act(Verb.SEND_NOW, message.id, 2), Done.DONE)
        self.assertEqual(self.act(Verb.SEND_NOW, message.id, 2), Done.UNCHANGED)
        self.assertEqual(self.kinds(), ["deleted", "released"])

    def test_H29_what_is_being_delivered_has_one_outcome(self) -> None:
        """Two sessions act on it while a child has it, and again when its outcome is on its way to the disk."""
        child = self.join()
        message = self.accept("a.test")
        [offer] = self.offers(child)
        self.begin(child, offer)
        for verb in (Verb.HOLD, Verb.DELETE, Verb.BOUNCE, Verb.MOVE):
            self.assertEqual(self.act(verb, message.id, zone="other"), Done.IN_HAND, verb)
        self.done(child, offer, DELIVERED)
        untold = [self.operator.act(Action(verb), message.id, 1) for verb in (Verb.DELETE, Verb.HOLD)]
        self.tell()
        self.assertEqual({self.successResultOf(done) for done in untold} - {Done.GONE, Done.IN_HAND}, set())
        self.assertEqual(self.kinds(), ["delivered"])
        self.assertEqual(self.tally.results, [Result.DELIVERED])
        self.everything_is_free()

    def test_H29_of_two_at_once_one_does(self) -> None:
        message = self.accept("a.test")
        first = self.operator.act(Action(Verb.HOLD), message.id, 1)
        second = self.operator.act(Action(Verb.DELETE), message.id, 1)
        self.assertEqual(self.successResultOf(second), Done.IN_HAND)
        self.assertNoResult(first)
        self.tell()
        self.assertEqual(self.successResultOf(first), Done.DONE)
        self.assertEqual(self.act(Verb.DELETE, message.id), Done.DONE)
        self.assertEqual(self.kinds(), ["held", "deleted"])
        self.everything_is_free()

    def test_a_store_at_its_end_says_so(self) -> None:
        for verb in Verb:
            message = self.accept("a.test", due=self.now() + 60_000)
            if verb is Verb.RELEASE:
                self.act(Verb.HOLD, message.id)
            done = self.operator.act(Action(verb, zone="other"), message.id, 1)
            self.store.die()
            self.failureResultOf(done, StoreError)
        self.flushLoggedErrors()
