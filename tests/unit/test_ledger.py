"""The connection ledger: every limit, and counts that always equal a recount (D36, D37)."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.dispatch.capacity import UNPROVEN, Capacity
from relay.dispatch.connection import Connection, State
from relay.dispatch.gates import Connections, Gate
from relay.dispatch.leaving import Leaving
from relay.dispatch.ledger import Ledger, Limit, Permit
from relay.dispatch.limits import Way
from relay.dispatch.target import PER_SILENT_TARGET, PROVEN_FOR, STALLED_AFTER, Target
from relay.zone.decision import Scope
from relay.zone.pool import Local

LOCAL = "192.0.2.1"


def leaving(address: str) -> Local:
    return Local(address, "relay.test", "", "")


class Books(Ledger):
    """A ledger whose ways are those of single domains, each with one limit of connections."""

    def __init__(self) -> None:
        super().__init__()
        self._ways: dict[tuple[str, str], Way] = {}
        self._counts: dict[str, Connections] = {}
        self._targets: dict[tuple[str, str], Target] = {}

    def target(self, zone: str, name: str) -> Target:
        return self._targets.setdefault((zone, name), Target(zone, name, lambda user: 1.0))

    def count(self, domain: str, limit: int) -> Connections:
        scope = Scope(zone="z", domain=domain)
        count = self._counts.setdefault(domain, Connections(scope, limit, lambda user: 1.0))
        count.most = limit
        return count

    def way(self, domain: str, limit: int, target: str = "") -> Way:
        count, name = self.count(domain, limit), target or domain
        to = self.target("z", name)
        return self._ways.setdefault(
            (domain, name), Way(domain, "", "", name, name, to, (count,), (), (), (), (), False, 0, (count, to), ())
        )

    def permit(
        self, zone: str, domain: str, target: str, local: str, limit: int, now: float
    ) -> Permit | Limit | Gate:
        """One on a kept connection, or a new one."""
        way = self.way(domain, limit, target)
        kept = self.kept(zone, way, leaving(local), now)
        if kept is not None:
            self.reuse(kept, way)
            return Permit(kept)
        return self.open(zone, way, Leaving(leaving(local)), now)

    def may_go(self, child: Capacity, others: bool = False) -> Connection | None:
        connection = child.first_waiting(others)
        if connection is not None:
            self.go(connection)
        return connection

    def open_to(self, zone: str, domain: str) -> int:
        return self._counts[domain].open if domain in self._counts else 0


class LedgerRig(SynchronousTestCase):
    def setUp(self) -> None:
        self.ledger = Books()
        self.now = 0.0
        self.child = self.join("a-1")

    def join(self, key: str, connections: int = 3, connecting: int = 400) -> Capacity:
        child = Capacity(key, "z", connections, connecting)
        self.ledger.join(child)
        return child

    def permit(
        self, domain: str = "d.test", limit: int = 5, target: str = "", local: str = LOCAL
    ) -> Permit | Limit | Gate:
        return self.ledger.permit("z", domain, target or domain, local, limit, self.now)

    def permitted(self, domain: str = "d.test", limit: int = 5, target: str = "", local: str = LOCAL) -> Connection:
        permit = self.permit(domain, limit, target, local)
        assert isinstance(permit, Permit), permit
        return permit.connection

    def prove(self, domain: str = "d.test", target: str = "") -> None:
        connection = self.permitted(domain, target=target)
        self.ledger.answered(connection, "198.51.100.1", self.now)
        self.ledger.remove(connection)

    def send(self, domain: str = "d.test", limit: int = 5, target: str = "", local: str = LOCAL) -> Connection:
        """A connection in its transaction."""
        connection = self.permitted(domain, limit, target, local)
        if connection.state is not State.SENDING:
            self.ledger.answered(connection, "198.51.100.1", self.now)
            self.assertIs(self.ledger.may_go(connection.child), connection)
        return connection


class Limits(LedgerRig):
    def test_no_child(self) -> None:
        self.ledger.leave(self.child)
        self.assertIs(self.permit(), Limit.NO_CHILD)

    def test_zone_and_the_way_through_it(self) -> None:
        self.prove()
        opened = [self.permitted() for _ in range(3)]
        self.assertEqual({one.state for one in opened}, {State.OPENING})
        self.assertIs(self.permit(), Limit.ZONE)
        self.ledger.remove(opened[0])
        self.permitted()

    def test_children_share_evenly(self) -> None:
        self.prove()
        other = self.join("a-2")
        for _ in range(5):
            self.permitted(limit=99)
        self.assertEqual(sorted((self.child.busy, other.busy)), [2, 3])
        self.permitted(limit=99)
        self.assertIs(self.permit(limit=99), Limit.ZONE)

    def test_unproven_targets_take_none_of_the_zones_connections(self) -> None:
        tried = [self.permitted(f"d{n}.test") for n in range(50)]
        self.assertEqual((self.child.busy, self.child.trying), (0, 50))
        for connection in tried:
            self.ledger.answered(connection, "198.51.100.1", self.now)
        gone = [self.ledger.may_go(self.child) for _ in range(4)]
        self.assertEqual(gone, [*tried[:3], None])
        self.ledger.remove(tried[1])
        self.assertIs(self.ledger.may_go(self.child), tried[3])

    def test_trying(self) -> None:
        for n in range(UNPROVEN):
            self.permitted(f"d{n}.test")
        self.assertIs(self.permit(), Limit.TRYING)
        second = self.join("a-2")
        self.assertIs(self.permitted().child, second)

    def test_target(self) -> None:
        for _ in range(PER_SILENT_TARGET):
            connection = self.permitted()
        self.assertIs(self.permit(), self.ledger.target("z", "d.test"))
        self.ledger.quiet(connection)
        self.assertIs(self.permit(), self.ledger.target("z", "d.test"))
        self.ledger.remove(connection)
        self.permitted()

    def test_a_slow_host_that_answers_is_not_a_silent_target(self) -> None:
        self.prove()
        for _ in range(5):
            self.ledger.quiet(self.send())
        self.assertIs(self.permit(), self.ledger.way("d.test", 5).counted[0])

    def test_an_answer_is_forgotten_some_time(self) -> None:
        self.prove()
        self.now = PROVEN_FOR - 1
        self.assertTrue(self.ledger.target("z", "d.test").proven(self.now))
        self.assertFalse(self.ledger.target("y", "d.test").proven(self.now))
        self.now = PROVEN_FOR + 1
        self.assertFalse(self.ledger.target("z", "d.test").proven(self.now))

    def test_D37_domain(self) -> None:
        self.prove()
        self.join("a-2")
        for _ in range(5):
            self.permitted()
        self.assertIs(self.permit(), self.ledger.way("d.test", 5).counted[0])
        self.assertEqual(self.ledger.open_to("z", "d.test"), 5)

    def test_D37_an_idle_connection_counts_until_it_is_given_back(self) -> None:
        kept = self.send(limit=1)
        self.ledger.idle(kept, self.now)
        self.assertEqual(self.ledger.open_to("z", "d.test"), 1)
        gate = self.ledger.count("d.test", 1)
        self.assertIs(self.permit(limit=1, local="192.0.2.2"), gate)
        self.assertIs(self.ledger.make_room("z", gate, 1, self.now), kept)
        self.assertEqual((kept.state, gate.open, gate.idle, gate.closing), (State.CLOSING, 1, 0, 1))
        self.assertIs(self.permit(limit=1, local="192.0.2.2"), gate, "it may still be there")
        self.ledger.remove(kept)
        self.assertEqual((gate.open, gate.closing), (0, 0))
        self.permitted(limit=1, local="192.0.2.2")

    def test_D37_no_more_give_way_than_are_wanted(self) -> None:
        kept = [self.send() for _ in range(3)]
        for connection in kept:
            self.ledger.idle(connection, self.now)
        gate = self.ledger.count("d.test", 3)
        room = [self.ledger.make_room("z", gate, 2, self.now) for _ in range(4)]
        self.assertEqual(room, [*kept[:2], None, None])
        self.assertTrue(gate.room(self.now), "the third may be of use to those who wait")
        self.assertIsNone(gate.opens(self.now), "or not: nobody looks again and again")
        self.ledger.make_room("z", gate, 3, self.now)
        self.assertEqual((gate.room(self.now), gate.opens(self.now)), (False, None))
        self.ledger.remove(kept[0])
        self.assertIsNone(self.ledger.make_room("z", gate, 9, self.now), "there is room")

    def test_what_closes_is_neither_idle_nor_at_work(self) -> None:
        self.prove()
        connection = self.send()
        self.ledger.close(connection)
        child = self.child
        self.assertEqual((child.busy, child.quiet, len(child.idle), child.trying), (0, 0, 0, 0))
        self.assertEqual(self.ledger.idle_connections, 0)
        self.ledger.quiet(connection)
        self.ledger.active(connection)
        self.assertIs(connection.state, State.CLOSING)
        self.assertIsNot(self.permitted(), connection)
        self.ledger.leave(child)
        self.assertEqual((self.ledger.open_to("z", "d.test"), self.ledger.count("d.test", 5).closing), (0, 0))

    def test_D36_any_number_of_hanging_targets(self) -> None:
        """They are tried, a few hundred at a time; each that goes quiet makes room for the next,
        up to a bound; and a target that answers is in no one's way."""
        self.prove("good.test")
        hanging = 0
        while isinstance(permit := self.permit(f"h{hanging}.test"), Permit):
            self.ledger.quiet(permit.connection)
            hanging += 1
        self.assertEqual((hanging, permit), (self.child.connecting, Limit.TRYING))
        connection = self.send("good.test")
        self.ledger.idle(connection, self.now)
        self.assertIs(self.permitted("good.test"), connection)

    def test_quiet_ones_are_bounded_even_to_proven_targets(self) -> None:
        for n in range(2 * self.child.connecting):
            self.prove(f"d{n}.test")
        for n in range(2 * self.child.connecting):
            self.ledger.quiet(self.permitted(f"d{n}.test"))
        other = self.ledger.target("z", "other.test")
        other.answered = self.now
        self.assertIs(self.permit("other.test"), other, "there are places, for kept ones")

    def test_one_that_is_proven_has_not_all_the_quiet_ones_to_itself(self) -> None:
        self.prove(target="hop")
        count = 0
        while isinstance(permit := self.permit(f"d{count}.test", target="hop"), Permit):
            self.ledger.quiet(permit.connection)
            count += 1
        self.assertEqual((count, permit), (self.child.connecting, self.ledger.target("z", "hop")))
        self.ledger.target("z", "other.test").answered = self.now
        other = self.permitted("other.test")
        self.permitted("other.test")
        self.ledger.quiet(other)
        self.assertIs(self.permit("other.test"), self.ledger.target("z", "other.test"))
        self.ledger.active(other)
        self.permitted("other.test")

    def test_a_host_that_stutters_takes_nobodys_place(self) -> None:
        """Quiet and back again, as often as it likes: no more are at work than may be."""
        stutters = [self.send(f"s{n}.test") for n in range(2)]
        for connection in stutters:
            self.ledger.quiet(connection)
        others = [self.send(f"o{n}.test") for n in range(2)]
        for connection in stutters:
            self.ledger.active(connection)
        self.assertEqual((self.child.busy, self.child.quiet), (3, 1))
        self.assertEqual([one.state for one in stutters], [State.SENDING, State.QUIET])
        self.ledger.remove(others[0])
        self.ledger.active(stutters[1])
        self.assertEqual((self.child.busy, self.child.quiet, stutters[1].state), (3, 0, State.SENDING))

    def slow(self, domain: str = "slow.test") -> Connection:
        """A first connection whose host has let us wait before it answered."""
        connection = self.permitted(domain)
        self.ledger.quiet(connection)
        self.ledger.active(connection)
        self.ledger.answered(connection, "198.51.100.1", self.now)
        return connection

    def test_one_that_is_tried_and_slow_stays_quiet(self) -> None:
        """Whatever it says before it has answered: it will let us wait again."""
        connection = self.permitted()
        self.ledger.quiet(connection)
        self.ledger.active(connection)
        self.assertEqual((connection.state, self.child.trying, self.child.quiet), (State.QUIET, 0, 1))
        self.ledger.answered(connection, "198.51.100.1", self.now)
        self.assertEqual((connection.state, self.child.quiet), (State.WAITING, 0))

    def test_a_slow_host_needs_no_place(self) -> None:
        others = [self.send(f"o{n}.test") for n in range(3)]
        first = self.slow()
        self.assertIs(self.ledger.may_go(self.child), first)
        self.assertEqual((first.state, self.child.busy), (State.QUIET, 3))
        self.ledger.quiet(first)
        self.ledger.active(first)
        self.ledger.idle(first, self.now)
        self.assertIs(self.permitted("slow.test"), first)
        self.assertEqual((first.state, self.child.busy), (State.QUIET, 3))
        self.ledger.idle(first, self.now)
        self.assertIs(self.permit("slow.test"), Limit.ZONE, "it is slow no more")
        self.ledger.remove(others[0])
        self.assertIs(self.permitted("slow.test"), first)
        self.assertIs(first.state, State.SENDING)

    def test_nor_do_two_more_connections_to_it(self) -> None:
        """The third one is like any other."""
        self.ledger.remove(self.slow())
        for n in range(3):
            self.send(f"o{n}.test")
        more = [self.permitted("slow.test") for _ in range(PER_SILENT_TARGET)]
        self.assertEqual({one.state for one in more}, {State.QUIET})
        self.assertIs(self.permit("slow.test"), Limit.ZONE)

    def test_one_that_is_slow_no_more_needs_a_place(self) -> None:
        self.ledger.remove(self.slow())
        others = [self.send(f"o{n}.test") for n in range(3)]
        swift = self.permitted("slow.test")
        self.ledger.answered(swift, "198.51.100.1", self.now)
        self.assertIsNone(self.ledger.may_go(self.child))
        self.assertIs(self.permit("slow.test"), Limit.ZONE)
        self.ledger.remove(others[0])
        self.assertIs(self.ledger.may_go(self.child), swift)
        self.assertIs(swift.state, State.SENDING)

    def test_no_kept_connection_gives_way_to_one_that_needs_no_place(self) -> None:
        self.ledger.remove(self.slow())
        for connection in [self.send() for _ in range(3)]:
            self.ledger.idle(connection, self.now)
        permit = self.permit("slow.test")
        assert isinstance(permit, Permit)
        self.assertIsNone(permit.spare)

    def test_nobody_else_is_tried_while_slow_ones_are_as_many_as_may_be(self) -> None:
        for n in range(self.child.connecting):
            self.slow(f"s{n}.test")
            self.ledger.may_go(self.child)
        self.assertIs(self.permit("new.test"), Limit.TRYING)
        self.ledger.target("z", "good.test").answered = self.now
        self.permitted("good.test")

    def test_nobody_is_tried_while_many_wait_to_go(self) -> None:
        for n in range(UNPROVEN - 1):
            self.ledger.answered(self.permitted(f"d{n}.test"), "198.51.100.1", self.now)
        self.permitted("last.test")
        self.assertIs(self.permit(), Limit.TRYING)
        self.ledger.may_go(self.child)
        self.permitted()

    def stall(self, domain: str) -> Connection:
        """A transaction that has long been silent."""
        connection = self.send(domain)
        connection.began = self.now
        self.ledger.quiet(connection)
        self.now += STALLED_AFTER
        return connection

    def test_a_target_that_lets_transactions_hang_is_unproven(self) -> None:
        """Though it greets: until one of them comes forward."""
        target = self.ledger.target("z", "d.test")
        first = self.stall("d.test")
        self.now -= 1
        self.assertTrue(target.proven(self.now))
        self.now += 1
        self.assertFalse(target.proven(self.now))
        second = self.permitted()
        self.assertIs(second.state, State.TRYING)
        self.assertIs(self.permit(), target)
        self.ledger.answered(second, "198.51.100.1", self.now)
        self.ledger.remove(first)
        self.assertFalse(target.proven(self.now), "a greeting and a time-out are no progress")
        self.ledger.go(second)
        self.ledger.idle(second, self.now)
        self.assertTrue(target.proven(self.now))

    def test_a_connection_that_is_used_for_long_proves_its_target(self) -> None:
        way = self.ledger.way("d.test", 5, "d.test")
        connection = self.send()
        for _ in range(3):
            self.now += PROVEN_FOR / 2 + 1
            self.ledger.idle(connection, self.now)
            self.ledger.reuse(connection, way)
        self.assertTrue(connection.target.proven(self.now))

    def test_what_is_progress_there(self) -> None:
        target = self.ledger.target("z", "d.test")
        for progress in (self.ledger.active, lambda stalled: self.ledger.idle(stalled, self.now)):
            progress(self.stall("d.test"))
            self.assertTrue(target.proven(self.now))
        for end in (self.ledger.close, self.ledger.remove):
            other = self.send()
            end(self.stall("d.test"))
            self.assertFalse(target.proven(self.now))
            end(other)
            self.assertTrue(target.proven(self.now))

    def test_D36_any_number_of_targets_that_greet_and_drip(self) -> None:
        """Those that have hung hang in the budget of those that haven't answered, and others are opened."""
        self.prove("good.test")
        for n in range(2 * self.child.connecting):
            if not isinstance(self.permit(f"h{n}.test"), Permit):
                break
            self.ledger.remove(self.ledger.connections()[-1])
            self.stall(f"h{n}.test")
            self.ledger.target("z", "good.test").answered = self.now
        self.assertEqual((n, self.child.quiet, self.child.busy), (self.child.connecting, self.child.connecting, 0))
        for n in range(self.child.connecting):
            self.assertIs(self.permit(f"h{n}.test"), Limit.TRYING)
        self.send("good.test")

    def test_many_hanging_targets_get_one_connection_each(self) -> None:
        for n in range(UNPROVEN):
            self.ledger.quiet(self.permitted(f"h{n}.test"))
        self.permitted("last.test")
        self.assertIs(self.permit("last.test"), self.ledger.target("z", "last.test"))


class Reuse(LedgerRig):
    def test_a_kept_connection_goes_on_with_the_same_domain_and_address(self) -> None:
        connection = self.send()
        self.ledger.idle(connection, self.now)
        self.assertEqual((self.child.busy, self.ledger.idle_connections), (0, 1))
        self.assertIsNot(self.permitted("e.test"), connection)
        self.assertIsNot(self.permitted(local="192.0.2.2"), connection)
        self.assertIs(self.permitted(), connection)
        self.assertEqual((connection.state, self.child.busy), (State.SENDING, 2))

    def test_a_fixed_next_hop_takes_any_domain_and_the_counts_follow(self) -> None:
        connection = self.send("a.test", target="hop")
        self.ledger.idle(connection, self.now)
        self.assertIs(self.permitted("b.test", target="hop"), connection)
        self.assertEqual((self.ledger.open_to("z", "a.test"), self.ledger.open_to("z", "b.test")), (0, 1))

    def test_but_not_beyond_that_domains_limit(self) -> None:
        self.send("b.test", 1, "hop")
        connection = self.send("a.test", 1, "hop")
        self.ledger.idle(connection, self.now)
        self.assertIs(self.permit("b.test", 1, "hop"), self.ledger.way("b.test", 1).counted[0])

    def test_the_latest_is_taken_first(self) -> None:
        """So that those no longer needed fall idle for good."""
        first, second = self.send(), self.send()
        self.ledger.idle(first, self.now)
        self.ledger.idle(second, self.now)
        self.assertIs(self.permitted(), second)

    def test_not_by_a_child_that_has_no_room(self) -> None:
        kept = self.send()
        self.ledger.idle(kept, self.now)
        others = [self.permitted(f"o{n}.test") for n in range(3)]
        for connection in others:
            self.ledger.answered(connection, "198.51.100.1", self.now)
            self.assertIsNotNone(self.ledger.may_go(self.child))
        self.assertIs(self.permit(), Limit.ZONE)
        self.ledger.remove(others[0])
        self.assertIs(self.permitted(), kept)

    def test_an_idle_one_makes_room_for_a_busy_one_elsewhere(self) -> None:
        self.prove("other.test")
        kept = [self.send() for _ in range(3)]
        for connection in kept:
            self.ledger.idle(connection, self.now)
        permit = self.permit("other.test")
        assert isinstance(permit, Permit)
        self.assertEqual((permit.spare, kept[0].state), (kept[0], State.CLOSING))

    def test_a_mere_trial_takes_nobodys_kept_connection(self) -> None:
        for connection in [self.send() for _ in range(3)]:
            self.ledger.idle(connection, self.now)
        permit = self.permit("unheard-of.test")
        assert isinstance(permit, Permit)
        self.assertIsNone(permit.spare)

    def test_one_that_calls_another_host_needs_leave_again(self) -> None:
        connection = self.send()
        self.ledger.idle(connection, self.now)
        self.permitted()
        for silent in (False, True):
            if silent:
                self.ledger.quiet(connection)
            self.ledger.redial(connection, "192.0.2.9")
            self.ledger.active(connection)
            self.assertEqual((connection.state, self.child.busy), (State.OPENING, 1))
            self.ledger.answered(connection, "198.51.100.1", self.now)
            self.assertEqual((connection.state, self.child.busy), (State.WAITING, 0))
            self.ledger.go(connection)

    def test_one_that_waited_for_leave_takes_up_no_room_when_it_calls_another(self) -> None:
        connection = self.permitted()
        self.ledger.answered(connection, "198.51.100.1", self.now)
        for parked in (False, True):
            if parked:
                self.ledger.park(connection)
            self.ledger.redial(connection, "192.0.2.9")
            self.assertEqual((connection.state, self.child.busy), (State.TRYING, 0))
            self.ledger.answered(connection, "198.51.100.1", self.now)

    def test_quiet_and_back(self) -> None:
        connection = self.send()
        self.ledger.quiet(connection)
        self.assertEqual((self.child.busy, self.child.quiet), (0, 1))
        self.ledger.active(connection)
        self.assertEqual((connection.state, self.child.busy, self.child.quiet), (State.SENDING, 1, 0))
        self.ledger.active(connection)
        self.assertIs(connection.state, State.SENDING)


class Departure(LedgerRig):
    def test_a_child_takes_its_connections_along(self) -> None:
        other = self.join("a-2")
        self.prove()
        opened = [self.permitted() for _ in range(4)]
        self.assertEqual((self.child.busy, other.busy), (2, 2))
        self.assertEqual(self.ledger.leave(self.child), [one for one in opened if one.child is self.child])
        self.assertEqual(self.ledger.children("z"), [other])
        self.assertEqual(self.ledger.connections(), [one for one in opened if one.child is other])


moves = st.lists(st.tuples(st.sampled_from("ppppaaggqvviireexcjd"), st.integers(0, 30), st.integers(0, 2)), max_size=80)


class Model(SynchronousTestCase):
    @settings(max_examples=150, deadline=None)
    @given(moves, st.booleans())
    def test_counts_equal_a_recount_and_limits_are_never_passed(
        self, moves: list[tuple[str, int, int]], hop: bool
    ) -> None:
        ledger, now, limit = Books(), 0.0, 3
        capacities: list[Capacity] = []

        def join() -> None:
            capacities.append(Capacity(f"c{len(capacities)}", "z", 2, 6))
            ledger.join(capacities[-1])

        join()
        join()
        for move, n, m in moves:
            every = ledger.connections()
            one = every[n % len(every)] if every else None
            child = capacities[n % len(capacities)]
            if move == "p":
                domain, before = f"d{n % 4}", ledger.open_to("z", f"d{n % 4}")
                room = {one.key: one.connections - one.busy for one in capacities}
                permit = ledger.permit("z", domain, "hop" if hop else domain, f"ip{m}", limit, now)
                if isinstance(permit, Permit):
                    self.assertLessEqual(ledger.open_to("z", domain), limit)
                    took = permit.connection
                    if took.state in (State.OPENING, State.SENDING):
                        self.assertGreater(room[took.child.key], 0)
                    self.assertLessEqual(took.child.quiet, 2 * took.child.connecting)
                    if permit.spare is not None:
                        self.assertIs(permit.spare.state, State.CLOSING)
                elif isinstance(permit, Connections):
                    ledger.make_room("z", permit, m, now)
                    self.assertEqual(ledger.open_to("z", domain), before)
                else:
                    self.assertEqual(ledger.open_to("z", domain), before)
            elif move == "g":
                busy = child.busy
                gone = ledger.may_go(child, m % 2 == 1)
                if gone is not None and gone.slow:
                    self.assertEqual((gone.state, child.busy), (State.QUIET, busy))
                    self.assertLessEqual(child.quiet, 2 * child.connecting)
                else:
                    self.assertEqual(gone is not None, child.busy == busy + 1)
                    self.assertFalse(gone is not None and busy >= child.connections)
            elif move == "j" and len(capacities) < 4:
                join()
            elif move == "x" and n == 0:
                ledger.leave(capacities.pop(capacities.index(child)))
                join()
            elif one is not None:
                if move == "a" and one.state not in (State.IDLE, State.CLOSING):
                    ledger.answered(one, "198.51.100.1", now)
                elif move == "d":
                    ledger.redial(one, "192.0.2.9")
                elif move == "q":
                    ledger.quiet(one)
                elif move == "v":
                    ledger.active(one)
                elif move == "i" and one.state in (State.SENDING, State.QUIET):
                    ledger.idle(one, now)
                elif move == "e" and one.state is not State.CLOSING:
                    ledger.close(one)
                elif move == "r":
                    ledger.remove(one)
            now += m * 100
            self.recount(ledger, capacities)

    def recount(self, ledger: Books, capacities: list[Capacity]) -> None:
        every = ledger.connections()
        for child in capacities:
            states = Counter(one.state for one in every if one.child is child)
            counted = (child.busy, child.trying, child.quiet, len(child.idle), len(child.waiting))
            busy = states[State.OPENING] + states[State.SENDING]
            rest = (states[State.TRYING], states[State.QUIET], states[State.IDLE], states[State.WAITING])
            self.assertEqual(counted, (busy, *rest))
            fresh = [one for one in every if one.child is child and one.fresh]
            self.assertEqual(child.fresh, sum(one.state in (State.OPENING, State.SENDING) for one in fresh))
            self.assertLessEqual(busy, child.connections)
        domains = Counter(one.domain for one in every)
        at_rest = Counter((one.domain, one.state) for one in every)
        for name, gate in ledger._counts.items():
            self.assertEqual(ledger.open_to("z", name), domains[name])
            self.assertEqual(gate.idle, at_rest[name, State.IDLE])
            self.assertEqual(gate.closing, at_rest[name, State.CLOSING])
        silent = Counter(one.target for one in every if one.state in (State.QUIET, State.TRYING))
        targets = {one.target for one in every} | set(ledger._proven)
        self.assertEqual({target: target.silent for target in targets if target.silent}, dict(silent))
        idle = Counter((one.way.reach, one.local) for one in every if one.state is State.IDLE)
        found = {(at, by): len(kept) for (_, at), there in ledger._kept._places.items() for by, kept in there.items()}
        self.assertEqual(found, dict(idle))
        self.assertTrue(all(ledger.keeps("z", reach) for reach, _ in idle))
        self.assertEqual({reach for _, reach in ledger._kept._places}, {reach for reach, _ in idle})
