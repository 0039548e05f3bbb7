"""Crowds in full: ten thousand connections, two thousand slow ones, half minutes (rows S38, S40, S52).

    python -m tests.audit --only slow

The module isn't called test_*, so that `make test` doesn't find it.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time

from twisted.trial.unittest import SkipTest

from bench.peers import environment
from bench.proctree import precise, rss
from tests.peers.crowd import Client, addresses
from tests.scenario import test_crowds as crowds
from tests.scenario.harness import Relay, deferToThread

MIB = 1 << 20
EHLO = crowds.EHLO
#: bench.steady's open-loop source in a process of its own: rate, seconds and sessions follow the port.
STEADY = """
import asyncio, json, sys
from bench.steady import percentile, play
port, rate, seconds, sessions = map(int, sys.argv[1:])
load = asyncio.run(play(port, rate, seconds, sessions, 1024))
times = sorted(load.latencies)
print(json.dumps([len(times), percentile(times, 0.5), percentile(times, 0.99), load.failures[:3]]))
"""


def need_files(count: int) -> None:
    """Raise our own limit of open files; skips loudly where it is too low."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < count:
        raise SkipTest(f"{count} open files are needed, {hard} are allowed (ulimit -Hn): NOT TESTED")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Thousands(crowds.Crowded):
    timeout = 600

    async def test_ten_thousand_idle_and_a_thousand_active(self) -> None:
        """10,000 idle connections and 1,000 that send: each has its 250 within 5 s, memory is stated."""
        need_files(11_500)
        relay = self.relay(listener="max_connections = 12000\nmax_connections_per_address = 12000")
        await self.up(relay)
        await self.honest(relay)
        master, crowd = relay.master(), self.crowd(relay)
        before = rss(master)
        begun = time.monotonic()
        await self.together(crowd, crowd.join(10_000, addresses(100), EHLO, 2))
        took = time.monotonic() - begun
        self.assertEqual(crowd.told("250"), 10_000)
        idle, busy, begun = rss(master) - before, precise(master), time.monotonic()
        await self.remains(lambda: relay.alive, 10.0, "the relay lives")
        share = (precise(master) - busy) / (time.monotonic() - begun)
        active = await self.together(crowd, crowd.join(1000, addresses(100), EHLO, 2))
        times: list[float] = []

        async def send(client: Client, number: int) -> None:
            await asyncio.sleep(number / 200)
            for _ in range(6):
                moment = time.monotonic()
                answer = await client.message(f"ok+active-{number}@evil.test")
                assert answer.startswith("250 2.0.0"), answer
                times.append(time.monotonic() - moment)
                await asyncio.sleep(max(0.0, moment + 5 - time.monotonic()))

        async def everyone() -> None:
            await asyncio.gather(*(send(client, number) for number, client in enumerate(active)))

        await self.together(crowd, everyone(), 120)
        times.sort()
        self.assertEqual((crowd.gone(), crowd.told("421")), (0, 0))
        print(
            f"10,000 idle: {took:.1f} s to connect, {idle / 10_000:.0f} bytes each, {share:.1%} of a processor; "
            f"master {rss(master) / MIB:.0f} MiB with 1,000 active ones beside them, their p99 "
            f"{times[len(times) * 99 // 100] * 1000:.0f} ms for a message in four steps"
        )
        self.assertLess(idle, 10_000 * 4096)
        self.assertLess(share, 0.05)
        self.assertLess(times[len(times) * 99 // 100], 5)
        await self.until(lambda: len(self.mx.accepted()) >= 6001, 120, "all delivered", relay)

    async def test_S38_five_thousand_at_once(self) -> None:
        """S38: 5,000 connections from three addresses: 750 stay, the rest hears 421, others are served."""
        need_files(6000)
        relay = self.relay()
        await self.up(relay)
        crowd = self.crowd(relay)
        flood = self.together(crowd, crowd.join(5000, addresses(3), at_once=1000))
        await self.honest(relay)
        await flood
        self.assertEqual((crowd.told("220"), crowd.told("421")), (750, 4250))
        await self.honest(relay)

    async def test_S39_two_thousand_slow_ones(self) -> None:
        """S39: 2,000 clients with a byte a second each: the p99 of the others stays within twice what it was."""
        need_files(3500)
        relay = self.relay(listener="max_connections = 5000\nmax_connections_per_address = 5000")
        await self.up(relay)
        alone, beside = [], []
        for _ in range(3):
            alone.append(await self.p99(relay))
            crowd = self.crowd(relay)
            half = await self.together(crowd, crowd.join(1000, addresses(10), EHLO, 2))
            rest = await self.together(crowd, crowd.join(1000, addresses(10), EHLO + crowds.ENVELOPE, 5))
            await self.together(crowd, crowd.trickle(half, b"N"))
            await self.together(crowd, crowd.trickle(rest, crowds.HEADER))
            beside.append(await self.p99(relay))
            self.assertEqual(crowd.gone(), 0)
            await self.together(crowd, crowd.cut(crowd.clients))
        print(
            "S39: p99 of the answer to the dot "
            f"{[round(t * 1000, 1) for t in alone]} ms, beside 2,000 slow ones {[round(t * 1000, 1) for t in beside]}"
        )
        self.assertLess(sorted(beside)[1], 2 * sorted(alone)[1])

    async def p99(self, relay: Relay) -> float:
        """Seconds, at a steady 100 messages a second."""
        done = await deferToThread(
            subprocess.run,
            [sys.executable, "-c", STEADY, str(relay.smtp), "100", "20", "20"],
            env=environment(),
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.returncode, 0, done.stderr[-1500:])
        count, _, p99, failures = json.loads(done.stdout)
        self.assertEqual((count, failures), (2000, []))
        return float(p99)


class HalfMinutes(crowds.Crowded):
    timeout = 300

    async def test_S40_a_byte_a_second(self) -> None:
        """S40: 100 clients whose text comes at 1 B/s, with the defaults: cut off after half a minute."""
        relay = self.relay()
        await self.up(relay)
        crowd = self.crowd(relay)
        await self.together(crowd, crowd.join(100, addresses(5), EHLO + crowds.ENVELOPE, 5))
        self.assertEqual(crowd.told("354"), 100)
        await self.together(crowd, crowd.trickle(crowd.clients, crowds.HEADER))
        await self.remains(lambda: crowd.gone() == 0, 25.0, "nobody is cut off in the first half minute")
        await self.until(lambda: crowd.gone() == 100, 30, "their end", relay)
        self.assertEqual(crowd.told("421"), 100)
        self.assertEqual(crowd.clients[0].kept[-1], "421 4.4.2 Error: the message comes too slowly")
        await self.honest(relay)


class Sessions(crowds.Sessions):
    """S52 in full."""

    timeout = 900
    settled = 8000
    sessions = 10_000
