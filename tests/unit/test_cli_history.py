"""How events look on a terminal."""

from __future__ import annotations

import argparse
import io
from typing import Any

from msgspec.structs import replace
from twisted.internet import reactor as _reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from relay.cli.history import _moment, line, spoken_line
from relay.cli.main import main
from relay.http.events import EventsApi
from relay.message.event import Event
from relay.queue.memory import MemoryStore
from tests.unit.api_rig import Rig
from tests.unit.store_rig import delivery, message, queue_id
from tests.unit.test_cli_holds import never, streams

reactor: Any = _reactor
NOON = 1_795_780_800_000  # 2026-11-27T12:00Z


class Searching(TestCase):
    out: io.StringIO
    err: io.StringIO

    def setUp(self) -> None:
        store = MemoryStore()
        for number in (1, 2, 3):
            mail = replace(message(number, sender="a@b.test"), created=NOON + number * 3_600_000)
            queued = Event("queued", mail.created, mail.id, sender=mail.sender, recipients=1)
            store.append(mail, [delivery(number)], b"body", b"", [queued])
        site = Rig(clock=reactor, more=[EventsApi(store, reactor, lambda: NOON + 86_400_000, 30 * 86_400.0)]).site
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.url = f"http://127.0.0.1:{port.getHost().port}"
        streams(self)

    async def search(self, *words: str) -> tuple[int, list[str]]:
        """Exit code, and the times that were printed."""
        code = await deferToThread(main, ["history", *words, "--api", self.url], never)
        times = [one.split()[0] for one in self.out.getvalue().splitlines()]
        self.out.seek(0)
        self.out.truncate()
        return code, times

    async def test_by_time(self) -> None:
        words = ("--sender", "a@b.test")
        self.assertEqual(len((await self.search(*words))[1]), 3)
        found = await self.search(*words, "--since", "2026-11-27T13:30", "--until", "2026-11-27T15:30+01:00")
        self.assertEqual(found, (0, ["2026-11-27T14:00:00Z"]))
        self.assertEqual((await self.search(*words, "--since", "2026-11-28"))[1], ["nothing"])
        self.assertEqual((await self.search(queue_id(1), "--since", "2026-11-28"))[0], 1)
        self.assertIn("either the ID of a message, or some of", self.err.getvalue())
        self.assertEqual((await self.search("--until", "2026-11-27T13:30"))[1], ["2026-11-27T13:00:00Z"])

    def test_times(self) -> None:
        self.assertEqual(_moment("2026-11-27T12:00"), NOON)
        self.assertEqual(_moment("2026-11-27"), NOON - 12 * 3_600_000)
        for text in ("yesterday", "", "9999-99-99", "\x1b[31m"):
            self.assertRaises(argparse.ArgumentTypeError, _moment, text)


class LineTests(SynchronousTestCase):
    def test_a_message_taken(self) -> None:
        step = {"number": 1, "kind": "queued", "time": 0, "id": "0" * 18, "sender": "a@b", "recipients": 3}
        self.assertEqual(line(step), f"1970-01-01T00:00:00Z {'0' * 18} queued: from <a@b> to <3 recipients>")

    def test_an_attempt(self) -> None:
        step = {
            "number": 2, "kind": "bounced", "time": 1000, "id": "0" * 18, "seq": 10, "recipient": "c@d", "host": "mx.d",
            "host_address": "192.0.2.1", "category": "recipient", "reply": "550 no\x1b[31m",
        }  # fmt: skip
        self.assertEqual(
            line(step),
            f"1970-01-01T00:00:01Z {'0' * 18}.00a bounced: from <> to <c@d> by mx.d[192.0.2.1] (recipient) "
            "- 550 no\\u001b[31m",
        )

    def test_a_decision(self) -> None:
        step = {"number": 3, "kind": "decision", "time": 0, "what": "held", "about": "zone a", "reason": "wait"}
        self.assertEqual(line(step), "1970-01-01T00:00:00Z decision: held, zone a - wait")

    def test_what_was_said(self) -> None:
        said = {"time": 3_661_005, "who": "host", "text": "550 no\x1b[31m"}
        self.assertEqual(spoken_line(said), "  01:01:01.005 < 550 no\\u001b[31m")
        self.assertEqual(spoken_line(said | {"who": "relay", "text": "QUIT"}), "  01:01:01.005 > QUIT")
        self.assertEqual(spoken_line(said | {"who": "", "text": "No reply"}), "  01:01:01.005 - No reply")
