"""The experiments of the audit: a relay, a load, faults without end, and a recount that must come out.

Each runs tests/audit/crash_audit.py against a relay of its own in a temporary directory, so that
several can run beside each other. A negative control is an experiment that has to fail: it shows
that the others could.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bench.network import free_ports
from bench.peers import REPOSITORY, environment, zonerelay_command
from tests.audit.powercut import MODES
from tests.scenario.harness import Mx, Relay

HERE = os.path.dirname(os.path.abspath(__file__))
#: Half of the mail is greylisted first: it has to lie in the queue while the faults go on.
MIXED = ("ok+{id}@evil.test", "greylist+{id}@evil.test")
KINDS = "master,child,all,freeze,term"


class Experiment(NamedTuple):
    """`must` names the figure that a negative control has to show; "" for those that must pass."""

    rows: str
    title: str
    arguments: Sequence[str]
    settings: Mapping[str, Any] = {}
    recipients: Sequence[str] = MIXED
    cut: str = ""
    forget_journal: bool = False
    must: str = ""


class Finding(NamedTuple):
    """What an experiment came to."""

    rows: str
    title: str
    verdict: str
    reason: str
    figures: Mapping[str, Any]


def crash(rounds: int, seed: int = 1) -> Experiment:
    """All kinds of faults evenly, 20 sessions, 5 to 8 s apart, leases as they are by default."""
    return Experiment(
        "N07 N08 N11 N13 N17",
        f"crash audit, {rounds} faults: {KINDS}",
        [
            "--rounds",
            str(rounds),
            "--kinds",
            KINDS,
            "--min-gap",
            "5",
            "--max-gap",
            "8",
            "--sessions",
            "20",
            "--rate",
            "100",
            "--seed",
            str(seed),
        ],
        {"heartbeat": "2s", "lease": "8s"},
    )


def _cuts(rounds: int, seed: int) -> list[str]:
    return [
        "--rounds",
        str(rounds),
        "--kinds",
        "all",
        "--min-gap",
        "0.6",
        "--max-gap",
        "1.4",
        "--down",
        "0",
        "--sessions",
        "20",
        "--rate",
        "150",
        "--size",
        "2000",
        "--max-dups",
        "100000",
        # Leases last two seconds here: whatever comes twice has come by then.
        "--settle",
        "5",
        "--seed",
        str(seed),
    ]


def power_cuts(mode: str, rounds: int) -> Experiment:
    """Power cuts a second or so apart, each with mail accepted, delivered and deferred at that moment."""
    return Experiment("Q01", f"power cuts, {mode}: {rounds}", _cuts(rounds, 7), cut=mode)


def without_sync(rounds: int) -> Experiment:
    """Negative control: `sync = false` under power cuts has to lose mail. What is lost isn't waited for as long as what
    may be late."""
    return Experiment(
        "Q01",
        "negative control: power cuts with sync = false",
        [*_cuts(rounds, 7), "--drain", "12", "--settle", "0"],
        {"sync": "false"},
        cut="lose",
        must="LOST",
    )


def stalls(rounds: int, forget: bool) -> Experiment:
    """Acceptances whose reports nobody heard before all were killed; without the journal they come twice."""
    title = "negative control: reports lost, journal deleted" if forget else f"reports lost, {rounds} times"
    return Experiment(
        "N26",
        title,
        [
            "--rounds",
            str(rounds),
            "--kinds",
            "stall",
            "--min-gap",
            "2",
            "--max-gap",
            "3",
            "--sessions",
            "20",
            "--rate",
            "40",
            "--max-dups",
            "0",
            "--max-unexcused",
            "0",
            "--dup-window",
            "4",
        ],
        {"heartbeat": "2s", "lease": "8s"},
        ["slow-dot-1+{id}@evil.test"],
        forget_journal=forget,
        must="DUPLICATES" if forget else "",
    )


def orphans(rounds: int) -> Experiment:
    """New masters beside the children of the old ones."""
    return Experiment(
        "N12",
        f"new master beside old children, {rounds} times",
        [
            "--rounds",
            str(rounds),
            "--kinds",
            "master",
            "--leave-orphans",
            "--grace",
            "0",
            "--down",
            "0",
            "--min-gap",
            "5",
            "--max-gap",
            "7",
            "--sessions",
            "20",
            "--rate",
            "100",
        ],
        {"heartbeat": "2s", "lease": "8s"},
    )


def bounces(rounds: int) -> Experiment:
    """Masters, and whole trees, killed about once a second while all mail is refused: each refusal has its notice, and
    one only. That a notice is sent twice is what a kill may do."""
    return Experiment(
        "D11 D39",
        f"one notice of each refusal, {rounds} kills",
        [
            "--bounced",
            "--rounds",
            str(rounds),
            "--kinds",
            "all,master",
            "--grace",
            "3",
            "--down",
            "0",
            "--min-gap",
            "0.6",
            "--max-gap",
            "1.4",
            "--sessions",
            "20",
            "--rate",
            "100",
            "--max-dups",
            "100000",
            "--max-unexcused",
            "100000",
        ],
        {"bounces": "true", "retry": '["1s", "1s", "2s"]'},
        ["perm-rcpt+{id}@evil.test", "tempfail-rcpt-0+{id}@evil.test"],
    )


def soak(hours: float) -> Experiment:
    """One fault a minute under a steady load."""
    return Experiment(
        "Q23",
        f"soak, {hours} h",
        [
            "--rounds",
            str(max(1, int(hours * 60))),
            "--kinds",
            KINDS,
            "--min-gap",
            "50",
            "--max-gap",
            "60",
            "--sessions",
            "20",
            "--rate",
            "50",
        ],
        {"heartbeat": "2s", "lease": "8s"},
    )


def everything(faults: int, cuts: int) -> list[Experiment]:
    """The audit: so many process faults (in two halves that can run beside each other) and cuts per mode."""
    halves = [crash(faults)] if faults < 40 else [crash(faults // 2, 1), crash(faults - faults // 2, 2)]
    few = max(3, min(10, cuts // 10))
    return [
        *halves,
        *(power_cuts(mode, cuts) for mode in (*MODES, "mixed")),
        without_sync(few),
        stalls(few, False),
        stalls(few, True),
        orphans(few),
        bounces(faults),
    ]


def powercut_library(directory: str) -> str:
    """Builds powercut.so there. Raises FileNotFoundError without a C compiler."""
    path = f"{directory}/powercut.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", path, f"{HERE}/powercut.c", "-ldl"], check=True)
    return path


def run(experiment: Experiment) -> Finding:
    """Carry it out. The directory is kept when it doesn't come out as it must."""
    directory = tempfile.mkdtemp(prefix="zonerelay-audit-")
    mx = Mx(directory, free_ports(1)[0])
    relay = Relay(directory, mx.port, **experiment.settings)
    start, between = zonerelay_command(relay.config), ""
    if experiment.cut:
        log = f"{directory}/synced.log"
        start = [
            "env",
            f"LD_PRELOAD={powercut_library(directory)}",
            f"POWERCUT_DIR={relay.queue}",
            f"POWERCUT_LOG={log}",
            *start,
        ]
        between = shlex.join(
            [sys.executable, f"{HERE}/powercut.py", relay.queue, "--log", log, "--mode", experiment.cut]
        )
    if experiment.forget_journal:
        between = f"rm -f {shlex.quote(relay.queue)}/journal/*"
    command = [
        sys.executable,
        f"{HERE}/crash_audit.py",
        "--start",
        shlex.join(start),
        "--smtp",
        f"127.0.0.1:{relay.smtp}",
        "--mx-log",
        mx.log,
        "--queue-dir",
        relay.queue,
        "--api",
        f"http://127.0.0.1:{relay.api}",
        "--journal",
        f"{directory}/accepted.jsonl",
        "--out",
        f"{directory}/report.json",
        "--relay-log",
        relay.output,
        *experiment.arguments,
    ]
    for recipient in experiment.recipients:
        command += ["--to", recipient]
    if between:
        command += ["--between", between]
    mx.start()
    try:
        with open(f"{directory}/audit.out", "wb") as out:
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                check=False,
                env=environment(PYTHONDONTWRITEBYTECODE="1"),
                cwd=REPOSITORY,
            )
    finally:
        mx.stop()
    try:
        with open(f"{directory}/report.json") as file:
            report: dict[str, Any] = json.load(file)
    except FileNotFoundError:
        with open(f"{directory}/audit.out", errors="replace") as file:
            said = file.read().strip()[-300:]
        return Finding(
            experiment.rows, experiment.title, "FAIL", f"no report: {said} (kept: {directory})", {}
        )
    finding = judge(experiment, report)
    if finding.verdict == "FAIL":
        return finding._replace(reason=f"{finding.reason} (kept: {directory})")
    shutil.rmtree(directory, ignore_errors=True)
    return finding


FIGURES = (
    "kills",
    "accepted",
    "LOST",
    "CORRUPT",
    "GHOST",
    "DUPLICATES",
    "UNTOLD",
    "REPEATED",
    "duplicates_unexcused",
    "duplicates_worst_fault",
    "orphans_left",
    "recovery_s",
    "reply_to_dot_s",
)


def judge(experiment: Experiment, report: Mapping[str, Any]) -> Finding:
    """A control passes when it shows what it must; the others when nothing is wrong."""
    figures = {name: report[name] for name in FIGURES}
    counts = ", ".join(f"{name} {figures[name]}" for name in FIGURES[:10])
    if experiment.must:
        good = report[experiment.must] > 0
        counts = (
            f"{experiment.must} {report[experiment.must]}, as it must; {counts}"
            if good
            else f"showed nothing: {counts}"
        )
    else:
        rounds = int(experiment.arguments[list(experiment.arguments).index("--rounds") + 1])
        aimless = rounds - report["kills"]
        # A fault that found no process is none; orphans are what "--leave-orphans" is about.
        orphans = 0 if "--leave-orphans" in experiment.arguments else report["orphans_left"]
        good = report["verdict"] == "PASS" and aimless <= rounds // 20 and not orphans
        if aimless:
            counts = f"{aimless} faults found no target; {counts}"
    return Finding(experiment.rows, experiment.title, "PASS" if good else "FAIL", counts, figures)
