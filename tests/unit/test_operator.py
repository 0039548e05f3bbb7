"""What an operator does by hand, and what is left alone because a child holds it."""

from __future__ import annotations

from relay.queue.store import StoreError
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
