"""How events look on a terminal."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from relay.cli.history import line, spoken_line


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
