"""CPU time, memory and disk writes of a process and everything below it, from /proc alone.

The kernel adds the CPU time of a reaped child to its parent, so the sum over the living
processes (own plus reaped children's time) misses nothing, on any Linux, whether or not
there are cgroups and whoever may write to them.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import NamedTuple

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """One line of /proc/PID/stat. `own` and `reaped` are seconds of user and system time, of
    the process itself and of its children that it waited for."""

    pid: int
    parent: int
    state: str
    own: tuple[float, float]
    reaped: tuple[float, float]
    started: int


def processes() -> dict[int, Process]:
    """Every process of the machine that is there now."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    f = file.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            user, system, reaped_user, reaped_system = (int(x) / _TICK for x in f[11:15])
            found[int(name)] = Process(
                int(name), int(f[1]), f[0], (user, system), (reaped_user, reaped_system), int(f[19])
            )
    return found


def precise(pid: int) -> float:
    """Seconds the living threads of a process have run, in nanoseconds' precision where the
    kernel tells (/proc/PID/stat rounds each process down to 10 ms); 0.0 where it doesn't."""
    total = 0
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                total += int(file.read().split()[0])
    except (OSError, IndexError):
        return 0.0
    return total / 1e9


def command(pid: int) -> str:
    """The command line of a process; "" when it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return file.read().replace("\0", " ").strip()
    except OSError:
        return ""


def rss(pid: int) -> int:
    """Resident bytes of one process; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def written(pid: int) -> int:
    """Bytes a process sent towards the disk; 0 when unknown."""
    try:
        with open(f"/proc/{pid}/io") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("write_bytes"))
    except (OSError, StopIteration):
        return 0


class ProcessTree:
    """A process and its descendants, oldest first; orphans stay known once they were seen."""

    def __init__(self, root: int) -> None:
        self.root = root
        self._known: dict[int, int] = {}

    def members(self) -> list[Process]:
        """All that live, and the dead that nobody reaped yet."""
        everyone = processes()
        inside = {
            pid
            for pid, started in self._known.items()
            if pid in everyone and everyone[pid].started == started
        }
        if self.root in everyone:
            inside.add(self.root)
        children: dict[int, list[int]] = {}
        for process in everyone.values():
            children.setdefault(process.parent, []).append(process.pid)
        todo = list(inside)
        while todo:
            for pid in children.get(todo.pop(), ()):
                if pid not in inside:
                    inside.add(pid)
                    todo.append(pid)
        self._known = {pid: everyone[pid].started for pid in inside}
        return sorted((everyone[pid] for pid in inside), key=lambda p: (p.started, p.pid))

    def pids(self) -> list[int]:
        """The living ones."""
        return [process.pid for process in self.members() if process.state not in "ZX"]

    def cpu(self) -> tuple[float, float]:
        """Seconds in user and system mode so far, dead children that were reaped included."""
        user = system = 0.0
        for p in self.members():
            ticks = sum(p.own)
            scale = max(1.0, precise(p.pid) / ticks) if ticks else 0.0
            user += p.own[0] * scale + p.reaped[0]
            system += p.own[1] * scale + p.reaped[1]
            if not ticks:  # less than a tick: the kernel's work, mostly
                system += precise(p.pid)
        return user, system

    def signal(self, number: int) -> None:
        """Send a signal to each living member."""
        for pid in self.pids():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass  # it left by itself

    def kill(self) -> None:
        """kill -9 all at once: nobody may react to another's death."""
        self.signal(signal.SIGSTOP)
        self.signal(signal.SIGKILL)


class Peak(threading.Thread):
    """Watches a tree: the highest memory, together and of each process, and bytes written."""

    def __init__(self, tree: ProcessTree, period: float = 0.25) -> None:
        super().__init__(daemon=True)
        self.tree, self.period = tree, period
        self.rss = self.processes = 0
        self.each: dict[int, int] = {}
        self.written: dict[int, int] = {}
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(self.period):
            self.look()

    def look(self) -> None:
        pids = self.tree.pids()
        sizes = {pid: rss(pid) for pid in pids}
        self.rss, self.processes = max(self.rss, sum(sizes.values())), max(self.processes, len(pids))
        for pid, size in sizes.items():
            self.each[pid] = max(self.each.get(pid, 0), size)
            self.written[pid] = max(self.written.get(pid, 0), written(pid))

    def stop(self) -> None:
        self._over.set()
        self.join()
        self.look()


def wait_gone(tree: ProcessTree, seconds: float) -> bool:
    """Whether the whole tree is gone within that time."""
    end = time.monotonic() + seconds
    while tree.pids():
        if time.monotonic() > end:
            return False
        threading.Event().wait(0.02)
    return True
