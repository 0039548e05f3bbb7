"""A master that has no file descriptors left (row N21)."""

from __future__ import annotations

import resource
import socket
import subprocess
import time

from bench.proctree import precise
from tests.peers.crowd import addresses
from tests.scenario.harness import deferToThread, needs
from tests.scenario.test_crowds import Crowded, files_of


class Descriptors(Crowded):
    async def test_N21_sixty_four_descriptors(self) -> None:
        """N21: 64 descriptors for the master, 200 clients: some wait or hear 421, no spin, mail flows after."""
        needs("prlimit", "a master without descriptors")
        relay = self.relay(heartbeat="2s", lease="8s")
        await self.up(relay)
        await self.honest(relay)
        master = relay.master()
        subprocess.run(["prlimit", "--nofile=64", f"--pid={master}"], check=True)
        crowd = self.crowd(relay)
        await self.together(crowd, crowd.join(200, addresses(4)))
        self.assertEqual(crowd.told("220") + crowd.told("421"), 200)
        self.assertGreater(crowd.told("220"), 5)
        self.assertGreater(crowd.told("421"), 100)
        self.assertLess(files_of(master), 60, "some are kept for the queue and for children")
        begun, busy = time.monotonic(), precise(master)
        await self.remains(lambda: relay.alive, 3.0, "the relay lives")
        share = (precise(master) - busy) / (time.monotonic() - begun)
        self.assertLess(share, 0.3, f"{share:.0%} of a processor for clients that can't be served")
        self.assertEqual(relay.said().count("nearly all file descriptors are in use"), 1)
        await self.together(crowd, crowd.cut(crowd.clients))
        await self.until(lambda: files_of(master) < 40, 10, "the descriptors are free", relay)
        load = await self.send(relay, 5)
        self.assertEqual(len(load.accepted()), 5)
        await self.arrival(load, 15, relay)

    async def test_N21_none_left_at_all(self) -> None:
        """N21: not one descriptor left, so that accept itself fails: the port rests, and goes on later."""
        needs("prlimit", "a master without descriptors")
        relay = self.relay(heartbeat="2s", lease="8s")
        await self.up(relay)
        await self.honest(relay)
        master = relay.master()
        # The first three are always taken, whatever else is closed meanwhile.
        subprocess.run(["prlimit", "--nofile=3:", f"--pid={master}"], check=True)
        waiting = [socket.create_connection(("127.0.0.1", relay.smtp), 10) for _ in range(20)]
        for one in waiting:
            self.addCleanup(one.close)
        begun, busy = time.monotonic(), precise(master)
        await self.remains(lambda: relay.alive, 3.0, "the relay lives")
        share = (precise(master) - busy) / (time.monotonic() - begun)
        self.assertLess(share, 0.3, f"{share:.0%} of a processor for clients that can't be served")
        self.assertIn("clients have to wait", relay.said())
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        subprocess.run(["prlimit", f"--nofile={limit}", f"--pid={master}"], check=True)
        greetings = await deferToThread(lambda: [one.recv(100)[:4] for one in waiting])
        self.assertEqual(greetings, [b"220 "] * 20)
        await self.honest(relay)
        self.assertNotIn("Traceback", relay.said())

    async def test_the_limit_is_raised(self) -> None:
        """The master takes as many descriptors as it may have, and says when they are too few."""
        relay = self.relay(listener="max_connections = 5000")
        await self.up(relay, ["prlimit", "--nofile=512:3000"])
        await self.until(lambda: "3000" in _limits(relay.master()), 5, "the soft limit is raised", relay)
        self.assertIn("max_connections allow 5500 connections", relay.said())


def _limits(pid: int) -> str:
    with open(f"/proc/{pid}/limits") as file:
        return next(line for line in file if line.startswith("Max open files"))
