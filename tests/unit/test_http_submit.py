"""`POST /send-raw`: what is taken, what is refused and when, what the client is told."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from relay.listener.door import Refused
from relay.message.values import Origin
from relay.queue.store import StoreError
from relay.smtp.reply import reply
from tests.unit.api_rig import ID, Rig, stored

TEXT = b"From: a@example.com\nTo: b@example.net\n\nline\rend\r\n"
CRLF = b"From: a@example.com\r\nTo: b@example.net\r\n\r\nline\r\nend\r\n"


class SendRawTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.rig = Rig(max_size=1000, timeout=120.0)

    def test_taken(self) -> None:
        for kind in (
            "message/rfc822",
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/json",
            "",
        ):
            answer = self.rig.request("POST", "/send-raw", TEXT, Content_Type=kind)
            self.assertEqual(answer.status, 200)
            self.assertEqual(
                answer.json,
                {
                    "id": ID,
                    "from": "header@example.com",
                    "to": ["to@example.net"],
                    "response": f"Message queued as {ID}",
                },
            )
            submission = self.rig.intake.submissions[-1]
            self.assertEqual(submission.text, CRLF)
            self.assertEqual(submission.finished, (None, None))
            self.assertEqual(self.rig.intake.opened[-1], (Origin("api", "127.0.0.1", transport="HTTP"), True))
            self.rig.store.rows.clear()

    def test_any_split_and_chunked(self) -> None:
        client = self.rig.connect()
        client.head("POST", "/send-raw", len(TEXT))
        for i in range(len(TEXT)):
            client.send(TEXT[i : i + 1])
        self.assertEqual(client.answer().status, 200)
        self.assertEqual(self.rig.intake.submissions[-1].text, CRLF)
        client.head("POST", "/send-raw", None, Transfer_Encoding="chunked")
        for i in range(0, len(TEXT), 7):
            piece = TEXT[i : i + 7]
            client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        client.send(b"0\r\n\r\n")
        self.assertEqual(client.answer().status, 200)
        self.assertEqual(self.rig.intake.submissions[-1].text, CRLF)

    def test_trailing_cr_is_a_line_end(self) -> None:
        self.rig.request("POST", "/send-raw", b"a: b\n\nx\r")
        self.assertEqual(self.rig.intake.submissions[-1].text, b"a: b\r\n\r\nx\r\n")

    def test_envelope_in_the_query(self) -> None:
        path = "/send-raw?from=S@Example.COM&to=a@example.net,%3Cb@example.net%3E&to=A@example.net"
        answer = self.rig.request("POST", path, TEXT)
        self.assertEqual(answer.json["from"], "S@example.com")
        self.assertEqual(answer.json["to"], ["A@example.net", "b@example.net"])
        self.rig.request("POST", "/send-raw?from=", TEXT)
        self.assertEqual(self.rig.intake.submissions[-1].finished, ("", None))

    def test_H26_the_same_request_again(self) -> None:
        first = self.rig.request("POST", "/send-raw?to=a@example.net", TEXT, Idempotency_Key="k")
        self.assertEqual(first.status, 200)
        again = self.rig.request("POST", "/send-raw?to=a@example.net", TEXT, Idempotency_Key="k")
        self.assertEqual((again.status, again.body), (200, first.body))
        self.assertTrue(self.rig.intake.submissions[1].abandoned)
        for path, text in (("?to=b@example.net", TEXT), ("?to=a@example.net", TEXT + b"x")):
            self.assertEqual(self.rig.request("POST", f"/send-raw{path}", text, Idempotency_Key="k").status, 409)
        self.assertEqual(len(self.rig.intake.marks), 1)

    def test_bad_envelope(self) -> None:
        """H06, H07: nothing but addresses comes out of a query."""
        for query in (
            "from=x", "to=", "to=x", "to=a@b%0d%0aRCPT", "from=a@b&from=c@d", "to=%ff@b", "to=a@b%00",
            "from=%0d%0a@b", "to=" + ",".join(f"u{i}@b" for i in range(1001)),
        ):  # fmt: skip
            answer = self.rig.request("POST", "/send-raw?" + query, TEXT)
            self.assertEqual(answer.status, 400, query)
            self.assertTrue(answer.json.get("error") or answer.json["field"])
        self.assertEqual(self.rig.intake.submissions, [])

    def test_who_it_is_from(self) -> None:
        self.rig.request(
            "POST", "/send-raw", TEXT, X_Authenticated_User="zoë", X_Originating_IP="[2001:db8::1]"
        )
        self.assertEqual(
            self.rig.intake.opened[-1][0], Origin("api", "2001:db8::1", transport="HTTP", user="zoë")
        )
        for headers in ({"X_Originating_IP": "nowhere"}, {"X_Authenticated_User": "x" * 2000}):
            self.assertEqual(self.rig.request("POST", "/send-raw", TEXT, **headers).status, 400)

    def test_h13_too_large_is_refused_before_the_body(self) -> None:
        for length in (1001, 10**20):
            client = self.rig.connect()
            client.head("POST", "/send-raw", length, Expect="100-continue")
            answer = client.answer()
            self.assertEqual(answer.status, 413)
            self.assertEqual(answer.headers["connection"], "close")
            client.send(b"x" * 1000)
            self.assertEqual(client.transport.value(), b"")
            self.assertFalse(client.transport.disconnecting)
            self.rig.clock.advance(5)
            self.assertTrue(client.transport.disconnecting)
            client.lose()
        self.assertTrue(all(one.abandoned and not one.text for one in self.rig.intake.submissions))
        self.assertEqual(self.rig.clock.getDelayedCalls(), [])

    def test_h13_length_that_is_no_number_python_likes(self) -> None:
        client = self.rig.connect()
        client.head("POST", "/send-raw", None, Content_Length="9" * 5000)
        self.assertEqual(client.answer().status, 400)

    def test_h13_too_large_in_chunks(self) -> None:
        client = self.rig.connect()
        client.head("POST", "/send-raw", None, Transfer_Encoding="chunked")
        for _ in range(3):
            client.send(b"190\r\n" + b"x" * 400 + b"\r\n")
        self.assertEqual(client.answer().status, 413)
        self.assertTrue(self.rig.intake.submissions[0].abandoned)
        client.send(b"0\r\n\r\n")
        self.assertEqual(client.transport.value(), b"")
        self.assertTrue(client.transport.disconnecting)

    def test_no_space(self) -> None:
        self.rig.intake.full = True
        answer = self.rig.request("POST", "/send-raw", TEXT)
        self.assertEqual(answer.status, 507)
        self.assertEqual(answer.json, {"error": "The queue can't take mail now"})
        self.assertIn("retry-after", answer.headers)

    def test_refused_at_the_end(self) -> None:
        for said, status, text in (
            (reply(452, "4.3.1 Full"), 507, "Full"),
            (reply(451, "4.3.0 Later"), 503, "Later"),
            (reply(552, "5.3.4 Error: the header is too long"), 413, "the header is too long"),
            (reply(550, "5.5.1 Error: Empty recipients list"), 400, "Empty recipients list"),
        ):
            self.rig.intake.refusal = Refused(said)
            answer = self.rig.request("POST", "/send-raw", TEXT)
            self.assertEqual((answer.status, answer.json), (status, {"error": text}))

    def test_nul_is_refused(self) -> None:
        answer = self.rig.request("POST", "/send-raw", b"a: b\n\nx\0y")
        self.assertEqual(answer.status, 400)
        self.assertTrue(self.rig.intake.submissions[0].abandoned)

    def test_back_pressure(self) -> None:
        client = self.rig.connect()
        client.head("POST", "/send-raw", 20)
        submission = self.rig.intake.submissions[0]
        waiting = submission.waiting = Deferred()
        client.send(b"x" * 10)
        self.assertEqual(client.transport.producerState, "paused")
        self.rig.clock.advance(100)
        submission.waiting = None
        waiting.callback(None)
        self.assertEqual(client.transport.producerState, "producing")
        client.send(b"x" * 10)
        self.assertEqual(client.answer().status, 200)

    def test_h25_body_shorter_than_length(self) -> None:
        client = self.rig.connect()
        client.head("POST", "/send-raw", 20)
        client.send(b"x" * 10)
        client.lose()
        submission = self.rig.intake.submissions[0]
        self.assertTrue(submission.abandoned)
        self.assertIsNone(submission.finished)
        self.assertEqual(self.rig.clock.getDelayedCalls(), [])

    def test_h25_expect(self) -> None:
        client = self.rig.connect()
        client.head("POST", "/send-raw", len(TEXT), Expect="100-continue")
        self.assertEqual(client.transport.value(), b"HTTP/1.1 100 Continue\r\n\r\n")
        client.transport.clear()
        client.send(TEXT)
        self.assertEqual(client.answer().status, 200)

    def test_client_gone_while_writing_undoes_nothing(self) -> None:
        """H26: what is being written goes on, and isn't cancelled with the request."""
        pending: Deferred[object] = Deferred()
        self.rig.intake.pending = pending  # type: ignore[assignment]
        client = self.rig.connect()
        client.head("POST", "/send-raw", len(TEXT))
        client.send(TEXT)
        client.lose()
        self.assertFalse(pending.called)
        pending.callback(stored("a@b", b""))
        self.assertFalse(self.rig.intake.submissions[0].abandoned)

    def test_h16_trickle(self) -> None:
        client = self.rig.connect()
        client.head("POST", "/send-raw", 1000)
        for _ in range(12):
            client.send(b"x")
            self.rig.clock.advance(10)
        self.assertEqual(client.answer().status, 408)
        self.assertTrue(self.rig.intake.submissions[0].abandoned)

    def test_a_queue_that_is_closed(self) -> None:
        def closed(*_: Any) -> None:
            raise StoreError("the queue is not open")

        self.patch(self.rig.intake, "open", closed)
        answer = self.rig.request("POST", "/send-raw", TEXT)
        self.assertEqual((answer.status, answer.json), (503, {"error": "the queue is not open"}))
        self.assertEqual(answer.headers["retry-after"], "30")

    def test_other_spellings_of_the_path(self) -> None:
        for number, path in enumerate(("/%73end-raw", "/send-raw/", "///send-raw", "/%2fsend-raw"), 1):
            self.assertEqual(self.rig.request("POST", path, TEXT).status, 200, path)
            self.assertEqual(len(self.rig.intake.submissions), number)
        for path in ("/SEND-RAW", "/x//send-raw", "/x/../send-raw", "/send-raw;x", "/send-raw%00"):
            self.assertEqual(self.rig.request("POST", path, TEXT).status, 404, path)
        self.assertEqual(len(self.rig.intake.submissions), 4)
