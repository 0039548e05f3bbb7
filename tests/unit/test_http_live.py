"""The stream of what happens: in order, resumed, bounded, and no heavier than its client."""

from __future__ import annotations

import json
import re
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from relay.access.caller import Scope
from relay.access.tenant import Tenant
from relay.http import live
from relay.http.live import LiveApi
from relay.http.stream import BEAT, GATHER
from relay.message.event import Event
from relay.metrics.definitions import Totals
from relay.queue.memory import MemoryStore
from tests.unit.api_rig import NOW, Client, Rig
from tests.unit.store_rig import delivery, message


class LiveTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = MemoryStore()
        self.totals = Totals(10, 5, 3, 1, 0)
        clock = Rig().clock
        api = LiveApi(
            self.store,
            lambda: ["bulk", "default"],
            lambda: self.totals,
            lambda: {"sending": 2},
            clock,
            lambda: NOW + round(clock.seconds() * 1000),
            60.0,
        )
        self.api = api
        self.rig = Rig(clock=clock, more=[api])
        self.clock = clock

    def tell(self, *kinds: str, **fields: Any) -> None:
        self.store.tell([Event(kind, NOW, **fields) for kind in kinds])

    def begin(self, query: str = "", **headers: str) -> Client:
        client = self.rig.connect()
        client.head("GET", "/v1/stream" + query, None, **headers)
        self.clock.advance(GATHER)
        return client

    def said(self, client: Client) -> list[tuple[str, Any]]:
        """What has come since the last look: the events' names and data."""
        value = client.transport.value()
        client.transport.clear()
        body = value.partition(b"\r\n\r\n")[2] if value.startswith(b"HTTP/") else value
        text = re.sub(rb"[0-9a-f]+\r\n(.*?)\r\n", rb"\1", body, flags=re.DOTALL).decode()
        parts = [dict(line.split(": ", 1) for line in part.split("\n") if ": " in line) for part in text.split("\n\n")]
        return [(part["event"], json.loads(part["data"])) for part in parts if "event" in part]

    def numbers(self, client: Client) -> list[int]:
        return [data["number"] for _, data in self.said(client)]

    def test_those_to_come(self) -> None:
        self.tell("queued")
        client = self.begin()
        head = client.transport.value().lower()
        self.assertIn(b"\r\ncontent-type: text/event-stream\r\n", head)
        self.assertIn(b"\r\ncache-control: no-store\r\n", head)
        self.assertEqual(self.said(client), [])
        self.tell("delivered", reply="250 <ok>\n")
        self.clock.advance(GATHER)
        [(name, data)] = self.said(client)
        self.assertEqual((name, data["number"], data["kind"]), ("event", 2, "delivered"))

    def test_whoever_asks_for_the_header_alone_is_answered(self) -> None:
        client = self.rig.connect()
        for _ in range(2):
            client.send(b"HEAD /v1/stream?after=0&counters=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        said = client.transport.value()
        self.assertEqual((said.count(b"HTTP/1.1 200"), said.count(b"text/event-stream")), (2, 2))
        self.assertTrue(said.endswith(b"\r\n\r\n"))

    def test_those_behind_a_number(self) -> None:
        self.tell(*["queued", "delivered"] * 2)
        self.assertEqual(self.numbers(self.begin("?after=2")), [3, 4])
        self.assertEqual(self.numbers(self.begin("?after=0&kind=delivered")), [2, 4])
        self.assertEqual(self.numbers(self.begin("?after=0", Last_Event_ID="3")), [4])
        self.assertEqual(self.numbers(self.begin("?after=99")), [])

    def test_cut_off_with_its_key(self) -> None:
        kept, revoked = (self.begin(Authorization=f"Bearer {self.rig.key(Scope.READ)}") for _ in range(2))
        self.rig.roll.revoke(list(self.rig.roll.keys)[1].id)
        self.clock.advance(BEAT)
        self.assertTrue(revoked.transport.disconnecting)
        self.assertFalse(kept.transport.disconnecting)

    def test_what_can_not_stand(self) -> None:
        for query, headers in (("?kind=odd", {}), ("?counters=x", {}), ("", {"Last_Event_ID": "x"})):
            answer = self.rig.request("GET", "/v1/stream" + query, **headers)
            self.assertEqual(answer.status, 400)
            self.assertEqual(answer.problem["code"], "InvalidArgument")

    def test_many_come_in_pages(self) -> None:
        self.tell(*["queued"] * 450)
        client = self.begin("?after=0")
        self.clock.pump([0] * 5)
        self.assertEqual(self.numbers(client), list(range(1, 451)))

    def test_a_client_that_takes_nothing_costs_nothing_and_is_cut_off(self) -> None:
        client = self.begin("?counters=1")
        self.said(client)
        producer = client.transport.producer
        producer.pauseProducing()
        self.tell(*["queued"] * 10)
        self.clock.pump([1] * 20)
        self.assertEqual(self.said(client), [])
        producer.resumeProducing()
        self.clock.advance(GATHER)
        self.assertEqual([data["number"] for name, data in self.said(client) if name == "event"], list(range(1, 11)))
        aborted: list[bool] = []
        client.transport.abortConnection = lambda: aborted.append(True)  # type: ignore[method-assign]
        producer.pauseProducing()
        self.clock.advance(60)
        self.assertEqual(aborted, [True])

    def test_what_is_forgotten_is_told(self) -> None:
        self.tell(*["queued"] * 3)
        self.patch(self.store, "event_bounds", lambda: type(MemoryStore().event_bounds())(3, 3))
        client = self.begin("?after=0")
        self.assertEqual([name for name, _ in self.said(client)], ["missed", "event"])

    def test_counters(self) -> None:
        self.store.append(message(1), [delivery(1, zone="bulk")], b"body")
        client = self.begin("?events=false&counters=2")
        [(name, told)] = self.said(client)
        self.assertEqual(name, "counters")
        self.assertEqual(told["totals"], {"accepted": 10, "delivered": 5, "deferred": 3, "bounced": 1, "dropped": 0})
        self.assertIsNone(told["rates"])
        self.assertEqual(sum(told["queue"]["bulk"].values()), 1)
        self.assertEqual(told["connections"], {"sending": 2})
        self.totals = Totals(14, 5, 3, 1, 0)
        self.clock.advance(2)
        [(_, told)] = self.said(client)
        self.assertEqual(told["rates"], {**dict.fromkeys(Totals._fields, 0.0), "accepted": round(4 / 2.1, 3)})

    def test_signs_of_life(self) -> None:
        client = self.begin()
        client.transport.clear()
        self.clock.advance(BEAT)
        self.assertIn(b":\n\n", client.transport.value())

    def test_clients_that_go_leave_nothing(self) -> None:
        self.patch(live, "MOST", 2)
        clients = [self.begin("?counters=1") for _ in range(2)]
        answer = self.rig.request("GET", "/v1/stream")
        self.assertEqual(answer.status, 503)
        self.assertNotEqual(self.timers(), [])
        for client in clients:
            client.lose()
        self.assertEqual(self.timers(), [])
        self.begin()

    def timers(self) -> list[str]:
        return [str(call) for call in self.clock.getDelayedCalls() if "Stream" in str(call)]

    def test_the_end_of_the_relay_ends_it(self) -> None:
        client = self.begin()
        self.rig.site.close_connections()
        self.assertTrue(client.transport.disconnecting)

    def test_a_tenant_sees_its_own(self) -> None:
        self.rig.roll.add_tenant(Tenant("acme", "Acme"))
        mine = f"Bearer {self.rig.key(Scope.READ, tenant='acme')}"
        self.tell("queued", tenant="acme")
        self.tell("queued", tenant="other")
        self.tell("decision")
        self.assertEqual(self.numbers(self.begin("?after=0", Authorization=mine)), [1])
        self.assertEqual(self.rig.request("GET", "/v1/stream?counters=1", Authorization=mine).status, 403)

    def test_a_tenant_leaves_room_for_others(self) -> None:
        self.rig.roll.add_tenant(Tenant("acme", "Acme"))
        mine = f"Bearer {self.rig.key(Scope.READ, tenant='acme')}"
        for _ in range(live.TENANTS):
            self.begin(Authorization=mine)
        self.assertEqual(self.rig.request("GET", "/v1/stream", Authorization=mine).status, 503)
        self.begin()
