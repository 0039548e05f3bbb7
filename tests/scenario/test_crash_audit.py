"""The crash audit and the power cuts in the form that CI can wait for; `make audit` runs the long one.

Each is worth something only with its negative control, which must show the damage.
"""

from __future__ import annotations

import shutil

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from tests.audit import experiments
from tests.audit.experiments import Experiment


class Audit(TestCase):
    timeout = 900

    async def _passes(self, experiment: Experiment) -> None:
        if experiment.cut and not shutil.which("cc"):
            raise SkipTest("no C compiler: power cuts NOT TESTED")
        finding = await deferToThread(experiments.run, experiment)
        self.assertEqual(finding.verdict, "PASS", f"{finding.title}: {finding.reason}")

    async def test_N07_N11_N13_N17_twelve_faults(self) -> None:
        """Twelve faults of five kinds: 0 lost, 0 corrupt, 0 unexcused second copies."""
        await self._passes(experiments.crash(12))

    async def test_Q01_power_cuts(self) -> None:
        """Ten power cuts, a mode per file: nothing acknowledged is lost, the queue opens each time."""
        await self._passes(experiments.power_cuts("mixed", 10))

    async def test_Q01_negative_control_without_sync(self) -> None:
        """With `sync = false` the same cuts lose mail."""
        await self._passes(experiments.without_sync(3))

    async def test_N12_new_masters_beside_old_children(self) -> None:
        """Masters killed and replaced while their children still live."""
        await self._passes(experiments.orphans(3))
