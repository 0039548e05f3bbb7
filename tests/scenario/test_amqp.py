"""Events to a real RabbitMQ: each there for good before it counts as taken, whoever is away or killed in between."""

from __future__ import annotations

import json
import smtplib
import time
from pathlib import Path
from typing import Any

from tests.peers.rabbitmq import RabbitMq
from tests.scenario.harness import Relay, Scenario, deferToThread, post
from tests.unit.certificates import Authority

SINKS = """[sinks.plain]
kind = "amqp"
host = "127.0.0.1"
port = {port}
[sinks.secure]
kind = "amqp"
host = "127.0.0.1"
port = {tls_port}
tls = true
events = ["delivered"]
routing_key = "secure.{{kind}}.{{zone}}"
[tls]
authorities = "{trusted}"
"""
TEXT = "From: <me@src.test>\r\n\r\nhello\r\n"


class Amqp(Scenario):
    timeout = 120

    async def mail(self, relay: Relay, count: int) -> None:
        def submit() -> None:
            with smtplib.SMTP("127.0.0.1", relay.smtp, "client.test", timeout=20) as client:
                for number in range(count):
                    client.sendmail("me@src.test", [f"ok+{number}@evil.test"], TEXT)

        await deferToThread(submit)

    def asked(self, relay: Relay, path: str) -> Any:
        return json.loads(post(relay.api, path, method="GET")[1])

    def sink(self, relay: Relay, name: str) -> Any:
        return {sink["name"]: sink for sink in self.asked(relay, "/v1/sinks")["sinks"]}[name]

    def numbers(self, relay: Relay, kind: str = "") -> list[int]:
        return [event["number"] for event in self.asked(relay, f"/v1/events?limit=1000&kind={kind}")["events"]]

    async def taken(self, relay: Relay, name: str, events: int) -> None:
        """There are so many events, and the sink has handed on all."""
        await self.until(
            lambda: len(self.numbers(relay)) >= events and self.sink(relay, name)["state"] == "up to date",
            60,
            f"the sink {name}",
            relay,
        )

    async def running(self, broker: RabbitMq) -> None:
        broker.start()
        await self.until(lambda: broker.ready, 60, "RabbitMQ")

    async def test_a_broker_that_comes_late_and_is_killed_has_each_event(self) -> None:
        authority = Authority()
        pair = authority.server("127.0.0.1").write(Path(self.directory, "broker.pem"))
        trusted = authority.write(Path(self.directory, "ca.pem"))
        broker = RabbitMq(self.directory, pair)
        self.addCleanup(broker.kill)
        relay = self.relay(extra=SINKS.format(port=broker.port, tls_port=broker.tls_port, trusted=trusted))
        await self.up(relay)

        # There is nobody yet; then there is a broker, in the end with a queue for each sink.
        await self.mail(relay, 5)
        await self.until(lambda: self.sink(relay, "plain")["failures"], 20, "a failure", relay)
        self.assertIn("Connection was refused", self.sink(relay, "plain")["trouble"])
        await self.running(broker)
        await deferToThread(broker.prepare, "plain", "zonerelay.#")
        await self.taken(relay, "plain", 10)
        found = await deferToThread(broker.fetch, "plain")
        self.assertEqual([event["number"] for _, _, event in found], self.numbers(relay))
        for key, properties, event in found:
            self.assertEqual(key, f"zonerelay.{event['kind']}")
            self.assertEqual((properties.delivery_mode, properties.message_id), (2, str(event["number"])))
            self.assertEqual((properties.content_type, properties.type), ("application/json", event["kind"]))
            self.assertLess(abs(properties.timestamp - time.time()), 120)
        await self.until(lambda: "no queue" in self.sink(relay, "secure")["trouble"], 20, "trouble", relay)
        said = "the exchange 'amq.topic' has no queue for 'secure.delivered.default'"
        self.assertEqual(self.sink(relay, "secure")["trouble"], f"amqps:127.0.0.1:{broker.tls_port}: {said}")
        await deferToThread(broker.prepare, "secure", "secure.delivered.#")

        # Both are killed, each with events on their way.
        await self.mail(relay, 20)
        await deferToThread(broker.kill)
        await self.mail(relay, 20)
        await self.until(lambda: self.sink(relay, "plain")["trouble"], 20, "a failure", relay)
        relay.kill()
        broker.start()
        await self.up(relay)
        await self.until(lambda: broker.ready, 60, "RabbitMQ")
        for name in ("plain", "secure"):
            await self.taken(relay, name, 90)
        found += await deferToThread(broker.fetch, "plain")
        self.assertEqual(sorted({event["number"] for _, _, event in found}), self.numbers(relay))
        secure = await deferToThread(broker.fetch, "secure")
        self.assertEqual({event["number"] for _, _, event in secure}, set(self.numbers(relay, "delivered")))
