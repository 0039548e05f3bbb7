"""The queue in an operator's hands: what is found, and what each act does to real mail."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from tests.scenario.harness import Relay, deferToThread, post
from tests.scenario.recording import Recorder
from tests.scenario.test_limits import LimitsCase


class QueueCase(LimitsCase):
    async def ask(self, relay: Relay, path: str, method: str = "GET", **fields: Any) -> Any:
        return await deferToThread(self.asked, relay, path, method, fields or None)

    async def status(self, relay: Relay, path: str, **fields: Any) -> int:
        body = json.dumps(fields).encode()
        status, _ = await deferToThread(post, relay.api, path, body, "POST", {"Content-Type": "application/json"})
        return int(status)

    async def waiting(self, relay: Relay, *to: str, tag: str = "news") -> str:
        """Mail that isn't due before tomorrow; its id."""
        when = format_datetime(datetime.now(UTC) + timedelta(days=1))
        head = f"From: <a@src.test>\r\nDate: {when}\r\nX-Sending-Tags: {tag}\r\nSubject: x\r\n\r\n"
        path = f"/send-raw?from=a@src.test&to={','.join(to)}"
        status, body = await deferToThread(post, relay.api, path, head.encode() + b"0123456789\r\n")
        self.assertEqual(status, 200, body)
        return str(json.loads(body)["id"])

    async def act(self, relay: Relay, name: str, action: str, **fields: str) -> str:
        told = await self.ask(relay, f"/v1/deliveries/{name}/actions", "POST", action=action, **fields)
        return str(told["result"])

    async def names(self, relay: Relay, query: str = "") -> list[str]:
        return [one["name"] for one in (await self.ask(relay, f"/v1/queue?{query}"))["items"]]

    def taken(self, sink: Recorder) -> list[str]:
        return sorted(to for _, to, _ in sink.taken)


class ByHand(QueueCase):
    async def test_it_is_put_aside_let_go_and_sent_also_over_a_kill(self) -> None:
        sink = self.recorder()
        relay = await self.serving(sink)
        name = f"{await self.waiting(relay, 'b@to.test')}.001"
        self.assertEqual(await self.act(relay, name, "hold", reason="ticket 17"), "done")
        relay.kill()
        await self.up(relay)
        [held] = (await self.ask(relay, "/v1/queue?state=held&tag=news"))["items"]
        self.assertEqual((held["name"], held["held"]), (name, "ticket 17"))
        self.assertEqual(await self.act(relay, name, "release"), "done")
        self.assertEqual(await self.names(relay, "state=deferred&recipient=B@to.test"), [name])
        self.assertEqual(await self.act(relay, name, "send-now"), "done")
        await self.until(lambda: self.taken(sink) == ["b@to.test"], 20, "the mail", relay)
        whole = await self.ask(relay, f"/v1/deliveries/{name}")
        kinds = [one["kind"] for one in whole["events"]]
        self.assertEqual(kinds, ["queued", "held", "released", "released", "delivered"])
        self.assertEqual(await self.names(relay), [])

    async def test_it_goes_by_another_zone(self) -> None:
        first, second = self.recorder(), self.recorder()
        other = f'[zones.other]\nhost = "127.0.0.1"\nport = {second.port}\nblock_local_addresses = false'
        relay = self.relay(mx=first.port, extra=other)
        await self.up(relay)
        name = f"{await self.waiting(relay, 'b@to.test')}.001"
        self.assertEqual(await self.act(relay, name, "move", zone="other"), "done")
        self.assertEqual(await self.names(relay, "zone=other"), [name])
        self.assertEqual(await self.names(relay, "zone=default"), [])
        self.assertEqual(await self.act(relay, name, "send-now"), "done")
        await self.until(lambda: self.taken(second) == ["b@to.test"], 20, "the mail at the other's", relay)
        self.assertEqual(self.taken(first), [])

    async def test_its_sender_gets_it_back(self) -> None:
        sink = self.recorder()
        relay = await self.serving(sink, bounces="true")
        name = f"{await self.waiting(relay, 'b@to.test')}.001"
        self.assertEqual(await self.act(relay, name, "bounce", reason="the list was stolen"), "done")
        await self.until(lambda: self.taken(sink) == ["a@src.test"], 20, "the notice", relay)
        events = (await self.ask(relay, f"/v1/deliveries/{name}"))["events"]
        [event] = [one for one in events if one["kind"] == "bounced"]
        self.assertEqual(event["reply"], "5.7.0 The operator of this relay has returned it: the list was stolen")
        self.assertEqual(await self.status(relay, f"/v1/deliveries/{name}/actions", action="bounce"), 404)

    async def test_H29_while_it_is_being_delivered_it_is_left_alone(self) -> None:
        sink = self.recorder(mute=True)
        relay = await self.serving(sink)
        [queue_id] = await self.submit(relay, 1, "to.test")
        name = f"{queue_id}.001"
        await self.until(lambda: sink.open, 20, "the connection", relay)
        self.assertEqual(await self.names(relay, "state=sending"), [name])
        for action in ("delete", "hold", "bounce"):
            self.assertEqual(await self.status(relay, f"/v1/deliveries/{name}/actions", action=action), 409)
        job = await self.ask(relay, "/v1/queue/actions", "POST", action="delete", filter={"everything": True})
        self.assertEqual((job["stage"], job["total"], job["done"], job["in_hand"]), ("done", 1, 0, 1))
        self.assertEqual(await self.names(relay), [name])


class AllThatFit(QueueCase):
    async def test_counted_first_then_done(self) -> None:
        sink = self.recorder()
        relay = await self.serving(sink)
        for number in range(3):
            await self.waiting(relay, f"u{number}@one.test", f"u{number}@two.test", tag="news,spring")
        other = await self.waiting(relay, "b@one.test", tag="other")
        wanted = {"tag": "spring", "domain": "one.test"}
        dry = await self.ask(relay, "/v1/queue/actions", "POST", action="delete", filter=wanted, dry_run=True)
        self.assertEqual((dry["stage"], dry["total"], dry["done"]), ("done", 3, 0))
        job = await self.ask(relay, "/v1/queue/actions", "POST", action="delete", filter=wanted)
        self.assertEqual((job["stage"], job["total"], job["done"]), ("done", 3, 3))
        self.assertEqual(await self.names(relay, "domain=one.test"), [f"{other}.001"])
        await self.ask(relay, "/v1/queue/actions", "POST", action="send-now", filter={"sender": "a@src.test"})
        wanted_there = ["b@one.test", "u0@two.test", "u1@two.test", "u2@two.test"]
        await self.until(lambda: self.taken(sink) == wanted_there, 20, "the others", relay)
        self.assertEqual(len((await self.ask(relay, "/v1/jobs"))["jobs"]), 3)

    async def test_what_is_stored_of_a_message(self) -> None:
        relay = await self.serving(self.recorder())
        queue_id = await self.waiting(relay, "b@to.test")
        shown = await self.ask(relay, f"/v1/messages/{queue_id}")
        self.assertEqual((shown["tags"], len(shown["deliveries"])), (["news"], 1))
        fields = (await self.ask(relay, f"/v1/messages/{queue_id}/headers"))["fields"]
        self.assertIn({"name": "Subject", "value": "x"}, fields)
        self.assertNotIn("X-Sending-Tags", [one["name"] for one in fields])
        path = f"/v1/messages/{queue_id}/body"
        status, part = await deferToThread(post, relay.api, path, b"", "GET", {"Range": "bytes=2-4"})
        self.assertEqual((status, part), (206, b"234"))
