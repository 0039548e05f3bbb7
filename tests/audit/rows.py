"""Runs trial modules and reports them by fault row: the ids are in the names of the tests."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

from twisted.trial.reporter import Reporter
from twisted.trial.runner import TestLoader, TrialRunner, TrialSuite

from tests.audit.experiments import Finding


def row_ids(name: str) -> str:
    """The fault rows in a test's name: `test_Q09_Q10_missing` covers two."""
    return " ".join(re.findall(r"(?<=_)[SHNQDKPGLU]\d\d(?=_|$)", name)) or "-"


class RowReporter(Reporter):  # type: ignore[misc]
    """One line a test, as it ends."""

    findings: list[Finding] = []

    def _note(self, test: Any, verdict: str, reason: str = "") -> None:
        name = test.id().rpartition(".")[2]
        title = (test.shortDescription() or name).partition(": ")[2] or name.replace("_", " ")
        finding = Finding(row_ids(name), title, verdict, reason, {})
        self.findings.append(finding)
        print(f"{finding.rows} {verdict} {title}{': ' + reason if reason else ''}", flush=True)

    def addSuccess(self, test: Any) -> None:
        super().addSuccess(test)
        self._note(test, "PASS")

    def addFailure(self, test: Any, fail: Any) -> None:
        super().addFailure(test, fail)
        self._note(test, "FAIL", _reason(fail))

    def addError(self, test: Any, error: Any) -> None:
        super().addError(test, error)
        self._note(test, "FAIL", _reason(error))

    def addSkip(self, test: Any, reason: Any) -> None:
        super().addSkip(test, reason)
        self._note(test, "SKIP", str(reason))


def _reason(failure: Any) -> str:
    value = failure[1] if isinstance(failure, tuple) else failure.value
    return " ".join(str(value).split())[:600] or type(value).__name__


def run_modules(names: Sequence[str]) -> list[Finding]:
    """Run the tests of these modules, one after the other."""
    RowReporter.findings = []
    suite = TrialSuite(TestLoader().loadByName(name) for name in names)
    runner = TrialRunner(RowReporter, stream=io.StringIO(), workingDirectory="_trial_temp_audit")
    runner.run(suite)
    return RowReporter.findings
