"""Runs all checks, each to its end, and says at the very end how many passed and failed.

The last line is "N passed, N failed", with ", N skipped" where tests were: the sum of what
trial reports and of the checks that only pass or fail. The exit code is 0 when nothing
failed. `lint` as argument leaves the tests out.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent

#: Checks that pass or fail as a whole.
LINT = {
    "ruff": [str(BIN / "ruff"), "check", "."],
    "mypy": [str(BIN / "mypy")],
    "layers": [str(BIN / "lint-imports"), "--no-logo"],
}
#: Scenarios that measure time, load the machine, or take ports that are anyone's: these run one by one.
ALONE = frozenset({"crowds", "demo", "faults_sync", "hostile_hosts", "limits", "sites_at_sink", "wheel"})


class Count(NamedTuple):
    """How a run came out."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0


def count(output: str, code: int) -> Count:
    """What the summary at the end of trial's output says, and what its exit code adds.

    Without a summary, with no test run, or with an exit code that the summary does not
    explain, something broke outside the tests: that is one failure.
    """
    summary = re.findall(r"^(?:PASSED|FAILED)(?: \(([^()]*)\))?$", output, re.MULTILINE)
    said = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", summary[-1] if summary else "")}
    passed = said.get("successes", 0) + said.get("expectedFailures", 0)
    failed = said.get("failures", 0) + said.get("errors", 0) + said.get("unexpectedSuccesses", 0)
    if not failed and (code or not passed):
        failed = 1
    return Count(passed, failed, said.get("skips", 0))


def lint() -> Count:
    """One check for each tool."""
    codes = []
    for name, command in LINT.items():
        print(f"== {name}", flush=True)
        codes.append(subprocess.run(command, cwd=ROOT).returncode)
    return Count(codes.count(0), len(codes) - codes.count(0))


def trial(arguments: list[str]) -> Count:
    """One run of trial, shown while it runs."""
    command = [sys.executable, "-m", "twisted.trial", *arguments]
    output = []
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            print(line, end="", flush=True)
            output.append(line)
    return count("".join(output), running.returncode)


def runs() -> dict[str, list[str]]:
    """What trial is to run, one after the other."""
    names = sorted(path.stem.removeprefix("test_") for path in (ROOT / "tests/scenario").glob("test_*.py"))
    return {
        "unit": ["-j2", "tests.unit"],
        "scenario, two at a time": ["-j2", *(f"tests.scenario.test_{name}" for name in names if name not in ALONE)],
        "scenario": [f"tests.scenario.test_{name}" for name in names if name in ALONE],
    }


def main() -> int:
    """Runs what the command line asks for; the exit code."""
    counts = [lint()]
    if sys.argv[1:] != ["lint"]:
        for name, arguments in runs().items():
            print(f"== {name}", flush=True)
            counts.append(trial(arguments))
    passed, failed, skipped = (sum(numbers) for numbers in zip(*counts, strict=True))
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
