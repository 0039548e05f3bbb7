"""`python -m tests.fuzz`: all targets, each in a process of its own, with so many inputs in all.

A target ends at its first finding. Findings are in tests/fuzz/crashes; the last line says how many
inputs were tried and how many findings there were, and the exit code is 0 when there were none.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import SystemRandom
from typing import NamedTuple

from tests.fuzz.corpus import CORPUS, ROOT, chosen, inputs, write
from tests.fuzz.targets import TARGETS

CRASHES = Path(__file__).parent / "crashes"
#: No target gets fewer inputs than this, nor more than it was told in all.
LEAST = 100_000

_count = re.compile(r"stat::number_of_executed_units: +([0-9]+)").findall


_chatter = re.compile(r"#[0-9]|INFO|WARNING|0x|MS:|Base64|stat::|artifact_prefix").match


class Run(NamedTuple):
    """How one target came out."""

    name: str
    tried: int
    seconds: float
    findings: list[Path]
    broken: bool
    tail: str


def shares(names: list[str], total: int) -> dict[str, int]:
    """How many of `total` inputs each target gets."""
    least = min(LEAST, total // len(names))
    weight = sum(TARGETS[name].share for name in names)
    rest = total - least * len(names)
    given = {name: least + rest * TARGETS[name].share // weight for name in names}
    given[names[0]] += total - sum(given.values())
    return given


def run(name: str, count: int, seconds: int, found: Path) -> Run:
    """One target, to its end."""
    CRASHES.mkdir(exist_ok=True)
    found.mkdir(parents=True, exist_ok=True)
    before = set(CRASHES.iterdir())
    seed = SystemRandom().randrange(1, 1 << 31)
    words = [name, count, seconds, seed, found, CRASHES]
    command = [sys.executable, "-m", "tests.fuzz.run", *map(str, words)]
    begun = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
    said = done.stdout + done.stderr
    counts = _count(said)
    findings = sorted(path for path in set(CRASHES.iterdir()) - before if path.name.startswith(f"{name}-"))
    broken = done.returncode != 0 or not counts
    tail = "\n".join(line for line in said.splitlines() if not _chatter(line)) if broken else ""
    return Run(name, int(counts[-1]) if counts else 0, time.monotonic() - begun, findings, broken, tail)


def campaign(names: list[str], total: int, jobs: int, seconds: int, keep: bool) -> int:
    """All of them; the exit code."""
    given = shares(names, total)
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(jobs) as threads:
        runs = []
        for done in threads.map(lambda name: run(name, given[name], seconds, Path(place) / name), names):
            runs.append(done)
            rate = done.tried / max(done.seconds, 0.001)
            verdict = "FAILED" if done.broken else "ok"
            print(f"{done.name:14} {done.tried:>10,} inputs {rate:>9,.0f}/s  {verdict}", flush=True)
            if done.broken:
                print(done.tail)
            for path in done.findings:
                where = path.relative_to(ROOT)
                print(f"  again: python -m tests.fuzz --target {done.name} --repeat {where}", flush=True)
        if keep:
            for done in runs:
                if not done.broken:
                    take(done.name, Path(place) / done.name)
    broken = sum(done.broken for done in runs)
    print(f"{sum(done.tried for done in runs):,} inputs, {broken} of {len(runs)} targets failed")
    return 1 if broken else 0


def take(name: str, found: Path) -> None:
    """Take into the corpus what was found and reaches more than what is there."""
    write(CORPUS / name, chosen(TARGETS[name].one, inputs(CORPUS / name), inputs(found)))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000_000, help="how many in all (10000000)")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="this one only; may be repeated")
    parser.add_argument("--jobs", type=int, default=2, help="targets at a time (2)")
    parser.add_argument("--seconds", type=int, default=0, help="for each target at most; 0: no limit")
    parser.add_argument("--repeat", type=Path, help="give this file to the target, once")
    parser.add_argument("--keep", action="store_true", help="take into the corpus what reaches more of the code")
    options = parser.parse_args()
    names = options.target or list(TARGETS)
    if options.repeat is not None:
        for name in names:
            TARGETS[name].one(options.repeat.read_bytes())
        print("nothing found")
        return 0
    return campaign(names, options.inputs, options.jobs, options.seconds, options.keep)


if __name__ == "__main__":
    sys.exit(main())
