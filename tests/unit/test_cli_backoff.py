"""`zonerelay backoff`, asking a site that listens."""

from __future__ import annotations

import json

from twisted.trial.unittest import TestCase

from tests.unit import test_cli_holds
from tests.unit.api_rig import NOW, Rig

REPLY = "421 4.7.0 slow\x1b[31m down"


class BackoffCommandTests(TestCase):
    listening = test_cli_holds.Asking.listening
    run_it = test_cli_holds.Asking.run_it

    def setUp(self) -> None:
        rig = Rig(clock=test_cli_holds.reactor)
        rig.backoff.complained("default", "example.net", "192.0.2.7", "rate", REPLY, NOW)
        rig.backoff.unreachable("news", "example.org", "timed out", NOW)
        self.rig = rig
        test_cli_holds.streams(self)
        self.url = f"http://127.0.0.1:{self.listening(rig.site)}"

    async def test_listed_and_ended(self) -> None:
        code, out, err = await self.run_it("backoff")
        first, second = out.splitlines()
        self.assertEqual((code, err), (0, ""))
        said = "zone default, site example.net, address 192.0.2.7: rate, nothing goes until 2026-"
        self.assertTrue(first.startswith(said), first)
        self.assertNotIn("\x1b", out)
        self.assertTrue(second.startswith("zone news, site example.org: unreachable, nothing goes until 2026-"), second)
        code, out, err = await self.run_it("backoff", "--zone", "news")
        self.assertEqual((code, len(out.splitlines())), (0, 1))
        code, out, err = await self.run_it("backoff", "--zone", "news", "--json")
        self.assertEqual([one["site"] for one in json.loads(out)["backoff"]], ["example.org"])
        self.assertEqual(await self.run_it("backoff", "--end", "--site", "example.net"), (0, "1 ended\n", ""))
        self.assertEqual(await self.run_it("backoff", "--end", "--everything"), (0, "1 ended\n", ""))
        self.assertEqual(await self.run_it("backoff"), (0, "", ""))

    async def test_nothing_is_ended_by_a_slip(self) -> None:
        for words in (("--end",), ("--everything",), ("--end", "--everything", "--zone", "news")):
            code, out, err = await self.run_it("backoff", *words)
            self.assertEqual((code, out, err[:11]), (1, "", "zonerelay: "))
        self.assertEqual(len(self.rig.backoff.listed(NOW)), 2)
