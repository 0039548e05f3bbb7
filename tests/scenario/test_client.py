"""The API's clients on real mail: what docs/client.md says, and the commands of docs/commands.md."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from twisted.application.service import IService

from bench.peers import REPOSITORY, environment
from relay.cli.main import main
from relay_client import AsyncClient
from tests.scenario.harness import Relay, Scenario, deferToThread


def never(config: str) -> IService:
    raise AssertionError("nothing was to be started")


class ClientTests(Scenario):
    timeout = 60

    async def test_the_page_about_the_client(self) -> None:
        """Each example, in the order of the page."""
        relay = self.relay(retry='["1h"]')
        await self.up(relay)
        page = (Path(REPOSITORY) / "docs/client.md").read_text()
        examples = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        self.assertGreater(len(examples), 10)
        code = "\n".join(examples).replace("http://127.0.0.1:8080", f"http://127.0.0.1:{relay.api}")
        known = {"asyncio": asyncio, "time": time, "AsyncClient": AsyncClient}
        known["tomorrow"] = datetime.now(UTC) + timedelta(days=1)
        said = io.StringIO()

        def run() -> None:
            with contextlib.redirect_stdout(said):
                exec(compile(code, "docs/client.md", "exec"), known)

        await deferToThread(run)
        told = said.getvalue()
        self.assertRegex(told, r"(?m)^[0-9a-f]{18}\.001 you@example\.org delivered 250 ")
        for part in ("400 InvalidArgument", "Deferred by router", "\n1\n1\n", "queued", "x@example.com", "\nok\n"):
            self.assertIn(part, told)


class Commands(Scenario):
    timeout = 60

    def words(self, relay: Relay, *words: str) -> list[str]:
        return [*words, "--url", f"http://127.0.0.1:{relay.api}"]

    async def run_it(self, relay: Relay, *words: str, given: str = "", code: int = 0) -> str:
        """What a command prints; it ends with that code."""
        written = io.BytesIO()
        out = io.TextIOWrapper(written, write_through=True)
        self.patch(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))

        def run() -> int:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                return main(self.words(relay, *words), never)

        ended = await deferToThread(run)
        said = written.getvalue().decode()
        self.assertEqual(ended, code, (words, said))
        return said

    async def test_the_queue(self) -> None:
        relay = self.relay(retry='["1h"]')
        await self.up(relay)
        said = await self.run_it(
            relay, "send", "--from", "a@src.test", "--to", "ok@evil.test", "--to", "tempfail-rcpt-0@evil.test",
            "--subject", "Grüße", "--tag", "t1", "--wait", "20", given="Hello.\n", code=1,
        )  # fmt: skip
        first, second = said.splitlines()
        self.assertIn(": ok@evil.test: delivered - 250 ", first)
        self.assertIn(": tempfail-rcpt-0@evil.test: deferred - 450 ", second)
        name = second.partition(":")[0]
        listed = await self.run_it(relay, "queue", "ls", "--tag", "t1", "--sender", "@src.test", "--state", "deferred")
        self.assertIn(name, listed)
        self.assertRegex(listed, r" in (60|59)m ")
        shown = await self.run_it(relay, "queue", "show", name)
        self.assertIn("waits for", shown)
        self.assertIn(" deferred: ", shown)
        self.assertIn("Subject: ", await self.run_it(relay, "queue", "show", "--headers", name))
        self.assertIn("\r\n\r\nHello.\r\n", await self.run_it(relay, "queue", "show", "--text", name.partition(".")[0]))
        held = await self.run_it(relay, "queue", "hold", "--tag", "t1", "--because", "ticket 17", "--yes")
        self.assertEqual(held, "1 delivery held\n")
        refused = await self.run_it(relay, "queue", "delete", "--state", "held", code=1)
        self.assertEqual(refused, "zonerelay: 1 delivery would be deleted: say --yes\n")
        [one] = (await self.run_it(relay, "queue", "ls", "--state", "held", "--json")).splitlines()
        self.assertEqual((json.loads(one)["name"], json.loads(one)["held"]), (name, "ticket 17"))
        self.assertEqual(await self.run_it(relay, "queue", "delete", name), "1 delivery deleted\n")
        self.assertEqual(await self.run_it(relay, "queue", "ls"), "the queue is empty\n")

    async def test_a_zone_is_stopped_and_goes_on(self) -> None:
        relay = self.relay(retry='["1h"]')
        await self.up(relay)
        await self.run_it(relay, "suspend", "--zone", "default", "--reason", "ticket 17")
        text = "From: a@src.test\nTo: ok@evil.test\nSubject: Hello\n\nHello.\n"
        self.assertIn(": taken for ok@evil.test\n", await self.run_it(relay, "send", "--raw", given=text))
        self.assertRegex(await self.run_it(relay, "zone", "ls"), r"(?m)^default +1 +0 +0 +0 +[01]/1 ")
        self.assertIn("\n  mail         1 queued, ", await self.run_it(relay, "zone", "show", "default"))
        self.assertIn("zone default: released", await self.run_it(relay, "resume", "--zone", "default"))
        await self.until(lambda: self.mx.accepted(), 20, "the delivery", relay)
        self.assertIn("accepted", await self.run_it(relay, "top", "--once"))

    async def test_top(self) -> None:
        """It shows rates, and leaves the terminal as it was."""
        relay = self.relay()
        await self.up(relay)
        for end in (b"q", b"\x03"):
            output, before, after, code = await deferToThread(self.watch, self.words(relay, "top"), end)
            self.assertIn("accepted         0.0/s", output)
            self.assertIn("default", output)
            self.assertTrue(output.startswith("\x1b[?1049h\x1b[?25l"), output)
            self.assertTrue(output.endswith("\x1b[?25h\x1b[?1049l"), output)
            self.assertEqual((before, code), (after, 0))

    def watch(self, words: list[str], end: bytes) -> tuple[str, Any, Any, int]:
        """Runs it on a terminal of 90 by 20 until it has shown rates, and ends it by that key."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 90, 0, 0))
        before = termios.tcgetattr(slave)
        variables = {**environment(), "TERM": "xterm", "NO_COLOR": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "relay", *words], stdin=slave, stdout=slave, stderr=slave, env=variables,
            cwd=self.directory, start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        output, until, asked = b"", time.monotonic() + 30, False
        try:
            while process.poll() is None or select.select([master], [], [], 0)[0]:
                if time.monotonic() > until:
                    raise AssertionError(f"it doesn't end: {output[-2000:]!r}")
                if select.select([master], [], [], 0.1)[0]:
                    output += os.read(master, 65536)
                if not asked and b"bounced" in output and b"NEXT HOP" in output:
                    asked = True
                    os.write(master, end)
            return output.decode(), before, termios.tcgetattr(slave), process.wait()
        finally:
            process.kill()
            process.wait()
            os.close(master)
            os.close(slave)
