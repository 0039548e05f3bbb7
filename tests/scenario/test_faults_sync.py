"""Disks whose syncs are slow, fail, or are waited for (rows Q02, Q06, Q18). All of this needs strace."""

from __future__ import annotations

import re
import smtplib
import time

from tests.scenario.harness import Scenario, deferToThread, strace
from tests.scenario.test_faults_disk import read

#: How our own 250 begins in a trace.
OURS = '"250 2.0.0 Message queued as'


class Syncs(Scenario):
    """What happens around fdatasync."""

    timeout = 300

    async def test_Q02_the_sync_lies_before_the_250(self) -> None:
        """Q02: between the last body byte and the 250, an fdatasync begins and succeeds."""
        trace = f"{self.directory}/trace"
        relay = self.relay()
        await self.up(
            relay,
            strace("-s", "8000", "-e", "trace=recvfrom,read,fdatasync,fsync,sendto,write", output=trace),
            seconds=60,
        )
        load = await self.send(relay, 3)
        self.assertEqual(len(load.accepted()), 3)
        await self.until(lambda: read(trace).count(OURS) >= 3, 10, "three answers in the trace")
        lines = read(trace).split("\n")
        answers = [n for n, line in enumerate(lines) if OURS in line and re.search(r"sendto|write", line)]
        ends = [
            n for n, line in enumerate(lines) if r"\r\n.\r\n" in line and re.search(r"recvfrom|read", line)
        ]
        self.assertEqual(len(answers), 3)
        for answer in answers:
            end = max(n for n in ends if n < answer)
            began = [n for n in range(end, answer) if re.search(r"f(data)?sync\(", lines[n])]
            ended = [n for n in range(end, answer) if re.search(r"f(data)?sync.*\) += 0", lines[n])]
            self.assertTrue(
                began and any(n >= began[0] for n in ended),
                "no sync between the dot and the 250:\n" + "\n".join(lines[end : answer + 1]),
            )

    async def test_Q06_one_failed_sync(self) -> None:
        """Q06: the fifth fdatasync fails: 4xx for who waited for it, then service without a restart."""
        relay = self.relay()
        await self.up(relay)
        await self.meddle(relay, "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=5")
        master = relay.master()
        load = self.load(relay, sessions=4, pause=0.01)
        await self.until(lambda: load.replies, 30, "a refusal", relay)
        seen = len(load.accepted())
        await self.until(lambda: len(load.accepted()) > seen + 50, 30, "service after the failed sync", relay)
        await self.stop(load)
        self.assertTrue(all(reply.startswith("4") for reply in load.replies), load.replies)
        self.assertEqual(relay.master(), master)
        self.assert_safe(await self.drained(relay, load), relay, duplicates=20)

    async def test_Q18_slow_sync(self) -> None:
        """Q18: 200 ms for each fdatasync: the reactor isn't held up, and one sync serves many messages."""
        relay = self.relay()
        trace = f"{self.directory}/trace"
        await self.up(relay)
        await self.meddle(relay, "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=200000")
        load = self.load(relay, sessions=60)
        await self.until(lambda: len(load.accepted()) > 60, 60, "load", relay)
        begun, first, syncs = time.monotonic(), len(load.accepted()), read(trace).count("fdatasync(")
        waits = await deferToThread(_ehlo_waits, relay.smtp, 100)
        await self.until(lambda: time.monotonic() - begun > 8, 20, "eight seconds of load")
        done, synced = len(load.accepted()) - first, read(trace).count("fdatasync(") - syncs
        await self.stop(load)
        self.assertLess(sorted(waits)[-2], 0.1, f"EHLO took {max(waits):.3f} s")
        self.assertGreater(done / max(1, synced), 10, f"{done} messages in {synced} syncs")
        self.assert_safe(await self.drained(relay, load), relay)


def _ehlo_waits(port: int, count: int) -> list[float]:
    """Seconds each of so many EHLOs took, on one session."""
    waits = []
    with smtplib.SMTP("127.0.0.1", port, "ehlo.test", timeout=20) as client:
        for _ in range(count):
            begun = time.monotonic()
            client.ehlo()
            waits.append(time.monotonic() - begun)
    return waits
