"""Mail that reaches its greatest age (D39): it is given up, once, and its sender is told so, once."""

from __future__ import annotations

import json
import os
from collections import Counter

from tests.scenario.harness import Relay, Scenario, deferToThread, post, signal
from tests.scenario.told import attempts

#: Tried each second, and given up at the first failure more than two seconds after the first one.
AGEING = '["1s"]\nretry_repeat_last = true\nmax_age = "2s"'
TOLD = {"retry": AGEING, "bounces": "true", "extra": '[bounces]\nper_sender = "100000/m"'}


class OldAge(Scenario):
    timeout = 60

    def ends(self, relay: Relay) -> Counter[str]:
        """How often each delivery was bounced."""
        return Counter(one["id"] for one in attempts(relay.said()) if one["result"] == "bounced")

    def told(self) -> int:
        """How many notices have come, and nothing else has; each has an id of its own."""
        self.assertEqual({(line["from"], line["rcpt"]) for line in self.mx.accepted()}, {("", "load@src.test")})
        return len({line["id"] for line in self.mx.accepted()})

    def left(self, relay: Relay) -> int:
        """Deliveries in the queue."""
        counted = json.loads(post(relay.api, "/counter/zone/", method="GET")[1])
        return sum(entry["value"] for kind in ("active", "deferred") for entry in counted[kind]["entries"])

    async def over(self, relay: Relay, count: int) -> None:
        """Each has ended, once, and stays so."""
        await self.until(lambda: not self.left(relay), 20, "an empty queue", relay)
        await self.remains(lambda: True, 1.5, "")
        ends = self.ends(relay)
        self.assertLessEqual(max(ends.values()), 1)
        self.assertEqual(len(ends), count)
        self.assertEqual((self.told(), len(self.mx.accepted())), (count, count))

    async def test_D39_while_it_is_deferred(self) -> None:
        relay = self.relay(**TOLD)
        await self.up(relay)
        await self.send(relay, 5, "tempfail-rcpt-0+{id}@evil.test")
        await self.over(relay, 5)
        results = [one["result"] for one in attempts(relay.said())]
        self.assertEqual(results.count("bounced"), 5)
        self.assertGreaterEqual(results.count("deferred"), 10, "it was tried all that time")

    async def test_D39_while_it_is_on_hold(self) -> None:
        """Nothing bounces while it is held; afterwards it has one more try."""
        relay = self.relay(**TOLD)
        await self.up(relay)
        await self.send(relay, 3, "tempfail-rcpt-0+{id}@evil.test")
        await self.until(lambda: len(attempts(relay.said())) >= 3, 10, "a first failure of each", relay)
        hold = json.dumps({"domain": "evil.test", "reason": "wait", "duration": "1h"}).encode()
        status, body = await deferToThread(
            post, relay.api, "/v1/holds", hold, headers={"Content-Type": "application/json"}
        )
        self.assertEqual(status // 100, 2, body)
        await self.remains(lambda: not self.ends(relay), 3.5, "it has bounced though it is held")
        tried = len(attempts(relay.said()))
        number = json.loads(body)["id"]
        await deferToThread(post, relay.api, f"/v1/holds/{number}", method="DELETE")
        await self.over(relay, 3)
        self.assertEqual(len(attempts(relay.said())) - tried, 3 + 3, "one more each, and one for each notice")

    async def test_D39_exactly_at_a_restart(self) -> None:
        """Killed in the midst of giving up: who was given up stays so, and the others are, once."""
        relay = self.relay(**TOLD)
        await self.up(relay)
        load = self.load(relay, sessions=1, pause=0.02, recipients=["tempfail-rcpt-0+{id}@evil.test"])
        await self.until(lambda: self.ends(relay), 15, "a first bounce", relay)
        await self.stop(load)
        await self.until(lambda: len(self.ends(relay)) > 20, 15, "some more", relay)
        os.kill(relay.master(), signal.SIGKILL)
        await self.until(lambda: not relay.alive, 10, "death")
        await self.up(relay)
        await self.until(lambda: not self.left(relay), 20, "an empty queue", relay)
        ends, count = self.ends(relay), len(load.accepted())
        self.assertLessEqual(max(ends.values()), 1)
        # The last lines of a log go with who is killed before they are written.
        self.assertTrue(count * 0.8 < len(ends) <= count, f"{len(ends)} of {count}")
        self.assertEqual(self.told(), count)
