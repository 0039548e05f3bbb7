"""A host that is dead costs its time-out once, and not each message anew (D33), on real processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from bench.network import free_ports
from bench.peers import REPOSITORY
from tests.scenario.harness import Mx, Scenario
from tests.scenario.told import attempts

EVIL_DNS = os.path.join(REPOSITORY, "tests", "peers", "evil_dns.py")
#: The address of hosts that evil_dns calls dead, and how long connecting may take (seconds).
DEAD, CONNECT = "127.0.3.1", 1.5


class Deaf:
    """An address where connections neither come about nor are refused: its queue is full."""

    def __init__(self, address: str, port: int) -> None:
        self._listening = socket.socket()
        self._listening.bind((address, port))
        self._listening.listen(0)
        self._callers = []
        for _ in range(3):
            caller = socket.socket()
            caller.setblocking(False)
            caller.connect_ex((address, port))
            self._callers.append(caller)

    def close(self) -> None:
        for one in (*self._callers, self._listening):
            one.close()


class DeadFirst(Scenario):
    timeout = 60

    async def test_D33_a_dead_address_is_remembered(self) -> None:
        self.mx = Mx(self.directory, self.mx.port, "127.0.0.1")
        self.addCleanup(self.mx.stop)
        deaf = Deaf(DEAD, self.mx.port)
        self.addCleanup(deaf.close)
        [port] = free_ports(1)
        names = subprocess.Popen(
            [sys.executable, EVIL_DNS, "--port", str(port)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        self.addCleanup(names.wait)
        self.addCleanup(names.kill)
        relay = self.relay(
            hop="block_local_addresses = false",
            zone='idle = "0s"',
            extra=f'[dns]\nnameservers = ["127.0.0.1:{port}"]\n[timeouts]\nconnect = "{CONNECT}s"',
        )
        await self.up(relay)
        for number in range(1, 4):
            await self.send(relay, 1, "ok+{id}@dns-deadfirst.evil.test")
            await self.until(lambda count=number: len(attempts(relay.said())) == count, 10, "an ending", relay)
        told = attempts(relay.said())
        self.assertEqual([(one["result"], one["ip"]) for one in told], [("delivered", "127.0.0.1")] * 3)
        first, *others = [float(one["took"]) for one in told]
        self.assertGreaterEqual(first, CONNECT)
        self.assertLess(max(others), CONNECT / 2)
        self.assertEqual(len(self.mx.accepted()), 3)
