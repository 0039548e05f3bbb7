"""Limits of sites, connections, new ones and bytes on real processes, with names from a real DNS server."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from bench.network import free_ports
from bench.peers import environment
from tests.scenario.harness import Relay, deferToThread, post, signal
from tests.scenario.recording import Recorder, most
from tests.scenario.test_limits import LimitsCase

SHARED = '[sites.shared]\nmx = ["mx.shared.test"]\n'
OWN_HOSTS = "block_local_addresses = false"


class SitesCase(LimitsCase):
    async def named(self, sink: Recorder, extra: str = "", **settings: Any) -> Relay:
        """A relay that asks a DNS server for the hosts of each domain."""
        [port] = free_ports(1)
        names = subprocess.Popen(
            [sys.executable, "-m", "bench.names", "--port", str(port)],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        self.addCleanup(names.wait)
        self.addCleanup(names.kill)
        assert names.stdout is not None
        self.addCleanup(names.stdout.close)
        await deferToThread(names.stdout.readline)
        extra = f'{extra}\n[dns]\nnameservers = ["127.0.0.1:{port}"]'
        return await self.serving(sink, hop=OWN_HOSTS, extra=extra, **settings)

    async def arrived(self, sink: Recorder, relay: Relay, count: int, seconds: float = 60) -> None:
        await self.until(lambda: len({rcpt for _, rcpt, _ in sink.taken}) == count, seconds, f"all {count}", relay)

    def check_used(self, series: list[tuple[float, float]], per_second: float) -> None:
        """At least 95 % of a rate, between the first and the last."""
        span = series[-1][0] - series[0][0]
        self.assertGreaterEqual(sum(amount for _, amount in series[1:]), 0.95 * per_second * span)

    async def shared(self, children: int) -> None:
        sink = self.recorder()
        relay = await self.named(sink, SHARED + 'messages = ["20/s"]', processes=children)
        await self.submit(relay, 80, "d{n}.shared.test")
        await self.submit(relay, 20, "elsewhere.test")
        await self.arrived(sink, relay, 100)
        of_site = [(when, 1.0) for when, rcpt in sink.asked if rcpt.endswith(".shared.test")]
        others = [when for when, rcpt in sink.asked if rcpt.endswith("@elsewhere.test")]
        self.assertLessEqual(most(of_site, 1.0), 21)
        self.check_used(of_site, 20)
        self.assertLess(others[-1] - others[0], 1.5, "another site is not held up")

    async def counted(self, children: int, user: str = "", **settings: Any) -> Recorder:
        sink = self.recorder(pause=0.1)
        relay = await self.serving(sink, processes=children, **settings)
        await self.submit(relay, 60, user=user)
        await self.arrived(sink, relay, 60)
        return sink

    async def of_a_zone(self, children: int) -> None:
        sink = await self.counted(children, zone="max_connections = 4")
        self.assertEqual(sink.most_open, 4)


class Sites(SitesCase):
    async def test_seven_domains_share_a_rate_with_three_children(self) -> None:
        await self.shared(3)

    async def test_and_with_eight(self) -> None:
        await self.shared(8)


class Counts(SitesCase):
    async def test_new_connections_of_a_zone(self) -> None:
        sink = self.recorder()
        relay = await self.serving(sink, processes=3, zone='reuse = 1\nnew_connections = ["10/s"]')
        await self.submit(relay, 45)
        await self.arrived(sink, relay, 45)
        opened = [(when, 1.0) for when in sink.connections()]
        self.assertLessEqual(most(opened, 1.0), 11)
        self.check_used(opened, 10)

    async def test_new_connections_to_all_hosts_of_a_domain(self) -> None:
        """The first host of each domain refuses, and each delivery calls both."""
        sink = self.recorder()
        first = Recorder(sink.port, host="127.0.0.8", refuses=True)
        first.start()
        self.addCleanup(first.stop)
        relay = await self.named(sink, zone='reuse = 1\nnew_connections = ["10/s"]', processes=3)
        await self.submit(relay, 25, "d{n}.double.test")
        await self.arrived(sink, relay, 25)
        opened = sorted((when, 1.0) for one in (first, sink) for when in one.connections())
        self.assertEqual(len(opened), 50)
        self.assertLessEqual(most(opened, 1.0), 11)
        self.check_used(opened, 10)

    async def test_bytes_of_a_zone(self) -> None:
        """In no second more than the amount and one message."""
        sink = self.recorder()
        relay = await self.serving(sink, processes=3, zone='bytes = ["40KB/s"]')
        await self.large(relay, 50, 4000)
        await self.arrived(sink, relay, 50)
        biggest = max(size for _, size in sink.sizes)
        series = sorted((when, float(size)) for when, size in sink.sizes)
        self.assertLessEqual(most(series, 1.0), 40 * 1024 + biggest)
        self.check_used(series, 40 * 1024)

    async def test_D38_600_in_a_minute_is_ten_in_a_second_over_kills(self) -> None:
        sink = self.recorder()
        relay = await self.serving(sink, processes=3, zone='messages = ["600/m"]')
        await self.submit(relay, 60)
        for number in range(3):
            await self.until(lambda wanted=15 * number + 5: len(sink.taken) > wanted, 30, "more", relay)
            for child in relay.children():
                os.kill(child, signal.SIGKILL)
        await self.arrived(sink, relay, 60)
        times = [when for when, _ in sink.mails]
        self.assertLessEqual(sink.most_within(1.0), 11)
        self.assertLessEqual(len(times), 10 * (times[-1] - times[0]) + 2)

    async def large(self, relay: Relay, count: int, size: int) -> None:
        def some() -> None:
            for number in range(count):
                text = f"From: <a@src.test>\r\nTo: <u{number}@big.test>\r\nSubject: x\r\n\r\n".encode()
                text += (b"x" * 70 + b"\r\n") * (size // 72)
                status, body = post(relay.api, "/send-raw", text, headers={"Content-Type": "message/rfc822"})
                assert status in (200, 202), (status, body)

        await deferToThread(some)
