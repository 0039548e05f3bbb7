"""Seconds counted by how many they are: cheap to note, told as Prometheus' histograms when somebody asks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client.core import Metric
from prometheus_client.utils import floatToGoString


class Histogram:
    """One row of buckets: each counts what is at most its bound, and more than the bound before it; the last one
    counts the rest. `sum` is that of all, in seconds."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` rise."""
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Something took so long."""
        self.counts[bisect_left(self._bounds, seconds)] += 1
        self.sum += seconds

    def tell(self, metric: Metric, labels: dict[str, str]) -> None:
        """Add the samples of this row to their family."""
        so_far = 0
        for bound, count in zip((*self._bounds, float("inf")), self.counts, strict=True):
            so_far += count
            metric.add_sample(f"{metric.name}_bucket", {**labels, "le": floatToGoString(bound)}, so_far)
        metric.add_sample(f"{metric.name}_count", labels, so_far)
        metric.add_sample(f"{metric.name}_sum", labels, self.sum)


def histogram(name: str, what: str, label: str, rows: Iterable[tuple[str, Histogram]]) -> Metric:
    """The family of these rows, told apart by one label."""
    metric = Metric(name, what, "histogram")
    for value, row in rows:
        row.tell(metric, {label: value})
    return metric
