"""Mail that reaches its greatest age (D39): it is given up, once."""

from __future__ import annotations

import json
import os
from collections import Counter

from relay.message.event import ENDS
from tests.scenario.harness import Relay, Scenario, deferToThread, on_disk, post, signal
from tests.scenario.told import attempts

#: Tried each second, and given up at the first failure more than that many seconds after the first one.
AGEING = '["1s"]\nretry_repeat_last = true\nmax_age = "{}s"'


class OldAge(Scenario):
    timeout = 60

    def ends(self, said: str) -> Counter[str]:
        """How often each recipient's mail was bounced or delivered."""
        return Counter(one["to"].strip("<>") for one in attempts(said) if one["result"] != "deferred")

    def left(self, relay: Relay) -> int:
        """Deliveries in the queue."""
        counted = json.loads(post(relay.api, "/counter/zone/", method="GET")[1])
        return sum(entry["value"] for kind in ("active", "deferred") for entry in counted[kind]["entries"])

    async def over(self, relay: Relay) -> None:
        """Nothing is left, and no host has taken anything. The relay is stopped, so that its log is whole."""
        await self.until(lambda: not self.left(relay), 20, "an empty queue", relay)
        await self.stopped(relay)
        self.assertEqual(on_disk(relay), [])
        self.assertEqual(self.mx.accepted(), [])

    async def test_D39_while_it_is_deferred(self) -> None:
        relay = self.relay(retry=AGEING.format(3))
        await self.up(relay)
        load = await self.send(relay, 5, "tempfail-rcpt-0+{id}@evil.test")
        await self.over(relay)
        self.assertEqual(self.ends(relay.said()), Counter(load.to.values()))
        for recipient in load.to.values():
            *before, last = [one for one in attempts(relay.said()) if one["to"] == f"<{recipient}>"]
            self.assertEqual(last["result"], "bounced")
            self.assertEqual([one["attempts"] for one in before], [str(n + 1) for n in range(len(before))])
            self.assertGreaterEqual(len(before), 2, "it was tried all that time")

    async def test_D39_while_it_is_on_hold(self) -> None:
        """Nothing bounces while it is held; afterwards it has one more try."""
        relay = self.relay(retry='["2s"]\nmax_age = "2s"')
        await self.up(relay)
        load = await self.send(relay, 3, "tempfail-rcpt-0+{id}@evil.test")
        await self.until(lambda: len(attempts(relay.said())) >= 3, 10, "a first failure of each", relay)
        hold = json.dumps({"domain": "evil.test", "reason": "wait", "duration": "1h"}).encode()
        status, body = await deferToThread(
            post, relay.api, "/v1/holds", hold, headers={"Content-Type": "application/json"}
        )
        self.assertEqual(status // 100, 2, body)
        await self.remains(lambda: not self.ends(relay.said()), 3.5, "it has bounced though it is held")
        self.assertEqual(len(attempts(relay.said())), 3, "tried though it is held")
        number = json.loads(body)["id"]
        await deferToThread(post, relay.api, f"/v1/holds/{number}", method="DELETE")
        await self.over(relay)
        self.assertEqual(self.ends(relay.said()), Counter(load.to.values()))
        self.assertEqual(len(attempts(relay.said())), 6)

    async def test_D39_exactly_at_a_restart(self) -> None:
        """Killed in the midst of giving up: who was given up stays so and is tried no more, and the others are, once.

        What had ended shortly before the kill is in no log, since lines are written up to a tenth of a second later.
        Events are on disk with what they tell of: they know each end, and so does the queue who is left.
        """
        relay = self.relay(retry=AGEING.format(2))
        await self.up(relay)
        load = self.load(relay, sessions=1, pause=0.02, recipients=["tempfail-rcpt-0+{id}@evil.test"])
        await self.until(lambda: len(self.ends(relay.said())) > 20, 20, "some ends", relay)
        os.kill(relay.master(), signal.SIGKILL)
        await self.until(lambda: not relay.alive, 10, "death")
        await self.stop(load)
        said, left = relay.said(), {delivery.recipient for delivery in on_disk(relay)}
        told, tries = self.ends(said), self.refused()
        self.assertEqual(max(told.values()), 1)
        self.assertTrue(left, "nothing was left to give up: the test shows nothing")
        self.assertEqual(left & told.keys(), set(), "told before it was on disk")

        await self.up(relay)
        await self.until(lambda: not self.left(relay), 20, "an empty queue", relay)
        everyone = {load.to[name] for name in load.accepted()} | left | told.keys()
        # The queue counts an end when it is about to be written, events are read when it is.
        await self.until(lambda: len(self.ended(relay)) >= len(everyone), 10, "the last event", relay)
        self.assertEqual(self.ended(relay), Counter(dict.fromkeys(everyone, 1)))
        await self.over(relay)
        self.assertEqual(self.ends(relay.said()[len(said) :]), Counter(left))
        self.assertEqual((self.refused() - tries).keys(), left, "who was tried again")

    def ended(self, relay: Relay) -> Counter[str]:
        """How often each recipient's mail has expired, as the events say; nothing has ended otherwise."""
        kinds = ",".join(sorted(ENDS))
        events = json.loads(post(relay.api, f"/v1/events?after=0&limit=1000&kind={kinds}", method="GET")[1])["events"]
        self.assertEqual({event["kind"] for event in events}, {"expired"})
        return Counter(event["recipient"] for event in events)

    def refused(self) -> Counter[str]:
        """How often the host has refused each recipient."""
        return Counter(recipient for one in self.mx.seen() for recipient in one["rcpts"])
