"""What was stopped goes on by itself, on real processes: holds, complaints, silent hosts, warm-up.

The module isn't called test_*, so that `make test` doesn't find it.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

from tests.scenario.harness import Relay, signal
from tests.scenario.recording import Recorder
from tests.scenario.test_decisions import TWO
from tests.scenario.test_sites_at_sink import SitesCase

SLOW = "421 4.7.0 rate limit exceeded, slow down"


class Healing(SitesCase):
    def kinds(self, relay: Relay, **wanted: str) -> list[str]:
        """The decisions so far about what is named, by their kinds."""
        told = self.asked(relay, "/v1/decisions?limit=1000")["decisions"]
        return [one["kind"] for one in told if all(one.get(key) == value for key, value in wanted.items())]

    async def again(self, relay: Relay) -> None:
        """kill -9 of the master, and a new one."""
        os.kill(relay.master(), signal.SIGKILL)
        await self.until(lambda: not relay.alive, 10, "death", relay)
        await self.up(relay)

    async def test_a_hold_stops_at_once_and_ends_by_itself(self) -> None:
        """Over a kill -9 in its midst; what was under way goes out, and the other domain doesn't notice."""
        sink = self.recorder()
        relay = await self.serving(sink, processes=3, extra='[domains."one.test"]\nmessages = ["20/s"]')
        await self.submit(relay, 60, "one.test")
        await self.until(lambda: len(sink.taken) > 10, 20, "a flow", relay)
        hold = self.asked(relay, "/v1/holds", "POST", {"domain": "one.test", "reason": "wait", "duration": "8s"})
        begun = time.monotonic()
        self.assertIn("until", hold)
        await self.again(relay)
        await self.submit(relay, 10, "other.test")
        await self.until(lambda: sum(r.endswith("@other.test") for _, r, _ in sink.taken) == 10, 5, "others", relay)
        await self.arrived(sink, relay, 70)
        held = [when - begun for when, rcpt, _ in sink.taken if rcpt.endswith("@one.test")]
        late = [when for when in held if 0.5 < when < 7.5]
        self.assertEqual(late, [], "nothing while it is held")
        self.assertLess(min(when for when in held if when > 0.5), 9.5, "it ends when it said")
        self.assertEqual(self.asked(relay, "/v1/holds")["holds"], [])

    async def test_a_suspended_address_heals_by_itself(self) -> None:
        """Seen in /v1/backoff and /v1/decisions; one connection first, and in the end none is limited."""

        def answer(peer: str, rcpt: str) -> str:
            return SLOW if peer == "127.0.0.2" and angry else ""

        angry = True
        sink = self.recorder(answer=answer, pause=0.02)
        relay = await self.serving(sink, pool=TWO, extra='[backoff]\npauses = ["2s"]\nclimb = "1s"')
        await self.submit(relay, 20, "one.test")
        await self.until(lambda: self.asked(relay, "/v1/backoff")["backoff"], 20, "a back-off", relay)
        [entry] = self.asked(relay, "/v1/backoff?address=127.0.0.2")["backoff"]
        self.assertEqual((entry["kind"], entry["allowance"]), ("rate", 0))
        self.assertIn(SLOW, entry["reason"])
        angry = False
        seen = time.monotonic()
        await self.trickle(relay, "climbing", 10)
        await self.submit(relay, 40, "one.test")
        await self.trickle(relay, "recovered", 20)
        over = datetime.fromisoformat(entry["until"]).timestamp() - time.time() + time.monotonic()
        came = [when for when, peer, change in sink.changes if peer == "127.0.0.2" and change > 0]
        self.assertEqual([when for when in came if seen + 0.5 < when < over - 0.05], [], "none while it is suspended")
        # Those that were kept from before are closed before anything goes.
        changes = [(when, change) for when, peer, change in sink.changes if peer == "127.0.0.2"]
        begun = [when for when, peer in sink.mails if peer == "127.0.0.2"] + came
        for moment in (when for when in begun if over - 0.05 < when < over + 0.95):
            open_now = sum(change for when, change in changes if when <= moment)
            self.assertLessEqual(open_now, 1, "one connection at first")
        self.assertEqual(self.asked(relay, "/v1/backoff")["backoff"], [])
        by = Counter(peer for _, _, peer in sink.taken)
        self.assertEqual(set(by), {"127.0.0.2", "127.0.0.3"}, by)

    async def trickle(self, relay: Relay, kind: str, seconds: float) -> None:
        """Mail now and then, until that is told of the first address: it is told when somebody has mail."""
        end = time.monotonic() + seconds
        while kind not in self.kinds(relay, address="127.0.0.2"):
            self.assertLess(time.monotonic(), end, f"{kind} isn't told: {self.kinds(relay)}")
            await self.submit(relay, 2, "one.test")
            await self.remains(lambda: True, 0.2, "")

    async def test_a_back_off_is_ended_by_hand(self) -> None:
        def answer(peer: str, rcpt: str) -> str:
            return SLOW if peer == "127.0.0.2" and angry else ""

        angry = True
        sink = self.recorder(answer=answer)
        relay = await self.serving(sink, pool=TWO, extra='[backoff]\npauses = ["1h"]')
        await self.submit(relay, 10, "one.test")
        await self.arrived(sink, relay, 10)
        self.assertEqual({peer for _, _, peer in sink.taken}, {"127.0.0.3"})
        angry = False
        ended = self.asked(relay, "/v1/backoff?address=127.0.0.2", "DELETE")
        self.assertEqual(ended["ended"], 1)
        self.assertEqual(self.asked(relay, "/v1/backoff")["backoff"], [])
        await self.submit(relay, 40, "one.test")
        await self.until(lambda: any(peer == "127.0.0.2" for _, _, peer in sink.taken), 20, "its use", relay)

    async def test_a_host_that_hangs_costs_those_behind_no_attempt(self) -> None:
        """Mail that never had its turn keeps 0 attempts through several probes; another domain flows."""
        sink = self.recorder()
        hung = Recorder(sink.port, host="127.3.0.1", mute=True)
        hung.start()
        self.addCleanup(hung.stop)
        extra = '[backoff]\nunreachable = ["1s", "2s"]\n[timeouts]\nbanner = "1s"'
        relay = await self.named(sink, extra, processes=2)
        ids = await self.submit(relay, 20, "d0.hanging.test")
        await self.until(lambda: self.asked(relay, "/v1/backoff")["backoff"], 20, "the outage is known", relay)
        ids += await self.submit(relay, 20, "d0.hanging.test")
        begun = time.monotonic()
        await self.submit(relay, 10, "good.test")
        await self.until(lambda: len(sink.taken) == 10, 5, "the good domain's", relay)
        self.assertLess(max(when for when, _, _ in sink.taken) - begun, 3.0)
        await self.until(lambda: time.monotonic() - begun > 6, 10, "some probes", relay)
        whys = [self.asked(relay, f"/v1/deliveries/{name}.001/why") for name in ids]
        tried = sum(why["attempts"] > 0 for why in whys)
        calls = len(hung.connections())
        self.assertLessEqual(tried, calls)
        self.assertLess(calls, 8, "two at first, and one for each probe")
        hung.mute = False
        await self.until(lambda: len(hung.taken) == 40, 30, "all of it", relay)

    async def test_a_warm_up_is_never_exceeded_by_kills_in_its_midst(self) -> None:
        today = datetime.now(UTC)
        if today.hour == 23 and today.minute > 55:
            today += timedelta(minutes=6)
        sink = self.recorder(pause=0.05)
        since = f'warmup = "slow", warmup_since = "{today:%Y-%m-%d}"'
        pool = TWO.replace('"two.test"', f'"two.test", {since}')
        plan = "[warmups.slow]\ndays = [40, 100]"
        relay = await self.serving(sink, pool=pool, zone="max_connections = 4", extra=plan)
        await self.submit(relay, 140, "one.test")
        for count in (15, 60):
            await self.until(lambda wanted=count: len(sink.taken) > wanted, 30, "more", relay)
            await self.again(relay)
        await self.arrived(sink, relay, 140)
        by = Counter(peer for _, peer in sink.mails)
        self.assertLessEqual(by["127.0.0.2"], 40, by)
        self.assertGreaterEqual(by["127.0.0.2"], 28, by)

