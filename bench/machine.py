"""What a figure was measured on: a figure without its machine says nothing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time

_TICK = os.sysconf("SC_CLK_TCK")


def facts(directory: str) -> dict[str, str]:
    """Processor, kernel, file system of `directory`, versions of what runs."""
    with open("/proc/cpuinfo") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    model = names[0] if names else platform.machine()
    known = {
        "processor": f"{os.cpu_count()} × {model}",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "queue's file system": file_system(directory),
        "Python": platform.python_version(),
    }
    try:
        import twisted

        known["Twisted"] = twisted.__version__
    except ImportError:
        pass
    if shutil.which("postconf"):
        known["Postfix"] = subprocess.run(
            ["postconf", "-dh", "mail_version"], capture_output=True, text=True
        ).stdout.strip()
    return known


def file_system(directory: str) -> str:
    """Type and source of the mount that holds `directory`."""
    path, best = os.path.realpath(directory), ("", "?")
    with open("/proc/self/mounts") as file:
        for line in file:
            source, point, kind = line.split()[:3]
            inside = path == point or path.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best[0]):
                best = (point, f"{kind} on {source}")
    return best[1]


def cpu_score(seconds: float = 0.3) -> float:
    """How fast all processors together run plain Python just now (million loops per second).
    On a shared machine it tells whether two runs can be compared."""
    readers = []
    for _ in range(os.cpu_count() or 1):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            count, end = 0, time.perf_counter() + seconds
            while time.perf_counter() < end:
                for _ in range(10000):
                    count += 1
            os.write(writer, str(count).encode())
            os._exit(0)
        os.close(writer)
        readers.append((pid, reader))
    total = 0
    for pid, reader in readers:
        total += int(os.read(reader, 50))
        os.close(reader)
        os.waitpid(pid, 0)
    return round(total / seconds / 1e6, 1)


def processor_time() -> dict[str, float]:
    """Seconds of the whole machine by kind, since it started."""
    with open("/proc/stat") as file:
        values = [int(x) / _TICK for x in file.readline().split()[1:9]]
    return dict(
        zip(("user", "nice", "sys", "idle", "iowait", "irq", "softirq", "steal"), values, strict=True)
    )


def shares(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """The machine's time between two moments, as shares of one."""
    spent = {kind: after[kind] - before[kind] for kind in after}
    whole = sum(spent.values()) or 1.0
    return {kind: round(value / whole, 3) for kind, value in spent.items()}


def disk_counts(directory: str) -> dict[str, int] | None:
    """Writes, bytes written and flushes of the disk below `directory`; None where there is no such disk."""
    device = os.stat(directory).st_dev
    path = os.path.realpath(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    if os.path.exists(f"{path}/partition"):
        path = os.path.dirname(path)
    try:
        with open(f"{path}/stat") as file:
            f = [int(x) for x in file.read().split()]
    except OSError:
        return None
    return {"writes": f[4], "bytes": f[6] * 512, "flushes": f[15] if len(f) > 15 else 0}
