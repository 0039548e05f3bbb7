"""What each answer to a POST does to the mail."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from relay.delivery.verdict import verdict
from relay.message.values import Result


class VerdictTests(SynchronousTestCase):
    def test_by_status(self) -> None:
        for codes, result, category in (
            ((200, 201, 202, 204, 299), Result.DELIVERED, ""),
            ((400, 401, 403, 404, 410, 413, 422, 451, 499), Result.BOUNCED, "reply"),
            ((408, 425, 429, 500, 502, 503, 504, 599, 301, 302, 307, 308, 304), Result.DEFERRED, "reply"),
            ((0, -1, 99, 101, 600, 999, 20000), Result.DEFERRED, "protocol"),
        ):
            for code in codes:
                ending = verdict(code, "Words", b"", "dot")
                self.assertEqual((ending.result, ending.category, ending.doubtful), (result, category, False), code)
                self.assertEqual(ending.code, 0 if category == "protocol" else code)

    def test_no_message_is_taken_before_its_end(self) -> None:
        ending = verdict(200, "OK", b"", "body")
        self.assertEqual((ending.result, ending.category, ending.stage), (Result.DEFERRED, "protocol", "body"))
        self.assertEqual(verdict(413, "Too Large", b"", "body").result, Result.BOUNCED)

    def test_what_is_quoted(self) -> None:
        text = verdict(404, "Not Found", b"\n  no such box \r\nat all", "dot").text
        self.assertEqual(text, "404 Not Found: no such box")
        self.assertEqual(verdict(500, "", b"\xff", "dot").text, "500: \ufffd")
        self.assertEqual(verdict(503, "Busy", b"", "dot", "120").text, "503 Busy (Retry-After: 120)")
        self.assertEqual(verdict(302, "Found", b"", "dot").text, "302 Found (redirects are not followed)")
        self.assertLess(len(verdict(500, "x", b"y" * 100_000, "dot").text), 400)
