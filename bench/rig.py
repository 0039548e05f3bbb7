"""One measured run of one relay: source → relay → sink, all on this machine. Prints one JSON line.

    python -m bench.rig PEER SIZE N MODE [--sessions 20] [--set connections=20]

PEER zonerelay | postfix | sink (what loopback itself allows); SIZE in bytes, or 1k 10k 100k 10m;
MODE a = one message per connection, b = many; KEY tls=starttls|implicit, processes=2 (receivers), user and
password (a login), source=own (Python's for plain SMTP too), dkim=rsa|ed25519 (the mail is signed; by OpenDKIM for
Postfix), tls_out=on (the sink speaks STARTTLS, and that has to be used), or what bench.peers names.
As root it runs in a network namespace of its own.
The state lives below BENCH_HOME (default /var/tmp/zonerelay-bench), in a folder of its own for each run;
put it on the disk that is to be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

from bench import machine, network, peers
from bench.proctree import Peak, ProcessTree, rss, wait_gone, written


def home() -> str:
    """The folder that runs keep their state in; other users may pass through it (Postfix's)."""
    path = os.environ.get("BENCH_HOME") or "/var/tmp/zonerelay-bench"
    os.makedirs(path, exist_ok=True)
    return path


def size_of(text: str) -> int:
    """Bytes of "1k", "10m", "1g" or a plain number."""
    unit = {"k": 1024, "m": 1024**2, "g": 1024**3}.get(text[-1].lower())
    return int(float(text[:-1]) * unit) if unit else int(text)


def sink_count(path: str, field: str = "mesg") -> int:
    """What the sink has counted so far, from the last complete line it wrote."""
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - 400))
        complete = file.read().rpartition(b"\r")[0].replace(b"\r", b" ").decode("latin-1")
    found = complete.rpartition(field + "=")[2].split()
    return int(found[0]) if found and field + "=" in complete else 0


def last_line(path: str, word: str) -> str:
    """The last line of a log that has this word in it."""
    with open(path, errors="replace") as file:
        return next((line.strip() for line in reversed(file.readlines()) if word in line), f"the {word} failed")


class Run:
    """What is running: relay, sink, source; `close` ends them whatever happened."""

    def __init__(self, peer: str, options: dict[str, str] | None = None, sink: bool = True) -> None:
        self.peer = peer
        # A run that is terminated still ends what it started.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        state = tempfile.mkdtemp(prefix=f"{peer}-", dir=home())
        os.chmod(state, 0o755)  # Postfix's other users pass through it
        port, sink_port, api, channel = network.free_ports(4)
        self.place = peers.Place(state, port, sink_port, api, channel, options or {})
        self.log = open(f"{state}/out.log", "wb")
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else state
        self.count = tempfile.NamedTemporaryFile(prefix="bench-sink-", dir=memory)
        self.others: list[subprocess.Popen[bytes]] = []
        if sink and peer != "sink":
            secure = state if self.place.tls_out else ""
            self.others.append(peers.start_sink(sink_port, self.count, self.log, secure))
            if network.wait_greeting(sink_port, 5) is None:
                raise RuntimeError("the sink did not start")
        self.tree: ProcessTree | None = None

    def start(self, seconds: float = 30.0) -> float:
        """Start the relay; seconds until it greeted."""
        begun = time.monotonic()
        self.relay = peers.STARTERS[self.peer](self.place, self.log)
        self.tree = ProcessTree(self.relay.pid)
        while not network.greets(self.place.port, tls=self.place.tls == "implicit"):
            if self.relay.poll() is not None or time.monotonic() - begun > seconds:
                self.log.flush()
                with open(self.log.name, errors="replace") as file:
                    raise RuntimeError(f"{self.peer} did not start: {file.read()[-1500:]}")
            threading.Event().wait(0.02)
        return time.monotonic() - begun

    def delivered(self) -> int:
        return sink_count(self.count.name)

    def close(self) -> None:
        if self.tree:
            self.relay.terminate()
            if not wait_gone(self.tree, 3):
                self.tree.kill()
            self.relay.wait()
        for process in (*self.others, *self.place.helpers):
            process.terminate()
            process.wait()
        self.log.close()
        self.count.close()
        shutil.rmtree(self.place.state, ignore_errors=True)


def start_source(run: Run, command: list[str]) -> tuple[subprocess.Popen[bytes], float]:
    """The source, and when it began. Ours is ready first: how long Python takes to start is not measured."""
    waits = "--wait" in command
    source = subprocess.Popen(
        command,
        env=peers.environment(),
        stdin=subprocess.PIPE if waits else subprocess.DEVNULL,
        stdout=subprocess.PIPE if waits else run.log,
        stderr=run.log,
    )
    begun = time.monotonic()
    if waits:
        assert source.stdin is not None and source.stdout is not None
        with source.stdin as line, source.stdout as said:
            said.readline()
            begun = time.monotonic()
            line.write(b"go\n")
    return source, begun


def measure(run: Run, size: int, count: int, keep: bool, sessions: int, timeout: float) -> dict[str, Any]:
    """Send `count` messages and wait until the sink has them. Rates are per second of wall time,
    CPU is seconds of the relay's processes per 1,000 messages, memory is bytes."""
    assert run.tree is not None
    through = run.peer != "sink"
    state = run.place.state
    threading.Event().wait(0.7)
    subprocess.run(["sync"], check=True)
    result: dict[str, Any] = {"cpu_score": machine.cpu_score()}
    base = run.delivered() if through else 0
    watch = Peak(run.tree)
    result["rss_idle"] = sum(rss(pid) for pid in run.tree.pids())
    before_written = sum(written(pid) for pid in run.tree.pids())
    watch.start()
    cpu, disk, whole = run.tree.cpu(), machine.disk_counts(state), machine.processor_time()
    source, begun = start_source(run, peers.source_command(run.place, sessions, count, size, keep))
    accepted = ended = None
    done, deadline, last = 0, begun + timeout, begun
    while ended is None:
        threading.Event().wait(0.01)
        now = time.monotonic()
        if accepted is None and source.poll() is not None:
            accepted = now
            if source.returncode:
                result["source_failed"] = source.returncode
                result["source_said"] = last_line(run.log.name, "source")
                deadline = min(deadline, now + 10)
        seen = run.delivered() - base if through else (count if accepted else 0)
        if seen != done:
            done, last = seen, now
        if done >= count and accepted:
            ended = last
        elif any(other.poll() is not None for other in run.others):
            raise RuntimeError("the sink died")
        elif now > deadline:
            result["timeout"] = True
            ended = last
    if source.poll() is None:
        source.kill()
    source.wait()
    spent_whole = machine.shares(whole, machine.processor_time())
    threading.Event().wait(1.0)  # let the relay finish what it does behind the sink's back
    after = run.tree.cpu()
    watch.stop()
    per = max(1, done)
    result.update(
        delivered=done,
        accept_rate=round(count / ((accepted or ended) - begun), 1),
        e2e_rate=round(done / max(ended - begun, 1e-3), 1),
        cpu_s_per_1000=round((sum(after) - sum(cpu)) / per * 1000, 3),
        cpu_user=round((after[0] - cpu[0]) / per * 1000, 3),
        cpu_sys=round((after[1] - cpu[1]) / per * 1000, 3),
        rss_peak=watch.rss,
        processes_peak=watch.processes,
        written_per_message=round((sum(watch.written.values()) - before_written) / per),
        machine=spent_whole,
    )
    subprocess.run(["sync"], check=True)
    disk_after = machine.disk_counts(state)
    if disk and disk_after:
        result["flushes_per_message"] = round((disk_after["flushes"] - disk["flushes"]) / per, 3)
        result["disk_bytes_per_message"] = round((disk_after["bytes"] - disk["bytes"]) / per)
    return result


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("peer", choices=list(peers.STARTERS))
    p.add_argument("size")
    p.add_argument("n", type=int)
    p.add_argument("mode", choices="ab")
    p.add_argument("--sessions", type=int, default=20)
    p.add_argument("--timeout", type=float, default=150)
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    a = p.parse_args()
    result: dict[str, Any] = {
        "peer": a.peer,
        "size": a.size,
        "n": a.n,
        "mode": a.mode,
        "sessions": a.sessions,
        "own_network": network.own_network(),
    }
    options = dict(item.split("=", 1) for item in a.set)
    if options:
        result["options"] = options
    run = None
    try:
        run = Run(a.peer, options)
        run.start()
        result.update(measure(run, size_of(a.size), a.n, a.mode == "b", a.sessions, a.timeout))
    except Exception as e:
        result["error"] = repr(e)[-1500:]
    finally:
        if run:
            run.close()
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
