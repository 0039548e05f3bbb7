"""Several recipients of a message in one transaction: who goes with whom, what it costs, and how each ends."""

from __future__ import annotations

from typing import ClassVar

from msgspec.structs import replace

from relay.channel import frames
from relay.channel.codec import BadFrame
from relay.config.schema import Zone
from relay.dispatch.connection import State
from relay.message.values import Outcome, Result
from tests.unit.dispatch_rig import BOUNCED, DEFERRED, DELIVERED, DispatchRig

UNREACHED = Outcome(Result.DEFERRED, "No connection within 60 s", 0, "network", "connect")


def seqs(offer: frames.Offer) -> list[int]:
    return [offer.seq, *(one.seq for one in offer.fellows)]


class Together(DispatchRig):
    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=2, recipients_per_transaction=5)}

    def setUp(self) -> None:
        super().setUp()
        self.child = self.join()

    def fared(self, offer: frames.Offer, *outcomes: Outcome | None) -> None:
        """How it went with the fellows, one after the other."""
        self.says(self.child, *(frames.Fared(one.lease, to) for one, to in zip(offer.fellows, outcomes, strict=True)))

    def begin_all(self, offer: frames.Offer, many: int) -> None:
        self.says(self.child, frames.Answered(offer.connection, "mx.test", "192.0.2.9"))
        self.assertEqual(self.child.heard(frames.Go), [frames.Go(offer.connection, many)])

    def connection(self, offer: frames.Offer):  # type: ignore[no-untyped-def]
        return self.ledger.get(offer.connection)


class Grouping(Together):
    def test_recipients_of_a_message_at_a_domain_go_together(self) -> None:
        message = self.accept(*["d.test"] * 7)
        first, second = self.offers(self.child)
        self.assertEqual((seqs(first), seqs(second)), ([1, 2, 3, 4, 5], [6, 7]))
        self.assertEqual(len({first.lease, second.lease, *(one.lease for one in first.fellows + second.fellows)}), 7)
        self.assertEqual([one.recipient for one in second.fellows], ["to7@d.test"])
        self.assertEqual({self.operator.leased(message.id, seq).child for seq in range(1, 8)}, {self.child.id})

    def test_not_of_another_message_or_domain(self) -> None:
        self.accept("d.test", "e.test", "d.test")
        self.accept("d.test")
        offers = [(offer.domain, seqs(offer)) for offer in self.offers(self.child)]
        self.assertEqual(offers, [("d.test", [1, 3]), ("e.test", [2]), ("d.test", [1])])

    def test_not_of_another_user(self) -> None:
        self.accept("d.test", flow="")
        self.accept("d.test", flow="one")
        self.assertEqual([seqs(offer) for offer in self.offers(self.child)], [[1], [1]])

    def test_not_what_is_due_later_or_put_aside(self) -> None:
        message = self.accept(*["d.test"] * 4, due=self.now() + 60_000)
        work = self.schedule.claim(message, self.store.rows[message.id, 4])
        assert work is not None
        self.results.put_aside(work, "somebody said so")
        for seq in (1, 3):
            self.operator.send_now(message.id, seq)
        self.tell()
        self.assertEqual([seqs(offer) for offer in self.offers(self.child)], [[1, 3]])

    def test_what_was_deferred_together_goes_together_again(self) -> None:
        """Read back from the store, further than its first page."""
        self.accept(*["d.test"] * 40, due=self.now() + 60_000)
        self.clock.advance(60)
        self.turn()
        first, second = self.offers(self.child)
        self.assertEqual(seqs(first) + seqs(second), list(range(1, 11)))

    def test_a_suspect_goes_alone(self) -> None:
        self.accept(*["d.test"] * 3)
        [offer] = self.offers(self.child)
        self.begin_all(offer, 3)
        self.dispatcher.gone(self.child, [], True)
        self.child = self.join("00000005-2")
        seen = []
        for _ in range(3):
            [offer] = self.offers(self.child)
            seen += seqs(offer)
            self.done(self.child, offer)
            self.tell()
        self.assertEqual(sorted(seen), [1, 2, 3])
        self.everything_is_free()


class Reuse(Together):
    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=1, recipients_per_transaction=5, reuse=7)}

    def test_no_connection_takes_more_than_it_may(self) -> None:
        self.accept(*["d.test"] * 9)
        offer, other = self.offers(self.child)
        self.assertEqual((seqs(offer), seqs(other)), ([1, 2, 3, 4, 5], [6, 7, 8, 9]))
        self.dispatcher.gone(self.child, [], False)
        self.child = self.join("00000005-2")
        offer, *_ = self.offers(self.child)
        self.begin_all(offer, 5)
        self.fared(offer, *[DELIVERED] * 4)
        self.done(self.child, offer, kept=True)
        self.accept(*["d.test"] * 9)
        [offer] = self.offers(self.child)
        self.assertEqual(seqs(offer), [1, 2])


class EachItsOwn(Together):
    def test_each_has_an_outcome_of_its_own(self) -> None:
        """D12."""
        self.accept(*["d.test"] * 3)
        [offer] = self.offers(self.child)
        self.begin_all(offer, 3)
        self.fared(offer, BOUNCED, DEFERRED)
        self.done(self.child, offer)
        self.tell()
        [left] = self.store.rows.values()
        self.assertEqual((left.seq, left.attempts), (3, 1))
        said = [line.split()[1:3] for line in self.lines() if "outcome" not in line]
        self.assertEqual(sorted(one for one, _ in said), ["bounced", "deferred", "delivered"])
        self.assertEqual(self.child.settled, 1)
        self.assertEqual(len(self.leases), 0)

    def test_each_acceptance_is_settled(self) -> None:
        self.accept(*["d.test"] * 3)
        [offer] = self.offers(self.child)
        self.begin_all(offer, 3)
        self.fared(offer, DELIVERED, DELIVERED)
        self.done(self.child, offer)
        self.assertEqual(self.child.settled, 0)
        self.tell()
        self.assertEqual(self.child.settled, 3)
        self.everything_is_free()

    def test_what_is_left_behind_goes_next_and_has_failed_in_nothing(self) -> None:
        """D13: on the kept connection no more is offered than its host has taken."""
        self.accept(*["d.test"] * 5)
        [offer] = self.offers(self.child)
        self.begin_all(offer, 5)
        for one in reversed(offer.fellows[1:]):
            self.dispatcher.frame(self.child, frames.Fared(one.lease, None))
        self.dispatcher.frame(self.child, frames.Fared(offer.fellows[0].lease, DELIVERED))
        self.done(self.child, offer, kept=True)
        self.assertEqual([seqs(one) for one in self.offers(self.child)], [[3, 4], [5]])
        self.tell()
        self.assertEqual([row.attempts for row in self.store.rows.values()], [0, 0, 0])

    def test_a_child_that_ends_gives_back_what_its_journal_does_not_tell_of(self) -> None:
        self.accept(*["d.test"] * 4)
        [offer] = self.offers(self.child)
        self.begin_all(offer, 4)
        taken = [self.entry(offer)._replace(seq=one.seq, lease=one.lease) for one in offer.fellows[:2]]
        self.dispatcher.gone(self.child, taken, False)
        self.tell()
        self.child = self.join("00000005-2")
        self.assertEqual(sorted(seq for one in self.offers(self.child) for seq in seqs(one)), [1, 4])

    def test_done_before_all_is_told(self) -> None:
        self.accept(*["d.test"] * 2)
        [offer] = self.offers(self.child)
        self.begin_all(offer, 2)
        with self.assertRaises(BadFrame):
            self.dispatcher.frame(self.child, frames.Done(offer.connection, offer.lease, DELIVERED, True))
        self.tell()
        self.assertEqual([row.seq for row in self.store.rows.values()], [2])
        self.dispatcher.gone(self.child, [], False)
        self.child = self.join("00000005-2")
        self.assertEqual([seqs(one) for one in self.offers(self.child)], [[2]])

    def test_a_body_that_can_not_be_read_defers_all(self) -> None:
        self.accept(*["d.test"] * 3, due=self.now() + 1000)
        self.store._chunks.clear()
        self.clock.advance(1)
        self.turn()
        self.tell()
        self.assertEqual(self.offers(self.child), [])
        self.assertEqual([row.attempts for row in self.store.rows.values()], [1, 1, 1])
        self.assertEqual((len(self.leases), self.open_to("d.test")), (0, 0))

    def test_a_host_that_is_not_reached_has_failed_all_of_them_once(self) -> None:
        self.accept(*["d.test"] * 3)
        [offer] = self.offers(self.child)
        self.fared(offer, UNREACHED, UNREACHED)
        self.done(self.child, offer, UNREACHED)
        self.tell()
        self.assertEqual([row.attempts for row in self.store.rows.values()], [1, 1, 1])
        self.assertEqual([one.kind for one in self.decided], ["unreachable"])


class Rates(Together):
    """A recipient is a message wherever these are counted; bytes count once."""

    zones: ClassVar[dict[str, Zone]] = {
        "default": Zone(connections=2, recipients_per_transaction=50, messages=("200/s",), bytes=("1KB/s",))
    }

    def levels(self, offer: frames.Offer) -> tuple[float, float]:
        way = self.connection(offer).way
        now = self.clock.seconds()
        return way.sending[0].bucket.level(now), way.volume[0].bucket.level(now)

    def test_as_many_as_there_are_tokens_for(self) -> None:
        """A bucket of 200 in a second holds 7 of them."""
        self.accept(*["d.test"] * 10, body=b"x" * 20)
        offer, *_ = self.offers(self.child)
        self.assertEqual(seqs(offer), [1, 2, 3, 4, 5, 6, 7])
        messages, volume = self.levels(offer)
        self.begin_all(offer, 7)
        size = self.connection(offer).size
        self.assertEqual(self.levels(offer), (messages - 7, volume - size))

    def test_at_go_there_may_be_fewer(self) -> None:
        self.accept(*["d.test"] * 7)
        [offer] = self.offers(self.child)
        self.connection(offer).way.sending[0].bucket.take(4, self.clock.seconds())
        self.begin_all(offer, 3)
        self.assertEqual(self.connection(offer).sent, 3)
        before = self.levels(offer)
        for one in reversed(offer.fellows[2:]):
            self.dispatcher.frame(self.child, frames.Fared(one.lease, None))
        self.assertEqual(self.levels(offer), before)
        self.assertEqual((self.connection(offer).sent, self.connection(offer).most), (3, 0))

    def test_who_is_left_behind_by_the_host_pays_nothing(self) -> None:
        self.accept(*["d.test"] * 5)
        [offer] = self.offers(self.child)
        messages, volume = self.levels(offer)
        self.begin_all(offer, 5)
        size = self.connection(offer).size
        for one in reversed(offer.fellows[1:]):
            self.dispatcher.frame(self.child, frames.Fared(one.lease, None))
        self.assertEqual(self.levels(offer), (messages - 2, volume - size))

    def test_an_attempt_that_comes_to_nothing_pays_nothing(self) -> None:
        self.accept(*["d.test"] * 5, body=b"x" * 20)
        [offer] = self.offers(self.child)
        before = self.levels(offer)
        self.begin_all(offer, 5)
        early = Outcome(Result.DEFERRED, "421 no", 421, "reply", "ehlo", "mx.test", "192.0.2.9")
        connection = self.connection(offer)
        way = connection.way
        self.fared(offer, *[early] * 4)
        self.done(self.child, offer, early)
        now = self.clock.seconds()
        self.assertEqual((way.sending[0].bucket.level(now), way.volume[0].bucket.level(now)), before)
        self.assertEqual(way.sending[0].pending, 0)

    def test_another_host_is_paid_anew(self) -> None:
        self.accept(*["d.test"] * 5, body=b"x" * 20)
        [offer] = self.offers(self.child)
        before = self.levels(offer)
        self.begin_all(offer, 5)
        self.says(self.child, frames.Redial(offer.connection))
        self.assertEqual(self.levels(offer), before)
        self.begin_all(offer, 5)
        self.assertEqual(self.levels(offer)[0], before[0] - 5)


class Slow(Together):
    zones: ClassVar[dict[str, Zone]] = {"default": Zone(recipients_per_transaction=50, messages=("10/m",))}

    def test_a_slow_rate_lets_one_go_at_a_time(self) -> None:
        self.accept(*["d.test"] * 3)
        [offer] = self.offers(self.child)
        self.assertEqual(seqs(offer), [1])


class Warming(Together):
    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=2, recipients_per_transaction=5)}
    cold: ClassVar[tuple[str, ...]] = ("0.0.0.0",)

    def test_each_counts(self) -> None:
        self.warming.left = {"0.0.0.0": 4}
        self.accept(*["d.test"] * 6)
        [offer] = self.offers(self.child)
        self.assertEqual(seqs(offer), [1, 2, 3, 4])
        self.assertEqual(self.warming.left, {"0.0.0.0": 0})
        self.begin_all(offer, 4)
        taken = replace(DELIVERED, host_address="192.0.2.9")
        self.dispatcher.frame(self.child, frames.Fared(offer.fellows[2].lease, None))
        self.dispatcher.frame(self.child, frames.Fared(offer.fellows[0].lease, taken))
        self.dispatcher.frame(self.child, frames.Fared(offer.fellows[1].lease, taken))
        self.done(self.child, offer, taken)
        self.assertEqual(self.warming.left, {"0.0.0.0": 1})

    def test_what_reached_nobody_does_not(self) -> None:
        self.warming.left = {"0.0.0.0": 9}
        self.accept(*["d.test"] * 5)
        [offer] = self.offers(self.child)
        self.assertEqual(self.warming.left, {"0.0.0.0": 4})
        self.fared(offer, *[UNREACHED] * 4)
        self.done(self.child, offer, UNREACHED)
        self.assertEqual(self.warming.left, {"0.0.0.0": 9})


    def test_a_child_that_ends_has_begun_nothing_it_had_no_leave_for(self) -> None:
        self.warming.left = {"0.0.0.0": 9}
        self.accept(*["d.test"] * 5)
        self.assertEqual(self.warming.left, {"0.0.0.0": 4})
        self.dispatcher.gone(self.child, [], True)
        self.assertEqual(self.warming.left, {"0.0.0.0": 9})

    def test_what_it_may_have_begun_counts(self) -> None:
        self.warming.left = {"0.0.0.0": 5}
        self.accept(*["d.test"] * 5)
        [offer] = self.offers(self.child)
        self.begin_all(offer, 5)
        self.dispatcher.frame(self.child, frames.Fared(offer.fellows[3].lease, None))
        self.dispatcher.gone(self.child, [], True)
        self.assertEqual(self.warming.left, {"0.0.0.0": 1})


class Resting(Together):
    zones: ClassVar[dict[str, Zone]] = {
        "default": Zone(connections=1, recipients_per_transaction=4, throttling="1/s")
    }

    def test_a_connection_rests_for_each(self) -> None:
        self.accept(*["d.test"] * 4)
        [offer] = self.offers(self.child)
        self.begin_all(offer, 4)
        self.fared(offer, *[DELIVERED] * 3)
        self.done(self.child, offer, kept=True)
        self.clock.pump([0.5] * 7)
        self.assertEqual(self.connection(offer).state, State.SENDING)
        self.clock.pump([0.5] * 2)
        self.assertEqual(self.connection(offer).state, State.IDLE)


class Alone(Together):
    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=2)}

    def test_by_default_each_goes_alone(self) -> None:
        self.accept(*["d.test"] * 3)
        offers = self.offers(self.child)
        self.assertEqual([(seqs(one), one.fellows) for one in offers], [([1], ()), ([2], ())])
        self.begin_all(offers[0], 1)
