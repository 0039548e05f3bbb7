"""Bounces by HTTP: the form, whom it is about, and that each is kept until it is taken."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.config import urls
from relay.events import bounceshelf
from relay.events.bounceform import form, wanted
from relay.events.bouncepost import AT_ONCE, LOOK, BouncePost
from relay.events.bounceshelf import PAUSES, BounceShelf
from relay.events.reader import NotTaken
from relay.events.signature import headers
from relay.events.sink import Aside
from relay.message.event import KINDS, Numbered
from relay.queue.memory import MemoryStore
from relay.queue.store import StoreError
from tests.unit.sink_rig import NOW, Answer, FakeWeb, numbered
from tests.unit.suppression_rig import FakeShelf

TYPE = "application/x-www-form-urlencoded"
FIELDS = {
    "seq": 10, "reply": "550 5.1.1 no & such user=\u2713", "category": "recipient", "action": "reject",
    "status": "5.1.1", "reason": "The recipient does not exist",
}  # fmt: skip


class FormTests(SynchronousTestCase):
    def test_the_fields_in_their_order(self) -> None:
        event = numbered(1, "bounced", fbl="campaign 7", **FIELDS).event
        told = parse_qsl(form(event).decode(), keep_blank_values=True)
        self.assertEqual(
            told,
            [
                ("id", "1a20169d1ea0007acc"),
                ("to", "you@to.test"),
                ("seq", "00a"),
                ("returnPath", "me@src.test"),
                ("category", "recipient"),
                ("time", str(NOW)),
                ("response", "550 5.1.1 no & such user=\u2713"),
                ("fbl", "campaign 7"),
                ("action", "reject"),
                ("message", "The recipient does not exist"),
                ("status", "5.1.1"),
            ],
        )

    def test_what_is_not_known(self) -> None:
        told = dict(parse_qsl(form(numbered(1, "expired").event).decode(), keep_blank_values=True))
        self.assertEqual((told["category"], told["action"], told["status"]), ("other", "reject", ""))
        self.assertNotIn("fbl", told)

    def test_which_events_are_reported(self) -> None:
        told = {kind for kind in KINDS if wanted(numbered(1, kind).event)}
        self.assertEqual(told, {"bounced", "expired"})
        self.assertFalse(wanted(numbered(1, "bounced", unreported="null sender").event))


class BouncePostTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.web = FakeWeb()
        self.store = MemoryStore()
        self.now = NOW
        self.begun()

    def begun(self, keys: tuple[bytes, ...] = (), keep: float = 86400.0) -> None:
        self.shelf = BounceShelf(lambda: self.store.shelf("refused-bounces"), keep)
        url = urls.read("http://b.test/in")
        self.post = BouncePost(url, keys, False, self.web, self.shelf, self.clock, lambda: self.now)
        self.post.start()

    def bounces(self, *numbers: int) -> list[Numbered]:
        return [numbered(number, "bounced", seq=number) for number in numbers]

    def seqs(self) -> list[int]:
        """What was posted since the last look."""
        found = [int(dict(parse_qsl(posted.body.decode()))["seq"], 16) for posted in self.web.posted]
        self.web.posted.clear()
        return found

    def refusing(self, answers: dict[int, Any]) -> None:
        """Answers to bounces by their seq; 200 to the others."""
        self.web.judge = lambda body: answers.get(int(dict(parse_qsl(body.decode()))["seq"], 16), Answer(200))

    def later(self, ms: int) -> None:
        self.now += ms
        self.clock.advance(LOOK)

    def test_one_post_each(self) -> None:
        self.successResultOf(self.post.take([*self.bounces(1, 2), numbered(3, "bounced", unreported="by HTTP")]))
        self.assertEqual([posted.headers for posted in self.web.posted], [{"Content-Type": TYPE}] * 2)
        self.assertEqual(self.seqs(), [1, 2])

    def test_signed_where_there_is_a_secret(self) -> None:
        self.begun((b"0123456789abcdef",))
        self.successResultOf(self.post.take(self.bounces(7)))
        [posted] = self.web.posted
        signed = headers([b"0123456789abcdef"], "bounce_7", NOW // 1000, posted.body)
        self.assertEqual(posted.headers, {"Content-Type": TYPE, **signed})

    def test_two_batches_side_by_side(self) -> None:
        """As when old ones are posted again: of one that fails only the rest comes again, whatever the other did."""
        self.refusing({2: ConnectionError("gone")})
        self.failureResultOf(self.post.take(self.bounces(1, 2)), ConnectionError)
        self.refusing({})
        self.successResultOf(self.post.take(self.bounces(7, 8)))
        self.seqs()
        self.successResultOf(self.post.take(self.bounces(1, 2)))
        self.assertEqual(self.seqs(), [2])

    def test_those_set_aside_are_listed_and_tried_at_once_when_asked_for(self) -> None:
        self.refusing({1: Answer(400), 2: Answer(400), 3: Answer(400)})
        self.successResultOf(self.post.take(self.bounces(1, 2, 3)))
        due = NOW + 60_000
        self.assertEqual(self.post.listed(0, 2), [Aside(1, 1, NOW, due), Aside(2, 1, NOW, due)])
        self.assertEqual(self.post.listed(2, 2), [Aside(3, 1, NOW, due)])
        self.seqs()
        self.refusing({2: Answer(400)})
        self.post.hurry()
        self.clock.advance(0)
        self.assertEqual(self.seqs(), [1, 2, 3])
        [left] = self.post.listed(0, 9)
        self.assertEqual((left.number, left.tries), (2, 2))


    def test_one_that_is_refused_is_set_aside_on_disk_before_the_next_are_asked_for(self) -> None:
        kept = FakeShelf(at_once=False)
        self.post = BouncePost(
            urls.read("http://b.test/in"), (), False, self.web, BounceShelf(lambda: kept, 86400.0), self.clock,
            lambda: self.now,
        )  # fmt: skip
        self.post.start()
        self.refusing({2: Answer(500)})
        taking = self.post.take(self.bounces(1, 2))
        self.assertNoResult(taking)
        kept.tell()
        self.successResultOf(taking)
        kept.error = StoreError("no space")
        self.failureResultOf(self.post.take(self.bounces(2)), StoreError)

    def test_so_many_at_once(self) -> None:
        answers: list[Deferred[Any]] = []

        def judge(body: bytes) -> Deferred[Any]:
            answers.append(Deferred())
            return answers[-1]

        self.web.judge = judge
        taking = self.post.take(self.bounces(*range(1, 26)))
        while answers:
            answers.pop(0).callback(Answer(200))
        self.successResultOf(taking)
        self.assertEqual((self.web.most, self.seqs()), (AT_ONCE, list(range(1, 26))))

    def test_one_that_is_refused_holds_up_nobody(self) -> None:
        self.refusing({2: Answer(400), 3: Answer(500), 4: Answer(302)})
        self.successResultOf(self.post.take(self.bounces(1, 2, 3, 4, 5)))
        self.assertEqual((self.seqs(), self.post.apart().aside), ([1, 2, 3, 4, 5], 3))
        self.successResultOf(self.post.take(self.bounces(6)))
        self.assertEqual(self.seqs(), [6])
        # It is tried again, with growing pauses, until it is taken.
        self.refusing({2: Answer(400)})
        self.later(PAUSES[0] - 1)
        self.assertEqual(self.seqs(), [])
        self.later(1)
        self.assertEqual((self.seqs(), self.post.apart().aside), ([2, 3, 4], 1))
        self.later(PAUSES[0])
        self.assertEqual(self.seqs(), [])
        self.refusing({})
        self.later(PAUSES[0])
        self.assertEqual((self.seqs(), self.post.apart().aside), ([2], 0))

    def test_it_is_kept_over_a_restart(self) -> None:
        self.refusing({1: Answer(400)})
        self.successResultOf(self.post.take(self.bounces(1)))
        self.post.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.seqs()
        self.refusing({})
        self.begun()
        self.assertEqual(self.post.apart().aside, 1)
        self.later(PAUSES[0])
        self.assertEqual((self.seqs(), self.post.apart().aside), ([1], 0))

    def test_a_server_that_is_down_is_not_asked_for_each(self) -> None:
        for down in (ConnectionError("refused"), Answer(503, 30.0), Answer(429)):
            self.web.judge = lambda body, down=down: down
            problem = self.failureResultOf(self.post.take(self.bounces(*range(1, 101)))).value
            self.assertEqual(len(self.seqs()), 1)
            self.assertEqual(self.post.apart().aside, 0)
            self.assertEqual(getattr(problem, "after", 0.0), getattr(down, "retry_after", 0.0))
        self.refusing({})
        self.successResultOf(self.post.take(self.bounces(*range(1, 101))))
        self.assertEqual(self.seqs(), list(range(1, 101)))

    def test_what_was_taken_before_it_went_down_isnt_posted_again(self) -> None:
        self.refusing({2: Answer(404), 4: ConnectionError("gone")})
        self.failureResultOf(self.post.take(self.bounces(1, 2, 3, 4, 5)), ConnectionError)
        self.assertEqual((self.seqs(), self.post.apart().aside), ([1, 2, 3, 4], 1))
        self.refusing({})
        self.successResultOf(self.post.take(self.bounces(1, 2, 3, 4, 5)))
        self.assertEqual(self.seqs(), [4, 5])

    def test_no_more_are_set_aside_than_there_is_room_for(self) -> None:
        self.patch(bounceshelf, "MOST", 3)
        self.web.judge = lambda body: Answer(400)
        self.successResultOf(self.post.take(self.bounces(1, 2)))
        problem = self.failureResultOf(self.post.take(self.bounces(3, 4)), NotTaken).value
        self.assertEqual(str(problem), "b.test has refused 2 bounces: no more before it takes some of them")
        self.assertEqual((self.seqs(), self.post.apart().aside), ([1, 2], 2))
        self.refusing({})
        self.later(PAUSES[0])
        self.successResultOf(self.post.take(self.bounces(3, 4)))
        self.assertEqual(self.seqs(), [1, 2, 3, 4])

    def test_one_that_is_too_old_is_given_up(self) -> None:
        self.begun(keep=90.0)
        self.web.judge = lambda body: Answer(400)
        self.successResultOf(self.post.take(self.bounces(1)))
        self.later(PAUSES[0])
        self.assertEqual(self.post.apart(), (1, 0))
        self.later(PAUSES[0] * 2)
        self.assertEqual(self.post.apart(), (0, 1))

    def test_a_stop_while_the_server_thinks(self) -> None:
        self.refusing({1: Answer(400)})
        self.successResultOf(self.post.take(self.bounces(1)))
        cancelled: list[None] = []
        self.web.judge = lambda body: Deferred(lambda _: cancelled.append(None))
        self.later(PAUSES[0])
        self.post.stop()
        self.assertEqual((len(cancelled), self.clock.getDelayedCalls()), (1, []))
        self.assertEqual(self.flushLoggedErrors(), [])
