"""README's first mail, literally: its commands against `make run`, only the ports are others."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from bench.network import free_ports, greets
from bench.proctree import ProcessTree, wait_gone
from tests.peers.collector import Collector
from tests.scenario.harness import Scenario, deferToThread
from tests.scenario.interop import MAKE, ROOT, program
from tests.scenario.texts import arrived


def commands(section: str) -> list[str]:
    """The indented blocks of one section of the README."""
    text = (ROOT / "README.md").read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return [re.sub(r"^    ", "", block, flags=re.M) for block in re.findall(r"(?:^    .*\n)+", text, re.M)]


class FirstMail(Scenario):
    timeout = 60

    def replace(self, text: str, old: str, new: str) -> str:
        self.assertEqual(1, text.count(old), f"{old!r} is not once in what is documented")
        return text.replace(old, new)

    def configured(self) -> str:
        """The sample configuration with free ports, a queue of its own, and a next hop on this machine."""
        config = (ROOT / "etc/zonerelay.toml").read_text()
        for port, free in zip(("2525", "8080", "8081"), free_ports(3), strict=True):
            endpoint = '#endpoint = "tcp:{}:interface=127.0.0.1"'.format
            config = self.replace(config, endpoint(port), endpoint(free)[1:])
            self.ports[port] = str(free)
        config = self.replace(config, '#path = "var/queue"', f'path = "{self.directory}/queue"')
        hop = '#host = ""\n# The port there.\n#port = 25\n'
        return self.replace(config, hop, f'host = "127.0.0.1"\nport = {self.hop.port}\n')

    def said(self) -> str:
        """What `make run` printed."""
        return Path(self.directory, "out").read_text(errors="replace")

    async def test_documented_commands(self) -> None:
        self.ports: dict[str, str] = {}
        self.hop = Collector()
        self.hop.start()
        self.addCleanup(self.hop.stop)
        config = Path(self.directory, "zonerelay.toml")
        config.write_text(self.configured())
        with open(f"{self.directory}/out", "wb") as out:
            running = subprocess.Popen(
                [*MAKE, f"CONFIG={config}", "run"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        tree = ProcessTree(running.pid)
        self.addCleanup(tree.kill)
        await self.until(
            lambda: greets(int(self.ports["2525"])) or running.poll() is not None, 20, "its greeting", self
        )
        self.assertIsNone(running.poll(), self.said())

        program("swaks"), program("curl")
        swaks, curl, send, python = commands("A first mail")
        shell, interpreter = ("bash", "-ec"), (sys.executable, "-c")
        told = ((shell, swaks), (shell, curl), (shell, send), (interpreter, python))
        for number, (words, command) in enumerate(told, 1):
            script = re.sub(r"\b(2525|8080)\b", lambda found: self.ports[found[0]], command)
            self.assertNotEqual(command, script)
            done = await deferToThread(subprocess.run, [*words, script], capture_output=True, timeout=30)
            self.assertEqual(0, done.returncode, (script, done.stdout, done.stderr))
            await self.until(lambda want=number: len(self.hop.taken) == want, 20, f"mail by {script}", self)
            taken = self.hop.taken[-1]
            self.assertEqual(("me@example.com", ["you@example.org"]), (taken.sender, taken.recipients))
            body = arrived(taken.text).text.partition(b"\r\n\r\n")[2]
            self.assertEqual(b"This is a test mailing" if command is swaks else b"Hello.", body.strip())

        tree.pids()  # so that children are known when their parents are gone
        os.killpg(running.pid, signal.SIGINT)  # as Control-C does
        self.assertTrue(await deferToThread(wait_gone, tree, 15), f"it does not stop: {self.said()}")
        self.assertEqual(4, len(self.hop.taken))
        self.assertNotIn("Traceback", self.said())
