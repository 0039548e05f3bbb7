"""`make demo`, as a newcomer sees it, and what is left of it when it has ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from bench.proctree import ProcessTree, wait_gone
from tests.scenario.interop import MAKE


class Demo(TestCase):
    timeout = 60

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="zonerelay-test-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def begin(self) -> subprocess.Popen[str]:
        demo = subprocess.Popen(
            [*MAKE, "demo"],
            env={**os.environ, "TMPDIR": self.folder, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.tree = ProcessTree(demo.pid)
        self.addCleanup(self.tree.kill)
        return demo

    async def test_whole_journey(self) -> None:
        """Three messages come to their three ends, station by station, well within a minute."""
        begun = time.monotonic()
        demo = self.begin()
        out, err = await deferToThread(demo.communicate, timeout=45)
        self.assertEqual((0, ""), (demo.returncode, err), out)
        self.assertLess(time.monotonic() - begun, 30)
        stories = re.split(r"^\d\. ", out, flags=re.MULTILINE)[1:]
        once = ["accept", "spool", "schedule", "deliver", "result"]
        for story, stations, last in zip(
            stories,
            (once, [*once, "schedule", "deliver", "result"], once),
            ("delivered", "delivered", "bounced"),
            strict=True,
        ):
            steps = re.findall(r"^ +\d+\.\d\d s  (\w+) +(.*)$", story, re.MULTILINE)
            self.assertEqual(stations, [station for station, _ in steps], story)
            self.assertTrue(steps[-1][1].startswith(last), story)
            self.assertRegex(story, r"250 2\.0\.0 Message queued as [0-9a-f]{18}\n")
        self.assertIn("451 4.7.1 Greylisted", stories[1])
        self.assertIn('"status": "DEFERRED"', stories[1])
        self.assertIn("550 5.1.1 No such user here", stories[2])
        self.assertLessEqual(max(map(len, out.splitlines())), 110)
        self.assertNotIn("\x1b", out, "colours belong on a terminal only")
        await self.nothing_left()

    async def test_interrupted(self) -> None:
        """Control-C ends it at once, with nothing left and no traceback."""
        demo = self.begin()
        assert demo.stdout is not None
        said = ""
        while "1. accepted" not in said:
            line = await deferToThread(demo.stdout.readline)
            self.assertTrue(line, f"it ended early: {said}")
            said += line
        begun = time.monotonic()
        os.killpg(demo.pid, signal.SIGINT)
        _, err = await deferToThread(demo.communicate, timeout=30)
        self.assertNotEqual(0, demo.returncode)
        self.assertNotIn("Traceback", err)
        self.assertLess(time.monotonic() - begun, 15)
        await self.nothing_left()

    async def nothing_left(self) -> None:
        self.assertTrue(await deferToThread(wait_gone, self.tree, 5), "processes are left")
        self.assertEqual([], os.listdir(self.folder))
