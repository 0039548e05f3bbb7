"""What /metrics says of a relay at work, and that dashboard and alerts ask for nothing it doesn't say."""

from __future__ import annotations

import json
import os
import signal

from prometheus_client.parser import text_string_to_metric_families

from tests.promql import read
from tests.scenario.harness import Relay, Scenario, post
from tests.unit.test_contrib import DASHBOARD, panels, rules

SINK = '[sinks.log]\nkind = "file"\npath = "{directory}/events.log"\n'

Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Measured(Scenario):
    timeout = 60

    async def measured(self) -> Relay:
        relay = self.relay(extra=SINK.format(directory=self.directory))
        await self.up(relay)
        return relay

    def text(self, relay: Relay) -> str:
        status, body = post(relay.api, "/metrics", method="GET")
        self.assertEqual(status, 200)
        return body.decode()

    def values(self, relay: Relay) -> Values:
        families = text_string_to_metric_families(self.text(relay))
        return {
            (one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples
        }

    def value(self, relay: Relay, name: str, **labels: str) -> float:
        return self.values(relay).get((name, tuple(sorted(labels.items()))), -1.0)

    async def test_mail_in_the_metrics(self) -> None:
        relay = await self.measured()
        await self.send(relay, 5)
        await self.send(relay, 2, "perm-dot@evil.test")
        await self.send(relay, 1, "tempfail-dot@evil.test")
        status, _ = post(relay.api, "/send-raw?from=a@src.test&to=ok@evil.test", b"From: a@src.test\r\n\r\nhello\r\n")
        self.assertEqual(status, 200)

        zone = (("zone", "default"),)

        def ended() -> bool:
            found = self.values(relay)
            delivered, rejected, deferred = (
                found.get(("zonemta_delivery_status_total", (("result", word), ("status", word), *zone)), 0)
                for word in ("delivered", "rejected", "deferred")
            )
            return delivered == 6 and rejected == 2 and deferred >= 1

        await self.until(ended, 10, "all attempts", relay)
        found = self.values(relay)
        # A first attempt each; more of the one that is put off may have ended.
        self.assertEqual(found["zonerelay_first_attempt_seconds_count", zone], 9)
        self.assertGreaterEqual(found["zonerelay_attempt_seconds_count", zone], 9)
        self.assertEqual(found["zonerelay_delivery_seconds_count", zone], 6)
        self.assertLess(found["zonerelay_delivery_seconds_sum", zone], 6 * self.timeout)
        self.assertEqual(found["zonerelay_accept_seconds_count", (("interface", "smtp"),)], 8)
        self.assertEqual(found["zonerelay_accept_seconds_count", (("interface", "http"),)], 1)
        sites = [value for (name, _), value in found.items() if name == "zonerelay_site_delivery_seconds_count"]
        self.assertEqual(sum(sites), 6)
        self.assertEqual(sum(found["zonerelay_deliveries", (("state", s), *zone)] for s in ("queued", "deferred")), 1)
        self.assertGreater(found["zonerelay_disk_free_bytes", ()], 0)
        self.assertGreater(found["zonerelay_events_kept", ()], 9)
        self.assertEqual(found["zonerelay_queue_accepting", ()], 1)
        self.assertGreater(found["process_resident_memory_bytes", ()], 0)

        text = self.text(relay)
        queries = [expression for _, expression in panels(json.loads(DASHBOARD.read_text()))]
        queries += [rule["expr"] for rule in rules()]
        for expression in queries:
            for name, _ in read(expression).series:
                # Of what has never happened there is a type, and no sample.
                self.assertRegex(text, rf"(?m)^(# TYPE )?{name}[ {{]", expression)

    async def test_a_child_that_is_killed_is_counted(self) -> None:
        relay = await self.measured()
        place = {"trade": "sender", "place": "default"}
        await self.until(lambda: self.value(relay, "zonerelay_children", **place) == 1, 10, "the child", relay)
        self.assertEqual(self.value(relay, "zonerelay_child_crashes_total", **place), 0)
        [child] = relay.children()
        os.kill(child, signal.SIGKILL)
        await self.until(lambda: self.value(relay, "zonerelay_child_crashes_total", **place) == 1, 10, "its end", relay)
        await self.until(lambda: self.value(relay, "zonerelay_children", **place) == 1, 10, "the next", relay)
