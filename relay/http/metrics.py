"""`GET /metrics`, in Prometheus' text format."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST

from relay.access.caller import Scope
from relay.http.frame import Call
from relay.http.operation import operation
from relay.metrics.definitions import Metrics


class MetricsApi:
    """The resource that monitoring reads."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    @operation("GET", "/metrics", scope=Scope.READ, tag="state", gives="text/plain")
    def metrics(self, call: Call) -> bytes:
        """Shows all counts and gauges, in Prometheus' text format."""
        body = self._metrics.exposition()
        call.request.setHeader(b"Content-Type", CONTENT_TYPE_LATEST.encode("ascii"))
        call.request.setHeader(b"Content-Length", b"%d" % len(body))
        return body
