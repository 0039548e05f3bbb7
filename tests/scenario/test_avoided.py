"""A host that is dead costs its time-out once, and not each message anew (D33), on real processes."""

from __future__ import annotations

import socket

from tests.scenario.harness import Mx, Scenario
from tests.scenario.told import attempts

#: The address of hosts that evil_dns calls dead, and how long connecting may take (seconds).
DEAD, CONNECT = "127.0.3.1", 1.5
#: A connection that nobody has answered yet, as the kernel lists it.
_SYN_SENT = "02"


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

        self._own = {caller.getsockname()[1] for caller in self._callers}
        self._peer = f"{socket.inet_aton(address)[::-1].hex()}:{port:04x}".upper()

    def calls(self) -> set[int]:
        """The ports from which others wait just now for a connection."""
        with open("/proc/net/tcp") as file:
            rows = [line.split() for line in file]
        waiting = {int(row[1].partition(":")[2], 16) for row in rows if (row[2], row[3]) == (self._peer, _SYN_SENT)}
        return waiting - self._own

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
        relay = self.relay(
            hop="block_local_addresses = false",
            zone='idle = "0s"',
            extra=f'[dns]\nnameservers = ["127.0.0.1:{await self.names()}"]\n[timeouts]\nconnect = "{CONNECT}s"',
        )
        await self.up(relay)
        called: list[set[int]] = []

        def over() -> bool:
            called[-1] |= deaf.calls()
            return len(attempts(relay.said())) == len(called)

        for _ in range(3):
            called.append(set())
            await self.send(relay, 1, "ok+{id}@dns-deadfirst.evil.test")
            await self.until(over, 15, "an ending", relay)
        told = attempts(relay.said())
        self.assertEqual([(one["result"], one["ip"]) for one in told], [("delivered", "127.0.0.1")] * 3)
        self.assertEqual([len(ports) for ports in called], [1, 0, 0], "how often it was called for each message")
        self.assertGreaterEqual(float(told[0]["took"]), CONNECT)
        self.assertEqual(len(self.mx.accepted()), 3)
