"""`make audit`: the fault tests that take long or need root, and all the short ones besides.

    python -m tests.audit [--short] [--faults 200] [--cuts 100] [--jobs 2] [--only experiments,scenarios,slow]
    python -m tests.audit soak [--hours 24]

Prints `ROW PASS|FAIL|SKIP reason` for each row or experiment, then `N passed, N failed, N skipped`;
exit status 1 when one failed. The counts go to tests/audit/last.json, and into docs/reliability.md
between its markers.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from bench import machine, table
from bench.peers import REPOSITORY
from tests.audit import experiments
from tests.audit.experiments import Experiment, Finding
from tests.audit.rows import run_modules

SCENARIOS = (
    "tests.scenario.test_faults_channel",
    "tests.scenario.test_faults_process",
    "tests.scenario.test_faults_disk",
    "tests.scenario.test_faults_sync",
    "tests.scenario.test_crowds",
    "tests.scenario.test_descriptors",
    "tests.scenario.test_hostile_hosts",
    "tests.scenario.test_avoided",
    "tests.scenario.test_old_age",
    "tests.scenario.test_network_gone",
)
SLOW = (
    "tests.audit.slow",
    "tests.audit.crowds",
    "tests.audit.hosts",
    "tests.audit.signatures",
    "tests.audit.children",
    "tests.audit.overlap",
    "tests.audit.healing",
    "tests.audit.promises",
)
PARTS = ("experiments", "scenarios", "slow")
BEGIN, END = "<!-- last run -->", "<!-- end of last run -->"


def show(finding: Finding) -> Finding:
    print(f"{finding.rows} {finding.verdict} {finding.title}: {finding.reason}", flush=True)
    return finding


def carry_out(planned: Sequence[Experiment], jobs: int) -> list[Finding]:
    """Run experiments, so many at a time; those that need a compiler are skipped loudly without one."""

    def one(experiment: Experiment) -> Finding:
        if experiment.cut and not shutil.which("cc"):
            return Finding(
                experiment.rows, experiment.title, "SKIP", "no C compiler: power cuts NOT TESTED", {}
            )
        return experiments.run(experiment)

    with ThreadPoolExecutor(jobs) as pool:
        return [show(f) for f in pool.map(one, planned)]


def document(findings: Sequence[Finding], how: str) -> str:
    """The last run, as Markdown."""
    rows = [
        [f.rows, f.title, f.verdict, f.reason.replace("|", "/").replace("\n", " ")[:300]] for f in findings
    ]
    return (
        f"{BEGIN}\nTaken {datetime.date.today()} by `{how}`.\n\n{table.machine(machine.facts(REPOSITORY))}\n"
        f"{table.grid(['rows', 'test', 'verdict', 'counts'], rows)}{END}"
    )


def write_down(findings: Sequence[Finding], how: str) -> None:
    """Keep the counts: as JSON, and in docs/reliability.md where its markers are."""
    with open(f"{REPOSITORY}/tests/audit/last.json", "w") as file:
        json.dump([f._asdict() for f in findings], file, indent=1)
    path = f"{REPOSITORY}/docs/reliability.md"
    if os.path.exists(path):
        with open(path) as file:
            text = file.read()
        if BEGIN in text and END in text:
            head, rest = text.split(BEGIN, 1)
            with open(path, "w") as file:
                file.write(head + document(findings, how) + rest.split(END, 1)[1])


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", nargs="?", choices=["all", "soak"], default="all")
    p.add_argument(
        "--short", action="store_true", help="12 faults, 4 cuts per mode, no slow rows: a trial of the audit"
    )
    p.add_argument("--faults", type=int, default=200)
    p.add_argument("--cuts", type=int, default=100, help="per mode")
    p.add_argument("--hours", type=float, default=24.0)
    p.add_argument("--jobs", type=int, default=2, help="experiments beside each other")
    p.add_argument("--only", default=",".join(PARTS))
    p.add_argument("--match", default="", help="experiments whose title has this")
    a = p.parse_args()
    parts = [part for part in PARTS if part in a.only.split(",")]
    if a.short:
        a.faults, a.cuts = 12, 4
        parts = [part for part in parts if part != "slow"]
    findings: list[Finding] = []
    if a.what == "soak":
        findings += carry_out([experiments.soak(a.hours)], 1)
    else:
        if "experiments" in parts:
            planned = experiments.everything(a.faults, a.cuts)
            findings += carry_out([e for e in planned if a.match in e.title], a.jobs)
        if "scenarios" in parts:
            findings += run_modules(SCENARIOS)
        if "slow" in parts:
            findings += run_modules(SLOW)
        if not a.match and not a.short and len(parts) == len(PARTS):
            write_down(findings, "python -m tests.audit " + " ".join(sys.argv[1:]))
    count = {v: sum(f.verdict == v for f in findings) for v in ("PASS", "FAIL", "SKIP")}
    print(f"{count['PASS']} passed, {count['FAIL']} failed, {count['SKIP']} skipped")
    return int(count["FAIL"] > 0 or not count["PASS"])


if __name__ == "__main__":
    sys.exit(main())
