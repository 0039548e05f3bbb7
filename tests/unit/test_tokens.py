"""What a message pays, when, and what it gets back: rates of each scope, exact over all children."""

from __future__ import annotations

import gc
from typing import Any, ClassVar

from relay.channel import frames
from relay.channel.frames import Offer
from relay.config.schema import Limits, Zone
from relay.dispatch.connection import State
from relay.message.values import Outcome, Result
from tests.unit.dispatch_rig import DispatchRig, FakeChild

EARLY = Outcome(Result.DEFERRED, "451 not now", 451, "reply", "ehlo", "mx.test", "192.0.2.9")
NO_ANSWER = Outcome(Result.DEFERRED, "No connection within 60 s", 0, "network", "connect")
RATE = Outcome(Result.DEFERRED, "421 4.7.0 too many messages, slow down", 421, "reply", "mail", "mx.test", "192.0.2.9")


class Paying(DispatchRig):
    def answer(self, child: FakeChild, offer: Offer) -> bool:
        """The host has answered; whether the transaction may begin."""
        self.says(child, frames.Answered(offer.connection, "mx.test", "192.0.2.9"))
        return frames.Go(offer.connection) in child.heard(frames.Go)


class EachMinute(Paying):
    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=9, messages=("1/m",))}

    def test_a_host_that_fails_before_mail_brings_no_token(self) -> None:
        child = self.join()
        self.accept("a.test", "b.test", "c.test")
        silent: list[Offer] = []
        for _ in range(3):  # One host at a time, until it is known to be slow.
            silent += self.offers(child)
            self.says(child, frames.Quiet(silent[-1].connection))
            self.clock.pump([0.1] * 3)
        first, second, third = silent
        self.assertTrue(self.answer(child, first))
        self.done(child, first)
        self.done(child, second, EARLY)  # It never had leave to go, and has paid nothing.
        self.assertFalse(self.answer(child, third), "one has gone this minute")
        self.clock.pump([1.0] * 61)
        self.assertEqual(child.heard(frames.Go), [frames.Go(third.connection)])

    def test_a_kept_connection_whose_successor_gets_no_answer_costs_none(self) -> None:
        child = self.join()
        self.accept("a.test")
        [first] = self.offers(child)
        self.answer(child, first)
        self.done(child, first, kept=True)
        self.accept("a.test")
        self.accept("b.test")
        self.clock.pump([1.0] * 61)
        again = self.offers(child)[0]
        self.assertEqual((again.connection, again.domain), (first.connection, "a.test"))
        self.done(child, again, NO_ANSWER)  # The host had hung up, and can't be reached any more.
        [other] = self.offers(child) or [None]
        self.assertIsNotNone(other)
        self.assertTrue(self.answer(child, other), "the token is there still")

    def kept_and_new(self, child: FakeChild) -> tuple[Offer, Offer]:
        """What a kept connection has sent, a minute ago, and what a new one has been opened for."""
        self.accept("a.test")
        [first] = self.offers(child)
        self.answer(child, first)
        self.done(child, first, kept=True)
        self.clock.pump([1.0] * 61)
        self.accept("b.test")
        [parked] = self.offers(child)
        return first, parked

    def test_what_can_not_be_offered_costs_none(self) -> None:
        child = self.join()
        _, parked = self.kept_and_new(child)
        sends = child.send

        def fails(frame: frames.Frame) -> None:
            if type(frame) is Offer:
                raise ValueError("too long")
            sends(frame)

        self.patch(child, "send", fails)
        self.accept("a.test")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertTrue(self.answer(child, parked))

    def test_a_token_given_back_is_for_who_waits_for_it(self) -> None:
        child = self.join()
        first, parked = self.kept_and_new(child)
        self.accept("a.test")
        [again] = self.offers(child)
        self.assertEqual(again.connection, first.connection)
        self.assertFalse(self.answer(child, parked))
        self.done(child, again, EARLY)
        self.clock.advance(0.1)
        self.assertEqual(child.heard(frames.Go), [frames.Go(parked.connection)])


class Successors(Paying):
    """Kept connections that turn out dead, and hosts that go away before MAIL: another host is called."""

    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=9, messages=("1/s",))}

    def setUp(self) -> None:
        super().setUp()
        self.child = self.join()

    def pass_time(self, seconds: int) -> int:
        """How many may begin in that time."""
        self.clock.pump([0.1] * (10 * seconds))
        return len(self.child.heard(frames.Go))

    def redial(self, offer: Offer) -> None:
        self.says(self.child, frames.Redial(offer.connection), frames.Quiet(offer.connection))
        self.assertIn(frames.Dial(offer.connection), self.child.heard(frames.Dial))

    def answers(self, offers: list[Offer]) -> int:
        """They speak again, all at once; how many may begin."""
        for offer in offers:
            self.says(self.child, frames.Active(offer.connection))
            self.says(self.child, frames.Answered(offer.connection, "mx.test", "192.0.2.9"))
        return len(self.child.heard(frames.Go))

    def kept(self, count: int) -> list[Offer]:
        """As many offers on kept connections, one each."""
        domains = [f"d{number}.test" for number in range(count)]
        self.accept(*domains)
        opened = self.offers(self.child)
        for offer in opened:
            self.answer(self.child, offer)
        self.pass_time(2 * count)
        for offer in opened:
            self.done(self.child, offer, kept=True)
        self.accept(*domains)
        again: list[Offer] = []
        for _ in range(20 * count):
            again += self.offers(self.child)
            self.clock.advance(0.1)
            self.turn()
        self.assertEqual(sorted(offer.connection for offer in again), sorted(offer.connection for offer in opened))
        return again

    def test_those_of_kept_connections_go_one_by_one_though_all_answer_at_once(self) -> None:
        again = self.kept(5)
        for offer in again:
            self.redial(offer)
        self.pass_time(20)
        self.assertEqual(self.answers(again), 1)
        self.assertEqual([self.pass_time(1) for _ in range(5)], [0, 1, 1, 1, 1])

    def test_what_a_host_has_heard_of_is_spent(self) -> None:
        """It answers 421 to MAIL, and takes the message on a connection of its own: that is two."""
        self.accept("a.test")
        [first] = self.offers(self.child)
        self.answer(self.child, first)
        self.done(self.child, first, kept=True)
        self.pass_time(2)
        self.accept("a.test")
        [again] = self.offers(self.child)
        self.says(self.child, frames.Redial(again.connection, True))
        self.assertEqual(self.answers([again]), 0)
        self.assertEqual(self.pass_time(2), 1)

    def test_those_that_had_leave_to_go_wait_for_it_again(self) -> None:
        self.accept("a.test", "b.test")
        offers = self.offers(self.child)
        self.assertEqual(self.answers(offers), 1)
        self.pass_time(2)
        for offer in offers:
            self.redial(offer)
        self.pass_time(20)
        self.assertEqual((self.answers(offers), self.pass_time(2)), (1, 1))

    def test_the_token_is_for_others_meanwhile(self) -> None:
        self.accept("a.test", "b.test")
        first, second = self.offers(self.child)
        self.assertEqual(self.answers([first, second]), 1)
        self.redial(first)
        self.clock.advance(0.1)
        self.assertEqual(self.child.heard(frames.Go), [frames.Go(second.connection)])

    def test_who_waits_for_one_keeps_the_place(self) -> None:
        self.accept("a.test", "b.test", "c.test")
        offers = self.offers(self.child)
        self.assertEqual(self.answers(offers), 1)
        self.redial(offers[1])
        self.assertEqual(self.answers([offers[1]]), 0)
        self.clock.pump([0.1] * 11)
        self.assertEqual(self.child.heard(frames.Go), [frames.Go(offers[1].connection)])

    def test_one_whose_turn_comes_before_it_is_answered_lets_the_next_go(self) -> None:
        self.accept("a.test", "b.test", "c.test")
        offers = self.offers(self.child)
        self.assertEqual(self.answers(offers), 1)
        self.redial(offers[1])
        self.clock.pump([0.1] * 11)
        self.assertEqual(self.child.heard(frames.Go), [frames.Go(offers[2].connection)])
        self.assertEqual(self.answers([offers[1]]), 0)
        self.clock.pump([0.1] * 11)
        self.assertEqual(self.child.heard(frames.Go), [frames.Go(offers[1].connection)])


class Ahead(Paying):
    """Connections are opened before their token is there, by as long as that takes."""

    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=50, messages=("1/s",))}

    def setUp(self) -> None:
        super().setUp()
        self.child = self.join()

    def sent(self, seconds: int, takes: float, kept: bool) -> list[str]:
        """Whose messages are begun in that time, where each host takes so long to answer."""
        begun: list[str] = []
        answers: list[tuple[float, Offer]] = []
        open_: dict[int, Offer] = {}
        for _ in range(100 * seconds):
            now = self.clock.seconds()
            goes = [open_[go.connection] for go in self.child.heard(frames.Go)]
            for offer in self.offers(self.child):
                connection = self.ledger.get(offer.connection)
                assert connection is not None
                open_[offer.connection] = offer
                if connection.state is State.SENDING:
                    goes.append(offer)
                else:
                    answers.append((now + takes, offer))
            for offer in goes:
                begun.append(offer.domain)
                self.done(self.child, offer, kept=kept)
            for answer in [one for one in answers if one[0] <= now]:
                answers.remove(answer)
                self.says(self.child, frames.Answered(answer[1].connection, "mx.test", "192.0.2.9"))
            self.clock.advance(0.01)
            self.turn()
        return begun

    def test_one_lane_uses_its_rate_though_each_message_needs_a_connection(self) -> None:
        for takes in (0.0, 0.05, 0.2, 0.5):
            self.setUp()
            for _ in range(80):
                self.accept("a.test")
            self.assertGreater(len(self.sent(60, takes, False)), 0.95 * 60, takes)

    def test_lanes_with_kept_connections_take_turns(self) -> None:
        for _ in range(20):
            self.accept("a.test")
            self.accept("b.test")
        begun = self.sent(22, 0.0, True)
        self.assertEqual((begun.count("a.test"), begun.count("b.test")), (11, 11))

    def test_nobody_looks_again_and_again(self) -> None:
        for _ in range(40):
            self.accept("a.test")
        self.sent(2, 0.0, True)
        looks: list[float] = []
        missing = self.dispatcher._tokens.missing

        def noted(*known: Any) -> Any:
            looks.append(self.clock.seconds())
            return missing(*known)

        self.patch(self.dispatcher._tokens, "missing", noted)
        begun = self.sent(20, 0.0, True)
        self.assertLessEqual(len(looks), 4 * len(begun))


class ManyUnproven(Paying):
    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=9, messages=("30/m",))}

    def test_who_has_answered_counts_as_one_to_come(self) -> None:
        child = self.join()
        self.accept("a.test", "b.test", "c.test")
        offers = self.offers(child)
        self.assertEqual([self.answer(child, offer) for offer in offers], [True, False, False])
        self.clock.advance(1.9)  # The next token is near.
        self.accept("d.test", "e.test", "f.test")
        self.assertEqual(self.offers(child), [], "two wait for it already")
        self.done(child, offers[0])
        self.clock.pump([0.1] * 200)
        self.assertEqual(len(child.heard(frames.Go)), 2)


class OfAnAddress(Paying):
    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=9, address=Limits(max_connections=2))}

    def test_a_path_in_trouble_takes_no_connections_out_of_the_addresss_count(self) -> None:
        child = self.join()
        self.accept("a.test", "b.test")
        first, second = self.offers(child)
        self.answer(child, first)
        self.answer(child, second)
        self.accept("b.test")
        self.assertEqual(self.offers(child), [])
        self.done(child, first, RATE)
        [third] = self.offers(child)
        self.answer(child, third)
        self.done(child, second)
        self.done(child, third)
        # The pause is over: all that is open goes by the path that climbs.
        self.clock.pump([1.0] * 70)
        self.accept("a.test")
        [fourth] = [offer for offer in self.offers(child) if offer.domain == "a.test"][:1]
        self.answer(child, fourth)
        gc.collect()
        self.accept("c.test", "d.test", "e.test")
        busy = [one for one in self.ledger.connections() if one.state is not State.IDLE]
        self.assertLessEqual(len(busy), 2, [one.domain for one in busy])


class Resting(Paying):
    zones: ClassVar[dict[str, Zone]] = {"default": Zone(connections=9, throttling="1/m")}

    def test_what_began_nothing_does_not_rest(self) -> None:
        """Or it would get leave to go when it has ended."""
        child = self.join()
        self.accept("a.test")
        [offer] = self.offers(child)
        self.answer(child, offer)
        self.says(child, frames.Redial(offer.connection, True, "192.0.2.9", "192.0.2.8"))
        child.heard(frames.Go)
        self.done(child, offer, EARLY)
        self.assertEqual(self.ledger.connections(), [])
        self.clock.pump([1.0] * 70)
        self.assertEqual(child.heard(frames.Go), [])

    def test_a_kept_connection_that_closes_while_it_rests_is_gone(self) -> None:
        child = self.join()
        self.accept("a.test")
        [offer] = self.offers(child)
        self.answer(child, offer)
        self.done(child, offer, kept=True)
        self.says(child, frames.Closed(offer.connection))
        self.clock.pump([1.0] * 58)
        self.assertEqual(len(self.ledger.connections()), 1, "or hanging up would be a way round the rest")
        self.clock.pump([1.0] * 3)
        self.assertEqual(self.ledger.connections(), [])
