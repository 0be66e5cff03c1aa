"""The metrics of the server, beside those of the models. No text passes through."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.registry import Collector

_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class ServeMetrics:
    """Requests by operation and status, and their times.

    Args:
        collectors: further collectors, such as a `MonitorCollector`.
    """

    def __init__(self, *collectors: Collector) -> None:
        self._registry = CollectorRegistry()
        for collector in collectors:
            self._registry.register(collector)
        labels = ("method", "path")
        self._requests = Counter(
            "ingest_requests", "Requests by operation and status.", (*labels, "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "ingest_request_seconds", "Seconds from a request to its response.", labels, buckets=_BUCKETS, registry=self._registry
        )
        self.in_flight = Gauge("ingest_requests_in_flight", "Requests under way.", registry=self._registry)

    def observe(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count one request. `path` is that of the operation, not of the request."""
        self._requests.labels(method, path, str(status)).inc()
        self._seconds.labels(method, path).observe(seconds)

    def text(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self._registry)
