"""The client's core: what is asked for, tried again, read; and streams, cut anywhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay_client.ask import Ask, Reply, do, get
from relay_client.errors import ApiProblem, NoAnswer
from relay_client.sse import Following, Parser, Sent, Stream
from relay_client.talk import Habits, Lost, Pause, Try, retry_after, talk

HABITS = Habits(3, lambda: 1.0, lambda: 1795319890.0)
SEEN = get("/v1/things", dict[str, int])
DONE = do("POST", "/v1/things", dict[str, int], body={"a": 1})
KEYED = do("POST", "/v1/things", dict[str, int], body={"a": 1}, repeatable=True)


def reply(status: int = 200, body: bytes = b'{"n": 1}', **headers: str) -> Reply:
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


class AskTests(SynchronousTestCase):
    def test_names_stay_names(self) -> None:
        self.assertEqual(get("/v1/things/{id}/why", int, "a/../b ü").target, "/v1/things/a%2F..%2Fb%20%C3%BC/why")
        for name in ("", ".", ".."):
            with self.assertRaises(ValueError):
                get("/v1/things/{id}", int, name)

    def test_what_a_query_says(self) -> None:
        ask = get("/v1/x", int, query={"a": None, "b": "", "c": True, "d": ["e", "f&"], "g": 0, "h": []})
        self.assertEqual(ask.target, "/v1/x?b=&c=true&d=e%2Cf%26&g=0")
        self.assertEqual(ask.but(g=5).but(g=6).target, "/v1/x?b=&c=true&d=e%2Cf%26&g=6")

    def test_times_say_their_offset(self) -> None:
        when = datetime(2026, 12, 1, 8, tzinfo=UTC)
        body = do("POST", "/x", int, body={"until": when, "b": None}).body
        self.assertEqual(body, b'{"until":"2026-12-01T08:00:00+00:00"}')
        with self.assertRaises(ValueError):
            do("POST", "/x", int, body={"until": datetime(2026, 12, 1)})


class TalkTests(SynchronousTestCase):
    def talk(self, ask: Ask[Any], *said: Reply | Lost) -> tuple[Any, list[float]]:
        """What came of it, and the pauses; every answer has to be used."""
        talking, pauses = talk(ask, HABITS), []
        left = list(said)
        step = next(talking)
        try:
            while True:
                if isinstance(step, Pause):
                    pauses.append(step.seconds)
                    step = talking.send(None)
                else:
                    self.assertEqual(step, Try(ask))
                    step = talking.send(left.pop(0))
        except StopIteration as end:
            result = end.value
        except (ApiProblem, NoAnswer) as error:
            result = error
        self.assertEqual(left, [])
        return result, pauses

    def test_an_answer(self) -> None:
        self.assertEqual(self.talk(SEEN, reply()), ({"n": 1}, []))

    def test_not_now(self) -> None:
        for status in (429, 503):
            for ask in (SEEN, DONE, KEYED):
                self.assertEqual(self.talk(ask, reply(status, retry_after="7"), reply()), ({"n": 1}, [7.5]))

    def test_longer_pauses_and_an_end_of_them(self) -> None:
        problem, pauses = self.talk(SEEN, *[reply(429, b"{}")] * 3)
        self.assertEqual((problem.status, pauses), (429, [0.5, 1.0]))

    def test_a_503_that_says_no_time_is_no_promise(self) -> None:
        problem, pauses = self.talk(KEYED, reply(503, b'{"error": "broken"}'))
        self.assertEqual((problem.status, problem.detail, pauses), (503, "broken", []))

    def test_who_wants_to_be_left_alone_for_long(self) -> None:
        problem, pauses = self.talk(SEEN, reply(429, b"{}", retry_after="3600"))
        self.assertEqual((problem.retry_after, pauses), (3600.0, []))

    def test_lost_on_the_way(self) -> None:
        for ask in (SEEN, KEYED):
            self.assertEqual(self.talk(ask, Lost("cut", True), reply())[0], {"n": 1})
        self.assertIsInstance(self.talk(DONE, Lost("cut", True))[0], NoAnswer)
        self.assertEqual(self.talk(DONE, Lost("refused", False), reply())[0], {"n": 1})

    def test_pieces_are_given_once(self) -> None:
        ask = do("POST", "/x", int, body=iter([b"a"]), kind="text/csv", repeatable=True)
        self.assertIsInstance(self.talk(ask, Lost("refused", False))[0], NoAnswer)

    def test_no_relay(self) -> None:
        for body in (b"", b"<html>", b"[]", b"[" * 5000, b'{"n": "x"}'):
            self.assertIsInstance(self.talk(SEEN, reply(200, body))[0], NoAnswer, body)

    def test_refusals_of_all_shapes(self) -> None:
        for body, expected in (
            (b'{"detail": "no", "code": "Bad", "field": "to", "status": 400}', ("Bad", "no", "to")),
            (b'{"code": "Bad", "message": "no"}', ("Bad", "no", "")),
            (b'{"error": "no"}', ("", "no", "")),
            (b"<html>", ("", "Bad Request", "")),
            (b'{"detail": 5}', ("", "Bad Request", "")),
            (b"[]", ("", "Bad Request", "")),
        ):
            problem, _ = self.talk(SEEN, reply(400, body))
            self.assertEqual((problem.code, problem.detail, problem.field), expected, body)
        self.assertEqual(self.talk(SEEN, reply(599, b""))[0].detail, "refused")

    def test_when_to_come_back(self) -> None:
        when = datetime.fromtimestamp(HABITS.now(), UTC) + timedelta(seconds=90)
        date = when.strftime("%a, %d %b %Y %H:%M:%S GMT")
        for text, seconds in (("30", 30.0), (date, 90.0), ("-1", None), ("soon", None), ("9" * 400, None), ("", None)):
            self.assertEqual(retry_after(reply(retry_after=text), HABITS.now()), seconds, text)


TEXT = b'retry: 2000\n\n:\n\nid: 5\nevent: event\ndata: {"n":1}\n\n'
TEXT += b'event: other\r\ndata: a\r\ndata: b\r\n\r\ndata:x\n\nid: 7\n\n'
SAID = [Sent("event", b'{"n":1}', "5"), Sent("other", b"a\nb", ""), Sent("message", b"x", "")]


class StreamTests(SynchronousTestCase):
    @given(st.lists(st.integers(1, 40), max_size=40))
    def test_cut_anywhere(self, sizes: list[int]) -> None:
        parser, found, at = Parser(), [], 0
        for size in [*sizes, len(TEXT)]:
            found += parser.feed(TEXT[at : at + size])
            at += size
        self.assertEqual(found, SAID)

    @given(st.binary())
    def test_anything(self, data: bytes) -> None:
        for one in Parser().feed(data + b"\n\n"):
            self.assertIsInstance(one, Sent)

    def test_no_end_of_an_event(self) -> None:
        for piece in (b"x" * 65536, b"data: " + b"x" * 65536 + b"\n"):
            parser = Parser()
            with self.assertRaises(ValueError):
                for _ in range(20):
                    parser.feed(piece)

    def test_it_goes_on_behind_the_last(self) -> None:
        stream = Stream(get("/v1/stream", bytes, query={"after": 3}), {"event": dict[str, int]})
        following = Following(stream, HABITS)
        self.assertNotIn("Last-Event-ID", following.ask().headers)
        self.assertEqual(following.heard(TEXT), [{"n": 1}])
        self.assertEqual(following.heard(b"id: 9\nevent: eve"), [])
        self.assertEqual(following.ask().headers["Last-Event-ID"], "5")
        self.assertEqual(following.heard(b"\n"), [])

    def test_as_long_as_it_is_wanted_once_it_was_there(self) -> None:
        following = Following(Stream(get("/s", bytes), {}), HABITS)
        self.assertEqual([following.pause("gone"), following.pause("gone")], [0.5, 1.0])
        with self.assertRaises(NoAnswer):
            following.pause("gone")
        following.heard(b":\n")
        self.assertEqual([following.pause("gone") for _ in range(9)], [0.5, 1, 2, 4, 8, 16, 30, 30, 30])

    def test_refused(self) -> None:
        following = Following(Stream(get("/s", bytes), {}), HABITS)
        self.assertEqual(following.refused(ApiProblem(503, "", "later")), "later")
        with self.assertRaises(ApiProblem):
            following.refused(ApiProblem(403, "", "no"))

    def test_no_relay(self) -> None:
        for data in (b"event: event\ndata: <html>\n\n", b"x" * 2_000_000):
            with self.assertRaises(NoAnswer):
                Following(Stream(get("/s", bytes), {"event": dict[str, int]}), HABITS).heard(data)


class ShapeTests(SynchronousTestCase):
    def test_unknown_fields_are_passed_over(self) -> None:
        from relay_client.holds import Hold

        told = b'{"id": "a1", "reason": "r", "since": "2026-12-01T08:00:00.123Z", "until": null, "more": {"x": 1}}'
        hold = msgspec.json.decode(told, type=Hold)
        self.assertEqual(hold.since, datetime(2026, 12, 1, 8, 0, 0, 123000, UTC))
