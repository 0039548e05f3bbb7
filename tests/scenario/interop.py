"""What the scenarios with other people's programs have in common."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest

from tests.peers.collector import Collector, Taken
from tests.scenario.harness import Relay, Scenario, deferToThread, post

ROOT = Path(__file__).parents[2]
#: The Makefile's rules, run by the Python that runs this instead of the virtual environment's.
MAKE = ["make", "-s", "-C", str(ROOT), "-o", ".venv/run", f"BIN={Path(sys.executable).parent}"]


def absent(what: str) -> SkipTest | AssertionError:
    """What to raise when a peer is missing: under `CI=true` nothing may be left out quietly."""
    if os.environ.get("CI", "").lower() in ("true", "1"):
        return AssertionError(f"{what} is not installed: make peers")
    return SkipTest(f"{what} is not installed (make peers): NOT TESTED")


def program(name: str) -> str:
    """The path of a program that speaks to the relay."""
    path = shutil.which(name)
    if not path:
        raise absent(name)
    return path


class Interop(Scenario):
    """A scenario whose next hop may be a Collector, and whose relay is asked by HTTP."""

    timeout = 60

    async def begin(self, **settings: Any) -> Relay:
        """A relay with a Collector behind it, both running."""
        self.hop = Collector()
        self.hop.start()
        self.addCleanup(self.hop.stop)
        self.relayed = self.relay(mx=self.hop.port, **settings)
        await self.up(self.relayed)
        return self.relayed

    async def run_program(self, *words: str, text: bytes = b"", code: int = 0) -> bytes:
        """Runs a program against the relay to its end; what it printed."""
        done = await deferToThread(
            subprocess.run, words, input=text, capture_output=True, timeout=30, cwd=self.directory
        )
        self.assertEqual(code, done.returncode, (words, done.stdout[-2000:], done.stderr[-2000:]))
        return bytes(done.stdout)

    async def taken(self, count: int) -> list[Taken]:
        """What the next hop has, once nothing is left to send: so many transactions, by recipient."""
        await self.until(lambda: len(self.hop.taken) >= count, 20, f"{count} arrivals", self.relayed)
        await self.emptied(self.relayed)
        self.assertEqual(count, len(self.hop.taken), "something arrived twice")
        return sorted(self.hop.taken, key=lambda taken: taken.recipients)

    async def emptied(self, relay: Relay) -> None:
        """Nothing is left to send."""
        await self.until(lambda: self.waiting(relay) == (0, 0), 20, "an empty queue", relay)

    def waiting(self, relay: Relay) -> tuple[int, int]:
        """Deliveries that are due, and that are deferred, in all zones."""
        counts = self.asked(relay, "/counter/zone/")
        active, deferred = (
            sum(entry["value"] for entry in counts[kind]["entries"]) for kind in ("active", "deferred")
        )
        return active, deferred

    def asked(self, relay: Relay, path: str, method: str = "GET", status: int = 200) -> Any:
        """The JSON that the API answers."""
        code, body = post(relay.api, path, method=method)
        self.assertEqual(status, code, (path, body))
        return json.loads(body)
