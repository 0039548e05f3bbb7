"""What hosts say against a delivery, taken as rules have it, that change while the relay runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench.peers import environment
from tests.scenario.harness import Relay, deferToThread, post
from tests.scenario.test_limits import LimitsCase

LISTED = "554 5.7.1 Client host [127.0.0.1] blocked using zen.spamhaus.org"
FULL = "452 4.2.2 The email account that you tried to reach is over quota. abc1234567890 - gsmtp"
ODD = "550 5.1.1 The stars are against it"
RULE = '[[rules]]\ncategory = "{}"\naction = "defer"\nmessage = "Wait for the stars"\nmatch = ["stars * against"]\n'
COUNTED = {"deferred blacklist": 1, "delivered ": 1, "bounced capacity": 1}


class BounceRules(LimitsCase):
    def steps(self, relay: Relay, name: str) -> list[str]:
        """What the mail log says of what became of a delivery."""
        ended = tuple(f" {step} id={name}.001 " for step in ("bounced", "deferred", "delivered"))
        return [line for line in relay.said().splitlines() if any(step in line for step in ended)]

    async def step(self, relay: Relay, name: str, number: int = 0) -> str:
        await self.until(lambda: len(self.steps(relay, name)) > number, 20, f"step {number} of {name}", relay)
        return self.steps(relay, name)[number]

    async def test_rules_decide_and_are_read_again(self) -> None:
        asked: list[str] = []

        def answer(peer: str, rcpt: str) -> str:
            asked.append(rcpt)
            if rcpt.endswith("@full.test"):
                return FULL
            if rcpt.endswith(".odd.test"):
                return ODD
            return LISTED if rcpt.endswith("@listed.test") and asked.count(rcpt) == 1 else ""

        sink = self.recorder(answer=answer)
        rules = Path(self.mktemp()).absolute()
        rules.write_text("# none yet\n")
        relay = await self.serving(sink, extra=f'[bounces]\nrules = "{rules}"')

        # A blocklist's 5xx is tried again, and a 4xx that means never is not.
        [listed] = await self.submit(relay, 1, "listed.test")
        self.assertIn(" deferred ", line := await self.step(relay, listed))
        self.assertIn(" category=blacklist action=defer ", line)
        self.assertIn(" delivered ", await self.step(relay, listed, 1))
        [full] = await self.submit(relay, 1, "full.test")
        self.assertIn(" bounced ", line := await self.step(relay, full))
        self.assertIn(" category=capacity action=reject ", line)

        # What was said is kept, and what happened counted.
        self.replies_are_kept(relay, full)
        await self.until(lambda: self.counts(relay) == COUNTED, 20, "what happened is counted", relay)

        # The operator's file is read when it is replaced; a bad one leaves things as they are, and is told of.
        [first] = await self.submit(relay, 1, "one.odd.test")
        self.assertIn(" bounced ", line := await self.step(relay, first))
        self.assertIn(" category=recipient action=reject ", line)
        self.replace(rules, RULE.format("policy"))
        second = await self.one_deferred(relay, "two.odd.test")
        self.assertIn(" category=policy action=defer ", self.steps(relay, second)[0])
        why = self.asked(relay, f"/v1/deliveries/{second}.001/why")
        self.assertEqual((why["category"], why["meaning"], why["fault"]), ("policy", "Wait for the stars", "message"))
        [row] = self.asked(relay, f"/message/{second}")["messages"]
        self.assertEqual(row["deferred"]["category"], "policy")
        self.replace(rules, RULE.format("astrology"))
        await self.until(lambda: f"{rules}:2: category: expected one of" in relay.said(), 20, "the fault", relay)
        [third] = await self.submit(relay, 1, "three.odd.test")
        self.assertIn(" category=policy action=defer ", await self.step(relay, third))
        metrics = (await deferToThread(post, relay.api, "/metrics", b"", "GET"))[1].decode()
        self.assertIn("zonerelay_bounce_rules_stale 1.0", metrics)
        self.assertIn('zonerelay_refusals_total{action="defer",category="blacklist"} 1.0', metrics)

        # What the command says of a reply is what the relay has made of it.
        self.replace(rules, RULE.format("policy"))
        said = await deferToThread(
            subprocess.run,
            [sys.executable, "-m", "relay", "check-bounce", "--config", relay.config],
            input=ODD.encode(),
            capture_output=True,
            env=environment(),
            check=True,
        )
        self.assertIn(b"action   : defer\nmessage  : Wait for the stars\ncategory : policy\n", said.stdout)

    def replies_are_kept(self, relay: Relay, name: str) -> None:
        """The whole dialogue that a delivery failed with."""
        said = [(one["who"], one["text"]) for one in self.asked(relay, f"/v1/history/{name}.001")["dialogue"]]
        self.assertEqual(said[0][0], "host")
        self.assertTrue(said[0][1].startswith("220 "), said)
        self.assertTrue([text for who, text in said if who == "relay" and text.startswith("RCPT TO:<")], said)
        self.assertIn(("host", FULL), said)

    def counts(self, relay: Relay) -> dict[str, int]:
        series = self.asked(relay, "/v1/rollups?by=site,kind,reason&kind=delivered,deferred,bounced")["series"]
        return {" ".join(one[by] for by in ("kind", "reason")): one["total"] for one in series}

    async def one_deferred(self, relay: Relay, domain: str) -> str:
        """Of the deliveries there the first that was not bounced: the new rules are seen within a second."""
        for _ in range(50):
            [name] = await self.submit(relay, 1, domain)
            if " deferred " in await self.step(relay, name):
                return name
        raise AssertionError("the new rules were never read")

    def replace(self, path: Path, text: str) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_text(text)
        os.replace(fresh, path)
