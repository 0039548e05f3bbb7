"""What ZoneMTA's README tells people to type, as it stands there: only host, port and ids are ours."""

from __future__ import annotations

import json
from email import message_from_bytes
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.scenario.harness import Relay
from tests.scenario.interop import Interop, program

HOST = "http://localhost:8080"
SEND = """curl -H "Content-Type: application/json" -H "X-Authenticated-User: andris" -H "X-Originating-IP: 123.123.123.123" -X POST  http://localhost:8080/send -d '{
    "from": "sender@example.com",
    "to": "recipient1@example.com, recipient2@example.com",
    "subject": "hello",
    "text": "hello world!"
}'"""  # noqa: E501
SEND_RAW = """curl -H "Content-Type: message/rfc822" -H "X-Authenticated-User: andris" -H "X-Originating-IP: 123.123.123.123" -X POST  http://localhost:8080/send-raw -d 'From: sender@example.com
To: recipient1@example.com, recipient2@example.com
Subject: Hello!

Hello world'"""  # noqa: E501
COUNTER = "curl http://localhost:8080/counter/zone/default"
COUNTERS = "curl http://localhost:8080/counter/zone/"
QUEUED = "curl http://localhost:8080/queued/active/default"
DEFERRED = QUEUED.replace("active", "deferred")
MESSAGE = "curl http://localhost:8080/message/1578a823de00009fbb"
FETCH = "curl http://localhost:8080/fetch/1578a823de00009fbb"
SUPPRESSED = "curl http://localhost:8080/suppressionlist"
SUPPRESS_ADDRESS = """curl -XPOST http://localhost:8080/suppressionlist -H 'Content-Type: application/json' -d '{
  "address": "suppressed@address.com"
}'"""
SUPPRESS_DOMAIN = """curl -XPOST http://localhost:8080/suppressionlist -H 'Content-Type: application/json' -d '{
  "domain": "suppressed-domain.com"
}'"""
ALLOW = """curl -XDELETE http://localhost:8080/suppressionlist -H 'Content-Type: application/json' -d '{
  "id": "58da641f77ebe70b883bec2e"
}'"""
METRICS = "curl http://localhost:8080/metrics"
#: Ids in what is typed.
MESSAGE_ID, ENTRY_ID = "1578a823de00009fbb", "58da641f77ebe70b883bec2e"


class OriginalCurl(Interop):
    async def typed(self, command: str, relay: Relay) -> bytes:
        """What it says."""
        self.assertIn(HOST, command)
        return await self.run_program("bash", "-ec", command.replace(HOST, f"http://localhost:{relay.api}"))

    async def said(self, command: str, relay: Relay) -> Any:
        return json.loads(await self.typed(command, relay))

    async def test_mail(self) -> None:
        """Two recipients each, known to the queue as the original shows it, fetched, counted, delivered."""
        program("curl")
        relay = await self.begin(retry='["60s"]')
        both = ["recipient1@example.com", "recipient2@example.com"]
        self.hop.replies = dict.fromkeys(both, "451 4.7.1 later")
        for command in (SEND, SEND_RAW):
            sent = await self.said(command, relay)
            queue_id = sent.pop("id")
            self.assertRegex(queue_id, r"^[0-9a-f]{18}$")
            response = f"Message queued as {queue_id}"
            self.assertEqual({"from": "sender@example.com", "to": both, "response": response}, sent)
        await self.until(lambda: self.waiting(relay) == (0, 4), 20, "four deferrals", relay)

        shown = await self.said(MESSAGE.replace(MESSAGE_ID, queue_id), relay)
        known = [shown["meta"][name] for name in ("id", "interface", "from", "user", "origin")]
        self.assertEqual([queue_id, "api", "sender@example.com", "andris", "123.123.123.123"], known)
        self.assertEqual(both, shown["meta"]["to"])
        rows = [(row["id"], row["zone"], row["recipient"], row["status"]) for row in shown["messages"]]
        self.assertEqual([(queue_id, "default", address, "DEFERRED") for address in both], rows)
        self.assertEqual("451 4.7.1 later", shown["messages"][0]["deferred"]["response"])
        text = message_from_bytes(await self.typed(FETCH.replace(MESSAGE_ID, queue_id), relay))
        self.assertEqual(("Hello!", "Hello world"), (text["Subject"], str(text.get_payload()).strip()))
        self.assertIsNone(text["Received"])

        for command in (COUNTER, COUNTERS):
            counted = await self.said(command, relay)
            self.assertEqual({"key": "default", "value": 4}, counted["deferred"]["entries"][-1])
            self.assertEqual({"key": "default", "value": 0}, counted["active"]["entries"][-1])
        self.assertEqual([], (await self.said(QUEUED, relay))["list"])
        listed = (await self.said(DEFERRED, relay))["list"]
        self.assertEqual(sorted(both * 2), sorted(one["recipient"] for one in listed))
        self.assertEqual({"default"}, {one["zone"] for one in listed})
        families = {one.name for one in text_string_to_metric_families((await self.typed(METRICS, relay)).decode())}
        self.assertLessEqual({"zonemta_delivery_status", "zonemta_message_push", "zonemta_queue_size"}, families)
        gone = await self.said(MESSAGE, relay)
        self.assertEqual({"error": "Selected message does not exist"}, gone)

    async def test_suppressions(self) -> None:
        program("curl")
        relay = await self.begin()
        address = (await self.said(SUPPRESS_ADDRESS, relay))["suppressed"]
        domain = (await self.said(SUPPRESS_DOMAIN, relay))["suppressed"]
        self.assertEqual("suppressed@address.com", address["address"])
        self.assertEqual("suppressed-domain.com", domain["domain"])
        for entry in (address, domain):
            self.assertRegex(entry["id"], r"^[0-9a-f]{24}$")
        listed = (await self.said(SUPPRESSED, relay))["suppressed"]
        self.assertEqual([domain["id"], address["id"]], [entry["id"] for entry in listed])
        self.assertEqual({"deleted": domain["id"]}, await self.said(ALLOW.replace(ENTRY_ID, domain["id"]), relay))
        listed = (await self.said(SUPPRESSED, relay))["suppressed"]
        self.assertEqual([address["id"]], [entry["id"] for entry in listed])
