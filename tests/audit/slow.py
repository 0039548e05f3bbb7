"""The long forms of the scenarios: minutes of freezing, hundreds of deaths, a million messages.

The module isn't called test_*, so that `make test` doesn't find it.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

from bench import source
from bench.network import greets
from bench.peers import environment
from bench.proctree import rss
from tests.scenario import test_faults_disk as disk
from tests.scenario.harness import (
    Load,
    Relay,
    Scenario,
    deferToThread,
    needs,
    needs_root,
    signal,
)

MIB = 1 << 20


class KilledAtEverySync(disk.KilledAtSync):
    """N14 in full."""

    points = range(1, 201)


class Frozen(Scenario):
    """Freezes longer than the leases of the default configuration."""

    timeout = 900

    async def test_N08_ten_seconds_with_default_leases(self) -> None:
        """N08: a child stopped for 12 s between RCPT and the dot, lease 8 s."""
        relay = self.relay(heartbeat="2s", lease="8s")
        await self.up(relay)
        load = await self.send(relay, 5, "slow-rcpt-5+{id}@evil.test", sessions=5)
        await self.remains(lambda: not self.mx.accepted(), 1.5, "MAIL and RCPT are under way")
        frozen = relay.children()[0]
        os.kill(frozen, signal.SIGSTOP)
        self.addCleanup(_continue, frozen)
        await self.remains(lambda: True, 12.0, "")
        _continue(frozen)
        self.assert_safe(await self.drained(relay, load, settle=10.0), relay)

    async def test_N09_master_stopped_for_a_minute(self) -> None:
        """N09: 60 s under load: neither loss nor second copies, service afterwards."""
        relay = self.relay(heartbeat="2s", lease="8s")
        await self.up(relay)
        load = self.load(
            relay, sessions=8, pause=0.01, recipients=["ok+{id}@evil.test", "slow-rcpt-2+{id}@evil.test"]
        )
        await self.until(lambda: len(load.accepted()) > 100, 20, "load", relay)
        master = relay.master()
        os.kill(master, signal.SIGSTOP)
        await self.remains(lambda: True, 60.0, "")
        _continue(master)
        seen = len(load.accepted())
        await self.until(lambda: len(load.accepted()) > seen + 50, 30, "service after the thaw", relay)
        await self.stop(load)
        self.assert_safe(await self.drained(relay, load, seconds=120, settle=10.0), relay)


class HalfOpen(Scenario):
    """N10: the channel's packets vanish, nobody gets a reset."""

    timeout = 300

    async def test_N10_half_open_channel(self) -> None:
        """N10: the relay's loopback goes down, its MX stays reachable: the child notices, and what was
        before its dot is delivered once."""
        needs_root("a half-open channel")
        needs("ip", "a half-open channel")
        name = f"zr{os.getpid() % 10000}"
        self.addCleanup(lambda: subprocess.run(["ip", "netns", "del", name], capture_output=True))
        for words in (
            f"netns add {name}",
            f"link add {name}a type veth peer name {name}b netns {name}",
            f"addr add 10.213.7.1/24 dev {name}a",
            f"link set {name}a up",
            f"-n {name} addr add 10.213.7.2/24 dev {name}b",
            f"-n {name} link set {name}b up",
            f"-n {name} link set lo up",
        ):
            done = subprocess.run(["ip", *words.split()], capture_output=True, text=True)
            if done.returncode:
                self.skipTest(f"ip {words}: {done.stderr.strip()}: NOT TESTED")
        self.mx.host = "0.0.0.0"
        relay = self.relay()
        with open(relay.config) as file:
            text = file.read().replace('host = "127.0.0.1"', 'host = "10.213.7.1"')
        text = text.replace(f"tcp:{relay.smtp}:interface=127.0.0.1", f"tcp:{relay.smtp}:interface=10.213.7.2")
        text = text.replace("[listeners.feeder]", '[listeners.feeder]\nallow_networks = ["10.213.7.0/24"]')
        with open(relay.config, "w") as file:
            file.write(text)
        self.mx.start()
        relay.start(["ip", "netns", "exec", name])
        await self.until(lambda: greets(relay.smtp, "10.213.7.2"), 20, "the greeting", relay)
        load = Load(relay.smtp, ["slow-rcpt-3+{id}@evil.test"], host="10.213.7.2")
        await deferToThread(load.send, 3, 3)
        await self.remains(lambda: not self.mx.accepted(), 1.0, "MAIL and RCPT are under way")
        old = relay.children()
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "down"], check=True)
        await self.until(lambda: not set(old) & set(relay.children()), 30, "the cut-off child's end", relay)
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        self.assert_safe(await self.drained(relay, load, seconds=60, settle=6.0), relay)


class CrashLoop(Scenario):
    timeout = 300

    async def test_N16_a_minute_of_killing(self) -> None:
        """N16: children killed as they come for 60 s: throttled, the master lives, mail flows afterwards."""
        relay = self.relay()
        await self.up(relay)
        master, killed = relay.master(), set()
        end = time.monotonic() + 60

        def strike() -> bool:
            for pid in relay.children():
                killed.add(pid)
                subprocess.run(["kill", "-9", str(pid)], capture_output=True)
            return time.monotonic() > end

        await self.until(strike, 90, "a minute of killing", relay)
        self.assertTrue(2 <= len(killed) <= 100, f"{len(killed)} children were started in a minute")
        self.assertEqual(relay.master(), master)
        load = await self.send(relay, 5)
        await self.arrival(load, 90, relay)
        zombies = [p for p in relay.tree.members() if p.state == "Z"]
        self.assertEqual(zombies, [])


class Deep(Scenario):
    """A million messages (AUDIT_DEPTH: fewer) for one dead domain, due already."""

    timeout = 3600
    depth = int(os.environ.get("AUDIT_DEPTH", "1000000"))

    async def filled(self, domains: int, due: float, user: str = "user{n}") -> Relay:
        relay = self.relay()
        await deferToThread(
            subprocess.run,
            [
                sys.executable,
                "-m",
                "bench.queuefill",
                relay.queue,
                "--count",
                str(self.depth),
                "--domains",
                str(domains),
                "--due",
                str(due),
                "--pattern",
                "d{n}.dead.test",
                "--user",
                user,
            ],
            env=environment(),
            check=True,
            capture_output=True,
        )
        return relay

    async def test_Q12_start_over_a_million(self) -> None:
        """Q12: all due, killed, started: SMTP answers < 5 s, first delivery < 30 s, master < 1 GiB."""
        relay = await self.filled(10_000, -60)
        await self.up(relay)
        await self.until(self.mx.accepted, 30, "a first delivery", relay)
        await deferToThread(relay.kill)
        seen = len(self.mx.accepted())
        took = await self.up(relay)
        first = await self.until(lambda: len(self.mx.accepted()) > seen, 30, "a delivery", relay)
        size = rss(relay.master())
        print(f"Q12: {self.depth} due: greeting in {took:.2f} s, mail {first:.2f} s later, {size // MIB} MiB")
        self.assertLess(took, 5)
        self.assertLess(size, 1 << 30)

    async def test_Q13_one_dead_domain(self) -> None:
        """Q13: all due for one domain whose host is dead, one new for a good one: leaves < 5 s."""
        relay = await self.filled(1, -60, user="hang-rcpt-0+{n}")
        await self.up(relay)
        good = await self.send(relay, 1)
        took = await self.arrival(good, 5, relay)
        print(f"Q13: {self.depth} due for one domain: a new one for another left after {took:.2f} s")

    async def test_Q14_tombstones(self) -> None:
        """Q14: all delivered and struck off: what is due is found as fast as in an empty queue."""
        relay = await self.filled(100, -60)
        await self.up(relay)
        waits = []
        for _ in range(20):
            load = await self.send(relay, 1)
            waits.append(await self.arrival(load, 30, relay))
            await self.remains(lambda: True, 1.0, "")
        print(
            f"Q14: one new mail while {len(self.mx.accepted())} were struck off: slowest {max(waits):.2f} s"
        )
        self.assertLess(max(waits), 5)


class Large(Scenario):
    timeout = 900

    async def test_Q17_hundred_large_ones_at_once(self) -> None:
        """Q17: 50 MB, 100 at once: the memory is of the connections, not of the messages."""
        relay = self.relay()
        await self.up(relay)
        peak = 0

        async def one() -> None:
            client = await source.Client.open("127.0.0.1", relay.smtp)
            await client.send(
                "a@src.test", ["ok+large@evil.test"], source.text(50 * MIB, "a@src.test", "b@evil.test")
            )
            await client.quit()

        async def all_of_them() -> None:
            await asyncio.gather(*(one() for _ in range(100)))

        done = deferToThread(asyncio.run, all_of_them())
        self.mx.stop()

        def watch() -> bool:
            nonlocal peak
            peak = max(peak, rss(relay.master()))
            return bool(done.called)

        await self.until(watch, 800, "a hundred large messages", relay)
        await done
        print(f"Q17: master's peak {peak // MIB} MiB with 100 × 50 MB at once")
        self.assertLess(peak, 800 * MIB)  # 8 MiB a connection, where the mail itself has 5 GB


def _continue(pid: int) -> None:
    subprocess.run(["kill", "-CONT", str(pid)], capture_output=True)
