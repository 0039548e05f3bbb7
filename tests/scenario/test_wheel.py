"""The wheel, installed where nothing else is: the commands, the plugin, and a first greeting.

The clean environment holds the wheel and what its metadata requires, nothing more, copied
from the environment of the tests: a requirement that is missing from setup.cfg is missing
there, and no network is needed.
"""

from __future__ import annotations

import atexit
import functools
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
from email import message_from_bytes
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from twisted.trial.unittest import TestCase

ROOT = Path(__file__).parents[2]

#: What the build needs of the source tree; caches and queues stay behind.
SOURCES = ("relay", "relay_client", "twisted", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
OFFLINE = ("-q", "--no-deps", "--no-index")


def required(names: list[str]) -> dict[str, metadata.Distribution]:
    """The distributions of `names` and all that they require, without extras but those named."""
    found: dict[str, metadata.Distribution] = {}
    asked = [Requirement(name) for name in names]
    while asked:
        requirement = asked.pop()
        key = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if key in found and not requirement.extras:
            continue
        found[key] = distribution = metadata.distribution(requirement.name)
        for text in distribution.requires or []:
            more = Requirement(text)
            extras = ["", *requirement.extras]
            if more.marker is None or any(more.marker.evaluate({"extra": extra}) for extra in extras):
                asked.append(more)
    return found


def copy(distribution: metadata.Distribution, site: Path) -> None:
    """Puts the files of an installed distribution into another site-packages."""
    for file in distribution.files or []:
        if ".." not in file.parts and file.parts[0] != "__pycache__":
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            if Path(str(file.locate())).exists() and not target.exists():
                shutil.copy2(str(file.locate()), target)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Installed:
    """The wheel, built from a copy of the sources, in an environment of its own."""

    def __init__(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="zonerelay-wheel-"))
        atexit.register(shutil.rmtree, self.place, ignore_errors=True)
        self.bin = self.place / "venv" / "bin"
        self.wheel = self._built()
        self.run(sys.executable, "-m", "venv", "--without-pip", str(self.place / "venv"))
        (site,) = self.place.glob("venv/lib/python*/site-packages")
        with zipfile.ZipFile(self.wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
            wanted = message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])
        for distribution in required([text for text in wanted if "extra ==" not in text]).values():
            copy(distribution, site)
        self.run(*PIP, "--python", str(self.bin / "python"), "install", *OFFLINE, str(self.wheel))
        # twistd is a script of Twisted's, which the copy left behind: the old path is in it.
        twistd = self.bin / "twistd"
        twistd.write_text(f"#!{self.bin / 'python'}\nfrom twisted.scripts.twistd import run\nrun()\n")
        twistd.chmod(0o755)

    def _built(self) -> Path:
        source = self.place / "source"
        source.mkdir()
        caches = shutil.ignore_patterns("__pycache__", "dropin*")
        for name in SOURCES:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, source / name, ignore=caches)
            else:
                shutil.copy(ROOT / name, source / name)
        self.run(*PIP, "wheel", *OFFLINE, "--no-build-isolation", "-w", str(self.place), str(source))
        (wheel,) = self.place.glob("*.whl")
        return wheel

    @property
    def environment(self) -> dict[str, str]:
        """Nothing in it leads back to the sources."""
        return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(self, *words: str) -> str:
        """What a command printed; a failure is an AssertionError with all of that."""
        done = subprocess.run(
            words, cwd=self.place, env=self.environment, capture_output=True, text=True, timeout=200
        )
        if done.returncode:
            raise AssertionError(f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout


@functools.cache
def installed() -> Installed:
    """Built once: trial has no set-up for a class."""
    return Installed()


class Wheel(TestCase):
    timeout = 300

    def setUp(self) -> None:
        self.place, self.bin, self.wheel = installed().place, installed().bin, installed().wheel
        self.done = installed().run

    def test_contents(self) -> None:
        """Every package and the plugin; no tests, no caches."""
        with zipfile.ZipFile(self.wheel) as archive:
            names = set(archive.namelist())
        for package in (ROOT / "relay").rglob("__init__.py"):
            self.assertIn(str(package.relative_to(ROOT)), names)
        self.assertLessEqual({"relay/py.typed", "relay_client/py.typed"}, set(names))
        self.assertIn("twisted/plugins/zonerelay.py", names)
        roots = {name.split("/")[0] for name in names}
        roots = {root for root in roots if not root.endswith(".dist-info")}
        self.assertEqual({"relay", "relay_client", "twisted"}, roots)
        self.assertNotIn("twisted/__init__.py", names)
        self.assertEqual([], [name for name in names if "__pycache__" in name])

    def test_commands(self) -> None:
        (self.place / "good.toml").write_text("hostname = 'relay.example.com'\n")
        self.assertRegex(self.done(str(self.bin / "zonerelay"), "--version"), r"^zonerelay \d+\.\d+\.\d+$")
        said = self.done(str(self.bin / "zonerelay"), "check-config", "--config", "good.toml")
        self.assertEqual("good.toml: ok\n", said)

    def test_plugin(self) -> None:
        said = self.done(str(self.bin / "twistd"), "--help")
        self.assertRegex(said, r"(?m)^ +zonerelay +An outbound mail relay")

    def test_start_by_twistd(self) -> None:
        self.greets("twistd", "-n", "--pidfile=", "zonerelay", "start")

    def test_start_by_console_script(self) -> None:
        self.greets("zonerelay", "run")

    def greets(self, *words: str) -> None:
        """It starts, greets with 220, and stops with code 0 or by the signal it was sent."""
        port = free_port()
        (self.place / "run.toml").write_text(
            "hostname = 'relay.example.com'\n"
            f"[queue]\npath = '{words[0]}-queue'\n"
            f"[listeners.feeder]\nendpoint = 'tcp:{port}:interface=127.0.0.1'\n"
            "[api]\nendpoint = 'tcp:0:interface=127.0.0.1'\n"
            "[channel]\nendpoint = 'tcp:0:interface=127.0.0.1'\n"
        )
        log = self.place / f"{words[0]}.log"
        with log.open("w") as output:
            running = subprocess.Popen(
                [str(self.bin / words[0]), *words[1:], "--config", "run.toml"],
                cwd=self.place,
                env=installed().environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            self.assertTrue(self.banner(port, running).startswith(b"220 relay.example.com "), log.read_text())
            running.terminate()
            self.assertIn(running.wait(60), (0, -15), log.read_text())
        finally:
            running.kill()
            running.wait()

    def banner(self, port: int, running: subprocess.Popen[bytes]) -> bytes:
        """The first line from `port`, b"" when the process ended or half a minute is over."""
        for _ in range(300):
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
                    return client.makefile("rb").readline(1000)
            except ConnectionRefusedError:
                # Nobody tells when a port of another process opens; waiting on the process is the pause.
                try:
                    running.wait(0.1)
                    return b""
                except subprocess.TimeoutExpired:
                    continue
        return b""
