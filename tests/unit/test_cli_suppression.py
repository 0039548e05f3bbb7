"""`zonerelay suppression`, asking a site that listens."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from relay.cli.main import main
from relay.http.suppression_import import ImportApi
from relay.http.suppressions import SuppressionsApi
from tests.unit.api_rig import NOW, Rig
from tests.unit.suppression_rig import a_list
from tests.unit.test_cli_holds import never, streams

reactor: Any = _reactor


class Asking(TestCase):
    out: io.StringIO
    err: io.StringIO

    def setUp(self) -> None:
        clock = Clock()
        clock.rightNow = NOW / 1000
        self.list = a_list(clock=clock)
        more = (SuppressionsApi(self.list, reactor, lambda: NOW, 60.0), ImportApi(self.list, lambda: NOW))
        site = Rig(clock=reactor, more=more).site
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.url = f"http://127.0.0.1:{port.getHost().port}"
        streams(self)

    async def run_it(self, *words: str) -> tuple[int, str, str]:
        """Exit code, and what was printed."""
        code = await deferToThread(main, ["suppress", *words, "--api", self.url], never)
        said = self.out.getvalue(), self.err.getvalue()
        for stream in (self.out, self.err):
            stream.seek(0)
            stream.truncate()
        return (code, *said)

    async def test_the_whole_way(self) -> None:
        words = ("add", "X@to.test", "--tenant", "Ann", "--reason", "he\u2028asked", "--for", "1d")
        code, out, _ = await self.run_it(*words)
        self.assertEqual(code, 0)
        self.assertRegex(out, r"^[0-9a-f]{24}: x@to\.test, from ann, manual of 20.*Z, until 20.*Z: he asked\n$")
        self.assertEqual((await self.run_it("add", "gone.test"))[0], 0)
        self.assertEqual(await self.run_it("check", "x@to.test"), (0, "x@to.test: gets mail\n", ""))
        code, out, _ = await self.run_it("check", "y@Gone.test")
        self.assertEqual((code, out.split(":")[:2]), (1, ["y@gone.test", " gets no mail"]))
        self.assertEqual((await self.run_it("check", "x@to.test", "--tenant", "ann"))[0], 1)
        code, out, _ = await self.run_it("list")
        head, *lines = (line.split() for line in out.splitlines())
        self.assertEqual(head, ["WHOM", "TENANT", "SOURCE", "SINCE", "UNTIL", "REASON", "ID"])
        self.assertEqual([(line[0], line[1]) for line in lines], [("gone.test", "manual"), ("x@to.test", "ann")])
        self.assertEqual((await self.run_it("ls", "--domain", "to.test"))[1].count("\n"), 2)
        code, out, _ = await self.run_it("list", "--domain", "to.test", "--json")
        self.assertEqual((json.loads(out)["address"], json.loads(out)["tenant"]), ("x@to.test", "ann"))
        code, out, _ = await self.run_it("check", "gone.test@gone.test", "--json")
        self.assertEqual((code, json.loads(out)["suppressed"]), (1, True))
        code, out, _ = await self.run_it("remove", "gone.test")
        self.assertEqual((code, out.endswith(": removed\n")), (0, True))
        self.assertEqual(
            await self.run_it("remove", "gone.test"), (1, "", "zonerelay: There is no entry for gone.test\n")
        )
        code, _, err = await self.run_it("add", "a b@to.test")
        self.assertEqual((code, err), (1, 'zonerelay: address: bad local part, got "a b@to.test"\n'))

    async def test_files(self) -> None:
        path = Path(self.mktemp())
        path.write_bytes(b"x@to.test\nodd line\n" + b"".join(b"y%d@to.test\n" % n for n in range(3000)))
        code, out, err = await self.run_it("import", str(path), "--reason", "old list")
        self.assertEqual((code, out), (1, "3001 added, 0 known, 1 bad\n"))
        self.assertEqual(err, "line 2: recipient: bad domain\n")
        binary = io.BytesIO()
        self.out.buffer = binary  # type: ignore[attr-defined]
        self.assertEqual((await self.run_it("export"))[0], 0)
        data = binary.getvalue()
        self.assertEqual((data.count(b"\r\n"), data.count(b",old list,import,")), (3002, 3001))
        path.write_bytes(data)
        self.assertEqual((await self.run_it("import", str(path)))[1], "0 added, 3001 known, 0 bad\n")
        code, _, err = await self.run_it("import", "no such file")
        self.assertEqual((code, err), (1, "zonerelay: no such file: No such file or directory\n"))
