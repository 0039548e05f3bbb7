"""How long the answer to the dot takes at a steady rate, asked by a source that doesn't wait for it.

    python -m bench.steady [--rate 500] [--seconds 30] [--sessions 100] [--peer zonerelay] [--size 1024]

Open loop: each message has its moment on the clock, whatever became of the ones before; its latency
runs from that moment to the 250. A closed loop would slow down with the relay and hide the wait.
Prints one JSON line; exit status 1 when p99 is over 50 ms or a message was not accepted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import deque
from typing import Any

from bench import machine, network, source
from bench.rig import Run

LIMIT_MS = 50.0
ENVELOPE = b"MAIL FROM:<a@src.test>\r\nRCPT TO:<b@remote.test>\r\nDATA\r\n"


class Load:
    """Moments that are due, and sessions that stand ready at their 354."""

    def __init__(self, message: bytes) -> None:
        self.message = message
        self.ready: deque[Session] = deque()
        self.due: deque[float] = deque()
        self.latencies: list[float] = []
        self.failures: list[str] = []
        self.waited_for_session = 0

    def tick(self, moment: float) -> None:
        if self.ready:
            self.ready.popleft().send(moment)
        else:
            self.waited_for_session += 1
            self.due.append(moment)


class Session(asyncio.Protocol):
    """One kept connection: envelope and DATA are said ahead, so that only the text is left to send."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.moment: float | None = None
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self.buffer = (self.buffer + data).split(b"\r\n")
        for line in lines:
            if line[3:4] != b"-":
                self.reply(line)

    def reply(self, line: bytes) -> None:
        code = line[:3]
        if code == b"220":
            self.transport.write(b"EHLO steady.test\r\n")
            self.greeted = False
        elif code == b"354":
            if self.load.due:
                self.send(self.load.due.popleft())
            else:
                self.load.ready.append(self)
        elif code != b"250":
            self.load.failures.append(line.decode("latin-1"))
            self.transport.close()
        elif self.moment is not None:
            self.load.latencies.append(time.monotonic() - self.moment)
            self.moment = None
            self.transport.write(ENVELOPE)
        elif not self.greeted:
            self.greeted = True
            self.transport.write(ENVELOPE)

    def send(self, moment: float) -> None:
        self.moment = moment
        self.transport.write(self.load.message)

    def connection_lost(self, reason: Exception | None) -> None:
        if self.moment is not None:
            self.load.failures.append("connection lost at the dot")
            self.moment = None
        if self in self.load.ready:
            self.load.ready.remove(self)


async def play(port: int, rate: float, seconds: float, sessions: int, size: int) -> Load:
    text = b"".join(source.text(size, "a@src.test", "b@remote.test"))
    load = Load(text + b".\r\n")
    loop = asyncio.get_running_loop()
    for _ in range(sessions):
        await loop.create_connection(lambda: Session(load), "127.0.0.1", port)
    end = time.monotonic() + 10
    while len(load.ready) < sessions and time.monotonic() < end:
        await asyncio.sleep(0.01)
    if not load.ready:
        raise RuntimeError(f"no session got to its 354: {load.failures[:3]}")
    begun, number = time.monotonic(), 0
    total = int(rate * seconds)
    while number < total:
        now = time.monotonic()
        while number < total and begun + number / rate <= now:
            load.tick(begun + number / rate)
            number += 1
        await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
    end = time.monotonic() + 30
    while len(load.latencies) + len(load.failures) < total and time.monotonic() < end:
        await asyncio.sleep(0.01)
    return load


def percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rate", type=float, default=500)
    p.add_argument("--seconds", type=float, default=30)
    p.add_argument("--sessions", type=int, default=100)
    p.add_argument("--size", type=int, default=1024)
    p.add_argument("--peer", default="zonerelay")
    a = p.parse_args()
    network.own_network()
    result: dict[str, Any] = {
        "check": f"{a.rate:.0f} messages/s of {a.size} B for {a.seconds:.0f} s, open loop",
        "wanted": f"p99 of the answer to the dot ≤ {LIMIT_MS:.0f} ms",
        "peer": a.peer,
        "ok": False,
    }
    run = None
    try:
        run = Run(a.peer)
        run.start()
        before = machine.processor_time()
        load = asyncio.run(play(run.place.port, a.rate, a.seconds, a.sessions, a.size))
        ordered = sorted(load.latencies)
        total = int(a.rate * a.seconds)
        figures: dict[str, Any] = {
            name: round(percentile(ordered, share) * 1000, 2)
            for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99), ("p99.9_ms", 0.999), ("max_ms", 1.0))
        }
        figures.update(
            answered=len(ordered),
            of=total,
            waited_for_a_session=load.waited_for_session,
            steal=machine.shares(before, machine.processor_time())["steal"],
        )
        if load.failures:
            figures["first_failure"] = load.failures[0]
        result.update(figures=figures, ok=len(ordered) == total and figures["p99_ms"] <= LIMIT_MS)
    except Exception as e:
        result["error"] = repr(e)[-1500:]
    finally:
        if run:
            run.close()
    print(json.dumps(result, ensure_ascii=False), flush=True)
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
