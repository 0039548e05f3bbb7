"""`POST /v1/messages`: what is taken, what the client is told, what is refused and by which name."""

from __future__ import annotations

import json
from collections.abc import Callable
from email import message_from_bytes
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from relay.access.caller import Scope
from relay.listener.door import Refused
from relay.message.event import Event
from relay.queue.memory import MemoryStore
from relay.smtp.reply import reply
from tests.unit.api_rig import ID, NOW, Answer, Rig, row

MAIL: dict[str, Any] = {"from": "Zoë <a@example.com>", "to": "b@example.net", "subject": "Grüße", "text": "hi"}
DAY = 86_400_000


class Posting(SynchronousTestCase):
    def setUp(self) -> None:
        self.told = MemoryStore()
        self.rig = Rig(max_size=100_000, max_recipients=20, timeout=120.0, verdicts=self.told)

    def post(self, body: Any, query: str = "", **headers: str) -> Answer:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.rig.request("POST", f"/v1/messages{query}", text, **{"Content_Type": "application/json", **headers})

    def mail(self, number: int = -1) -> Any:
        return message_from_bytes(self.rig.intake.submissions[number].text)

    def envelope(self) -> Any:
        return self.rig.intake.submissions[-1].envelope

    def refused(self, field: str, status: int = 400, **fields: Any) -> None:
        answer = self.post({**MAIL, **fields})
        self.assertEqual((answer.status, answer.json.get("field")), (status, field), answer.json)
        self.assertEqual(answer.headers["content-type"], "application/problem+json")


class One(Posting):
    def test_taken(self) -> None:
        answer = self.post({**MAIL, "to": ["b@example.net", {"name": "C", "address": "C@example.net"}]})
        self.assertEqual(answer.status, 202)
        deliveries = [
            {"id": f"{ID}.001", "recipient": "b@example.net"},
            {"id": f"{ID}.002", "recipient": "C@example.net"},
        ]
        self.assertEqual(answer.json, {"id": ID, "deliveries": deliveries})
        self.assertEqual(self.mail()["To"], "b@example.net, C <C@example.net>")

    def test_what_it_has(self) -> None:
        self.post({
            **MAIL,
            "cc": "c@example.net",
            "bcc": ["d@example.net"],
            "reply_to": "r@example.com",
            "html": '<img src="cid:logo">',
            "headers": {"X-One": "1", "X-Two": ["a", "b"]},
            "attachments": [
                {"filename": "a.csv", "content": "YSxiCg=="},
                {"content": "R0lG", "content_type": "image/gif", "cid": "logo"},
            ],
        })  # fmt: skip
        mail = self.mail()
        self.assertEqual((mail["Reply-To"], mail["X-One"], mail.get_all("X-Two")), ("r@example.com", "1", ["a", "b"]))
        self.assertNotIn(b"d@example.net", self.rig.intake.submissions[-1].text)
        kinds = [part.get_content_type() for part in mail.walk() if not part.is_multipart()]
        self.assertEqual(kinds, ["text/plain", "text/html", "image/gif", "text/csv"])
        self.assertEqual(mail.get_payload()[1].get_payload(decode=True), b"a,b\n")
        self.assertEqual(self.rig.intake.submissions[-1].finished[1], [f"{name}@example.net" for name in "bcd"])

    def test_what_is_wanted_for_it(self) -> None:
        self.post({**MAIL, "zone": "Bounces", "tags": ["a", "b", "a"], "tenant": "t1", "metadata": {"order": "ü 17"}})
        self.assertEqual(self.mail()["X-Sending-Zone"], "bounces")
        envelope = self.envelope()
        self.assertEqual((envelope.tags, envelope.tenant, envelope.metadata), (("a", "b"), "t1", {"order": "ü 17"}))
        self.assertEqual((envelope.sender, envelope.due), ("a@example.com", 0))
        self.post({**MAIL, "envelope_from": ""})
        self.assertEqual(self.envelope().sender, "")

    def test_scheduled(self) -> None:
        self.post({**MAIL, "send_at": "2026-12-01T11:00:00.5+01:00"})
        self.assertEqual(self.envelope().due, 1_796_119_200_500)
        self.assertEqual(self.mail()["Date"], "Tue, 01 Dec 2026 10:00:00 +0000")
        self.post({**MAIL, "send_at": "2020-12-01T11:00:00Z"})
        self.assertEqual((self.envelope().due, self.mail()["Date"]), (0, None))
        for when in ("2028-12-01T11:00:00Z", "2026-12-01T11:00:00", "tomorrow", 5, "9999-12-31T23:59:59Z"):
            self.refused("send_at", send_at=when)

    def test_fields_that_can_not_stand(self) -> None:
        for field, fields in {
            "to": {"to": "x"},
            "from": {"from": ""},
            "zone": {"zone": "nowhere"},
            "tags[1]": {"tags": ["a", "b c"]},
            "tags[0]": {"tags": ["a\n"]},
            "tags": {"tags": list("abcdefghijk")},
            "tenant": {"tenant": "a b"},
            "metadata": {"metadata": {"a": "b\nc"}},
            "attachments[0].content": {"attachments": [{"content": "%"}]},
            "attachments[0].content_type": {"attachments": [{"content": "", "content_type": "x"}]},
            "attachments[0].path": {"attachments": [{"content": "", "path": "/etc/passwd"}]},
            "reply_to": {"reply_to": "nobody"},
            "envelope_from": {"envelope_from": "nobody"},
            "headers.Sender": {"from": ["a@b.de", "c@b.de"]},
            "to[0].group": {"to": [{"address": "a@b.de", "group": []}]},
        }.items():
            self.refused(field, **fields)
        self.assertEqual(self.rig.intake.submissions, [])
        self.assertEqual(self.post(MAIL, "?wait=61").json["field"], "wait")
        self.assertEqual(self.post(MAIL, "?watt=1").json["field"], "watt")

    def test_kinds_are_told_in_words(self) -> None:
        answer = self.post({**MAIL, "to": 5})
        self.assertEqual(answer.json["detail"], "to: expected a string, an object or a list, got a whole number")

    def test_nobody(self) -> None:
        self.refused("to", to="")

    def test_for_want_of_room(self) -> None:
        self.rig.intake.full = True
        answer = self.post(MAIL)
        self.assertEqual((answer.status, answer.json["status"]), (507, 507))
        self.assertIn("retry-after", answer.headers)

    def test_what_the_door_says(self) -> None:
        self.rig.intake.refusal = Refused(reply(550, "5.1.1 Error: on the suppression list: <b@example.net>"))
        answer = self.post(MAIL)
        self.assertEqual(answer.status, 400)
        self.assertEqual(answer.json["detail"], "on the suppression list: <b@example.net>")

    def test_H26_the_same_request_again(self) -> None:
        first = self.post(MAIL, Idempotency_Key="k")
        again = self.post(MAIL, Idempotency_Key="k")
        self.assertEqual((again.status, again.body), (202, first.body))
        self.assertEqual(len(self.rig.intake.submissions), 1)
        answer = self.post({**MAIL, "text": "other"}, Idempotency_Key="k")
        self.assertEqual((answer.status, answer.json["code"]), (409, "Conflict"))

    def test_the_same_again_though_it_could_not_stand_any_more(self) -> None:
        mail = {**MAIL, "send_at": "2027-11-01T00:00:00Z"}
        first = self.post(mail, Idempotency_Key="k")
        self.assertEqual(first.status, 202)
        [mark] = self.rig.intake.marks.values()
        self.assertEqual((mark.id, mark.created, mark.answer), (ID, NOW, first.body))

    def test_H25_a_client_that_leaves_before_the_end(self) -> None:
        client = self.rig.connect()
        client.head("POST", "/v1/messages", 1000)
        client.send(b'{"from":')
        client.lose()
        self.assertEqual(self.rig.intake.submissions, [])

    def test_a_client_that_leaves_while_it_is_written(self) -> None:
        pending: Deferred[Any] = Deferred()
        self.rig.intake.pending = pending
        client = self.rig.connect()
        body = json.dumps(MAIL).encode()
        client.head("POST", "/v1/messages", len(body))
        client.send(body)
        client.lose()
        self.assertFalse(pending.called)
        pending.callback(self.rig.intake.submissions[0].message)
        self.assertEqual(self.post(MAIL).status, 202)

    def test_large_ones_are_made_in_a_thread(self) -> None:
        work: list[Callable[[], Any]] = []
        made: Deferred[Any] = Deferred()

        def in_thread(one: Callable[[], Any]) -> Deferred[Any]:
            work.append(one)
            return made

        self.rig = Rig(max_size=1_000_000, in_thread=in_thread)
        client = self.rig.connect()
        body = json.dumps({**MAIL, "text": "line\n" * 100_000}).encode()
        client.head("POST", "/v1/messages", len(body))
        client.send(body)
        self.assertEqual(client.transport.value(), b"")
        made.callback(work[0]())
        self.assertEqual(client.answer().status, 202)


class Many(Posting):
    def test_in_order(self) -> None:
        mails = [{**MAIL, "to": f"u{number}@example.net"} for number in range(30)]
        answer = self.post({"messages": mails})
        self.assertEqual(answer.status, 202)
        told = [one["deliveries"][0]["recipient"] for one in answer.json["messages"]]
        self.assertEqual(told, [mail["to"] for mail in mails])

    def test_where_one_can_not_stand_none_is_taken(self) -> None:
        for field, mail in (
            ("messages[3].to", {**MAIL, "to": "x"}),
            ("messages[3].tenant", {**MAIL, "tenant": "a b"}),
            ("messages[3].text", {**MAIL, "text": 5}),
            ("messages[3].attachments[0].content", {**MAIL, "attachments": [{"content": "%"}]}),
        ):
            answer = self.post({"messages": [MAIL, MAIL, MAIL, mail]})
            self.assertEqual((answer.status, answer.json["field"]), (400, field))
        self.assertEqual(self.rig.intake.submissions, [])

    def test_what_the_door_says_of_each(self) -> None:
        refusals = [None, Refused(reply(550, "5.1.2 Error: Local")), None]
        opened = self.rig.intake.open

        def judged(*arguments: Any) -> Any:
            self.rig.intake.refusal = refusals.pop(0)
            return opened(*arguments)

        self.rig.intake.open = judged  # type: ignore[method-assign]
        answer = self.post({"messages": [MAIL] * 3})
        self.assertEqual(answer.status, 202)
        told = [one.get("problem", one.get("id")) for one in answer.json["messages"]]
        self.assertEqual(told, [ID, {"status": 400, "detail": "Local"}, ID])
        # None could be taken, or there is no room for one of them: none is.
        for status, code in ((400, "5.1.2"), (503, "4.3.0")):
            refusal = Refused(reply(550 if status == 400 else 451, f"{code} Error: No"))
            refusals[:] = [refusal] * 3 if status == 400 else [None, refusal, None]
            before = len(self.rig.intake.submissions)
            self.assertEqual(self.post({"messages": [MAIL] * 3}).status, status)
            self.assertEqual(len(self.rig.intake.submissions) - before, 3)
            settled = [one for one in self.rig.intake.submissions[before:] if hasattr(one, "message")]
            self.assertTrue(all(one.abandoned for one in settled))

    def test_how_many(self) -> None:
        self.assertEqual(self.post({"messages": []}).json["field"], "messages")
        self.assertEqual(self.post({"messages": [{}] * 1001}).json["field"], "messages")
        self.assertEqual(self.post({"messages": [MAIL], "subject": "x"}).json["field"], "messages")
        many = {**MAIL, "to": [f"u{n}@x.de" for n in range(20)]}
        self.assertEqual(self.post({"messages": [many] * 11}).status, 413)

    def test_the_same_again(self) -> None:
        first = self.post({"messages": [MAIL, MAIL]}, Idempotency_Key="k")
        self.assertEqual(self.post({"messages": [MAIL, MAIL]}, Idempotency_Key="k").body, first.body)
        self.assertEqual(self.post({"messages": [MAIL]}, Idempotency_Key="k").status, 409)
        self.assertEqual(len(self.rig.intake.submissions), 2)


class Hostile(Posting):
    def test_H01_H02_H09_no_json(self) -> None:
        for body in (b"", b"{", b"\xff", b"[" * 90_000, b"\x1f\x8b\x08", b"[]", b"null", "{}".encode("utf-16")):
            answer = self.post(body)
            self.assertEqual((answer.status, answer.json["code"]), (400, "InvalidContent"), body[:10])
        for kind in ("", "text/plain", "application/json; charset=utf-8"):
            self.assertEqual(self.post(MAIL, Content_Type=kind).status, 202)

    def test_H03_H04_anything_in_every_field(self) -> None:
        names = [
            "from", "to", "cc", "bcc", "reply_to", "subject", "text", "html", "attachments", "headers", "envelope_from",
            "send_at", "zone", "tags", "tenant", "metadata", "messages",
        ]  # fmt: skip
        values = [
            b"null", b"true", b"5", b"1e999", b"-" + b"9" * 5000, b"[]", b"{}", b"[[[]]]", b'""', b'{"a":{"b":1}}',
        ]  # fmt: skip
        for name in names:
            for value in values:
                fields = {one: json.dumps(text).encode() for one, text in MAIL.items()} | {name: value}
                body = b"{" + b",".join(b'"%b":%b' % (key.encode(), text) for key, text in fields.items()) + b"}"
                answer = self.post(body)
                self.assertIn(answer.status, (202, 400), (name, value))
                if answer.status == 400:
                    self.assertTrue(answer.json.get("field", "").startswith(name) or b"e999" in body or b"999" in body)

    def test_H05_H06_what_would_be_another_header(self) -> None:
        for field in ("subject", "from", "to", "reply_to", "envelope_from"):
            for text in ("a\r\nBcc: x@y.de", "a\nX: y", "a\0b", "\ud800"):
                body = json.dumps({**MAIL, field: f"{text}@example.com"}).encode()
                self.assertEqual(self.post(body).status, 400, (field, text))
        for name in ("From", "to", "SUBJECT"):
            answer = self.post({**MAIL, "subject": "x", "headers": {name: "other@example.org"}})
            self.assertEqual((answer.status, answer.problem["field"]), (400, f"headers.{name}"))
        for headers in ({"X\r\nBcc": "a"}, {"X": "a\r\nBcc: x@y.de"}, {"": "a"}, {"Content-Type": "a/b"}):
            self.assertEqual(self.post({**MAIL, "headers": headers}).status, 400, headers)
        self.assertEqual(self.rig.intake.submissions, [])

    def test_H07_recipients(self) -> None:
        self.refused("to", to=[f"u{n}@x.de" for n in range(21)])
        self.refused("to", to=", ".join(f"u{n}@x.de" for n in range(5000)))
        for address in ("a@b@c", "@x.de", "a@", '"a@x.de', "<a@x.de", "a b@x.de", "a@[1.2.3", "a@x..de"):
            self.refused("to[0]", to=[address])

    def test_H08_unknown_fields(self) -> None:
        for name in ("__proto__", "__class__", "dkim", "From"):
            self.refused(name, **{name: {}})

    def test_H10_no_file_is_read(self) -> None:
        for name in ("path", "href", "raw"):
            self.refused(f"attachments[0].{name}", attachments=[{"content": "", name: "file:///etc/passwd"}])

    def test_H13_too_large(self) -> None:
        client = self.rig.connect()
        client.head("POST", "/v1/messages", 100_001)
        self.assertEqual(client.answer().status, 413)
        answer = self.post({**MAIL, "text": "=" * 60_000})
        self.assertEqual((answer.status, answer.headers["content-type"]), (413, "application/problem+json"))


class Tenants(Posting):
    """Callers who are somebody's."""

    def caller(self, *scopes: Scope, **more: Any) -> str:
        return f"Bearer {self.rig.key(*scopes, **more)}"

    def test_who_may(self) -> None:
        self.assertEqual(self.post(MAIL, Authorization=self.caller(Scope.READ)).status, 403)
        self.assertEqual(self.post(MAIL, Authorization=self.caller(Scope.SUBMIT)).status, 202)

    def test_whose_it_is(self) -> None:
        key = self.caller(Scope.SUBMIT, domains=("example.com",))
        self.assertEqual(self.post(MAIL, Authorization=key).status, 202)
        user = self.rig.intake.users[-1]
        assert user is not None
        self.assertEqual((user.senders, user.from_domains), (("@example.com",), ("example.com",)))

    def test_keys_are_the_callers_own(self) -> None:
        first, other = (f"Bearer {self.rig.key(Scope.SUBMIT, name=name)}" for name in ("one", "two"))
        for key in (first, other, first):
            answer = self.post({**MAIL, "text": key}, Authorization=key, Idempotency_Key="k")
            self.assertEqual(answer.status, 202)
        self.assertEqual(len(self.rig.intake.submissions), 2)

    def test_from_whom(self) -> None:
        """The door looks at that."""
        self.rig.intake.refusal = Refused(reply(550, "5.7.1 Error: the From header names a strange domain"))
        self.refused("from", 403)
        answer = self.post({"messages": [MAIL, MAIL]})
        self.assertEqual((answer.status, answer.json["field"]), (403, "messages[0].from"))


class Waiting(Posting):
    def begin(self, body: Any = MAIL, seconds: int = 10, **headers: str) -> Any:
        client = self.rig.connect()
        text = json.dumps(body).encode()
        client.head("POST", f"/v1/messages?wait={seconds}", len(text), Content_Type="application/json", **headers)
        self.rig.store.rows = [row(1, "b@example.net")]
        client.send(text)
        return client

    def test_until_it_has_ended(self) -> None:
        client = self.begin()
        self.assertEqual(client.transport.value(), b"")
        self.rig.clock.advance(2)
        self.told.tell([Event("bounced", NOW, ID, 1, reply="550 no", category="bad-mailbox")])
        answer = client.answer()
        self.assertEqual(answer.status, 202)
        [delivery] = answer.json["deliveries"]
        self.assertEqual(
            delivery,
            {
                "id": f"{ID}.001",
                "recipient": "b@example.net",
                "state": "bounced",
                "reply": "550 no",
                "category": "bad-mailbox",
            },
        )
        self.assertEqual(answer.json["waited"], 2)

    def test_until_the_time_is_over(self) -> None:
        client = self.begin({**MAIL, "to": "b@example.net"}, 5)
        self.rig.clock.advance(5)
        self.assertEqual(client.answer().json["deliveries"][0]["state"], "queued")

    def test_not_for_what_is_not_due(self) -> None:
        client = self.rig.connect()
        self.rig.store.rows = [row(1, "b@example.net", NOW + DAY)]
        text = json.dumps({**MAIL, "send_at": "2026-11-30T00:00:00Z"}).encode()
        client.head("POST", "/v1/messages?wait=10", len(text))
        client.send(text)
        self.assertEqual(client.answer().json["deliveries"][0]["state"], "scheduled")

    def test_again_it_is_told_as_it_stands(self) -> None:
        self.assertNotIn("state", self.post(MAIL, Idempotency_Key="k").json["deliveries"][0])
        for rows, told, state in (
            ([row(1, "b@example.net", attempts=1, response="450 later", category="greylist")], [], "deferred"),
            ([row(1, "b@example.net", held="by hand")], [], "held"),
            ([], [Event("queued", NOW, ID), Event("delivered", NOW, ID, 1, reply="250 ok")], "delivered"),
            ([], [], "forgotten"),
        ):
            self.rig.store.rows, self.rig.store.told = rows, told
            answer = self.post(MAIL, "?wait=10", Idempotency_Key="k")
            self.assertEqual((answer.status, answer.json["deliveries"][0]["state"]), (202, state))

    def test_a_client_that_goes_away_is_forgotten(self) -> None:
        client = self.begin()
        client.lose()
        self.told.tell([Event("delivered", NOW, ID, 1)])
        for _ in range(250):
            self.begin().lose()
        self.assertEqual(self.rig.clock.getDelayedCalls(), [])

    def test_too_many(self) -> None:
        waiting = [self.begin() for _ in range(200)]
        answer = self.post(MAIL, "?wait=1")
        self.assertEqual(answer.status, 503)
        self.assertEqual(len(self.rig.intake.submissions), len(waiting))

    def test_where_no_events_are_kept(self) -> None:
        self.rig = Rig(max_size=100_000)
        self.assertEqual(self.post(MAIL, "?wait=1").json["field"], "wait")
        self.assertEqual(self.post(MAIL, "?wait=0").status, 202)
