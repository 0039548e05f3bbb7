"""What /metrics says is what was counted, under the names dashboards know."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from relay.message.values import Result
from relay.metrics.definitions import Metrics, QueueSize


def samples(metrics: Metrics) -> dict[tuple[str, str], float]:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        (
            sample.name.removesuffix("_total"),
            ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items())),
        ): sample.value
        for family in families
        for sample in family.samples
    }


class MetricsTests(SynchronousTestCase):
    def test_fresh(self) -> None:
        found = samples(Metrics())
        for name, labels in (
            ("zonemta_message_push", "result=success"),
            ("zonemta_message_push", "result=fail"),
            ("zonemta_message_drop", ""),
            ("zonemta_bounce_generation", ""),
            ("zonemta_queue_size", "type=queued"),
            ("zonemta_queue_size", "type=deferred"),
            ("zonemta_blacklisted", ""),
            ("zonemta_connection_reuses", ""),
            ("zonemta_connection_pool_size", ""),
        ):
            self.assertEqual(found[name, labels], 0, (name, labels))
        self.assertGreater(found["process_resident_memory_bytes", ""], 0)

    def test_refusals(self) -> None:
        metrics = Metrics()
        for action in ("defer", "defer", "slowdown"):
            metrics.refusal("rate", action)
        metrics.rules = lambda: {"own": 3, "shipped": 500}
        metrics.stale_rules = lambda: True
        found = samples(metrics)
        self.assertEqual(found["zonerelay_refusals", "action=defer,category=rate"], 2)
        self.assertEqual(found["zonerelay_refusals", "action=slowdown,category=rate"], 1)
        self.assertEqual(found["zonerelay_bounce_rules", "whose=own"], 3)
        self.assertEqual(found["zonerelay_bounce_rules_stale", ""], 1)

    def test_notices(self) -> None:
        metrics = Metrics()
        for kind in ("failure", "failure", "delay"):
            metrics.notice(kind)
        metrics.no_notice("null sender")
        found = samples(metrics)
        self.assertEqual(found["zonerelay_notices", "kind=failure"], 2)
        self.assertEqual(found["zonerelay_notices", "kind=delay"], 1)
        self.assertEqual(found["zonerelay_notices_skipped", "reason=null sender"], 1)

    def test_counts(self) -> None:
        metrics = Metrics()
        for result in (Result.DELIVERED, Result.DELIVERED, Result.DEFERRED, Result.BOUNCED, Result.DROPPED):
            metrics.delivery("default", result)
        metrics.delivery("other", Result.DELIVERED)
        metrics.pushed(True)
        metrics.pushed(False)
        metrics.bounce()
        metrics.reused()
        metrics.dropped()
        metrics.queue_size = lambda: QueueSize(3, 4)
        metrics.pool_size = lambda: 5
        found = samples(metrics)
        for word, count in (("delivered", 2), ("deferred", 1), ("rejected", 1), ("unknown", 1)):
            self.assertEqual(
                found["zonemta_delivery_status", f"result={word},status={word},zone=default"], count
            )
        self.assertEqual(found["zonemta_delivery_status", "result=delivered,status=delivered,zone=other"], 1)
        self.assertEqual(found["zonemta_message_push", "result=success"], 1)
        self.assertEqual(found["zonemta_queue_size", "type=deferred"], 4)
        self.assertEqual(found["zonemta_connection_pool_size", ""], 5)
        self.assertEqual(metrics.processed("default"), 4)
        self.assertEqual(metrics.processed("unknown"), 0)

    def test_listeners(self) -> None:
        metrics = Metrics()
        metrics.announce_listener("feeder", ("connected", "tls"))
        metrics.listener_event("feeder", "connected")
        metrics.listener_event("feeder", "connected", 4)
        metrics.clients = lambda: {"feeder": 2}
        found = samples(metrics)
        self.assertEqual(found["zonerelay_listener_events", "event=connected,listener=feeder"], 5)
        self.assertEqual(found["zonerelay_listener_events", "event=tls,listener=feeder"], 0)
        self.assertEqual(found["zonerelay_listener_clients", "listener=feeder"], 2)
        self.assertIn(b'\nzonerelay_listener_events_total{event="tls",listener="feeder"} 0', metrics.exposition())

    def test_counters_are_called_counters(self) -> None:
        text = Metrics().exposition()
        self.assertIn(b"# TYPE zonemta_message_push counter\n", text)
        self.assertIn(b"# HELP zonemta_message_push Messages", text)
        self.assertNotIn(b"zonemta_message_push_total", text)

    def test_decisions_and_what_lanes_wait_for(self) -> None:
        metrics = Metrics()
        metrics.waiting = lambda: {"hold": 3, "turn": 1}
        for kind in ("suspended", "held", "suspended"):
            metrics.decision(kind)
        found = samples(metrics)
        self.assertEqual(found["zonerelay_decisions", "kind=suspended"], 2)
        self.assertEqual(found["zonerelay_lanes_waiting", "kind=hold"], 3)
