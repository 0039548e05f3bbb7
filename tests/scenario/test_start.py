"""How twistd and `zonerelay run` start and fail, as an operator and a supervisor see it.

Real processes with a stand-in for the relay, so that only the way in and out is judged.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from twisted.trial.unittest import TestCase

ROOT = Path(__file__).parents[2]

#: Puts a stand-in for relay.service in place and runs twistd or the console script.
MAIN = """
import sys, types
from twisted.application.service import Service
module = types.ModuleType("relay.service")
class StartupError(Exception): pass
class RelayService(Service):
    def __init__(self, config, reactor):
        self.reason, self.reactor = config.name, reactor
    def startService(self):
        if self.reason != "Zonerelay":
            raise StartupError(self.reason)
        Service.startService(self)
        self.reactor.callLater(0, print, "up", flush=True)
        self.reactor.callLater(0 if "--stop" in sys.argv[0] else 60, self.reactor.stop)
    async def stopService(self):
        print("down", flush=True)
module.RelayService, module.StartupError = RelayService, StartupError
sys.modules["relay.service"] = module
if sys.argv[1] == "twistd":
    del sys.argv[1]
    from twisted.scripts.twistd import run
else:
    del sys.argv[1]
    from relay.tap import console as run
sys.exit(run())
"""

#: Longer than what twistd's own message from a daemon has room for.
REASON = "data channel: port 8081 of 127.0.0.1 is taken" + ", which is told at length" * 4


class Starting(TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        (self.directory / "good.toml").write_text("hostname = 'a.example'\n")
        (self.directory / "fails.toml").write_text(f"hostname = 'a.example'\nname = '{REASON}'\n")
        (self.directory / "bad.toml").write_text("a = 1\nb = 2\n")

    def words(self, *words: str, name: str = "main.py") -> list[str]:
        (self.directory / name).write_text(MAIN)
        return [sys.executable, name, *words]

    def run_it(self, *words: str, name: str = "main.py") -> subprocess.CompletedProcess[str]:
        started = time.monotonic()
        done = subprocess.run(
            self.words(*words, name=name),
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=30,
        )
        self.assertLess(time.monotonic() - started, 15)
        return done

    def test_foreground_failure(self) -> None:
        """G01: one line on standard error, exit code 1, no pid file left."""
        done = self.run_it("twistd", "-n", "zonerelay", "start", "--config", "fails.toml")
        self.assertEqual((1, f"zonerelay: {REASON}\n"), (done.returncode, done.stderr))
        self.assertNotIn("Traceback", done.stdout)
        self.assertNotIn(REASON, done.stdout)
        self.assertFalse((self.directory / "twistd.pid").exists())

    def test_daemon_failure(self) -> None:
        """G01: the caller of a daemon gets the whole line and exit code 1; so does the log."""
        done = self.run_it("twistd", "zonerelay", "start", "--config", "fails.toml")
        self.assertEqual(1, done.returncode)
        self.assertEqual(f"zonerelay: {REASON}", done.stderr.splitlines()[0])
        self.assertNotIn("Traceback", done.stderr + done.stdout)
        self.assertIn(REASON, (self.directory / "twistd.log").read_text())
        # Its caller has been told before the daemon has ended.
        pid, end = self.directory / "twistd.pid", time.monotonic() + 10
        while pid.exists() and time.monotonic() < end:
            threading.Event().wait(0.02)
        self.assertFalse(pid.exists())

    def test_run_failure(self) -> None:
        done = self.run_it("zonerelay", "run", "--config", "fails.toml")
        self.assertEqual((1, f"zonerelay: {REASON}\n", ""), (done.returncode, done.stderr, done.stdout))

    def test_bad_config(self) -> None:
        """G01: every line of it and exit code 1, in all three ways to start."""
        for words in (
            ["twistd", "-n", "zonerelay", "start"],
            ["twistd", "zonerelay", "start"],
            ["zonerelay", "run"],
        ):
            done = self.run_it(*words, "--config", "bad.toml")
            self.assertEqual((1, 2), (done.returncode, len(done.stderr.splitlines())), words)
            self.assertEqual("", done.stdout)

    def test_daemon(self) -> None:
        """The parent says nothing and leaves with 0; nothing holds its standard error open."""
        done = self.run_it("twistd", "zonerelay", "start", "--config", "good.toml", name="main--stop.py")
        self.assertEqual((0, ""), (done.returncode, done.stderr))

    def test_run_until_sigterm(self) -> None:
        running = subprocess.Popen(
            self.words("zonerelay", "run", "--config", "good.toml"),
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.addCleanup(running.kill)
        assert running.stdout is not None
        self.assertEqual("up\n", running.stdout.readline())
        running.terminate()
        said = running.communicate(timeout=30)[0]
        self.assertIn("down\n", said)
        self.assertEqual(0, running.returncode)
