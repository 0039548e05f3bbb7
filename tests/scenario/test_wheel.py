"""The wheel, installed where nothing else is: the commands, the plugin, and a first greeting.

The clean environment holds the wheel and what its metadata requires, nothing more, copied
from the environment of the tests: a requirement that is missing from setup.cfg is missing
there, and no network is needed.
"""

from __future__ import annotations

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
SOURCES = ("relay", "twisted", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


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


class Wheel(TestCase):
    timeout = 300

    @classmethod
    def setUpClass(cls) -> None:
        """Builds once: the wheel, and the environment it is installed into."""
        cls.place = Path(tempfile.mkdtemp(prefix="zonerelay-wheel-"))
        source = cls.place / "source"
        source.mkdir()
        caches = shutil.ignore_patterns("__pycache__", "dropin*")
        for name in SOURCES:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, source / name, ignore=caches)
            else:
                shutil.copy(ROOT / name, source / name)
        offline = ["-q", "--no-deps", "--no-index"]
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        cls.done(*pip, "wheel", *offline, "--no-build-isolation", "-w", str(cls.place), str(source))
        (cls.wheel,) = cls.place.glob("*.whl")
        cls.done(sys.executable, "-m", "venv", "--without-pip", str(cls.place / "venv"))
        cls.bin = cls.place / "venv" / "bin"
        (site,) = cls.place.glob("venv/lib/python*/site-packages")
        with zipfile.ZipFile(cls.wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
            wanted = message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])
        for distribution in required([text for text in wanted if "extra ==" not in text]).values():
            copy(distribution, site)
        cls.done(*pip, "--python", str(cls.bin / "python"), "install", *offline, str(cls.wheel))
        # twistd is a script of Twisted's, which the copy left behind with its old path in it.
        (cls.bin / "twistd").write_text(
            f"#!{cls.bin / 'python'}\nimport sys\nfrom twisted.scripts.twistd import run\nsys.exit(run())\n"
        )
        (cls.bin / "twistd").chmod(0o755)

    @classmethod
    def tearDownClass(cls) -> None:
        shutil.rmtree(cls.place, ignore_errors=True)

    @classmethod
    def done(cls, *words: str, **options: object) -> str:
        """Runs a command outside of the source tree and returns what it printed."""
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(
            words, cwd=cls.place, env=environment, capture_output=True, text=True, timeout=200
        )
        if done.returncode:
            raise AssertionError(f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def test_contents(self) -> None:
        """Every package and the plugin; no tests, no caches."""
        with zipfile.ZipFile(self.wheel) as archive:
            names = set(archive.namelist())
        for package in (ROOT / "relay").rglob("__init__.py"):
            self.assertIn(str(package.relative_to(ROOT)), names)
        self.assertIn("relay/py.typed", names)
        self.assertIn("twisted/plugins/zonerelay.py", names)
        roots = {name.split("/")[0] for name in names}
        self.assertEqual({"relay", "twisted"}, {root for root in roots if not root.endswith(".dist-info")})
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
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        log = self.place / f"{words[0]}.log"
        with log.open("w") as output:
            running = subprocess.Popen(
                [str(self.bin / words[0]), *words[1:], "--config", "run.toml"],
                cwd=self.place,
                env=environment,
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
