"""`GET /metrics`, in Prometheus' text format."""

from __future__ import annotations

from klein import Klein
from prometheus_client import CONTENT_TYPE_LATEST
from twisted.web.iweb import IRequest

from relay.metrics.definitions import Metrics


class MetricsApi:
    """The resource that monitoring reads."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def add_routes(self, app: Klein) -> None:
        app.route("/metrics", methods=["GET"])(self.metrics)

    def metrics(self, request: IRequest) -> bytes:
        body = self._metrics.exposition()
        request.setHeader(b"Content-Type", CONTENT_TYPE_LATEST.encode("ascii"))
        request.setHeader(b"Content-Length", b"%d" % len(body))
        return body
