"""`POST /send` and the older forms: what is taken, what the client is told, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from email import message_from_bytes
from typing import Any
from urllib.parse import urlencode

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from relay.listener.door import Refused
from relay.message.values import Origin
from relay.smtp.reply import reply
from tests.unit.api_rig import ID, Answer, Rig, stored

MAIL = {"from": "Zoë <a@example.com>", "to": "b@example.net, C@example.net", "subject": "Grüße", "text": "hi"}
PLAIN = {"from": "a@example.com", "to": ["b@example.net", "c@example.net"], "subject": "s", "text": "t", "html": "<p>"}


class Sending(SynchronousTestCase):
    def setUp(self) -> None:
        self.rig = Rig(max_size=100_000, max_recipients=20, timeout=120.0)

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.rig.request("POST", path, text, **{"Content_Type": "application/json", **headers})

    def text(self, number: int = -1) -> Any:
        return message_from_bytes(self.rig.intake.submissions[number].text)


class Send(Sending):
    def test_taken(self) -> None:
        answer = self.post("/send", MAIL)
        self.assertEqual(answer.status, 200)
        to = ["b@example.net", "C@example.net"]
        said = {"id": ID, "from": "a@example.com", "to": to, "response": f"Message queued as {ID}"}
        self.assertEqual(answer.json, said)
        self.assertEqual(list(answer.json), list(said))
        [submission] = self.rig.intake.submissions
        self.assertEqual(submission.finished, ("a@example.com", to))
        self.assertEqual(self.rig.intake.opened, [(Origin("api", "127.0.0.1", transport="HTTP"), True)])
        self.assertEqual((self.text()["Subject"], self.text().get_payload()), ("=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "hi"))

    def test_raw_without_an_envelope(self) -> None:
        answer = self.post("/send", {"raw": "From: x@example.com\nTo: y@example.net\n\nhi\n"})
        self.assertEqual(answer.json["to"], ["to@example.net"])  # from the header, by the intake
        self.assertEqual(self.rig.intake.submissions[0].finished, (None, None))

    def test_who_it_is_from(self) -> None:
        self.post("/send", MAIL, X_Authenticated_User="zoë", X_Originating_IP="2001:db8::1")
        self.assertEqual(self.rig.intake.opened[0][0], Origin("api", "2001:db8::1", transport="HTTP", user="zoë"))
        self.assertEqual(self.post("/send", MAIL, X_Originating_IP="nowhere").status, 400)

    def test_H26_the_same_request_again_is_told_the_same(self) -> None:
        for path, mail, count in (("/send", MAIL, 1), ("/sendmultiemails", PLAIN, 2), ("/sendmultimails", [PLAIN], 1)):
            first = self.post(path, mail, Idempotency_Key=path)
            self.assertEqual(first.status, 200)
            self.assertEqual(len(self.rig.intake.submissions), count)
            self.rig.intake.refusal = Refused(reply(550, "5.1.1 Not now"))  # It is not even looked at.
            self.assertEqual(self.post(path, mail, Idempotency_Key=path).body, first.body)
            self.rig.intake.refusal = None
            self.rig.intake.submissions.clear()

    def test_a_key_stands_for_one_request_of_one_user(self) -> None:
        self.post("/send", MAIL, Idempotency_Key="k")
        for path, mail in (("/send", {**MAIL, "text": "other"}), ("/sendemail", PLAIN)):
            answer = self.post(path, mail, Idempotency_Key="k")
            self.assertEqual((answer.status, answer.json["code"]), (409, "Conflict"))
        self.assertEqual(len(self.rig.intake.submissions), 1)
        other = self.post("/send", {**MAIL, "text": "b"}, Idempotency_Key="k", X_Authenticated_User="b")
        self.assertEqual(other.status, 200)

    def test_keys_that_are_none(self) -> None:
        for key in ("", " ", "x" * 257, "\xe4", "a\tb"):
            answer = self.post("/send", MAIL, Idempotency_Key=key or "\t")
            self.assertEqual((answer.status, answer.json["field"]), (400, "Idempotency-Key"), repr(key))
        self.assertEqual(self.rig.intake.submissions, [])

    def test_what_was_refused_is_not_remembered(self) -> None:
        self.rig.intake.refusal = Refused(reply(451, "4.3.0 Later"))
        self.assertEqual(self.post("/send", MAIL, Idempotency_Key="k").status, 503)
        self.rig.intake.refusal = None
        self.assertEqual(self.post("/send", {**MAIL, "text": "other"}, Idempotency_Key="k").status, 200)

    def test_a_form(self) -> None:
        body = urlencode({**MAIL, "subject": "one & two = ü"}).encode()
        answer = self.post("/send", body, Content_Type="application/x-www-form-urlencoded; charset=utf-8")
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.text()["Subject"], "=?utf-8?q?one_=26_two_=3D_=C3=BC?=")

    def test_json_that_curl_calls_a_form(self) -> None:
        kind = "application/x-www-form-urlencoded"
        self.assertEqual(self.post("/send", MAIL, Content_Type=kind).status, 200)
        for kind in ("", "text/plain", "application/json; charset=utf-8"):
            self.assertEqual(self.post("/send", MAIL, Content_Type=kind).status, 200)

    def test_H01_H02_H09_no_mail(self) -> None:
        for body in (b"", b"{", b"\xff", b"[" * 50_000, b"\x1f\x8b\x08", b"[]", b"null", b"--x\r\n\r\n"):
            answer = self.post("/send", body)
            self.assertEqual((answer.status, answer.json["code"]), (400, "InvalidContent"), body[:10])
        answer = self.post("/send", b"a=%ff", Content_Type="application/x-www-form-urlencoded")
        self.assertEqual((answer.status, answer.json["code"]), (400, "InvalidContent"))

    def test_H04_the_field_is_named(self) -> None:
        answer = self.post("/send", {**MAIL, "attachments": [{"filename": 5}]})
        self.assertEqual(answer.status, 400)
        self.assertEqual((answer.json["code"], answer.json["field"]), ("InvalidArgument", "attachments[0].filename"))
        self.assertIn("expected", answer.json["message"])

    def test_H06_line_ends(self) -> None:
        for fields in ({"subject": "a\r\nBcc: x@y.de"}, {"headers": {"X\nY": "z"}}, {"to": "a@b.de\r\nX: y"}):
            self.assertEqual(self.post("/send", {**MAIL, **fields}).status, 400)
        self.assertEqual(self.rig.intake.submissions, [])

    def test_H10_files(self) -> None:
        answer = self.post("/send", {**MAIL, "attachments": [{"path": "/etc/passwd"}]})
        self.assertEqual((answer.status, answer.json["message"]), (400, "File access rejected for /etc/passwd"))

    def test_nobody(self) -> None:
        answer = self.post("/send", {**MAIL, "to": None})
        self.assertEqual((answer.status, answer.json), (400, {"error": "Empty recipients list"}))

    def test_H07_too_many_recipients(self) -> None:
        answer = self.post("/send", {**MAIL, "to": [f"u{n}@x.de" for n in range(21)]})
        self.assertEqual((answer.status, answer.json["field"]), (400, "to"))

    def test_H13_too_large(self) -> None:
        client = self.rig.connect()
        client.head("POST", "/send", 100_001)
        self.assertEqual(client.answer().status, 413)
        # As JSON it is small enough, as mail it isn't.
        answer = self.post("/send", {**MAIL, "text": "=" * 60_000})
        self.assertEqual(answer.status, 413)

    def test_no_space_and_refused(self) -> None:
        self.rig.intake.refusal = Refused(reply(451, "4.3.0 Later"))
        answer = self.post("/send", MAIL)
        self.assertEqual((answer.status, answer.json), (503, {"error": "Later"}))
        self.rig.intake.full = True
        self.assertEqual(self.post("/send", MAIL).status, 507)

    def test_other_spellings_and_methods(self) -> None:
        for path in ("/%73end", "/send/", "//send"):
            self.assertEqual(self.post(path, MAIL).status, 200, path)
        for path in ("/SEND", "/send%00", "/send;x"):
            self.assertEqual(self.post(path, MAIL).status, 404, path)
        self.assertEqual(self.rig.get("/send").status, 405)
        self.assertEqual(len(self.rig.intake.submissions), 3)

    def test_H13_bodies_have_room_together(self) -> None:
        """Bodies that are still coming hold their room, and give it back however they end."""
        holding = [self.rig.connect() for _ in range(4)]
        for client in holding:
            client.head("POST", "/send", 100_000)
        one_more = self.rig.connect()
        one_more.head("POST", "/send", 10)
        answer = one_more.answer()
        self.assertEqual(answer.status, 503)
        self.assertIn("retry-after", answer.headers)
        for client in holding:
            client.lose()
        for _ in range(20):
            self.assertEqual(self.post("/send", {**MAIL, "text": "x" * 30_000}).status, 200)
        client = self.rig.connect()
        client.head("POST", "/send", None, Transfer_Encoding="chunked")  # any size up to the limit
        for _ in range(3):
            self.rig.connect().head("POST", "/send", 100_000)
        self.assertEqual(self.post("/send", MAIL).status, 503)

    def test_large_ones_are_made_in_a_thread(self) -> None:
        work: list[Callable[[], Any]] = []
        made: Deferred[Any] = Deferred()

        def in_thread(one: Callable[[], Any]) -> Deferred[Any]:
            work.append(one)
            return made

        self.rig = Rig(max_size=1_000_000, in_thread=in_thread)
        client = self.rig.connect()
        body = json.dumps({**MAIL, "text": "line\n" * 100_000}).encode()
        client.head("POST", "/send", len(body))
        client.send(body)
        self.assertEqual(client.transport.value(), b"")
        made.callback(work[0]())
        self.assertEqual(client.answer().status, 200)
        self.assertEqual(self.text().get_payload(), "line\r\n" * 100_000)

    def test_back_pressure(self) -> None:
        """Nothing more is handed over while the disk is behind."""
        self.rig = Rig(max_size=3_000_000, in_thread=lambda work: succeed(work()))
        waiting: Deferred[None] = Deferred()
        opened = self.rig.intake.open

        def slow(*arguments: Any) -> Any:
            submission = opened(*arguments)
            submission.waiting = waiting
            return submission

        self.rig.intake.open = slow  # type: ignore[method-assign]
        client = self.rig.connect()
        body = json.dumps({**MAIL, "text": "line\n" * 200_000}).encode()
        client.head("POST", "/send", len(body))
        client.send(body)
        [submission] = self.rig.intake.submissions
        self.assertLess(submission.size, 300_000)
        submission.waiting = None
        waiting.callback(None)
        self.assertEqual(client.answer().status, 200)
        self.assertGreater(submission.size, 1_000_000)

    def test_client_gone_while_writing_undoes_nothing(self) -> None:
        pending: Deferred[Any] = Deferred()
        self.rig.intake.pending = pending
        client = self.rig.connect()
        body = json.dumps(MAIL).encode()
        client.head("POST", "/send", len(body))
        client.send(body)
        client.lose()
        self.assertFalse(pending.called)
        pending.callback(stored("a@b", b""))
        self.assertFalse(self.rig.intake.submissions[0].abandoned)


class Older(Sending):
    def test_one(self) -> None:
        answer = self.post("/sendemail", {**PLAIN, "reply-to": "r@example.com"})
        self.assertEqual((answer.status, answer.json["to"]), (200, PLAIN["to"]))
        self.assertEqual(self.text()["To"], "b@example.net, c@example.net")
        self.assertEqual(self.text()["Reply-To"], "r@example.com")
        self.assertEqual(self.text().get_content_type(), "multipart/alternative")

    def test_one_as_a_form(self) -> None:
        pairs = [("from", "a@example.com"), ("to", "b@example.net"), ("to", "c@example.net"), ("text", "ü")]
        answer = self.post("/sendemail", urlencode(pairs).encode(), Content_Type="application/x-www-form-urlencoded")
        self.assertEqual((answer.status, answer.json["to"]), (200, PLAIN["to"]))
        self.assertEqual(self.text().get_payload(decode=True), "ü".encode())

    def test_to_each(self) -> None:
        answer = self.post("/sendmultiemails", PLAIN)
        self.assertEqual([one["to"] for one in answer.json], [["b@example.net"], ["c@example.net"]])
        self.assertEqual([self.text(n)["To"] for n in range(2)], PLAIN["to"])

    def test_several(self) -> None:
        mails = [PLAIN, {**PLAIN, "subject": "other", "to": "d@example.net"}]
        body = json.dumps(mails)
        for text, kind in (
            (body, "application/json"),
            (json.dumps({"mails": mails}), "application/json"),
            (urlencode({"mails": body}), "application/x-www-form-urlencoded"),
        ):
            answer = self.post("/sendmultimails", text.encode(), Content_Type=kind)
            self.assertEqual([one["to"] for one in answer.json], [PLAIN["to"], ["d@example.net"]])
            self.assertEqual([self.text(n)["Subject"] for n in (-2, -1)], ["s", "other"])
            self.rig.store.rows.clear()

    def test_more_than_go_together(self) -> None:
        answer = self.post("/sendmultimails", [{**PLAIN, "subject": str(n)} for n in range(120)])
        self.assertEqual(len(answer.json), 120)
        self.assertEqual([self.text(n)["Subject"] for n in (0, 119)], ["0", "119"])

    def test_nothing_is_sent_where_one_is_wrong(self) -> None:
        answer = self.post("/sendmultimails", [PLAIN, {**PLAIN, "to": "nobody"}])
        self.assertEqual((answer.status, answer.json["field"]), (400, "mails[1].to"))
        for path, body, field in (
            ("/sendmultimails", [PLAIN, {"from": "a@b.de"}], "[1]"),
            ("/sendmultimails", [], "mails"),
            ("/sendemail", {**PLAIN, "reply_to": "x"}, ""),
            ("/sendemail", {**PLAIN, "to": [5]}, "to[0]"),
        ):
            answer = self.post(path, body)
            self.assertEqual((answer.status, answer.json.get("field", "")), (400, field), answer.json)
        for form in (b"from=a%40b.de&from=c%40d.de&to=e%40f.de", b"mails=5&x=y", b"from=a%40b.de"):
            answer = self.post("/sendemail", form, Content_Type="application/x-www-form-urlencoded")
            self.assertEqual(answer.status, 400, form)
        self.assertEqual(self.rig.intake.submissions, [])

    def test_what_became_of_each(self) -> None:
        refusals = [None, Refused(reply(550, "5.1.2 Error: Local")), None]
        opened = self.rig.intake.open

        def judged(*arguments: Any) -> Any:
            submission = opened(*arguments)
            settle = submission.settle

            def finished(envelope: Any) -> Any:
                self.rig.intake.refusal = refusals.pop(0)
                return settle(envelope)

            submission.settle = finished  # type: ignore[method-assign]
            return submission

        self.rig.intake.open = judged  # type: ignore[method-assign]
        answer = self.post("/sendmultiemails", {**PLAIN, "to": ["a@x.de", "b@x.de", "c@x.de"]})
        self.assertEqual(answer.status, 200)
        self.assertEqual([one.get("error", one.get("to")) for one in answer.json], [["a@x.de"], "Local", ["c@x.de"]])
        refusals[:] = [Refused(reply(451, "4.3.0 Later"))] * 2
        self.assertEqual(self.post("/sendmultiemails", PLAIN).status, 503)
