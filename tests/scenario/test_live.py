"""The stream of what happens, as curl sees it: over a delivery, over a new start, and to the end of the relay."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.scenario.harness import EACH_SECOND, Relay, Scenario


class Live(Scenario):
    timeout = 60

    def curl(self, relay: Relay, query: str) -> tuple[Path, subprocess.Popen[bytes]]:
        """Where what it gets is written, and itself."""
        path = Path(self.directory) / f"stream{query.count('after')}"
        with path.open("wb") as file:
            url = f"http://127.0.0.1:{relay.api}/v1/stream?{query}"
            curl = subprocess.Popen(["curl", "-sN", url], stdin=subprocess.DEVNULL, stdout=file)
        self.addCleanup(curl.wait)
        self.addCleanup(curl.kill)
        return path, curl

    def told(self, path: Path) -> list[tuple[str, Any]]:
        """The events' names and data, as far as they are complete."""
        parts = path.read_text().split("\n\n")[:-1]
        found = [dict(line.split(": ", 1) for line in part.split("\n") if ": " in line) for part in parts]
        return [(one["event"], json.loads(one["data"])) for one in found if "event" in one]

    def kinds(self, path: Path) -> list[str]:
        return [data["kind"] for name, data in self.told(path) if name == "event"]

    async def test_what_happens_to_a_mail(self) -> None:
        relay = self.relay(retry=EACH_SECOND)
        await self.up(relay)
        first, curl = self.curl(relay, "counters=1")
        await self.until(lambda: self.told(first), 10, "the first counters", relay)
        await self.send(relay, 1, "tempfail-rcpt-1+{id}@evil.test")
        await self.until(lambda: "delivered" in self.kinds(first), 20, "the delivery", relay)
        self.assertEqual(self.kinds(first), ["queued", "deferred", "delivered"])
        await self.until(
            lambda: self.told(first)[-1][0] == "counters" and self.told(first)[-1][1]["totals"]["delivered"] == 1,
            10,
            "counters with the delivery",
            relay,
        )
        await self.stopped(relay)
        await self.until(lambda: curl.poll() is not None, 10, "the end of the stream")
        await self.up(relay)
        again, _ = self.curl(relay, "after=1")
        await self.until(lambda: len(self.kinds(again)) == 2, 10, "what was told before", relay)
        self.assertEqual(self.kinds(again), ["deferred", "delivered"])
