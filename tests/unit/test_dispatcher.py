"""Due work and free capacity meet: the whole life of a delivery, and what may go wrong in it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.logger import capturedLogs

from relay.channel import frames
from relay.channel.codec import BadFrame
from relay.channel.frames import Offer
from relay.channel.journal import Acceptance
from relay.config.schema import Config, PoolAddress, Site, Zone
from relay.dispatch import addresses, turns
from relay.dispatch import offers as module
from relay.dispatch.capacity import UNPROVEN
from relay.dispatch.connection import State
from relay.dispatch.dispatcher import POISON
from relay.message.values import Outcome, Result
from relay.queue.store import LaneKey
from relay.zone.pool import Local
from relay.zone.zones import from_config
from tests.unit import dispatch_rig
from tests.unit.dispatch_rig import BOUNCED, DEFERRED, DELIVERED, DispatchRig, FakeChild
from tests.unit.journey_rig import a_delivery, a_message


class Life(DispatchRig):
    def test_from_acceptance_to_result(self) -> None:
        child = self.join()
        message = self.accept("d.test")
        [offer] = self.offers(child)
        self.assertEqual((offer.id, offer.seq, offer.recipient), (message.id, 1, "to1@d.test"))
        self.assertEqual((offer.body, offer.local_address, offer.local_name), (b"hello\r\n", "0.0.0.0", "relay.test"))
        self.assertEqual(offer.local_address6, "")
        self.assertEqual(offer.lease >> 32, 5)
        self.begin(child, offer)
        self.done(child, offer)
        self.assertEqual((child.settled, self.tally.results), (0, []))  # not before it is on disk
        self.tell()
        self.assertEqual((child.settled, self.tally.results), (1, [Result.DELIVERED]))
        self.everything_is_free()

    def test_what_the_client_asked_for_goes_along(self) -> None:
        child = self.join()
        message = a_message(77, smtputf8=True, require_tls=True, ret="HDRS", envid="e", tls="verify")
        row = replace(a_delivery(message, 1, "d.test", self.now()), notify="NEVER", orcpt="rfc822;o@x")
        self.store.append(message, [row], b"hello\r\n")
        self.tell()
        self.schedule.add(message, [row], b"hello\r\n")
        self.turn()
        [offer] = self.offers(child)
        self.assertEqual((offer.smtputf8, offer.require_tls, offer.ret, offer.envid), (True, True, "HDRS", "e"))
        self.assertEqual((offer.notify, offer.orcpt, offer.tls), ("NEVER", "rfc822;o@x", "verify"))

    def test_nothing_is_offered_before_the_start_or_after_the_stop(self) -> None:
        self.dispatcher.stop()
        child = self.join()
        self.accept("d.test")
        self.assertEqual(child.heard(), [])
        self.dispatcher.start()
        self.turn()
        self.assertEqual(len(self.offers(child)), 1)

    def test_a_zone_that_sends_nothing_is_told_of_once(self) -> None:
        with capturedLogs() as events:
            self.accept("a.test", "b.test", zone="gone")
            self.turn()
        told = [event["zone"] for event in events if event.get("zone") == "gone"]
        self.assertEqual(told, ["gone"])

    def test_a_deferred_one_comes_again_when_its_step_is_over(self) -> None:
        child = self.join()
        self.accept("d.test")
        [offer] = self.offers(child)
        self.begin(child, offer)
        self.done(child, offer, DEFERRED)
        self.tell()
        self.assertEqual(child.settled, 0)
        self.clock.advance(59)
        self.turn()
        self.assertEqual(self.offers(child), [])
        self.clock.advance(1)
        self.turn()
        [again] = self.offers(child)
        self.assertEqual((again.id, again.body), (offer.id, b"hello\r\n"))
        self.assertNotEqual(again.lease, offer.lease)

    def test_a_rule_that_fails_keeps_no_outcome_back(self) -> None:
        self.patch(self.diagnoses, "of", None)
        child = self.join()
        self.accept("a.test")
        [offer] = self.offers(child)
        self.done(child, offer, Outcome(Result.DEFERRED, "451 not now", 451, "reply", "rcpt", "mx.test", "192.0.2.9"))
        self.tell()
        self.assertEqual([row.response for row in self.store.rows.values()], ["451 not now"])
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_how_long_attempts_take(self) -> None:
        child = self.join()
        message = self.accept("d.test", created=self.now() - 7000)
        [offer] = self.offers(child)
        self.begin(child, offer)
        self.clock.advance(2)
        self.done(child, offer, DEFERRED)
        self.tell()
        self.clock.advance(60)
        self.turn()
        [offer] = self.offers(child)
        self.begin(child, offer)
        self.clock.advance(3)
        self.done(child, offer)
        since = message.created
        self.assertEqual(
            self.tally.attempts,
            [("default", "d.test", since, 2.0, True, False), ("default", "d.test", since, 3.0, False, True)],
        )
        self.tell()
        self.everything_is_free()

    def test_its_last_failure_bounces(self) -> None:
        child = self.join()
        self.accept("d.test")
        for wait in (60, 120, 0):
            [offer] = self.offers(child)
            self.begin(child, offer)
            self.done(child, offer, DEFERRED)
            self.tell()
            self.clock.advance(wait)
            self.turn()
        self.assertEqual(self.tally.results, [Result.DEFERRED, Result.DEFERRED, Result.BOUNCED])
        self.assertEqual(self.tally.bounces, 1)
        self.everything_is_free()

    def test_a_kept_connection_takes_the_next(self) -> None:
        child = self.join()
        self.accept("d.test", "d.test")
        first, second = self.offers(child)
        self.begin(child, first)
        self.says(child, frames.Answered(second.connection, "mx.test", ""))
        self.done(child, first, kept=True)
        self.accept("d.test")
        [third] = self.offers(child)
        self.assertEqual((third.connection, self.tally.reuses), (first.connection, 1))
        self.done(child, third)
        self.done(child, second)
        self.tell()
        self.everything_is_free()

    def test_a_kept_connection_that_had_died_gets_leave_when_its_successor_is_answered(self) -> None:
        child = self.join()
        self.accept("d.test")
        [first] = self.offers(child)
        self.begin(child, first)
        self.done(child, first, kept=True)
        self.accept("d.test")
        [second] = self.offers(child)
        self.says(child, frames.Closed(first.connection))  # it crossed the offer
        connection = self.ledger.get(first.connection)
        assert connection is not None
        self.assertIs(connection.state, State.SENDING)
        self.says(child, frames.Redial(second.connection))
        self.assertEqual(child.heard(), [frames.Dial(second.connection)])
        self.begin(child, second)
        self.done(child, second)
        self.tell()
        self.everything_is_free()

    def test_a_kept_connection_that_closes_makes_room(self) -> None:
        child = self.join()
        self.accept("d.test")
        [offer] = self.offers(child)
        self.begin(child, offer)
        self.done(child, offer, kept=True)
        self.assertEqual(self.open_to("d.test"), 1)
        self.says(child, frames.Closed(offer.connection))
        self.assertEqual(self.ledger.connections(), [])

    def test_a_large_body_is_asked_for_chunk_by_chunk(self) -> None:
        child = self.join()
        self.store.add_chunk(f"{1:014x}beef", 0, b"first")
        self.store.let_go()
        self.accept("d.test", body=b"last", chunks=2, body_size=9)
        [offer] = self.offers(child)
        self.assertEqual((offer.body, offer.chunks), (None, 2))
        self.says(child, *(frames.More(offer.lease, number) for number in (0, 1, 2)))
        self.assertEqual(
            child.heard(frames.Chunk),
            [
                frames.Chunk(offer.lease, 0, b"first"),
                frames.Chunk(offer.lease, 1, b"last"),
                frames.Chunk(offer.lease, 2, None),
            ],
        )

    def test_a_host_that_may_never_answer_is_not_sent_much(self) -> None:
        child, body = self.join(), b"x" * (module._SMALL + 1)
        self.accept("d.test", body=body)
        [offer] = self.offers(child)
        self.assertIsNone(offer.body)
        self.says(child, frames.More(offer.lease, 0))
        self.assertEqual(child.heard(frames.Chunk), [frames.Chunk(offer.lease, 0, body)])
        self.begin(child, offer)
        self.accept("d.test", body=body)
        self.assertEqual([offer.body for offer in self.offers(child)], [body])

    def test_Q22_a_body_that_cannot_be_read_defers_and_frees_the_connection(self) -> None:
        child = self.join()
        message = self.accept("d.test")
        [offer] = self.offers(child)
        self.begin(child, offer)
        self.done(child, offer, DEFERRED)
        self.tell()
        self.store._chunks.clear()
        self.clock.advance(60)
        self.turn()
        self.assertEqual(self.offers(child), [])
        self.tell()
        row = self.store.delivery(message.id, 1)
        assert row is not None
        self.assertEqual((row.attempts, row.category), (2, "ours"))
        self.assertEqual((len(self.leases), self.ledger.connections()), (0, []))


class Limits(DispatchRig):
    def test_D37_a_domain_at_its_limit_waits_and_goes_on(self) -> None:
        children = [self.join("00000005-1"), self.join("00000005-2")]
        self.accept(*["d.test"] * 20)
        done = 0
        while done < 20:
            self.assertLessEqual(self.open_to("d.test"), 3)
            found = [(child, offer) for child in children for offer in self.offers(child)]
            self.assertTrue(found, f"stuck after {done}")
            for child, offer in found:
                self.says(child, frames.Answered(offer.connection, "mx.test", ""))
            for child, offer in found:
                self.done(child, offer, kept=done % 2 == 0)
                done += 1
        self.tell()
        self.everything_is_free()

    def test_D36_Q13_a_good_domain_is_not_behind_the_hanging(self) -> None:
        child = self.join()
        self.accept(*(f"h{n}.test" for n in range(1000)), "good.test", "good.test")
        good: list[Offer] = []
        for _ in range(10):
            for offer in self.offers(child):
                if offer.domain == "good.test":
                    good.append(offer)
                else:
                    self.says(child, frames.Quiet(offer.connection))
        self.assertTrue(good)
        self.begin(child, good[0])
        self.done(child, good[0], kept=True)
        good += self.offers(child)
        self.assertEqual(len(good), 2)

    def test_D36_a_domain_that_answers_leaves_the_line_of_those_that_may_not(self) -> None:
        child = self.join()
        self.accept("good.test")
        self.accept(*(f"h{n}.test" for n in range(UNPROVEN + 50)))
        self.accept("good.test", "good.test", "good.test")
        good = [offer for offer in self.offers(child) if offer.domain == "good.test"]
        self.assertTrue(good)
        self.begin(child, good[0])
        self.done(child, good[0], kept=True)
        self.assertIn("good.test", [offer.domain for offer in self.offers(child)])

    def test_who_has_answered_waits_for_a_place_in_the_zone(self) -> None:
        child = self.join()
        self.accept("a.test", "b.test", "c.test")
        offers = self.offers(child)
        self.says(child, *(frames.Answered(offer.connection, "", "") for offer in offers))
        went = [frame.connection for frame in child.heard(frames.Go)]
        self.assertEqual(went, [offer.connection for offer in offers[:2]])
        self.done(child, offers[0])
        self.assertEqual(child.heard(frames.Go), [frames.Go(offers[2].connection)])

    def test_many_due_at_once_are_taken_in_slices(self) -> None:
        child = self.join()
        self.patch(turns, "_TURNS", 10)
        self.dispatcher.stop()
        self.accept(*(f"h{n}.test" for n in range(100)))
        self.dispatcher.start()
        self.dispatcher._turns._pump_marked()
        self.assertEqual(len(self.offers(child)), 10)
        self.turn()
        self.assertEqual(len(self.offers(child)), 90)

    def test_one_zone_that_stumbles_keeps_no_other_from_going(self) -> None:
        child = self.join()

        def stumbles(zone: str) -> None:
            raise KeyError("bug")

        self.patch(self.dispatcher.turns.suspects, "pump", stumbles)
        self.accept("d.test")
        self.assertTrue(self.flushLoggedErrors(KeyError))
        del self.dispatcher.turns.suspects.pump
        self.assertEqual(self.offers(child), [])
        self.clock.advance(1)
        self.turn()
        self.assertEqual(len(self.offers(child)), 1)


class NextHop(DispatchRig):
    zones = {"default": Zone(connections=2, host="hop.test")}

    def test_all_domains_go_though_only_two_may_try_at_first(self) -> None:
        child = self.join()
        self.accept(*(f"d{n}.test" for n in range(9)))
        done = 0
        while done < 9:
            offers = self.offers(child)
            self.assertTrue(offers, f"stuck after {done}")
            for offer in offers:
                self.says(child, frames.Answered(offer.connection, "hop.test", ""))
            for offer in offers:
                self.done(child, offer, kept=True)
                done += 1
        self.tell()
        self.everything_is_free()

    def test_a_next_hop_that_hangs_is_tried_again_by_others(self) -> None:
        child = self.join()
        self.accept(*(f"d{n}.test" for n in range(4)))
        first = self.offers(child)
        self.assertEqual(len(first), 2)
        for offer in first:
            self.says(child, frames.Quiet(offer.connection))
        self.assertEqual(self.offers(child), [])
        self.done(child, first[0], DEFERRED)
        self.assertEqual(len(self.offers(child)), 1)


class Strange(DispatchRig):
    """N25: what a child says about things it does not hold."""

    def setUp(self) -> None:
        super().setUp()
        self.child, self.other = self.join("00000005-1"), self.join("00000005-2")
        self.accept("d.test")
        [self.offer] = self.offers(self.child)
        self.begin(self.child, self.offer)

    def unharmed(self) -> None:
        self.assertEqual((len(self.leases), len(self.store.rows), self.store.untold), (1, 1, 0))
        self.done(self.child, self.offer)
        self.tell()
        self.everything_is_free()

    def test_N25_a_result_of_anothers_lease(self) -> None:
        self.done(self.other, self.offer)
        self.unharmed()

    def test_N25_a_result_twice(self) -> None:
        self.done(self.child, self.offer)
        self.done(self.child, self.offer, BOUNCED)
        self.assertEqual(self.store.untold, 1)
        self.tell()
        self.assertEqual((self.tally.results, self.child.settled), ([Result.DELIVERED], 1))
        self.everything_is_free()

    def test_N25_N12_an_unknown_or_stale_lease(self) -> None:
        for lease in (0, 1, self.offer.lease + 1, (4 << 32) + 1, (1 << 63) - 1):
            self.says(self.child, frames.Done(self.offer.connection, lease, DELIVERED, False))
            self.says(self.child, frames.More(lease, 0))
        self.assertEqual(self.child.heard(frames.Chunk), [])
        self.unharmed()

    def test_N25_frames_about_anothers_or_unknown_connections(self) -> None:
        for child, number in ((self.other, self.offer.connection), (self.child, 999)):
            self.says(child, frames.Answered(number, "", ""), frames.Quiet(number), frames.Closed(number))
            self.says(child, frames.Active(number))
        self.says(self.other, frames.More(self.offer.lease, 0))
        self.assertEqual(self.other.heard(frames.Chunk), [])
        self.unharmed()

    def test_an_illegal_word_is_refused(self) -> None:
        hello = frames.Hello(1, "", self.child.id, "default", 1)
        self.assertRaises(BadFrame, self.dispatcher.frame, self.child, hello)
        self.unharmed()

    def test_an_answer_on_an_idle_connection_is_refused(self) -> None:
        self.done(self.child, self.offer, kept=True)
        self.tell()
        answered = frames.Answered(self.offer.connection, "", "")
        self.assertRaises(BadFrame, self.dispatcher.frame, self.child, answered)

    def test_a_pong_and_closed_in_the_middle_change_nothing(self) -> None:
        self.says(self.child, frames.Pong(1), frames.Closed(self.offer.connection))
        self.unharmed()


class Gone(DispatchRig):
    def gone(self, child: FakeChild, *accepted: Offer, crashed: bool = True) -> None:
        settled = self.dispatcher.gone(child, [self.entry(offer) for offer in accepted], crashed)
        self.turn()
        self.settled = settled

    def test_N07_all_of_it_is_due_again_at_once(self) -> None:
        child, other = self.join("00000005-1"), self.join("00000005-2")
        self.accept("a.test", "b.test", "c.test")
        held = self.offers(child) + self.offers(other)
        self.gone(child, crashed=False)
        self.assertEqual(len(held) + len(self.offers(other)), 3 + len(held) - self.held_by(other, held))
        self.gone(other, crashed=False)
        self.assertEqual((len(self.leases), self.ledger.connections()), (0, []))
        third = self.join("00000005-3")
        self.assertEqual(len(self.offers(third)), 3)

    def held_by(self, child: FakeChild, offers: list[Offer]) -> int:
        held = {lease.number for lease in self.leases.held_by(child.id)}
        return sum(1 for offer in offers if offer.lease in held)

    def test_N26_what_its_journal_says_was_taken_is_not_sent_again(self) -> None:
        child = self.join()
        self.accept("a.test", "b.test")
        taken, lost = self.offers(child)
        self.begin(child, taken)
        self.gone(child, taken)
        self.assertNoResult(self.settled)
        self.tell()
        self.assertIsNone(self.successResultOf(self.settled))
        self.assertEqual(self.tally.results, [Result.DELIVERED])
        [again] = self.offers(self.join("00000005-2"))
        self.assertEqual((again.id, again.seq), (lost.id, lost.seq))

    def test_N07_whose_end_nobody_knows_is_told(self) -> None:
        """What was begun and not written down may be sent twice; what was not begun, or is in the journal, won't."""
        child = self.join()
        self.accept("a.test", "b.test", "c.test")
        taken, begun, _ = self.offers(child)
        self.begin(child, taken)
        self.begin(child, begun)
        self.gone(child, taken)
        lost = [line for line in self.lines() if "doubtful=" in line]
        self.assertEqual(len(lost), 1)
        self.assertIn(f" lost id={begun.id}.{begun.seq:03x} zone=default to=<{begun.recipient}> ", lost[0])

    def test_N26_what_was_reported_too_counts_once(self) -> None:
        child = self.join()
        self.accept("a.test")
        [offer] = self.offers(child)
        self.begin(child, offer)
        self.done(child, offer)
        self.gone(child, offer)
        self.assertNoResult(self.settled)  # the journal stays until the report is on disk
        self.tell()
        self.assertIsNone(self.successResultOf(self.settled))
        self.assertEqual(self.tally.results, [Result.DELIVERED])
        self.everything_is_free()

    def test_a_journal_is_kept_when_the_store_came_to_its_end(self) -> None:
        child = self.join()
        self.accept("a.test")
        [offer] = self.offers(child)
        self.gone(child, offer)
        self.store.die()
        self.failureResultOf(self.settled)
        self.assertTrue(self.flushLoggedErrors())

    def test_a_report_that_never_got_to_the_disk_is_not_settled(self) -> None:
        child = self.join()
        self.accept("a.test")
        [offer] = self.offers(child)
        self.begin(child, offer)
        self.done(child, offer)
        self.store.die()
        self.assertEqual((child.settled, self.results.pending), (0, 0))
        self.assertTrue(self.flushLoggedErrors())

    def test_an_earlier_starts_journal(self) -> None:
        message = self.accept("a.test")
        row = self.store.delivery(message.id, 1)
        assert row is not None
        work = self.schedule.claim(message, row)
        assert work is not None
        entry = frames_entry(message.id)
        settled = self.dispatcher.settle_from_journal(work, entry)
        self.assertNoResult(settled)
        self.tell()
        self.assertIsNone(self.successResultOf(settled))
        self.everything_is_free()

    def test_an_earlier_starts_journal_that_could_not_be_written_down(self) -> None:
        message = self.accept("a.test")
        row = self.store.delivery(message.id, 1)
        assert row is not None
        work = self.schedule.claim(message, row)
        assert work is not None
        settled = self.dispatcher.settle_from_journal(work, frames_entry(message.id))
        self.store.die()
        self.failureResultOf(settled)
        self.assertTrue(self.flushLoggedErrors())

    def test_one_that_never_joined(self) -> None:
        self.assertIsNone(self.successResultOf(self.dispatcher.gone(FakeChild("x", "default"), [], True)))

    def test_a_lane_that_waited_for_its_limit_goes_on(self) -> None:
        first, second = self.join("00000005-1"), self.join("00000005-2")
        self.accept(*["d.test"] * 6)
        for child in (first, second):
            for offer in self.offers(child):
                self.says(child, frames.Answered(offer.connection, "", ""))
        self.gone(first, crashed=False)
        done = 0
        while (leases := self.leases.held_by(second.id)) and done < 6:
            for lease in leases:
                self.says(second, frames.Answered(lease.connection, "", ""))
            for lease in leases:
                self.says(second, frames.Done(lease.connection, lease.number, DELIVERED, False))
                self.says(second, frames.Closed(lease.connection))
                done += 1
        self.assertEqual(done, 6)


def frames_entry(queue_id: str) -> Acceptance:
    return Acceptance(queue_id, 1, (4 << 32) + 7, "mx.test", "250 ok")


class Poison(DispatchRig):
    """N23, N24: mail that kills who touches it."""

    zones = {"default": Zone(connections=5), "paced": Zone(connections=9, host="hop.test", messages=("1/m",))}

    def crash(self, child: FakeChild) -> None:
        self.dispatcher.gone(child, [], True)
        self.turn()

    def test_N24_it_is_put_aside_after_three_and_the_innocent_are_not(self) -> None:
        message = self.accept("bad.test", "a.test", "b.test", "c.test")
        crashes, delivered = 0, 0
        for number in range(30):
            child = self.join(f"00000005-{number}")
            while offers := self.offers(child):
                if any(offer.domain == "bad.test" for offer in offers):
                    self.crash(child)
                    crashes += 1
                    break
                for offer in offers:
                    self.begin(child, offer)
                    self.done(child, offer)
                    delivered += 1
            else:
                self.dispatcher.gone(child, [], False)
            self.tell()
        self.assertEqual((crashes, delivered), (POISON, 3))
        [held] = self.store.held("", 10)
        self.assertEqual((held.id, held.domain), (message.id, "bad.test"))
        self.assertEqual((len(self.leases), self.schedule._works), (0, {}))
        self.assertTrue(any(" held " in line and held.name in line for line in self.lines()))

    def test_suspects_go_one_at_a_time(self) -> None:
        self.accept("a.test", "b.test", "c.test")
        first = self.join("00000005-1")
        self.assertEqual(len(self.offers(first)), 3)
        self.crash(first)
        second = self.join("00000005-2")
        seen = 0
        while offers := self.offers(second):
            self.assertEqual(len(offers), 1)
            self.begin(second, offers[0])
            self.done(second, offers[0])
            seen += 1
        self.assertEqual(seen, 3)

    def test_a_suspect_whose_peer_is_silent_does_not_hold_up_the_next(self) -> None:
        self.accept("a.test", "b.test")
        first = self.join("00000005-1")
        self.crash(first)
        second = self.join("00000005-2")
        [offer] = self.offers(second)
        self.says(second, frames.Quiet(offer.connection))
        [other] = self.offers(second)
        self.assertNotEqual(other.domain, offer.domain)

    def test_who_waits_for_leave_to_go_on_is_blamed_for_nothing(self) -> None:
        """At a slow rate many are in a child's hands that do nothing, however often it is killed."""
        child = self.join("00000005-1", "paced")
        self.accept("d.test", zone="paced")
        [first] = self.offers(child)
        self.begin(child, first)
        self.done(child, first)
        self.tell()
        self.clock.pump([0.5] * 118)
        self.accept("d.test", zone="paced")
        for number in range(4):
            self.clock.pump([0.1] * 2)
            [offer] = self.offers(child)
            self.says(child, frames.Answered(offer.connection, "mx.test", "192.0.2.9"))
            self.assertEqual(child.heard(frames.Go), [])
            self.dispatcher.gone(child, [], True)
            child = self.join(f"00000005-{number + 2}", "paced")
        self.tell()
        self.assertEqual([row.held for row in self.store.rows.values()], [""])

    def test_who_waits_for_a_silent_peer_is_not_blamed_for_anothers_crash(self) -> None:
        self.accept("hangs.test")
        child = self.join("00000005-0")
        for number in range(1, 6):
            for offer in self.offers(child):
                if offer.domain == "hangs.test":
                    self.says(child, frames.Quiet(offer.connection))
            self.accept(f"bad{number}.test")
            for offer in self.offers(child):
                self.begin(child, offer)
            self.crash(child)
            self.tell()
            child = self.join(f"00000005-{number}")
        self.assertNotIn("hangs.test", [row.domain for row in self.store.held("", 10)])

    def test_an_end_in_peace_makes_no_suspects(self) -> None:
        self.accept("a.test", "b.test")
        first = self.join("00000005-1")
        self.dispatcher.gone(first, [], False)
        self.assertEqual(len(self.offers(self.join("00000005-2"))), 2)

    def test_a_suspect_at_its_domains_limit_does_not_hold_up_the_next(self) -> None:
        child = self.join("00000005-1")
        self.accept("slow.test", "a.test")
        self.crash(child)
        other = self.join("00000005-2")
        [first] = self.offers(other)
        self.begin(other, first)
        self.done(other, first)
        [second] = self.offers(other)
        self.assertNotEqual(first.domain, second.domain)


class Holding(DispatchRig):
    def test_Q05_children_are_told_when_the_store_cannot_write_and_nothing_is_offered(self) -> None:
        child = self.join()
        self.store.broken = True
        self.dispatcher.hold()
        self.assertEqual(child.heard(), [frames.Hold(True)])
        self.schedule.lane(LaneKey("default", "d.test"))
        self.store.broken = False
        message_waits = self.accept
        self.store.broken = True
        late = self.join("00000005-2")
        self.assertEqual(late.heard(), [frames.Hold(True)])
        self.store.broken = False
        message_waits("d.test")
        self.dispatcher.resume()
        self.assertIn(frames.Hold(False), child.heard(frames.Hold))

    def test_Q05_work_that_came_due_meanwhile_goes_when_it_can_write_again(self) -> None:
        child = self.join()
        self.accept("d.test")
        [offer] = self.offers(child)
        self.begin(child, offer)
        self.done(child, offer, DEFERRED)
        self.tell()
        self.store.broken = True
        self.dispatcher.hold()
        self.clock.advance(61)
        self.turn()
        self.assertEqual(self.offers(child), [])
        self.store.broken = False
        self.dispatcher.resume()
        self.turn()
        self.assertEqual(len(self.offers(child)), 1)


class MixedPool(DispatchRig):
    def setUp(self) -> None:
        names = ("2001:db8::1", "192.0.2.1", "2001:db8::2", "2001:db8::3")
        pool = tuple(PoolAddress(address=name) for name in names)
        self.config = from_config(Config(hostname="relay.test", pools={"default": pool}))
        self.patch(dispatch_rig, "zones_of", lambda *domains, **zones: self.config)
        super().setUp()

    def test_an_address_of_each_kind_and_connections_for_that_pair(self) -> None:
        child = self.join()
        pairs: dict[int, Local] = {}
        for _ in range(30):
            self.accept("d.test")
            [offer] = self.offers(child)
            pair = (offer.local_address, offer.local_name, offer.local_address6, offer.local_name6)
            self.assertEqual(pair, self.config["default"].pool.choose(f"{offer.id}.{offer.seq:03x}"))
            if offer.connection not in pairs:
                self.begin(child, offer)
            self.assertEqual(pairs.setdefault(offer.connection, Local(*pair)), pair)
            self.done(child, offer, kept=True)
        self.assertEqual({pair.address for pair in pairs.values()}, {"192.0.2.1"})
        self.assertEqual(len({pair.address6 for pair in pairs.values()}), 3)
        self.assertEqual(self.tally.reuses, 27)


class Lessons(DispatchRig):
    zones = {"default": Zone(connections=2), "paced": Zone(connections=9, messages=("1/m",)),
             "posted": Zone(url="http://127.0.0.1/")}  # fmt: skip
    SILENT = Outcome(Result.DEFERRED, "No connection within 60 s", 0, "network", "connect")

    def fail_to_connect(self, child: FakeChild, domain: str) -> None:
        self.accept(domain)
        [offer] = self.offers(child)
        self.done(child, offer, self.SILENT)
        self.tell()

    def test_a_domain_with_dead_hosts_of_a_providers_shuts_nobody_elses_mail(self) -> None:
        """Anybody can name a host of a provider's that isn't there as their own."""
        self.sites.named = {"theirs.test": "big", "good.test": "big"}
        self.sites.sections = {"big": Site()}
        child = self.join()
        self.fail_to_connect(child, "theirs.test")
        self.accept("theirs.test")
        self.assertEqual(self.offers(child), [])
        self.accept("good.test")
        self.assertEqual([offer.domain for offer in self.offers(child)], ["good.test"])

    def test_only_hosts_of_a_site_complain_for_it(self) -> None:
        """A backup that anybody names behind a provider's host can't have the provider's mail stopped."""
        self.sites.named = {"evil.test": "big", "good.test": "big"}
        self.sites.sections = {"big": Site()}
        child = self.join()
        slow = "421 4.7.0 too many messages, slow down"
        for host, stopped in (("mx.evil.test", False), ("mx.big.test", True)):
            self.accept("evil.test")
            [offer] = self.offers(child)
            self.begin(child, offer)
            self.done(child, offer, Outcome(Result.DEFERRED, slow, 421, "reply", "mail", host, "192.0.2.9"))
            self.tell()
            self.accept("good.test")
            offers = self.offers(child)
            self.assertEqual(offers == [], stopped, host)
            for offer in offers:
                self.begin(child, offer)
                self.done(child, offer)
            self.tell()

    def refuse(self, child: FakeChild, reply: str, zone: str = "default") -> None:
        """A delivery is offered, and refused so."""
        self.accept("d.test", zone=zone)
        [offer] = self.offers(child)
        self.begin(child, offer)
        code = int(reply[:3])
        result = Result.BOUNCED if code >= 500 else Result.DEFERRED
        self.done(child, offer, Outcome(result, reply, code, "reply", "rcpt", "mx.test", "192.0.2.9"))
        self.tell()

    def test_rules_decide_what_is_final(self) -> None:
        child = self.join()
        for reply, result, category in (
            ("550 5.1.1 User unknown", Result.BOUNCED, "recipient"),
            ("452 4.2.2 The email account that you tried to reach is over quota", Result.BOUNCED, "capacity"),
            ("550 5.7.1 Greylisted, come again", Result.DEFERRED, "greylist"),
            ("554 5.7.1 Client host blocked using zen.spamhaus.org", Result.DEFERRED, "blacklist"),
        ):
            self.refuse(child, reply)
            self.assertIs(self.tally.results[-1], result, reply)
            self.assertEqual(self.tally.refusals[-1][0], category)
        self.assertEqual({row.category for row in self.store.rows.values()}, {"greylist", "blacklist"})
        self.assertEqual([path.kind for path in self.backoff.blacklisted(self.now())], ["blacklist"])

    def test_the_codes_of_HTTP_decide_for_themselves(self) -> None:
        child = self.join("00000005-8", "posted")
        self.accept("d.test", zone="posted")
        [offer] = self.offers(child)
        self.begin(child, offer)
        self.done(child, offer, Outcome(Result.DEFERRED, "503 Service Unavailable: user unknown", 503, "reply", "dot"))
        self.tell()
        self.assertEqual((self.tally.results, self.tally.refusals), ([Result.DEFERRED], [("recipient", "defer")]))

    def test_paths_that_healed_are_forgotten(self) -> None:
        self.patch(addresses, "_PATHS", 3)
        child = self.join()
        rate = Outcome(Result.DEFERRED, "421 4.7.0 too many messages, slow down", 421, "reply", "mail", "mx.test")
        for number in range(6):
            domain = f"d{number}.test"
            self.accept(domain)
            [offer] = self.offers(child)
            self.begin(child, offer)
            self.done(child, offer, rate)
            self.tell()
            self.clock.advance(70.0)  # the pause is over: it goes again, with one connection
            self.turn()
            [again] = self.offers(child)
            self.begin(child, again)
            self.done(child, again)
            self.tell()
            self.clock.advance(600.0)
        self.assertLessEqual(len(self.addresses._paths), 3)

    def test_domains_with_the_same_hosts_are_shut_together(self) -> None:
        self.sites.named = {"one.test": "(mx1|mx2).test", "two.test": "(mx1|mx2).test"}
        child = self.join()
        self.fail_to_connect(child, "one.test")
        self.accept("two.test")
        self.assertEqual(self.offers(child), [])

    def test_what_cannot_be_offered_is_deferred_and_holds_up_nobody(self) -> None:
        child = self.join()
        send = child.send

        def fails(frame: frames.Frame) -> None:
            if isinstance(frame, Offer) and frame.domain == "bad.test":
                raise TypeError("no such field")
            send(frame)

        self.patch(child, "send", fails)
        self.accept("bad.test")
        self.accept("good.test")
        self.tell()
        self.assertEqual([offer.domain for offer in self.offers(child)], ["good.test"])
        [row] = [row for row in self.store.rows.values() if row.domain == "bad.test"]
        self.assertEqual((row.attempts, row.category), (1, "ours"))
        self.assertEqual(len(self.leases), 1)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_an_outcome_is_written_down_and_a_connection_ends_whatever_comes_of_it(self) -> None:
        child = self.join()
        self.accept("d.test")
        [offer] = self.offers(child)
        self.begin(child, offer)
        self.patch(self.lessons, "ended", lambda *known: 1 // 0)
        self.assertRaises(ZeroDivisionError, self.done, child, offer)
        self.tell()
        self.everything_is_free()

    def test_a_second_host_that_answers_while_the_token_is_waited_for(self) -> None:
        child = self.join("00000005-9", "paced")
        self.accept("d.test", zone="paced")
        [first] = self.offers(child)
        self.says(child, frames.Quiet(first.connection))
        self.accept("e.test", zone="paced")
        [second] = self.offers(child)
        self.begin(child, second)
        for _ in range(2):
            self.says(child, frames.Answered(first.connection, "mx.test", "192.0.2.9"))
            self.assertEqual(child.heard(frames.Go), [])
        self.clock.pump([1.0] * 70)
        self.assertEqual(child.heard(frames.Go), [frames.Go(first.connection)])


class Chaos(DispatchRig):
    zones = {"default": Zone(connections=2), "hop": Zone(connections=2, host="hop.test")}

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from("ammdddkkqvczwto"), st.integers(0, 30)), max_size=60), st.data())
    def test_whatever_children_do_all_mail_is_delivered_once(
        self, steps: list[tuple[str, int]], data: st.DataObject
    ) -> None:
        self.setUp()
        working: dict[int, tuple[FakeChild, Offer]] = {}
        children: list[FakeChild] = []
        born = 0
        delivered: list[str] = []

        def look() -> None:
            for child in children:
                for frame in child.heard():
                    if type(frame) is Offer:
                        working[frame.lease] = (child, frame)

        def finish(lease: int, kept: bool, outcome: object = DELIVERED) -> None:
            child, offer = working.pop(lease)
            self.says(child, frames.Answered(offer.connection, "mx.test", ""))
            if outcome is DELIVERED:
                delivered.append(f"{offer.id}.{offer.seq:03x}")
            self.done(child, offer, outcome, kept)  # type: ignore[arg-type]

        def bear() -> None:
            nonlocal born
            born += 1
            children.append(self.join(f"00000005-{born}", ("default", "hop")[born % 2]))

        bear()
        bear()
        for step, n in steps:
            look()
            lease = sorted(working)[n % len(working)] if working else None
            if step == "a":
                bear()
            elif step == "m":
                zone = ("default", "hop")[n % 2]
                self.accept(*(f"d{(n + k) % 5}.test" for k in range(1 + n % 4)), zone=zone)
            elif step == "w":
                self.clock.advance(n)
            elif step == "t":
                self.tell()
            elif lease is not None:
                child, offer = working[lease]
                if step == "d":
                    finish(lease, False)
                elif step == "k":
                    finish(lease, True)
                elif step == "o":
                    finish(lease, n % 2 == 0, DEFERRED)
                elif step == "q":
                    self.says(child, frames.Quiet(offer.connection))
                elif step == "v":
                    self.says(child, frames.Active(offer.connection))
                elif step == "c":
                    for connection in self.ledger.connections():
                        if connection.state is State.IDLE and connection.child.key == child.id:
                            self.says(child, frames.Closed(connection.number))
                elif step == "z":
                    children.remove(child)
                    self.dispatcher.gone(child, [], False)
                    self.turn()
                    working = {key: pair for key, pair in working.items() if pair[0] is not child}
        bear()
        bear()
        for _ in range(300):
            look()
            for lease in sorted(working):
                finish(lease, lease % 2 == 0)
            self.tell()
            if not self.store.rows:
                break
            self.clock.advance(30)
        names = {f"{number:014x}beef" for number in range(1, self.number + 1)}
        self.assertEqual(len(delivered), len(set(delivered)))
        self.assertLessEqual(names, {name.split(".")[0] for name in delivered} | self.bounced())
        self.everything_is_free()

    def bounced(self) -> set[str]:
        return {line.split("id=")[1].split(".")[0] for line in self.lines() if " bounced " in line}
