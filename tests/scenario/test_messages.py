"""Mail by `POST /v1/messages`: what arrives and when, what is told of it, and that no mail goes twice."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from tests.scenario.harness import Relay, deferToThread, post
from tests.scenario.interop import Interop

MAIL: dict[str, Any] = {"from": "Shop <shop@example.com>", "to": "you@example.org", "subject": "Grüße", "text": "hi\n"}
_PATH = "/v1/messages"


class Messages(Interop):
    async def post(self, relay: Relay, mail: Any, query: str = "", status: int = 202, **headers: str) -> Any:
        named = {"Content-Type": "application/json", **{key.replace("_", "-"): value for key, value in headers.items()}}
        code, said = await deferToThread(post, relay.api, _PATH + query, json.dumps(mail).encode(), headers=named)
        self.assertEqual(code, status, said)
        return json.loads(said)

    async def test_what_arrives(self) -> None:
        relay = await self.begin()
        told = await self.post(
            relay,
            {
                **MAIL,
                "cc": {"name": "Zoë", "address": "zoe@example.org"},
                "bcc": "hidden@example.org",
                "html": '<p>hi <img src="cid:logo">',
                "attachments": [
                    {"filename": "Prüfung.csv", "content": "YTti4oCTCg=="},
                    {"filename": "logo.gif", "content": "R0lGODlhAQABAAAAACw=", "cid": "logo"},
                ],
                "headers": {"X-Order": "17"},
                "envelope_from": "bounces@example.com",
                "tags": ["welcome"],
                "metadata": {"order": "17"},
            },
        )
        names = [one["recipient"] for one in told["deliveries"]]
        self.assertEqual(names, ["you@example.org", "zoe@example.org", "hidden@example.org"])
        self.assertEqual([one["id"] for one in told["deliveries"]], [f"{told['id']}.00{seq}" for seq in (1, 2, 3)])
        await self.until(lambda: sum(len(one.recipients) for one in self.hop.taken) == 3, 20, "all of it", relay)
        self.assertEqual(Counter(to for one in self.hop.taken for to in one.recipients), Counter(names))
        for taken in self.hop.taken:
            self.assertEqual(taken.sender, "bounces@example.com")
            mail = message_from_bytes(taken.text, policy=default)
            assert isinstance(mail, EmailMessage)
            self.assertEqual((mail["Subject"], mail["X-Order"], mail["To"]), ("Grüße", "17", "you@example.org"))
            # Received names whom that copy is for.
            seen = [(name, value) for name, value in mail.items() if name != "Received"]
            self.assertNotIn("hidden@example.org", str(seen))
            [table] = mail.iter_attachments()
            self.assertEqual((table.get_filename(), table.get_payload(decode=True)), ("Prüfung.csv", "a;b–\n".encode()))
            text = mail.get_body(("plain",))
            assert text is not None
            self.assertEqual(text.get_content().rstrip(), "hi")
            images = [part for part in mail.walk() if part["Content-ID"] == "<logo>"]
            self.assertEqual([part.get_content() for part in images], [b"GIF89a\x01\x00\x01\x00\x00\x00\x00,"])

    async def test_not_before_its_time(self) -> None:
        relay = await self.begin()
        when = time.time() + 2
        at = datetime.fromtimestamp(when, UTC).isoformat()
        told = await self.post(relay, {"messages": [{**MAIL, "send_at": at}, {**MAIL, "to": "now@example.org"}]})
        self.assertEqual(len(told["messages"]), 2)
        await self.until(lambda: self.hop.taken, 20, "the first", relay)
        self.assertEqual(self.hop.taken[0].recipients, ["now@example.org"])
        await self.until(lambda: len(self.hop.taken) == 2, 20, "the second", relay)
        self.assertGreaterEqual(time.time(), when)

    async def test_the_answer_waits_for_what_becomes_of_it(self) -> None:
        relay = await self.begin()
        self.hop.replies = {"later@example.org": "450 4.2.0 later", "no@example.org": "550 5.1.1 nobody"}
        mail = {**MAIL, "to": ["you@example.org", "later@example.org", "no@example.org"]}
        told = await self.post(relay, mail, "?wait=30", Idempotency_Key="w")
        states = {one["recipient"]: (one["state"], one["reply"][:9]) for one in told["deliveries"]}
        self.assertEqual(states.pop("you@example.org")[0], "delivered")
        expected = {"later@example.org": ("deferred", "450 4.2.0"), "no@example.org": ("bounced", "550 5.1.1")}
        self.assertEqual(states, expected)
        self.assertLess(told["waited"], 30)
        # The same again: as it stands.
        again = await self.post(relay, mail, "?wait=30", Idempotency_Key="w")
        self.assertEqual(again["id"], told["id"])
        self.assertEqual([one["state"] for one in again["deliveries"]], [one["state"] for one in told["deliveries"]])

    async def test_H26_H27_cut_off_before_the_answer_and_again(self) -> None:
        relay = await self.begin()
        body = json.dumps({"messages": [MAIL, {**MAIL, "to": "they@example.org"}]}).encode()
        lines = ("Host: 127.0.0.1", "Idempotency-Key: cut", f"Content-Length: {len(body)}")
        head = f"POST {_PATH} HTTP/1.1\r\n" + "".join(f"{line}\r\n" for line in lines) + "\r\n"
        with socket.create_connection(("127.0.0.1", relay.api)) as client:
            client.sendall(head.encode() + body)
        await self.until(lambda: len(self.hop.taken) == 2, 20, "both", relay)
        relay.kill()
        await self.up(relay)
        first, second = [await self.post(relay, json.loads(body), Idempotency_Key="cut") for _ in range(2)]
        self.assertEqual(first, second)
        self.assertEqual(len({one["id"] for one in first["messages"]}), 2)
        await self.post(relay, MAIL, status=409, Idempotency_Key="cut")
        await self.emptied(relay)
        self.assertEqual(len(self.hop.taken), 2)
