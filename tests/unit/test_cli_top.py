"""The screen of `zonerelay top`, at fixed sizes."""

from __future__ import annotations

import io
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.cli.api import ApiError
from relay.cli.main import make_parser
from relay.cli.sse import told
from relay.cli.table import cells_of
from relay.cli.topscreen import History, Reading, screen, spark

NOW = 1796112000.0
ZONE: dict[str, Any] = {
    "name": "bulk",
    "disabled": False,
    "pool": "bulk",
    "addresses": [],
    "next_hop": "",
    "queued": 12345,
    "deferred": 7,
    "held": 1,
    "ended": 99,
    "processes": 2,
    "children": [{}],
    "connections": {"opening": 1, "sending": 2, "idle": 3},
}
BACKOFF = {
    "zone": "bulk",
    "site": "example.org",
    "kind": "rate",
    "reason": "421 slow\x1b[2Jdown",
    "since": "2026-12-01T07:00:00.000Z",
    "until": "2026-12-01T08:10:00.000Z",
    "allowance": 0,
}
STANDING = {
    "time": "2026-12-01T08:00:00.000Z",
    "totals": {"accepted": 1000, "delivered": 900, "deferred": 5, "bounced": 3, "dropped": 0},
    "rates": {"accepted": 120.5, "delivered": 100, "deferred": 0, "bounced": 0.1, "dropped": 0},
    "queue": {},
    "connections": {"opening": 1, "sending": 2, "idle": 0},
}
READING = Reading(STANDING, [ZONE], [BACKOFF], [{"waiting": 4, "limit": "20 connections of zone bulk"}])


class ScreenTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.history = History()
        self.history.add(None)
        for rate in (0, 60.25, 120.5):
            self.history.add({"accepted": rate, "delivered": 100})

    def lines(
        self, width: int = 80, height: int = 40, reading: Reading | None = READING, trouble: str = ""
    ) -> list[str]:
        found = screen(reading, self.history, "http://127.0.0.1:8080", trouble, NOW, width, height)
        return [line.text for line in found]

    def test_all_of_it(self) -> None:
        self.assertEqual(
            self.lines(),
            [
                "zonerelay 08:00:00" + "http://127.0.0.1:8080".rjust(62),
                "",
                "accepted       120.5/s         1,000   ▄█",
                "delivered      100.0/s           900  ███",
                "deferred         0.0/s             5",
                "bounced          0.1/s             3",
                "dropped          0.0/s             0",
                "",
                "queue  12,345 queued, 7 deferred, 1 held    connections  1 opening, 2 sending",
                "",
                "ZONE  QUEUED  DEFERRED  HELD  ENDED  SENDERS  SENDING  IDLE  POOL  NEXT HOP",
                "bulk  12,345         7     1     99      1/2        3     3  bulk",
                "",
                "HELD BACK  SITE         ADDRESS  MAY OPEN  CHANGES  REASON",
                "bulk       example.org  any       nothing   in 10m  421 slow\\u001b[2Jdown",
                "",
                "WAIT  AT",
                "   4  20 connections of zone bulk",
            ],
        )

    def test_looks(self) -> None:
        found = screen(READING, self.history, "x", "gone", NOW, 80, 40)
        self.assertEqual([line.look for line in found if line.look], ["title", "bad", "head", "head", "bad", "head"])

    def test_before_the_first(self) -> None:
        self.assertEqual(self.lines(reading=None)[1:], ["asking …"])
        self.assertEqual(self.lines(reading=None, trouble="no\x1banswer")[1:], ["no\\u001banswer"])
        first = READING._replace(standing={**STANDING, "rates": None}, backoffs=[], limits=[])
        self.assertIn("0.0/s", self.lines(reading=first)[2])

    @given(st.integers(1, 130), st.integers(1, 30))
    def test_any_size(self, width: int, height: int) -> None:
        lines = self.lines(width, height)
        self.assertLessEqual(len(lines), height)
        self.assertLessEqual(max(map(cells_of, lines)), width)
        if height < 18:
            self.assertEqual(lines[-1] if height > 1 else "…", "…")

    def test_columns_of_rates(self) -> None:
        self.assertEqual(spark([0, 1, 2, 4, 8], 10), " ▁▂▄█")
        self.assertEqual(spark([9, 1, 1], 2), "██")
        self.assertEqual([spark([], 5), spark([1], 0), spark([0, 0], 5)], ["", "", "  "])


class WordTests(SynchronousTestCase):
    def test_how_often(self) -> None:
        self.patch(sys, "stderr", io.StringIO())
        for text in ("0", "3601", "x", "-1"):
            with self.assertRaises(SystemExit):
                make_parser().parse_args(["top", "--every", text])
        self.assertEqual(make_parser().parse_args(["top", "--every", "3600"]).every, 3600)


class StreamTests(SynchronousTestCase):
    TEXT = b'retry: 2000\n\n:\n\nevent: counters\ndata: {"a": 1}\n\nid: 5\nevent: event\ndata: {}\n\nevent: cut'

    @given(st.lists(st.integers(1, 30)))
    def test_cut_anywhere(self, sizes: list[int]) -> None:
        pieces, at = [], 0
        for size in [*sizes, len(self.TEXT)]:
            pieces.append(self.TEXT[at : at + size])
            at += size
        self.assertEqual(list(told(pieces)), [("counters", {"a": 1}), ("event", {})])

    def test_no_relay(self) -> None:
        for pieces in ([b"event: x\ndata: <html>\n\n"], [b"x" * 1_000_000] * 2):
            with self.assertRaises(ApiError):
                list(told(pieces))
