"""Zones, limits and fairness on real processes, as the host at the other end sees them."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.network import free_ports
from bench.queuefill import fill
from relay.message.flow import Flow, flow_text
from tests.scenario.harness import Relay, Scenario, deferToThread, post, signal
from tests.scenario.recording import Recorder

TWO = '{ address = "127.0.0.2", name = "two.test" }, { address = "127.0.0.3", name = "three.test" }'


class LimitsCase(Scenario):
    def recorder(self, **more: Any) -> Recorder:
        made = Recorder(free_ports(1)[0], **more)
        made.start()
        self.addCleanup(made.stop)
        return made

    async def serving(self, sink: Recorder, **settings: Any) -> Relay:
        relay = self.relay(mx=sink.port, **settings)
        await self.up(relay)
        children = int(settings.get("processes", 1))
        await self.until(lambda: len(relay.children()) == children, 20, f"{children} children", relay)
        return relay

    def reactor(self) -> Any:
        from twisted.internet import reactor

        return reactor

    async def submit(self, relay: Relay, count: int, domain: str = "d{n}.test", user: str = "") -> list[str]:
        """Hand in so many by HTTP; their ids."""

        def some() -> list[str]:
            ids = []
            for number in range(count):
                to = f"u{number}@{domain.replace('{n}', str(number % 7))}"
                text = f"From: <a@src.test>\r\nTo: <{to}>\r\nSubject: x\r\n\r\nhello\r\n".encode()
                headers = {"Content-Type": "message/rfc822"}
                if user:
                    headers["X-Authenticated-User"] = user
                status, body = post(relay.api, "/send-raw", text, headers=headers)
                assert status in (200, 202), (status, body)
                ids.append(json.loads(body)["id"])
            return ids

        return await deferToThread(some)

    def asked(self, relay: Relay, path: str, method: str = "GET", fields: object = None) -> Any:
        body = b"" if fields is None else json.dumps(fields).encode()
        status, answer = post(relay.api, path, body, method, {"Content-Type": "application/json"} if body else {})
        self.assertLess(status, 300, answer)
        return json.loads(answer)

    async def paced(
        self, children: int, per_second: int, count: int = 110, user: str = "", **settings: Any
    ) -> Recorder:
        """So many messages are there at once; how they arrive is looked at for as long as there are some."""
        sink = self.recorder()
        relay = await self.serving(sink, processes=children, **settings)
        await self.submit(relay, count, user=user)
        await self.until(lambda: len(sink.taken) == count, 60, "all of it", relay)
        self.check_pace(sink, per_second)
        return sink

    def check_pace(self, sink: Recorder, per_second: int) -> None:
        times = [when for when, _ in sink.mails]
        self.assertLessEqual(sink.most_within(1.0), per_second + 1)
        self.assertGreaterEqual(len(times) - 1, 0.95 * per_second * (times[-1] - times[0]))


class Rates(LimitsCase):
    async def test_of_a_zone_with_three_children(self) -> None:
        await self.paced(3, 20, zone='messages = ["20/s"]')

    async def test_of_an_address(self) -> None:
        await self.paced(3, 20, zone='address = { messages = ["20/s"] }')

    async def test_of_a_user(self) -> None:
        await self.paced(3, 20, user="me", extra='[senders.me]\nmessages = ["20/s"]')

    async def test_of_a_domain(self) -> None:
        sink = self.recorder()
        relay = await self.serving(sink, processes=3, extra='[domains."one.test"]\nmessages = ["20/s"]')
        await self.submit(relay, 80, "one.test")
        await self.submit(relay, 40, "other.test")
        await self.until(lambda: len(sink.taken) == 120, 60, "all of it", relay)
        others = [when for when, rcpt, _ in sink.taken if rcpt.endswith("@other.test")]
        self.assertLess(others[-1] - others[0], 2.0, "others are not held up")
        limited = [when for when, rcpt, _ in sink.taken if rcpt.endswith("@one.test")]
        self.assertGreater(limited[-1] - limited[0], 79 / 20 - 0.2)

    async def test_D38_children_that_die_reset_no_rate(self) -> None:
        sink = self.recorder()
        relay = await self.serving(sink, processes=3, zone='messages = ["10/s"]')
        await self.submit(relay, 60)
        for number in range(4):
            await self.until(lambda wanted=10 * number + 5: len(sink.taken) > wanted, 30, "more", relay)
            for child in relay.children():
                os.kill(child, signal.SIGKILL)
        await self.until(lambda: len({rcpt for _, rcpt, _ in sink.taken}) == 60, 60, "all of it", relay)
        self.assertLessEqual(sink.most_within(1.0), 11)


class Counts(LimitsCase):
    async def test_D37_connections_of_a_domain_over_eight_children(self) -> None:
        sink = self.recorder(pause=0.05)
        relay = await self.serving(sink, processes=8, extra='[domains."one.test"]\nmax_connections = 5')
        await self.submit(relay, 150, "one.test")
        await self.until(lambda: len(sink.taken) == 150, 60, "all of it", relay)
        self.assertEqual(sink.most_open, 5)


class Fairness(LimitsCase):
    timeout = 400

    async def test_one_message_beside_a_hundred_thousand(self) -> None:
        """One user has 100,000 queued, half of it for the same domain; another's message leaves within a second."""
        sink = self.recorder(pause=0.002)
        relay = self.relay(mx=sink.port, zone="max_connections = 4", extra='[domains."big.test"]\nmax_connections = 2')
        noisy = flow_text(Flow("noisy"))
        os.makedirs(relay.queue, mode=0o700)
        await fill(self.reactor(), relay.queue, 50_000, 5_000, -60, "d{n}.test", "u{n}", noisy)
        await fill(self.reactor(), relay.queue, 50_000, 1, -60, "big.test", "b{n}", noisy)
        await self.up(relay, seconds=60)
        await self.until(lambda: len(sink.taken) > 500, 60, "the batch is under way", relay)
        for domain in ("big.test", "quiet.test"):
            begun = time.monotonic()
            await self.submit(relay, 1, domain, user="quiet")
            await self.until(lambda to=f"u0@{domain}": any(rcpt == to for _, rcpt, _ in sink.taken), 20, "it", relay)
            arrived = next(when for when, rcpt, _ in sink.taken if rcpt == f"u0@{domain}")
            self.assertLess(arrived - begun, 1.0, domain)


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
