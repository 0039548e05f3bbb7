"""`zonerelay queue`, `zone` and `send`, against answers that are there already."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.trial.unittest import SynchronousTestCase

from relay.cli import queue_act
from relay.cli.api import Api, NoAnswer
from relay.cli.main import main

ID = "1a20169d1ea0007acc"
NOW = 1796112000.0
DELIVERY: dict[str, Any] = {
    "name": f"{ID}.001",
    "id": ID,
    "seq": "001",
    "state": "deferred",
    "zone": "default",
    "domain": "example.org",
    "site": None,
    "sender": "",
    "recipient": "you\x1b[2J@example.org",
    "taken": "2026-12-01T07:00:00.000Z",
    "due": "2026-12-01T08:05:00.000Z",
    "attempts": 2,
    "reason": "capacity",
    "last_reply": "452 later",
    "held": None,
    "size": 500,
    "message_id": None,
    "tenant": None,
    "tags": [],
}
JOB: dict[str, Any] = {
    "id": "j1", "action": "delete", "reason": "", "zone": "", "dry_run": False, "stage": "done", "total": 3, "done": 2,
    "unchanged": 0, "in_hand": 0, "gone": 1, "unreadable": 0, "started": "x", "ended": "x", "error": None,
}  # fmt: skip
ZONE: dict[str, Any] = {
    "name": "bulk", "disabled": False, "pool": "p", "addresses": [{"address": "192.0.2.1", "name": "a.example"}],
    "next_hop": "", "queued": 1234, "deferred": 0, "held": 0, "ended": 5, "processes": 2,
    "children": [{"id": "c1", "busy": 1, "places": 10, "silent": 0, "idle": 2}],
    "connections": {"opening": 0, "sending": 1, "idle": 2},
}  # fmt: skip


def never(config: str) -> IService:
    raise AssertionError("nothing was to be started")


class Terminal(io.TextIOWrapper):
    """Where answers are typed."""


class Canned(SynchronousTestCase):
    """Commands whose questions are noted, and answered from `answers` in their order."""

    def setUp(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.answers: list[Any] = []
        self.patch(Api, "ask", lambda api, method, path, fields=None: self.answer(method, path, fields))
        self.patch(Api, "give", lambda api, method, path, file, kind: self.answer(method, path, (file.read(), kind)))
        self.patch(time, "time", lambda: NOW)
        self.patch(queue_act, "_EVERY", 0)

    def answer(self, method: str, path: str, fields: Any) -> Any:
        self.asked.append((method, path, fields))
        said = self.answers.pop(0)
        if isinstance(said, BaseException):
            raise said
        return said

    def run_it(self, *words: str, answers: tuple[Any, ...] = (), given: bytes = b"") -> tuple[int, str, str]:
        """Exit code and what was printed; all answers are used."""
        self.answers, self.asked = list(answers), []
        out, err, given_in = io.StringIO(), io.StringIO(), Terminal(io.BytesIO(given))
        for name, stream in (("stdout", out), ("stderr", err), ("stdin", given_in)):
            self.patch(sys, name, stream)
        code = main([*words, "--url", "http://relay.test"], never)
        self.assertEqual(self.answers, [])
        return code, out.getvalue(), err.getvalue()


class ListTests(Canned):
    def test_a_table(self) -> None:
        code, out, _ = self.run_it(
            "queue", "ls", "--state", "deferred", "--sender", "<>", answers=({"items": [DELIVERY], "next": None},)
        )
        self.assertEqual(
            (code, out.split("\n")),
            (
                0,
                [
                    "NAME                    STATE     AGE  TRIES   NEXT  ZONE     FROM  TO"
                    "                        LAST REPLY",
                    "1a20169d1ea0007acc.001  deferred  60m      2  in 5m  default  <>    you\\u001b[2J@example.org"
                    "  452 later",
                    "",
                ],
            ),
        )
        self.assertEqual(self.asked, [("GET", "/v1/queue?sender=%3C%3E&state=deferred&limit=101", None)])

    def test_pages_until_there_are_enough(self) -> None:
        pages = (
            {"items": [DELIVERY], "next": "a&b"},
            {"items": [], "next": "c"},
            {"items": [DELIVERY] * 2, "next": "d"},
        )
        code, out, _ = self.run_it("queue", "list", "--limit", "2", answers=pages)
        self.assertEqual((code, out.count("deferred"), out.count("NAME")), (0, 2, 2))
        self.assertTrue(out.endswith("and more: --limit shows more than 2, and the other options narrow it\n"))
        expected = [f"/v1/queue?limit=3&cursor={cursor}" for cursor in ("a%26b", "c")]
        self.assertEqual([path for _, path, _ in self.asked][1:], expected)

    def test_as_json(self) -> None:
        _, out, _ = self.run_it("queue", "ls", "--json", answers=({"items": [DELIVERY], "next": None},))
        self.assertEqual(json.loads(out), DELIVERY)

    def test_nothing(self) -> None:
        empty = {"items": [], "next": None}
        self.assertEqual(self.run_it("queue", "ls", answers=(empty,))[1], "the queue is empty\n")
        said = self.run_it("queue", "ls", "--zone", "x", answers=(empty,))[1]
        self.assertEqual(said, "nothing in the queue fits\n")

    def test_no_relay(self) -> None:
        for told in ({}, [], {"items": [{}], "next": None}, {"items": 5}):
            code, _, err = self.run_it("queue", "ls", answers=(told,))
            self.assertEqual((code, err), (1, "zonerelay: what answers is no relay whose queue can be searched\n"))


class ActTests(Canned):
    def test_named(self) -> None:
        code, out, _ = self.run_it("queue", "retry", f"{ID}.001", f"{ID}.002", answers=(JOB,))
        self.assertEqual((code, out), (0, "2 deliveries due now, 1 gone before\n"))
        order = {"action": "send-now", "names": [f"{ID}.001", f"{ID}.002"], "wait": 1}
        self.assertEqual(self.asked, [("POST", "/v1/queue/actions", order)])

    def test_a_message(self) -> None:
        self.run_it("queue", "move", ID, "--to", "bulk", answers=(JOB,))
        self.assertEqual(self.asked[0][2], {"action": "move", "filter": {"id": ID}, "zone": "bulk", "wait": 1})

    def test_counted_and_asked_before(self) -> None:
        counted = {**JOB, "total": 1234, "done": 0, "gone": 0}
        question = "delete 1,234 deliveries? [y/N] "
        self.patch(Terminal, "isatty", lambda self: True)
        for given, code, told in (
            (b"yes\n", 0, "2 deliveries deleted, 1 gone before\n"),
            (b"Y\n", 0, "2 deliveries deleted, 1 gone before\n"),
            (b"\n", 1, "nothing was done\n"),
            (b"", 1, "nothing was done\n"),
        ):
            answers = (counted, JOB) if code == 0 else (counted,)
            found, out, _ = self.run_it("queue", "delete", "--domain", "b.c", answers=answers, given=given)
            self.assertEqual((found, out), (code, question + told))
            self.assertEqual([fields.get("dry_run", False) for *_, fields in self.asked], [True, False][: len(answers)])

    def test_nobody_to_ask(self) -> None:
        counted = {**JOB, "total": 1234, "done": 0}
        code, _, err = self.run_it("queue", "bounce", "--tag", "x", answers=(counted,))
        self.assertEqual((code, err), (1, "zonerelay: 1,234 deliveries would be bounced: say --yes\n"))

    def test_said_before(self) -> None:
        code, _, _ = self.run_it("queue", "hold", "--tag", "x", "--because", "t 17", "--yes", answers=(JOB,))
        order = {"action": "hold", "filter": {"tag": "x"}, "reason": "t 17", "wait": 1}
        self.assertEqual((code, self.asked), (0, [("POST", "/v1/queue/actions", order)]))
        self.run_it("queue", "delete", "--everything", "-y", answers=(JOB,))
        self.assertEqual(self.asked[0][2]["filter"], {"everything": True})

    def test_only_counted(self) -> None:
        for total, code in ((7, 0), (0, 1)):
            found, out, _ = self.run_it("queue", "delete", "--tag", "x", "-n", answers=({**JOB, "total": total},))
            self.assertEqual((found, out), (code, f"{total} deliveries would be deleted\n"))

    def test_unclear(self) -> None:
        for words in ((), (ID, "--everything"), (f"{ID}.001", "--zone", "a"), ("--tag", "x", "--everything")):
            code, _, err = self.run_it("queue", "delete", *words)
            self.assertEqual((code, "expected names, or options" in err), (1, True))

    def test_a_long_job(self) -> None:
        going = {**JOB, "stage": "acting", "ended": None}
        code, out, _ = self.run_it("queue", "release", "--tag", "x", "-y", answers=(going, going, JOB))
        self.assertEqual((code, out), (0, "2 deliveries released, 1 gone before\n"))
        self.assertEqual(self.asked[-1], ("GET", "/v1/jobs/j1", None))

    def test_interrupted(self) -> None:
        going, over = {**JOB, "stage": "acting", "ended": None}, {**JOB, "stage": "cancelled"}
        code, out, _ = self.run_it(
            "queue", "delete", "--tag", "x", "-y", answers=(going, KeyboardInterrupt(), going, going, over)
        )
        self.assertEqual((code, out), (1, "2 deliveries deleted, 1 gone before, cancelled\n"))
        self.assertEqual([method for method, _, _ in self.asked], ["POST", "GET", "DELETE", "GET", "GET"])

    def test_not_all_of_it(self) -> None:
        for more, said in (
            ({"in_hand": 1}, "1 left alone: they are being delivered"),
            ({"stage": "failed", "error": "disk\x1bfull"}, "failed: disk\\u001bfull"),
            ({"unreadable": 2}, "2 can't be read"),
        ):
            code, out, _ = self.run_it("queue", "delete", f"{ID}.001", answers=({**JOB, "gone": 0, **more},))
            self.assertEqual((code, out), (1, f"2 deliveries deleted, {said}\n"))

    def test_the_relay_goes(self) -> None:
        code, _, err = self.run_it("queue", "delete", f"{ID}.001", answers=(NoAnswer("gone"),))
        self.assertEqual((code, err), (1, "zonerelay: gone\n"))


class ZoneTests(Canned):
    def test_all(self) -> None:
        _, out, _ = self.run_it("zone", "ls", answers=({"zones": [ZONE, {**ZONE, "name": "off", "disabled": True}]},))
        self.assertEqual(
            out.split("\n"),
            [
                "ZONE  QUEUED  DEFERRED  HELD  ENDED   SENDERS  SENDING  IDLE  POOL  NEXT HOP",
                "bulk   1,234         0     0      5       1/2        1     2  p",
                "off    1,234         0     0      5  disabled        1     2  p",
                "",
            ],
        )

    def test_one(self) -> None:
        _, out, _ = self.run_it("zone", "show", "bulk/x", answers=(ZONE,))
        self.assertEqual(self.asked[0][1], "/v1/zones/bulk%2Fx")
        self.assertEqual(
            out.split("\n"),
            [
                "bulk",
                "  mail         1,234 queued, 0 deferred, 0 held, 5 ended",
                "  goes to      the exchangers of each domain",
                "  connections  1 sending, 2 idle",
                "  pool         p",
                "    192.0.2.1  a.example",
                "  senders      1 of 2",
                "    c1  1 of 10 places busy, 0 silent, 2 idle",
                "",
            ],
        )


class SendTests(Canned):
    SENT: dict[str, Any] = {"id": ID, "deliveries": [{"id": f"{ID}.001", "recipient": "you@example.org"}]}

    def test_by_options(self) -> None:
        file = Path(self.mktemp())
        file.write_bytes(b"\xff")
        code, out, _ = self.run_it(
            "send", "--from", "Me <me@example.com>", "--to", "you@example.org", "--to", "b@c.d", "--subject", "Grüße",
            "--text", "Hello.", "--header", "X-A:  b: c", "--header", "X-A: d", "--tag", "t", "--zone", "bulk",
            "--attach", str(file), "--at", "2026-12-01T08:00+00:00", answers=(self.SENT,),
        )  # fmt: skip
        self.assertEqual((code, out), (0, f"{ID}.001: you@example.org\n"))
        [(_, path, fields)] = self.asked
        self.assertEqual(datetime.fromisoformat(fields.pop("send_at")).timestamp(), 1796112000)
        expected = {
            "from": "Me <me@example.com>", "to": ["you@example.org", "b@c.d"], "subject": "Grüße", "text": "Hello.",
            "headers": {"X-A": ["b: c", "d"]}, "tags": ["t"], "zone": "bulk",
            "attachments": [{"filename": file.name, "content": "/w=="}],
        }  # fmt: skip
        self.assertEqual((path, fields), ("/v1/messages", expected))

    def test_from_standard_input(self) -> None:
        self.run_it("send", "--from", "a@b.c", "--to", "d@e.f", answers=(self.SENT,), given="Grüße\n".encode())
        self.assertEqual(self.asked[0][2]["text"], "Grüße\n")
        code, _, err = self.run_it("send", "--from", "a@b.c", "--to", "d@e.f", given=b"\xff")
        self.assertEqual((code, err), (1, "zonerelay: standard input: expected UTF-8\n"))

    def test_waited_for(self) -> None:
        for state, code in (("delivered", 0), ("queued", 0), ("bounced", 1), ("deferred", 1)):
            part = {"id": f"{ID}.001", "recipient": "you@example.org", "state": state, "reply": "x\x1by"}
            told = {"id": ID, "deliveries": [part]}
            found, out, _ = self.run_it(
                "send", "--from", "a@b.c", "--to", "d@e.f", "--text", "x", "--wait", "5", answers=(told,)
            )
            self.assertEqual((found, out), (code, f"{ID}.001: you@example.org: {state} - x\\u001by\n"))
            self.assertEqual(self.asked[0][1], "/v1/messages?wait=5")

    def test_raw(self) -> None:
        told = {"id": ID, "from": "a@b.c", "to": ["d@e.f"], "response": "x"}
        text = b"Subject: x\n\n\xff"
        code, out, _ = self.run_it("send", "--raw", "--from", "", "--to", "d@e.f", answers=(told,), given=text)
        self.assertEqual((code, out), (0, f"{ID}: taken for d@e.f\n"))
        self.assertEqual(
            self.asked, [("POST", "/send-raw?from=&to=d%40e.f", (text, "message/rfc822"))]
        )
        code, _, err = self.run_it("send", "--raw", "--reply-to", "x")
        self.assertEqual((code, err), (1, "zonerelay: --reply-to: not with --raw\n"))

    def test_wrong_words(self) -> None:
        for words, said in (
            (("--header", "no colon"), '--header: expected "Name: value", got no colon'),
            (("--at", "noon"), '--at: expected a time such as "2026-12-01T08:00", got noon'),
            (("--attach", "/no/such"), "/no/such: No such file or directory"),
        ):
            code, _, err = self.run_it("send", "--text", "x", *words)
            self.assertEqual((code, err), (1, f"zonerelay: {said}\n"))


class KeyTests(Canned):
    def test_where_the_key_is(self) -> None:
        shown: list[dict[str, str]] = []
        ask: Callable[..., Any] = lambda api, *_: shown.append(api._headers) or {"zones": []}  # noqa: E731
        self.patch(Api, "ask", ask)
        file = Path(self.mktemp())
        file.write_text("zr_file\n")
        self.patch(os, "environ", {"ZONERELAY_KEY": "zr_env"})
        self.run_it("zone", "ls")
        self.run_it("zone", "ls", "--key-file", str(file))
        self.assertEqual(shown, [{"Authorization": "Bearer zr_env"}, {"Authorization": "Bearer zr_file"}])
        file.write_bytes(b"zr_\xff")
        for path, said in ((file, "expected an API key"), ("/no/such", "No such file or directory")):
            code, _, err = self.run_it("zone", "ls", "--key-file", str(path))
            self.assertEqual((code, err), (1, f"zonerelay: {path}: {said}\n"))
