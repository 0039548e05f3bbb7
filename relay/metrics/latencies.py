"""How long things take: to accept a message, until a delivery is tried, until it is delivered (docs/metrics.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import Metric

from relay.metrics.busiest import Busiest
from relay.metrics.histogram import Histogram, histogram

#: Bounds of buckets (seconds): of a sync, of a conversation, and of mail that may wait for days.
ACCEPT = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
ATTEMPT = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
AGE = (
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0, 259200.0,
)  # fmt: skip
#: Sites that have buckets of their own.
SITES = 20
#: Ways in, by the word for Received (relay.message.values.Origin); all others are SMTP.
_WAYS_IN = {"HTTP": "http", "LOCAL": "own"}


class _Zone:
    """Of one zone."""

    __slots__ = ("age", "attempt", "delivery", "first")

    def __init__(self) -> None:
        self.age = Histogram(AGE)
        self.first = Histogram(AGE)
        self.attempt = Histogram(ATTEMPT)
        self.delivery = Histogram(AGE)


class Latencies:
    """All of them."""

    def __init__(self, now: Callable[[], int]) -> None:
        """`now` gives ms since the epoch."""
        self._now = now
        self._accepts = {interface: Histogram(ACCEPT) for interface in ("smtp", *_WAYS_IN.values())}
        self._zones: dict[str, _Zone] = {}
        self._sites = Busiest(SITES, lambda: Histogram(AGE))

    # -- the hot path

    def accepted(self, transport: str, seconds: float) -> None:
        """A message was on disk so long after the end of its text."""
        self._accepts[_WAYS_IN.get(transport, "smtp")].observe(seconds)

    def attempted(self, zone: str, site: str, since: int, took: float, *, first: bool, delivered: bool) -> None:
        """An attempt has just ended that took so many seconds, for a delivery that was to be made `since` (ms since
        the epoch); `first`: there was none before it."""
        of, now = self._zones.get(zone) or self._announced(zone), self._now()
        # An earlier start may have had another idea of the time.
        in_all = max((now - since) / 1000, took)
        of.attempt.observe(took)
        of.age.observe(in_all - took)
        if first:
            of.first.observe(in_all - took)
        if delivered:
            of.delivery.observe(in_all)
            self._sites.meet(site, now).observe(in_all)

    # -- asked

    def announce(self, zones: Iterable[str]) -> None:
        """Name what will be told of: a rate can only be seen of what was nought before."""
        for zone in zones:
            self._announced(zone)

    def _announced(self, zone: str) -> _Zone:
        return self._zones.setdefault(zone, _Zone())

    def collect(self) -> Iterator[Metric]:
        """The families, as of now."""
        zones = self._zones.items()
        yield histogram(
            "zonerelay_accept_seconds",
            "From the end of a message's text until it is on disk",
            "interface",
            self._accepts.items(),
        )
        yield histogram(
            "zonerelay_attempt_age_seconds",
            "How old deliveries are when an attempt begins",
            "zone",
            ((name, zone.age) for name, zone in zones),
        )
        yield histogram(
            "zonerelay_first_attempt_seconds",
            "How old deliveries are when their first attempt begins",
            "zone",
            ((name, zone.first) for name, zone in zones),
        )
        yield histogram(
            "zonerelay_attempt_seconds",
            "How long attempts take",
            "zone",
            ((name, zone.attempt) for name, zone in zones),
        )
        yield histogram(
            "zonerelay_delivery_seconds",
            "How old deliveries are when a host has taken them",
            "zone",
            ((name, zone.delivery) for name, zone in zones),
        )
        yield histogram(
            "zonerelay_site_delivery_seconds",
            "The same by the sites that take most",
            "site",
            self._sites.items(),
        )
