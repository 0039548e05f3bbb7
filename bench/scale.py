"""Where a relay gives way: depth of the queue, dead destinations, size of a message, recipients.

    python -m bench.scale queue [--count 1000000 --domains 10000 --due 3600]
    python -m bench.scale hanging [--count 1000]
    python -m bench.scale mixed [--domains 5000] [--messages 9000] [--delay 0] [--rounds 3]
    python -m bench.scale large [--bytes 1g]
    python -m bench.scale recipients [--count 10000]

Each prints one JSON line; exit status 1 when the limit beside it in the code does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from bench import network, peers, source
from bench.proctree import Peak, command, rss
from bench.rig import Run, home, measure, sink_count, size_of

MIB = 1 << 20


def deep_queue(a: argparse.Namespace) -> str:
    """A queue of so many deferred deliveries; made once and copied afterwards."""
    kept = f"{home()}/deep-{a.count}-{a.domains}"
    if not os.path.exists(f"{kept}.done"):
        shutil.rmtree(kept, ignore_errors=True)
        # Long enough that nothing in the copy falls due for months: it is used again and again.
        subprocess.run(
            [
                sys.executable,
                "-m",
                "bench.queuefill",
                kept,
                "--count",
                str(a.count),
                "--domains",
                str(a.domains),
                "--due",
                str(a.due or 180 * 86400),
            ],
            env=peers.environment(),
            check=True,
        )
        with open(f"{kept}.done", "w"):
            pass
    return kept


def master(run: Run) -> int:
    assert run.tree is not None
    return next(pid for pid in run.tree.pids() if "relay.delivery" not in command(pid))


def queue(a: argparse.Namespace) -> dict[str, Any]:
    """Start-up, memory and rate with a deep queue, against the same with an empty one."""
    kept = deep_queue(a)
    rates: dict[str, list[float]] = {"empty": [], "deep": []}
    starts, memories = [], []
    for _ in range(a.rounds):
        for kind in rates:
            run = Run("zonerelay")
            try:
                if kind == "deep":
                    shutil.copytree(kept, f"{run.place.state}/queue")
                    subprocess.run(["sync"], check=True)
                took = run.start(120)
                result = measure(run, 1024, a.messages, True, 20, 150)
                if result.get("timeout"):
                    raise RuntimeError(f"{kind}: only {result['delivered']} of {a.messages} arrived")
                rates[kind].append(result["e2e_rate"])
                if kind == "deep":
                    starts.append(took)
                    memories.append(rss(master(run)))
            finally:
                run.close()
    share = median(rates["deep"]) / median(rates["empty"])
    return {
        "check": f"{a.count} deferred deliveries over {a.domains} domains",
        "wanted": "first accept ≤ 5 s, master ≤ 400 MB, rate ≥ 80 % of that with an empty queue",
        "figures": {
            "start_s": round(max(starts), 2),
            "master_MiB": round(max(memories) / MIB),
            "rate_deep": median(rates["deep"]),
            "rate_empty": median(rates["empty"]),
            "share": round(share, 3),
        },
        "ok": max(starts) <= 5 and max(memories) <= 400e6 and share >= 0.8,
    }


class Hop:
    """Our own sink on all of loopback, silent on 127.3.* and slow on 127.4.*, and the names that lead there."""

    def __init__(self, run: Run, delay: float = 0.0) -> None:
        self.port = network.free_ports(1)[0]
        self.run = run
        run.others.append(
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "bench.sink",
                    "--host",
                    "0.0.0.0",
                    "--port",
                    str(run.place.sink),
                    "--silent",
                    "127.3.",
                    "--slow",
                    "127.4.",
                    "--delay",
                    str(delay),
                ],
                env=peers.environment(),
                stdout=run.count,
                stderr=run.log,
            )
        )
        run.others.append(
            subprocess.Popen(
                [sys.executable, "-m", "bench.names", "--port", str(self.port)],
                env=peers.environment(),
                stdout=run.log,
                stderr=run.log,
            )
        )
        if network.wait_greeting(run.place.sink, 10) is None:
            raise RuntimeError("the sink did not start")

    def count(self, field: str = "mesg") -> int:
        return sink_count(self.run.count.name, field)


def wait(condition: Callable[[], bool], seconds: float) -> float | None:
    """Seconds until it holds; None when it doesn't within that time."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > seconds:
            return None
        threading.Event().wait(0.005)
    return time.monotonic() - begun


async def submit(port: int, recipients: list[str], each: int = 1) -> None:
    """A message to each group of `each` recipients, on one session."""
    client = await source.Client.open("127.0.0.1", port)
    for start in range(0, len(recipients), each):
        group = recipients[start : start + each]
        await client.send("a@src.test", group, source.text(1024, "a@src.test", group[0]))
    await client.quit()


def hanging(a: argparse.Namespace) -> dict[str, Any]:
    """Mail for so many hosts that never answer, all at once, then for good ones."""
    run = Run("zonerelay", {"connections": "10", "domain_connections": "5"}, sink=False)
    try:
        hop = Hop(run)
        run.place.options["nameserver"] = f"127.0.0.1:{hop.port}"
        run.start()
        asyncio.run(submit(run.place.port, [f"u@d{n}.hanging.test" for n in range(a.count)]))
        threading.Event().wait(2.0)  # every slot there is has met a silent host
        delays = []
        for number in range(10):
            before = hop.count()
            asyncio.run(submit(run.place.port, [f"u@good{number}.test"]))
            delays.append(wait(lambda n=before: hop.count() > n, 30))
        worst = max((d for d in delays if d is not None), default=None)
        return {
            "check": f"{a.count} hanging destinations, zone of 10 connections",
            "wanted": "mail for a good one leaves within 5 s",
            "figures": {
                "slowest_of_10_s": None if worst is None else round(worst, 3),
                "not_delivered": delays.count(None),
            },
            "ok": None not in delays and worst is not None and worst <= 5,
        }
    finally:
        run.close()


def mixed(a: argparse.Namespace) -> dict[str, Any]:
    """Mail for so many domains, each with a host of its own, without and with one in ten whose host is silent, or
    replies late each time. With a delay of all hosts places are what is short, else the processor."""
    good = a.domains * 9 // 10
    bad = {"healthy": "", "one in ten silent": "d{n}.hanging.test", "one in ten slow": "d{n}.slow.test"}
    seconds: dict[str, list[float]] = {kind: [] for kind in bad}
    for _ in range(a.rounds):
        for kind, found in seconds.items():
            run = Run("zonerelay", {"connections": "20", "domain_connections": "5"}, sink=False)
            try:
                hop = Hop(run, a.delay)
                run.place.options["nameserver"] = f"127.0.0.1:{hop.port}"
                parts = [(a.messages, good, "d{n}.test")]
                if bad[kind]:
                    parts.insert(0, (a.messages // 9, a.domains - good, bad[kind]))
                for count, domains, pattern in parts:
                    fill_due(f"{run.place.state}/queue", count, domains, pattern)
                run.start(60)
                took = wait(lambda hop=hop: hop.count() >= a.messages, 300)
                if took is None:
                    raise RuntimeError(f"{kind}: only {hop.count()} of {a.messages} arrived")
                found.append(took)
            finally:
                run.close()
    shares = {kind: median(seconds["healthy"]) / median(seconds[kind]) for kind in bad if bad[kind]}
    return {
        "check": f"{a.domains} domains with hosts of their own, one in ten silent or slow",
        "wanted": "the others' mail goes at 90 % of the rate or more",
        "figures": {
            **{f"{kind}_per_s": round(a.messages / median(found)) for kind, found in seconds.items()},
            **{f"{kind}_share": round(share, 3) for kind, share in shares.items()},
        },
        "ok": min(shares.values()) >= 0.9,
    }


def fill_due(queue: str, count: int, domains: int, pattern: str) -> None:
    """Write so many deliveries that are due into a queue."""
    words = [sys.executable, "-m", "bench.queuefill", queue, "--count", str(count), "--domains", str(domains)]
    os.makedirs(queue, mode=0o700, exist_ok=True)
    subprocess.run([*words, "--due", "-60", "--pattern", pattern], env=peers.environment(), check=True)


def large(a: argparse.Namespace) -> dict[str, Any]:
    """One huge message, streamed in and streamed out, with the peak memory of every process."""
    size = size_of(a.bytes)
    run = Run("zonerelay", {"max_size": f"{size * 2 // MIB}MB"}, sink=False)
    try:
        hop = Hop(run)
        run.start()
        assert run.tree is not None
        watch = Peak(run.tree, 0.05)
        watch.start()
        begun = time.monotonic()

        async def send() -> None:
            client = await source.Client.open("127.0.0.1", run.place.port)
            await client.send(
                "a@src.test", ["b@remote.test"], source.text(size, "a@src.test", "b@remote.test")
            )
            await client.quit()

        asyncio.run(send())
        accepted = time.monotonic() - begun
        through = wait(lambda: hop.count() >= 1, 600)
        watch.stop()
        peaks = {
            ("child" if "relay.delivery" in command(pid) else "master"): round(peak / MIB)
            for pid, peak in watch.each.items()
        }
        whole = hop.count("byte") >= size * 0.99
        return {
            "check": f"one message of {a.bytes}",
            "wanted": "passes; each process ≤ 150 MB",
            "figures": {
                **{f"{who}_peak_MiB": peak for who, peak in peaks.items()},
                "accepted_s": round(accepted, 1),
                "delivered_s": None if through is None else round(accepted + through, 1),
            },
            "ok": through is not None and whole and max(watch.each.values()) <= 150e6,
        }
    finally:
        run.close()


def recipients(a: argparse.Namespace) -> dict[str, Any]:
    """So many recipients in one transaction."""
    run = Run("zonerelay", {"max_recipients": str(a.count)}, sink=False)
    try:
        hop = Hop(run)
        run.start()
        begun = time.monotonic()
        asyncio.run(submit(run.place.port, [f"u{n}@d{n % 100}.test" for n in range(a.count)], each=a.count))
        accepted = time.monotonic() - begun
        through = wait(lambda: hop.count("rcpt") >= a.count, 300)
        wait(lambda: False, 1.0)  # a surplus copy would show now
        return {
            "check": f"{a.count} recipients in one transaction",
            "wanted": "each gets it, once",
            "figures": {
                "accepted_s": round(accepted, 2),
                "arrived": hop.count("rcpt"),
                "delivered_s": None if through is None else round(accepted + through, 2),
            },
            "ok": hop.count("rcpt") == a.count,
        }
    finally:
        run.close()


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["queue", "hanging", "mixed", "large", "recipients"])
    p.add_argument("--count", type=int)
    p.add_argument("--domains", type=int)
    p.add_argument("--due", type=float)
    p.add_argument("--messages", type=int)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--delay", type=float, default=0.0)
    p.add_argument("--bytes", default="1g")
    a = p.parse_args()
    a.count = a.count or {"queue": 1_000_000, "hanging": 1000, "recipients": 10_000}.get(a.what, 1)
    a.domains = a.domains or {"mixed": 5000}.get(a.what, 10_000)
    a.messages = a.messages or {"mixed": 9000}.get(a.what, 6000)
    cases = {"queue": queue, "hanging": hanging, "mixed": mixed, "large": large, "recipients": recipients}
    try:
        if a.what == "queue":
            deep_queue(a)  # before the network is left: it needs none
        network.own_network()
        result = cases[a.what](a)
    except Exception as e:
        result = {"check": a.what, "error": repr(e)[-1500:], "ok": False}
    print(json.dumps(result, ensure_ascii=False), flush=True)
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
