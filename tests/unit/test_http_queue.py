"""What the API shows of the queue, and of single messages."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from relay.dispatch.operator import LeaseInfo
from relay.message.dialogue import Dialogue
from relay.message.values import Result
from relay.queue import keys
from tests.unit.api_rig import ID, NOW, Rig, row, stored

HEADERS = b"From: A <a@example.com>\r\nTo: b@example.net,\r\n c@example.net\r\nMessage-Id: <x@y>\r\n"
ISO = "2026-11-22T03:58:10.123Z"


class QueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.rig = Rig()
        self.rig.store.add(
            stored("s@example.com", HEADERS, b"body\r\n"),
            [
                row(1, "b@example.net"),
                row(
                    2,
                    "c@example.org",
                    NOW + 60_000,
                    attempts=2,
                    first_failure=1,
                    last_failure=2,
                    response="450 x",
                ),
                row(3, "d@example.org", zone="bounces"),
                row(4, "e@example.net", NOW - 5),
                row(5, "f@example.net", held="crash"),
            ],
            b"body\r\n",
        )

    def test_zones(self) -> None:
        self.assertEqual(self.rig.get("/zones").json, [{"name": "bounces"}, {"name": "default"}])
        for word in ("true", "yes", "1"):
            names = self.rig.get(f"/zones?includeDisabled={word}").json
            self.assertEqual(names, [{"name": "bounces"}, {"name": "default"}, {"name": "old"}])

    def test_queue(self) -> None:
        self.rig.metrics.delivery("default", Result.DELIVERED)
        self.assertEqual(
            self.rig.get("/queue/Default").json,
            {
                "time": ISO,
                "started": "2026-11-22T03:58:09.123Z",
                "processed": 1,
                "queued": 2,
                "deferred": 1,
                "domains": [
                    {"domain": "example.net", "queued": 2, "deferred": 0},
                    {"domain": "example.org", "queued": 0, "deferred": 1},
                ],
            },
        )
        nothing = self.rig.get("/queue/nowhere").json
        self.assertEqual((nothing["queued"], nothing["deferred"], nothing["domains"]), (0, 0, []))

    def test_counter(self) -> None:
        self.assertEqual(
            self.rig.get("/counter/zone/default").json,
            {
                "zone": "default",
                "active": {"entries": [{"key": "default", "value": 2}], "rows": 1},
                "deferred": {"entries": [{"key": "default", "value": 1}], "rows": 1},
            },
        )
        every = self.rig.get("/counter/zone/").json
        self.assertEqual(every["zone"], "all")
        self.assertEqual(
            every["active"],
            {
                "entries": [
                    {"key": "bounces", "value": 1},
                    {"key": "default", "value": 2},
                    {"key": "old", "value": 0},
                ],
                "rows": 3,
            },
        )

    def test_queued(self) -> None:
        active = self.rig.get("/queued/active/default").json
        self.assertEqual((active["zone"], active["type"]), ("default", "queued"))
        self.assertEqual([item["recipient"] for item in active["list"]], ["e@example.net", "b@example.net"])
        self.assertNotIn("cursor", active)
        self.assertEqual(
            self.rig.get("/queued/deferred/default").json["list"],
            [
                {
                    "id": ID,
                    "seq": "002",
                    "zone": "default",
                    "recipient": "c@example.org",
                    "created": ISO,
                    "queued": "2026-11-22T03:59:10.123Z",
                    "deferred": 2,
                }
            ],
        )
        self.assertEqual(len(self.rig.get("/queued/active/").json["list"]), 3)

    def test_pages(self) -> None:
        self.rig.store.rows = [
            row(seq, f"u@d{seq % 7}.example", NOW + seq % 3 * 1000 - 1000, zone=("a", "b")[seq % 2])
            for seq in range(1, 4001)
        ]
        for path, due in (("/queued/active/a", 0), ("/queued/deferred/a", 1), ("/queued/active/", 2)):
            expected = {
                f"{one.seq:03x}"
                for one in self.rig.store.rows
                if (due == 2 or one.zone == "a") and (one.due > NOW) == (due == 1)
            }
            seen: list[str] = []
            answer = self.rig.get(path).json
            while True:
                self.assertLessEqual(len(answer["list"]), 1000)
                seen += [item["seq"] for item in answer["list"]]
                if "cursor" not in answer:
                    break
                answer = self.rig.get(f"{path}?cursor={answer['cursor']}").json
            self.assertEqual(len(seen), len(expected))
            self.assertEqual(set(seen), expected)

    def test_a_cursor_that_nobody_was_given(self) -> None:
        for fields in (
            ["default", "d.test", -1, ID, 1],
            ["default", "d.test", 1 << 64, ID, 1],
            ["default", "d.test", 1, ID, -1],
            ["default", "d.test", 1, ID, (1 << 32) - 1],
            ["a\0b", "d.test", 1, ID, 1],
            ["default", "d\x01\n", 1, ID, 1],
            ["default", "d.test", 1, ID, 1, "f\0"],
        ):
            cursor = json.dumps(fields).encode().hex()
            self.assertEqual(self.rig.get(f"/queued/active/default?cursor={cursor}").status, 400, fields)

    def test_a_zone_that_cannot_be(self) -> None:
        self.patch(self.rig.store, "lanes", lambda after, limit: keys.lane(*after))
        self.assertEqual(self.rig.get("/queue/a%00b").json["domains"], [])
        self.assertEqual(self.rig.get("/queued/active/a%00b").json["list"], [])

    def test_bad_cursor(self) -> None:
        for cursor in ("x", "00", "5b5d", "%ff", b"[1,2,3,4,5]".hex(), "5b" * 4000):
            self.assertEqual(self.rig.get(f"/queued/active/default?cursor={cursor}").status, 400, cursor)

    def test_metrics(self) -> None:
        self.rig.metrics.pushed(True)
        answer = self.rig.get("/metrics")
        self.assertTrue(answer.headers["content-type"].startswith("text/plain"))
        self.assertIn(b'zonemta_message_push{result="success"} 1.0\n', answer.body)


class MessageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.rig = Rig()
        self.body = [b"one\r\n", b"two \r\n", b"three\r\n"]
        self.rig.store.add(
            stored("s@example.com", HEADERS, *self.body),
            [
                row(1, "b@example.net"),
                row(
                    2,
                    "c@example.net",
                    NOW + 60_000,
                    attempts=1,
                    first_failure=5,
                    last_failure=5,
                    response="450 x",
                ),
                row(3, "d@example.net", held="crash"),
            ],
            *self.body,
        )

    def test_message(self) -> None:
        self.rig.operator.leases[ID, 1] = LeaseInfo("default", "child-1", 77)
        answer = self.rig.get(f"/message/{ID}").json
        meta, messages = answer["meta"], answer["messages"]
        self.assertEqual(meta["id"], ID)
        self.assertEqual(meta["from"], "s@example.com")
        self.assertEqual(meta["to"], ["b@example.net", "c@example.net", "d@example.net"])
        self.assertEqual(meta["headers"][1], {"key": "to", "line": "To: b@example.net,\r\n c@example.net"})
        self.assertEqual(len(meta["headers"]), 3)
        self.assertEqual(meta["parsedEnvelope"]["from"], ["a@example.com"])
        self.assertEqual(meta["parsedEnvelope"]["to"], ["b@example.net", "c@example.net"])
        bh = hashlib.sha256(b"one\r\ntwo\r\nthree\r\n").digest()
        self.assertEqual(meta["dkim"], {"hashAlgo": "sha256", "bodyHash": b64encode(bh).decode()})
        self.assertEqual([one["status"] for one in messages], ["QUEUED", "DEFERRED", "HELD"])
        self.assertEqual(messages[0]["seq"], "001")
        self.assertEqual(messages[0]["lock"]["lockOwner"], "child-1")
        self.assertNotIn("lock", messages[1])
        self.assertEqual(messages[1]["deferred"]["next"], NOW + 60_000)
        self.assertEqual(messages[1]["deferred"]["response"], "450 x")
        self.assertEqual(messages[1]["deferred"]["log"], [])

    def test_the_log_of_the_last_failure(self) -> None:
        said = Dialogue(NOW, "0.0 < 220 hi\n0.1 > EHLO a\n0.2 - Connection lost")
        self.rig.store.dialogues[ID, 2] = said
        self.assertEqual(
            self.rig.get(f"/message/{ID}").json["messages"][1]["deferred"]["log"],
            [
                {"time": NOW - 200, "level": "debug", "tnx": "server", "message": "220 hi"},
                {"time": NOW - 100, "level": "debug", "tnx": "client", "message": "EHLO a"},
                {"time": NOW, "level": "info", "tnx": "network", "message": "Connection lost"},
            ],
        )

    def test_unknown(self) -> None:
        for path in ("/message/", "/fetch/"):
            for name in ("0" * 18, "x", "%00", "1a20169d1ea0007acc.001", "A" * 18):
                answer = self.rig.get(path + name)
                self.assertEqual(answer.status, 404)
                self.assertEqual(answer.json, {"error": "Selected message does not exist"})

    def test_fetch(self) -> None:
        answer = self.rig.get(f"/fetch/{ID}")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.headers["content-type"], "message/rfc822")
        self.assertEqual(answer.body, HEADERS + b"\r\n" + b"".join(self.body))
        self.assertEqual(self.rig.get(f"/fetch/{ID}?body=yes").body, b"".join(self.body))

    def test_fetch_waits_for_the_reader(self) -> None:
        """Q17: no more than the reader takes is read from the queue."""
        client = self.rig.connect()
        registered = client.transport.producer
        reads: list[int] = []
        chunk = self.rig.store.chunk

        def counted(queue_id: str, number: int) -> bytes:
            reads.append(number)
            registered.pauseProducing()
            return chunk(queue_id, number)

        self.rig.store.chunk = counted  # type: ignore[method-assign]
        client.head("GET", f"/fetch/{ID}?body=yes", None)
        self.assertEqual(reads, [0, 1])
        registered.resumeProducing()
        self.assertEqual(reads, [0, 1, 2])
        registered.resumeProducing()
        self.assertEqual(client.answer().body, b"".join(self.body))

    def test_fetch_by_a_reader_that_stops(self) -> None:
        chunk = self.rig.store.chunk
        for gone in (False, True):
            client = self.rig.connect()
            producer = client.transport.producer

            def paused(queue_id: str, number: int, producer: Any = producer) -> bytes:
                producer.pauseProducing()
                return chunk(queue_id, number)

            self.rig.store.chunk = paused  # type: ignore[method-assign]
            client.head("GET", f"/fetch/{ID}", None)
            if not gone:
                self.rig.clock.advance(200)
                self.assertTrue(client.transport.disconnected)
            producer.stopProducing()
            client.lose()
            self.assertEqual(self.rig.clock.getDelayedCalls(), [])

    def test_fetch_of_a_damaged_body(self) -> None:
        del self.rig.store.chunks[ID, 1]
        client = self.rig.connect()
        producer = client.transport.producer
        client.head("GET", f"/fetch/{ID}", None)
        self.assertTrue(client.transport.disconnected)
        producer.stopProducing()
        client.lose()
        del self.rig.store.chunks[ID, 0]
        answer = self.rig.get(f"/fetch/{ID}")
        self.assertEqual((answer.status, list(answer.json)), (500, ["error"]))

    def test_delete_and_send_now(self) -> None:
        for method, action in (("DELETE", "delete"), ("PUT", "send_now")):
            for path, asked in (
                (f"/message/{ID}/001", (action, ID, 1)),
                (f"/message/{ID}/", (action, ID, None)),
                (f"/message/{ID}", (action, ID, None)),
            ):
                answer = self.rig.request(method, path)
                self.assertEqual((answer.status, answer.json["success"]), (200, True))
                self.assertEqual(self.rig.operator.asked.pop(), asked)
            for path in ("/message/x/", f"/message/{ID}/zzz", f"/message/{ID}/000", f"/message/{ID}/1"):
                answer = self.rig.request(method, path)
                self.assertEqual(answer.json, {"success": True, "deliveries": 0}, path)
            self.assertEqual(self.rig.operator.asked, [])
