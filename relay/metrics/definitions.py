"""Every metric the relay has, in one place.

Counting happens on the hot path, asking once in a while: counts are plain integers that
are turned into samples when somebody looks. Names and labels are those dashboards made
for ZoneMTA use, so counters carry no `_total`; what those don't know is named `zonerelay_…`,
as Prometheus would have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from relay.message.clock import WallClock
from relay.message.tls import FAILURES, TlsResult
from relay.message.values import Result
from relay.metrics.family import Key, counter, gauge, legacy
from relay.metrics.gauges import Gauges
from relay.metrics.latencies import Latencies

_STATUS = {
    Result.DELIVERED: "delivered",
    Result.BOUNCED: "rejected",
    Result.DEFERRED: "deferred",
    Result.DROPPED: "unknown",
}
#: Results that end a delivery.
_FINAL = frozenset(Result) - {Result.DEFERRED}
_COUNTERS = {
    "zonemta_delivery_status": "Attempts by how they ended",
    "zonemta_message_push": "Messages that came to the queue, by any door",
    "zonemta_message_drop": "Messages whose text was thrown away when it had come to its end",
    "zonemta_bounce_generation": "Deliveries that ended in a bounce",
    "zonemta_connection_reuses": "Deliveries on a connection that was open already",
}
_GAUGES = {
    "zonemta_blacklisted": "Local addresses that rest for a domain",
    "zonemta_connection_pool_size": "Open connections to hosts that are idle",
}
_SINK_COUNTERS = {
    "taken": "Events that a sink has taken",
    "missed": "Events that were forgotten before a sink could have them",
    "failures": "Batches of events that a sink has not taken",
}
_SINK_GAUGES = {
    "behind": "Events that a sink has yet to be given",
    "aside": "Events that were refused by themselves and will be tried again",
}


class QueueSize(NamedTuple):
    """Deliveries that are due, and those that wait for their time."""

    queued: int
    deferred: int


class Totals(NamedTuple):
    """What has been since the start: messages taken, and attempts by how they ended."""

    accepted: int
    delivered: int
    deferred: int
    bounced: int
    dropped: int


class SinkStanding(Protocol):
    """How one sink of events is doing (relay.events.sink)."""

    @property
    def name(self) -> str: ...
    @property
    def behind(self) -> int: ...
    @property
    def aside(self) -> int: ...
    @property
    def taken(self) -> int: ...
    @property
    def missed(self) -> int: ...
    @property
    def failures(self) -> int: ...
    @property
    def last(self) -> int: ...


class Metrics(Collector):
    """The relay's counts. The callables are asked at each scrape."""

    def __init__(self, now: Callable[[], int] | None = None) -> None:
        """`now` gives ms since the epoch."""
        self.registry = CollectorRegistry()
        self.latencies = Latencies(now or WallClock())
        self.gauges = Gauges()
        self.accepted = self.latencies.accepted
        self.attempted = self.latencies.attempted
        self.queue_size: Callable[[], QueueSize] = lambda: QueueSize(0, 0)
        self.blacklisted: Callable[[], int] = lambda: 0
        self.pool_size: Callable[[], int] = lambda: 0
        self.clients: Callable[[], Mapping[str, int]] = dict
        self.waiting: Callable[[], Mapping[str, int]] = dict
        self.keys: Callable[[], Mapping[str, int]] = dict
        self.rules: Callable[[], Mapping[str, int]] = dict
        self.stale_rules: Callable[[], bool] = lambda: False
        self.sinks: Callable[[], Iterable[SinkStanding]] = tuple
        self.suppressions: Callable[[], int] = lambda: 0
        self._decisions: dict[str, int] = {}
        self._deliveries: dict[tuple[str, Result], int] = {}
        self._pushed = {True: 0, False: 0}
        self._listener_events: dict[tuple[str, str], int] = {}
        self._dropped = 0
        self._bounces = 0
        self._reuses = 0
        self._unsigned = 0
        self._notices: dict[str, int] = {}
        self._no_notices: dict[str, int] = {}
        self._suppressed = {"attempt": 0, "submission": 0}
        self._refusals: dict[tuple[str, str], int] = {}
        self._returned: dict[str, int] = {}
        self._tls: dict[str, int] = dict.fromkeys(("agreed", *FAILURES), 0)
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    # -- the hot path

    def delivery(self, zone: str, result: Result) -> None:
        """An attempt in `zone` ended. Zones come from the config, so labels are bounded."""
        key = (zone, result)
        self._deliveries[key] = self._deliveries.get(key, 0) + 1

    def pushed(self, ok: bool) -> None:
        """A message was taken, or refused at its end."""
        self._pushed[ok] += 1

    def dropped(self) -> None:
        """A message was thrown away when its text had come to its end."""
        self._dropped += 1

    def bounce(self) -> None:
        """A delivery ended in a bounce."""
        self._bounces += 1

    def refusal(self, category: str, action: str) -> None:
        """A host has refused a delivery. There are few of both (relay.bounce.diagnosis)."""
        key = (category, action)
        self._refusals[key] = self._refusals.get(key, 0) + 1

    def returned(self, what: str) -> None:
        """Something came back: an event of that kind, or what else it was (relay.returns)."""
        self._returned[what] = self._returned.get(what, 0) + 1

    def notice(self, kind: str) -> None:
        """A sender is told by mail what became of a delivery: failure, delay or success."""
        self._notices[kind] = self._notices.get(kind, 0) + 1

    def no_notice(self, reason: str) -> None:
        """A sender is not. There are few reasons (relay.bounce.entitled)."""
        self._no_notices[reason] = self._no_notices.get(reason, 0) + 1

    def reused(self) -> None:
        """A delivery went out on a connection that was open already."""
        self._reuses += 1

    def suppressed(self, where: Literal["attempt", "submission"], count: int = 1) -> None:
        """Recipients got no mail, since they are on the list of those who are to get none."""
        self._suppressed[where] += count

    def unsigned(self) -> None:
        """An attempt lacked a signature, for the key could not be used."""
        self._unsigned += 1

    def tls_results(self, counts: Iterable[tuple[TlsResult, int]]) -> None:
        """TLS was tried on connections to hosts, or missed there."""
        for result, count in counts:
            self._tls[result.failure or "agreed"] += count

    def listener_event(self, listener: str, event: str, count: int = 1) -> None:
        """Something happened to clients of `listener`: what was announced."""
        self._listener_events[listener, event] += count

    def decision(self, kind: str) -> None:
        """Something was decided about the flow of mail; kinds are few (relay.zone.decision)."""
        self._decisions[kind] = self._decisions.get(kind, 0) + 1

    # -- asked

    def announce_listener(self, listener: str, events: Iterable[str]) -> None:
        """Name what will be counted of a listener: a rate can only be seen of what was nought before."""
        self._listener_events.update({(listener, event): 0 for event in events})

    def processed(self, zone: str) -> int:
        """Deliveries of `zone` that ended since the start."""
        return sum(self._deliveries.get((zone, result), 0) for result in _FINAL)

    def totals(self) -> Totals:
        """Of all zones."""
        by_result = dict.fromkeys(Result, 0)
        for (_, result), count in self._deliveries.items():
            by_result[result] += count
        ends = (Result.DELIVERED, Result.DEFERRED, Result.BOUNCED, Result.DROPPED)
        return Totals(self._pushed[True], *(by_result[result] for result in ends))

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        text = generate_latest(self.registry)
        for name in _COUNTERS:
            text = text.replace(b"%b_total " % name.encode(), b"%b " % name.encode())
        return text

    def collect(self) -> Iterator[Metric]:
        yield from self._of_zonemta()
        yield from self._of_clients()
        yield from self._of_mail()
        yield from self._of_keys()
        yield from self._of_sinks()
        yield from self.gauges.collect()
        yield from self.latencies.collect()

    def _of_zonemta(self) -> Iterator[Metric]:
        """What dashboards made for it ask for."""
        statuses: dict[Key, float] = {}
        for (zone, result), count in sorted(self._deliveries.items()):
            word = _STATUS[result]
            statuses[word, word, zone] = count
        counts: dict[str, tuple[Sequence[str], Mapping[Key, float]]] = {
            "zonemta_delivery_status": (("result", "status", "zone"), statuses),
            "zonemta_message_push": (("result",), {"success": self._pushed[True], "fail": self._pushed[False]}),
            "zonemta_message_drop": ((), {(): self._dropped}),
            "zonemta_bounce_generation": ((), {(): self._bounces}),
            "zonemta_connection_reuses": ((), {(): self._reuses}),
        }
        for name, what in _COUNTERS.items():
            yield legacy(name, what, *counts[name])
        sizes: dict[str, float] = self.queue_size()._asdict()
        yield gauge("zonemta_queue_size", "Deliveries in the queue", ("type",), sizes)
        for (name, what), value in zip(_GAUGES.items(), (self.blacklisted(), self.pool_size()), strict=True):
            yield gauge(name, what, (), {(): value})

    def _of_clients(self) -> Iterator[Metric]:
        what = "What happened to clients of listeners"
        yield counter("zonerelay_listener_events", what, ("listener", "event"), self._listener_events)
        what = "Clients of listeners that are connected"
        yield gauge("zonerelay_listener_clients", what, ("listener",), self.clients())

    def _of_mail(self) -> Iterator[Metric]:
        """What became of it, and why."""
        for name, what, labels, counts in (
            ("decisions", "What was decided about the flow of mail", ("kind",), self._decisions),
            ("refusals", "Replies of hosts against a delivery", ("category", "action"), self._refusals),
            ("returns", "What came back for mail that had left", ("kind",), self._returned),
            ("notices", "Mails that tell senders what became of a delivery", ("kind",), self._notices),
            ("notices_skipped", "Deliveries whose senders are told nothing", ("reason",), self._no_notices),
            ("suppressed", "Recipients that got no mail for being on that list", ("where",), self._suppressed),
            ("tls_results", "Connections to hosts by what TLS came to", ("result",), self._tls),
        ):
            yield counter(f"zonerelay_{name}", what, labels, dict(sorted(counts.items())))
        yield gauge("zonerelay_bounce_rules", "Rules that say what replies mean", ("whose",), self.rules())
        what = "1 where the file of rules can't be used as it is"
        yield gauge("zonerelay_bounce_rules_stale", what, (), {(): int(self.stale_rules())})
        what = "Entries on the list of those who get no mail"
        yield gauge("zonerelay_suppressions", what, (), {(): self.suppressions()})
        what = "Lanes with mail that is due, by what they wait for"
        yield gauge("zonerelay_lanes_waiting", what, ("kind",), dict(sorted(self.waiting().items())))

    def _of_keys(self) -> Iterator[Metric]:
        yield gauge("zonerelay_dkim_keys", "Signing keys", ("state",), self.keys())
        what = "Attempts without a signature that was due"
        yield counter("zonerelay_dkim_unsigned", what, (), {(): self._unsigned})

    def _of_sinks(self) -> Iterator[Metric]:
        standings = list(self.sinks())
        for name, what in _SINK_COUNTERS.items():
            counts: dict[Key, float] = {one.name: getattr(one, name) for one in standings}
            yield counter(f"zonerelay_sink_{name}", what, ("sink",), counts)
        for name, what in _SINK_GAUGES.items():
            values: dict[Key, float] = {one.name: getattr(one, name) for one in standings}
            yield gauge(f"zonerelay_sink_{name}", what, ("sink",), values)
        what = "When a sink has taken events last, since the epoch; 0: not since the start"
        last: dict[Key, float] = {one.name: one.last / 1000 for one in standings}
        yield gauge("zonerelay_sink_last_success_seconds", what, ("sink",), last)
