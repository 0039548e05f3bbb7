"""Turns are fair: by weight between users, by class before that, and one after the other of a user's lanes."""

from __future__ import annotations

from collections import Counter, OrderedDict

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.dispatch import ring as ring_module
from relay.dispatch.ring import REMEMBERED, Ring, cost
from relay.message.flow import LONGEST, PRIORITIES, Flow, Priority, flow_text, read_flow
from relay.queue.schedule import Lane
from relay.queue.store import LaneKey

WEIGHTS = {"heavy": 3.0, "light": 0.5}


def lane(user: str = "", domain: str = "d.test", priority: Priority = "normal") -> Lane:
    return Lane(LaneKey("z", domain, flow_text(Flow(user, priority))))


def ring(*lanes: Lane) -> Ring:
    made = Ring(lambda user: WEIGHTS.get(user, 1.0))
    for one in lanes:
        made.add(one)
    return made


def serve(made: Ring, times: int, spent: float = 1.0) -> Counter[tuple[str, str]]:
    """How often whose turn it was, by user and class, all having always more to send."""
    count: Counter[tuple[str, str]] = Counter()
    for _ in range(times):
        head = made.head()
        assert head is not None
        made.served(head, spent)
        count[tuple(read_flow(head.flow))] += 1  # type: ignore[index]
    return count


class Turns(SynchronousTestCase):
    def near(self, found: float, expected: float, most: float) -> None:
        self.assertLessEqual(abs(found - expected), most, (found, expected))

    def test_by_weight(self) -> None:
        count = serve(ring(lane("heavy"), lane("usual"), lane("light")), 4500)
        shares = [count[user, "normal"] for user in ("heavy", "usual", "light")]
        for share, expected in zip(shares, (3000, 1000, 500), strict=True):
            self.near(share, expected, 5)

    def test_by_class(self) -> None:
        count = serve(ring(*(lane("me", priority=priority) for priority in PRIORITIES)), 2100)
        shares = [count["me", priority] for priority in PRIORITIES]
        for share, expected in zip(shares, (1600, 400, 100), strict=True):
            self.near(share, expected, 20)

    def test_a_class_is_not_larger_for_having_more_users(self) -> None:
        many = [lane(f"u{number}") for number in range(100)]
        count = serve(ring(*many, lane("urgent", priority="high")), 2000)
        self.near(count["urgent", "high"], 1600, 20)

    def test_a_user_is_not_served_more_for_having_more_domains(self) -> None:
        many = [lane("noisy", f"d{number}.test") for number in range(1000)]
        made = ring(*many)
        serve(made, 500)
        made.add(lane("quiet"))
        self.assertGreaterEqual(serve(made, 3)["quiet", "normal"], 1, "among the next few")
        self.near(serve(made, 1000)["quiet", "normal"], 500, 2)

    def test_large_messages_count_for_more(self) -> None:
        made = ring(lane("large"), lane("small"))
        count: Counter[str] = Counter()
        for _ in range(1000):
            head = made.head()
            assert head is not None
            user = read_flow(head.flow).user
            made.served(head, cost(640 * 1024 if user == "large" else 0))
            count[user] += 1
        self.near(count["small"] / count["large"], 11, 1)
        self.assertLessEqual(cost(1 << 40), 64)

    def test_who_was_alone_owes_nothing(self) -> None:
        made = ring(lane("first"))
        serve(made, 1000)
        made.add(lane("second"))
        count = serve(made, 100)
        self.near(count["first", "normal"], 50, 2)

    def test_who_comes_back_goes_on_with_his_turn(self) -> None:
        heavy, usual, other = lane("heavy"), lane("usual"), lane("usual", "e.test")
        made = ring(heavy, usual, other)
        count: Counter[str] = Counter()
        for _ in range(400):
            head = made.head()
            assert head is not None
            # As at a gate: it leaves, has its try, and is back.
            made.remove(head)
            made.served(head, 1.0)
            made.add(head)
            count[read_flow(head.flow).user] += 1
        self.near(count["heavy"], 300, 5)

    def test_who_leaves_in_debt_wins_nothing_by_it(self) -> None:
        """Nor by being one of many that come and go."""
        large, small = lane("large"), lane("small")
        made = ring(large, small)
        count: Counter[Lane] = Counter()
        for number in range(1300):
            head = made.head()
            assert head is not None
            made.served(head, 64.0 if head is large else 1.0)
            count[head] += 1
            made.remove(head)
            other = lane(f"u{number}")
            made.add(other)
            made.remove(other)
            made.add(head)
        self.near(count[small] / count[large], 64, 2)

    def test_not_everybody_who_has_left_is_remembered(self) -> None:
        always = lane("always")
        made = ring(always)
        for number in range(3 * REMEMBERED):
            one = lane(f"u{number}", priority=PRIORITIES[number % 3])
            made.add(one)
            made.served(one, 5.0)
            made.remove(one)
        self.assertEqual(sum(len(kind.flows) for kind in made._classes.values()), REMEMBERED + 1)
        made.remove(always)
        self.assertEqual((len(made), list(made._away), made._classes), (0, [], {}))

    def test_lanes_of_a_user_take_turns(self) -> None:
        lanes = [lane("me", f"d{number}.test") for number in range(3)]
        made = ring(*lanes)
        order = []
        for _ in range(6):
            head = made.head()
            assert head is not None
            made.served(head, 1.0)
            order.append(head)
        self.assertEqual(order, lanes * 2)

    def test_debts_of_many_are_paid_off_in_few_steps(self) -> None:
        moves = 0

        class Counting(OrderedDict):  # type: ignore[type-arg]
            def move_to_end(self, key: object, last: bool = True) -> None:
                nonlocal moves
                moves += 1
                super().move_to_end(key, last)

        self.patch(ring_module, "OrderedDict", Counting)
        lanes = [lane(f"u{n}") for n in range(300)]
        made = Ring(lambda user: 0.1)
        for one in lanes:
            made.add(one)
        order: list[Lane] = []
        for _ in range(900):
            head = made.head()
            assert head is not None
            made.served(head, cost(1 << 30))
            order.append(head)
        self.assertEqual(Counter(order), Counter(lanes * 3), "each had the same")
        self.assertLess(moves, 10_000)

    def test_a_newcomer_goes_within_one_round(self) -> None:
        for size in (0, 1 << 30):
            made = ring(*(lane(f"u{n}", f"d{k}.test") for n in range(20) for k in range(10)))
            for _ in range(777):
                head = made.head()
                assert head is not None
                made.served(head, cost(size))
            new = lane("new")
            made.add(new)
            self.assertGreaterEqual(serve(made, 21, cost(size))["new", "normal"], 1)

    def test_a_lane_twice_is_there_once(self) -> None:
        one = lane("me")
        made = ring(one, one)
        self.assertEqual((len(made), list(made)), (1, [one]))
        made.remove(one)
        made.remove(one)
        self.assertEqual((len(made), made.head()), (0, None))

    moves = st.lists(st.tuples(st.sampled_from("aars"), st.integers(0, 11)), max_size=80)

    @settings(max_examples=200, deadline=None)
    @given(moves)
    def test_it_holds_what_was_put_in(self, moves: list[tuple[str, int]]) -> None:
        lanes = [lane(f"u{n % 3}", f"d{n}.test", PRIORITIES[n % 2]) for n in range(12)]
        made, model = ring(), set[Lane]()
        for move, n in moves:
            one = lanes[n]
            if move == "a":
                made.add(one)
                model.add(one)
            elif move == "r":
                made.remove(one)
                model.discard(one)
            elif made.head() is not None:
                head = made.head()
                assert head is not None
                made.served(head, 1.0 + n)
            self.assertEqual((len(made), set(made)), (len(model), model))
            self.assertEqual({each for each in lanes if each in made}, model)
            self.assertTrue(made.head() in model if model else made.head() is None)
        served = set()
        for _ in range(20_000 if model else 0):
            head = made.head()
            assert head is not None
            served.add(head)
            if served == model:
                break
            made.served(head, 1.0)
        self.assertEqual(served, model, "nobody starves")


class Flows(SynchronousTestCase):
    @given(st.text(max_size=300), st.sampled_from(PRIORITIES))
    def test_written_and_read(self, user: str, priority: Priority) -> None:
        text = flow_text(Flow(user, priority))
        read = read_flow(text)
        self.assertEqual((read.priority, flow_text(read)), (priority, text))
        self.assertLessEqual(len(text), LONGEST + 1)
        self.assertTrue(text.isprintable())

    def test_the_usual_one_is_nothing(self) -> None:
        self.assertEqual(flow_text(Flow()), "")
        self.assertEqual(read_flow(""), Flow())
        self.assertEqual(flow_text(Flow("Me@Example.com")), flow_text(Flow("me@example.com")))
        self.assertEqual(read_flow("odd").priority, "normal")
