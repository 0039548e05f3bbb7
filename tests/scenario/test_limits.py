"""Zones, limits and fairness on real processes, as the host at the other end sees them."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from bench.network import free_ports
from bench.queuefill import fill
from relay.message.flow import Flow, flow_text
from tests.scenario.harness import Relay, Scenario, deferToThread, post, signal
from tests.scenario.recording import Recorder


class LimitsCase(Scenario):
    def recorder(self, **more: Any) -> Recorder:
        made = Recorder(free_ports(1)[0], **more)
        made.start()
        self.addCleanup(made.stop)
        return made

    async def serving(self, sink: Recorder, **settings: Any) -> Relay:
        relay = self.relay(mx=sink.port, **settings)
        await self.up(relay)
        children = int(settings.get("processes", 1))
        await self.until(lambda: len(relay.children()) == children, 20, f"{children} children", relay)
        return relay

    def reactor(self) -> Any:
        from twisted.internet import reactor

        return reactor

    async def submit(self, relay: Relay, count: int, domain: str = "d{n}.test", user: str = "") -> list[str]:
        """Hand in so many by HTTP; their ids."""

        def some() -> list[str]:
            ids = []
            for number in range(count):
                to = f"u{number}@{domain.replace('{n}', str(number % 7))}"
                text = f"From: <a@src.test>\r\nTo: <{to}>\r\nSubject: x\r\n\r\nhello\r\n".encode()
                headers = {"Content-Type": "message/rfc822"}
                if user:
                    headers["X-Authenticated-User"] = user
                status, body = post(relay.api, "/send-raw", text, headers=headers)
                assert status in (200, 202), (status, body)
                ids.append(json.loads(body)["id"])
            return ids

        return await deferToThread(some)

    def asked(self, relay: Relay, path: str, method: str = "GET", fields: object = None) -> Any:
        body = b"" if fields is None else json.dumps(fields).encode()
        status, answer = post(relay.api, path, body, method, {"Content-Type": "application/json"} if body else {})
        self.assertLess(status, 300, answer)
        return json.loads(answer)

    async def paced(
        self, children: int, per_second: int, count: int = 110, user: str = "", **settings: Any
    ) -> Recorder:
        """So many messages are there at once; how they arrive is looked at for as long as there are some."""
        sink = self.recorder()
        relay = await self.serving(sink, processes=children, **settings)
        await self.submit(relay, count, user=user)
        await self.until(lambda: len(sink.taken) == count, 60, "all of it", relay)
        self.check_pace(sink, per_second)
        return sink

    def check_pace(self, sink: Recorder, per_second: int) -> None:
        times = [when for when, _ in sink.mails]
        self.assertLessEqual(sink.most_within(1.0), per_second + 1)
        self.assertGreaterEqual(len(times) - 1, 0.95 * per_second * (times[-1] - times[0]))


class Rates(LimitsCase):
    async def test_of_a_zone_with_three_children(self) -> None:
        await self.paced(3, 20, zone='messages = ["20/s"]')

    async def test_of_a_zone_with_one_child(self) -> None:
        await self.paced(1, 20, zone='messages = ["20/s"]')

    async def test_of_a_zone_with_eight_children(self) -> None:
        await self.paced(8, 20, zone='messages = ["20/s"]')

    async def test_of_an_address(self) -> None:
        await self.paced(3, 20, zone='address = { messages = ["20/s"] }')

    async def test_of_a_user(self) -> None:
        await self.paced(3, 20, user="me", extra='[senders.me]\nmessages = ["20/s"]')

    async def test_of_a_domain(self) -> None:
        sink = self.recorder()
        relay = await self.serving(sink, processes=3, extra='[domains."one.test"]\nmessages = ["20/s"]')
        await self.submit(relay, 80, "one.test")
        await self.submit(relay, 40, "other.test")
        await self.until(lambda: len(sink.taken) == 120, 60, "all of it", relay)
        others = [when for when, rcpt, _ in sink.taken if rcpt.endswith("@other.test")]
        self.assertLess(others[-1] - others[0], 2.0, "others are not held up")
        limited = [when for when, rcpt, _ in sink.taken if rcpt.endswith("@one.test")]
        self.assertGreater(limited[-1] - limited[0], 79 / 20 - 0.2)

    async def test_D38_children_that_die_reset_no_rate(self) -> None:
        sink = self.recorder()
        relay = await self.serving(sink, processes=3, zone='messages = ["10/s"]')
        await self.submit(relay, 60)
        for number in range(4):
            await self.until(lambda wanted=10 * number + 5: len(sink.taken) > wanted, 30, "more", relay)
            for child in relay.children():
                os.kill(child, signal.SIGKILL)
        await self.until(lambda: len({rcpt for _, rcpt, _ in sink.taken}) == 60, 60, "all of it", relay)
        self.assertLessEqual(sink.most_within(1.0), 11)


class Fairness(LimitsCase):
    timeout = 400

    async def test_one_message_beside_a_hundred_thousand(self) -> None:
        """One user has 100,000 queued, half of it for the same domain; another's message leaves within a second."""
        sink = self.recorder(pause=0.002)
        relay = self.relay(mx=sink.port, zone="max_connections = 4", extra='[domains."big.test"]\nmax_connections = 2')
        noisy = flow_text(Flow("noisy"))
        os.makedirs(relay.queue, mode=0o700)
        await fill(self.reactor(), relay.queue, 50_000, 5_000, -60, "d{n}.test", "u{n}", noisy)
        await fill(self.reactor(), relay.queue, 50_000, 1, -60, "big.test", "b{n}", noisy)
        await self.up(relay, seconds=60)
        await self.until(lambda: len(sink.taken) > 500, 60, "the batch is under way", relay)
        for domain in ("big.test", "quiet.test"):
            begun = time.monotonic()
            await self.submit(relay, 1, domain, user="quiet")
            await self.until(lambda to=f"u0@{domain}": any(rcpt == to for _, rcpt, _ in sink.taken), 20, "it", relay)
            arrived = next(when for when, rcpt, _ in sink.taken if rcpt == f"u0@{domain}")
            self.assertLess(arrived - begun, 1.0, domain)
