"""Plain counts as the families of samples that Prometheus knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

from prometheus_client.core import Metric

#: What a value is told apart by: nothing, one word, or several.
Key = str | Sequence[str]
_Key = TypeVar("_Key", bound=Key)


def counter(name: str, what: str, labels: Sequence[str], counts: Mapping[_Key, float]) -> Metric:
    """What only grows; its samples have the end `_total`."""
    return _family("counter", name, f"{name}_total", what, labels, counts)


def gauge(name: str, what: str, labels: Sequence[str], values: Mapping[_Key, float]) -> Metric:
    """What goes up and down."""
    return _family("gauge", name, name, what, labels, values)


def legacy(name: str, what: str, labels: Sequence[str], counts: Mapping[_Key, float]) -> Metric:
    """A counter by a name that dashboards made for ZoneMTA know: without an end."""
    return _family("counter", name, name, what, labels, counts)


def _family(
    kind: Literal["counter", "gauge"],
    name: str,
    sample: str,
    what: str,
    labels: Sequence[str],
    values: Mapping[_Key, float],
) -> Metric:
    metric = Metric(name, what, kind)
    for key, value in values.items():
        words = (key,) if isinstance(key, str) else key
        metric.add_sample(sample, dict(zip(labels, words, strict=True)), value)
    return metric
