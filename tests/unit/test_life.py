"""How a child begins: only by the master, and never for longer than it lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from select import select

from twisted.trial.unittest import SynchronousTestCase

from bench.peers import environment

#: Starts a grandchild that ties itself to its parent, tells of it, and ends.
_PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())], stdout=subprocess.PIPE)
print(child.pid, child.stdout.readline().decode().strip(), flush=True)
sys.stdin.read()
os.kill(os.getpid(), 9)
"""
_CHILD = """
import sys, time
from relay.children.life import die_with
die_with(int(sys.argv[1]))
print("tied", flush=True)
time.sleep(60)
"""


class Beginnings(SynchronousTestCase):
    def run_module(self, module: str, told: bytes) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", module, "feeder"]
        return subprocess.run(command, input=told, capture_output=True, env=environment(), timeout=30)

    def test_P05_nobody_starts_one_by_hand(self) -> None:
        for module in ("relay.reception", "relay.delivery"):
            for told in (b"", b"{}", b"\xff"):
                ended = self.run_module(module, told)
                self.assertEqual(ended.returncode, 1)
                self.assertIn(b"is started by the relay, not by hand", ended.stderr)
                self.assertNotIn(b"Traceback", ended.stderr)

    def test_N11_the_end_of_the_master_is_its_end(self) -> None:
        command = [sys.executable, "-c", _PARENT, _CHILD]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
        ) as parent:
            assert parent.stdin is not None and parent.stdout is not None
            pid, word = parent.stdout.readline().split()
            self.assertEqual(word, b"tied")
            watch = os.pidfd_open(int(pid))
            self.addCleanup(os.close, watch)
            parent.stdin.close()
            # It can be read when the process has ended.
            self.assertEqual(select([watch], [], [], 5)[0], [watch])
        self.assertEqual(parent.returncode, -signal.SIGKILL)

    def test_N11_a_master_that_ended_before(self) -> None:
        command = [sys.executable, "-c", _CHILD, "1" if os.getpid() != 1 else "2"]
        ended = subprocess.run(command, capture_output=True, env=environment(), timeout=30)
        self.assertEqual((ended.returncode, ended.stdout), (1, b""))
        self.assertIn(b"the master has ended", ended.stderr)
