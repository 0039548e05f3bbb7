"""Every hostile host at once, and a good one among them (D01, D36).

The module isn't called test_*, so that `make test` doesn't find it.
"""

from __future__ import annotations

import time
from typing import Any

from twisted.internet import task

from tests.peers.evil_mx import CONN, RCPT
from tests.scenario.harness import Mx, Scenario, deferToThread, post

#: For each behaviour so many domains (where it is the recipient that counts) and messages.
EACH = 30
GOOD = 100


class EveryHostileHost(Scenario):
    timeout = 300

    async def test_D01_D36_a_good_domain_among_all_that_is_hostile(self) -> None:
        """D01 D36: mail for every way to misbehave there is, at once; a good domain's leaves within 5 s."""
        port = await self.names()
        self.mx = Mx(self.directory, self.mx.port, "0.0.0.0")
        self.addCleanup(self.mx.stop)
        relay = self.relay(
            hop="block_local_addresses = false",
            processes=2,
            extra=f'[sites.default]\nmax_connections = 0\n[dns]\nnameservers = ["127.0.0.1:{port}"]',
        )
        await self.up(relay)
        hostile = [f"u{number}@{behaviour}.evil.test" for behaviour in CONN for number in range(EACH)]
        hostile += [
            f"{behaviour}-0+{number}@{behaviour}{number}.evil.test"
            for behaviour in RCPT
            if behaviour != "ok"
            for number in range(EACH)
        ]
        await deferToThread(self.submit, relay.api, hostile)
        begun: dict[str, float] = {}
        for number in range(GOOD):
            to = f"ok+{number}@good{number % 10}.evil.test"
            begun[to] = time.time()
            await deferToThread(self.submit, relay.api, [to])
            await task.deferLater(self.reactor(), 0.2)
        arrived: dict[str, float] = {}

        def all_there() -> bool:
            arrived.update((one["rcpt"], one["t"]) for one in self.mx.accepted() if one["rcpt"] in begun)
            return len(arrived) == len(begun)

        await self.until(all_there, 60, "the good domains' mail", relay)
        delays = sorted(arrived[to] - begun[to] for to in begun)
        print(
            f"D36: {len(hostile)} messages for {len(CONN) + len(RCPT) - 1} kinds of hostile hosts; of {GOOD} for good "
            f"ones the median left within {delays[GOOD // 2]:.2f} s, p99 {delays[-2]:.2f} s, "
            f"the slowest {delays[-1]:.2f} s"
        )
        self.assertLess(delays[-2], 5.0)

    def submit(self, port: int, recipients: list[str]) -> None:
        for to in recipients:
            text = f"From: <a@src.test>\r\nTo: <{to}>\r\nSubject: x\r\n\r\nhello\r\n".encode()
            status, body = post(port, "/send-raw", text, headers={"Content-Type": "message/rfc822"})
            assert status in (200, 202), (to, status, body)

    def reactor(self) -> Any:
        from twisted.internet import reactor

        return reactor
