"""What the relay decides about ways and addresses on real processes: holds, rests, warm-ups, hosts that are silent."""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime, timedelta

from bench.network import free_ports
from tests.scenario.harness import Relay, signal
from tests.scenario.recording import Recorder
from tests.scenario.test_limits import LimitsCase

TWO = '{ address = "127.0.0.2", name = "two.test" }, { address = "127.0.0.3", name = "three.test" }'


class Decisions(LimitsCase):
    async def test_a_hold_outlives_a_kill_and_ends(self) -> None:
        sink = self.recorder()
        relay = await self.serving(sink)
        hold = self.asked(relay, "/v1/holds", "POST", {"domain": "one.test", "reason": "they asked us to"})
        [held] = await self.submit(relay, 1, "one.test")
        await self.submit(relay, 5, "other.test")
        await self.until(lambda: len(sink.taken) == 5, 20, "others", relay)
        why = self.asked(relay, f"/v1/deliveries/{held}.001/why")
        self.assertEqual((why["state"], why["waits_for"]["kind"], why["attempts"]), ("waiting", "hold", 0))
        self.assertIn("they asked us to", why["waits_for"]["limit"])
        os.kill(relay.master(), signal.SIGKILL)
        await self.until(lambda: not relay.alive, 10, "death", relay)
        await self.up(relay)
        await self.submit(relay, 5, "third.test")
        await self.until(lambda: len(sink.taken) == 10, 20, "others", relay)
        self.assertNotIn("u0@one.test", {rcpt for _, rcpt, _ in sink.taken})
        self.asked(relay, f"/v1/holds/{hold['id']}", "DELETE")
        await self.until(lambda: any(rcpt == "u0@one.test" for _, rcpt, _ in sink.taken), 10, "what was held", relay)
        reason = f"hold {hold['id']}: they asked us to"
        await self.told(relay, [("held", reason), ("released", reason.replace(":", " ended by hand:"))])

    async def told(self, relay: Relay, decisions: list[tuple[str, str]]) -> None:
        """Each decision, by its kind and reason, is an event."""

        def events() -> list[tuple[str, str]]:
            found = self.asked(relay, "/v1/events?kind=decision")["events"]
            return [(one["what"], one["reason"]) for one in found][: len(decisions)]

        await self.until(lambda: events() == decisions, 10, f"events of {decisions}", relay)

    async def test_a_complaint_rests_one_address_and_mail_goes_by_the_other(self) -> None:
        def answer(peer: str, rcpt: str) -> str:
            return "421 4.7.0 too many messages from you, slow down" if peer == "127.0.0.2" and angry else ""

        angry = True
        sink = self.recorder(answer=answer)
        relay = await self.serving(sink, pool=TWO, extra='[backoff]\npauses = ["3s"]\nclimb = "1s"')
        await self.submit(relay, 30, "one.test")
        await self.until(lambda: len(sink.taken) == 30, 30, "all of it", relay)
        self.assertEqual({peer for _, _, peer in sink.taken}, {"127.0.0.3"})
        decisions = self.asked(relay, "/v1/decisions")["decisions"]
        first = next(one for one in decisions if one["kind"] == "suspended")
        self.assertEqual((first["address"], "slow down" in first["reason"]), ("127.0.0.2", True))
        await self.told(relay, [(one["kind"], one["reason"]) for one in decisions])
        angry = False
        self.asked(relay, "/v1/backoff?everything=true", "DELETE")
        await self.submit(relay, 30, "one.test")
        await self.until(lambda: len(sink.taken) == 60, 30, "all of it", relay)
        self.assertEqual({peer for _, _, peer in sink.taken}, {"127.0.0.2", "127.0.0.3"})

    async def test_a_blocklisted_address_is_set_aside(self) -> None:
        def answer(peer: str, rcpt: str) -> str:
            return "451 4.7.1 127.0.0.2 is listed at zen.spamhaus.org" if peer == "127.0.0.2" else ""

        sink = self.recorder(answer=answer)
        relay = await self.serving(sink, pool=TWO)
        await self.submit(relay, 20, "one.test")
        await self.until(lambda: len(sink.taken) == 20, 30, "all of it", relay)
        listed = self.asked(relay, "/blacklist")["list"]
        self.assertEqual([(one["address"], one["domain"]) for one in listed], [("127.0.0.2", "one.test")])
        self.assertLessEqual(sum(peer == "127.0.0.2" for _, peer in sink.mails), 20)

    async def test_a_host_that_does_not_answer_costs_those_behind_no_attempt(self) -> None:
        port = free_ports(1)[0]
        relay = self.relay(mx=port, extra='[backoff]\nunreachable = ["2s", "3s"]')
        await self.up(relay)
        ids = await self.submit(relay, 20, "one.test")
        await self.until(lambda: self.asked(relay, "/v1/backoff")["backoff"], 20, "the outage is known", relay)
        more = await self.submit(relay, 10, "one.test")
        why = self.asked(relay, f"/v1/deliveries/{more[0]}.001/why")
        self.assertEqual((why["waits_for"]["kind"], why["attempts"]), ("unreachable", 0))
        tried = [self.asked(relay, f"/v1/deliveries/{name}.001/why")["attempts"] for name in (*ids, *more)]
        self.assertLess(sum(attempts > 0 for attempts in tried), 10)
        sink = Recorder(port)
        sink.start()
        self.addCleanup(sink.stop)
        await self.until(lambda: len(sink.taken) == 30, 40, "all of it", relay)

    async def test_D42_an_address_that_is_not_here_is_passed_over(self) -> None:
        sink = self.recorder()
        gone = '{ address = "192.0.2.77", name = "gone.test" }, { address = "127.0.0.3", name = "three.test" }'
        relay = await self.serving(sink, pool=gone)
        await self.submit(relay, 20, "one.test")
        await self.until(lambda: len(sink.taken) == 20, 30, "all of it", relay)
        [told] = [one for one in self.asked(relay, "/v1/decisions")["decisions"] if one["kind"] == "address-gone"]
        self.assertEqual(told["address"], "192.0.2.77")

    async def test_a_warm_up_is_never_exceeded_over_a_kill(self) -> None:
        today = datetime.now(UTC)
        if today.hour == 23 and today.minute > 57:
            today += timedelta(minutes=5)
        sink = self.recorder()
        pool = (
            f'{{ address = "127.0.0.2", name = "two.test", warmup = "slow", warmup_since = "{today:%Y-%m-%d}" }}, '
            '{ address = "127.0.0.3", name = "three.test" }'
        )
        relay = await self.serving(sink, pool=pool, extra="[warmups.slow]\ndays = [15, 100]")
        await self.submit(relay, 20, "one.test")
        await self.until(lambda: len(sink.taken) == 20, 30, "all of it", relay)
        os.kill(relay.master(), signal.SIGKILL)
        await self.until(lambda: not relay.alive, 10, "death", relay)
        await self.up(relay)
        await self.submit(relay, 60, "one.test")
        await self.until(lambda: len(sink.taken) == 80, 30, "all of it", relay)
        by = Counter(peer for _, _, peer in sink.taken)
        self.assertTrue(13 <= by["127.0.0.2"] <= 15, by)
        [told] = self.asked(relay, "/v1/warmup")["addresses"]
        self.assertEqual((told["address"], told["sites"][0]["left"]), ("127.0.0.2", 0))
