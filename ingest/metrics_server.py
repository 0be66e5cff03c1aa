"""A small web server for monitoring: `/metrics` for Prometheus and `/healthz` for health checks.

Imported only when needed, because most runs serve nothing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.registry import Collector

from ingest.errors import ConfigurationError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

Health = Callable[[], tuple[bool, Mapping[str, Any]]]
"""Return whether all is well, and the details as JSON."""


@contextmanager
def serve_observations(collector: Collector, port: int, host: str, *, health: Health | None = None) -> Iterator[int]:
    """Serve `/metrics` and, with `health`, `/healthz` (200 or 503, JSON) during the context.

    Yields the port, a free one for 0. The collector and `health` are called from the server's threads. Raises
    `ConfigurationError` if the port is taken.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    app = _observations_app(make_wsgi_app(registry), health)
    try:
        server = make_server(host, port, app, _ThreadedServer, _QuietHandler)
    except OSError as exc:
        raise ConfigurationError(f"metrics cannot be served at {host}:{port} ({exc.strerror}): choose another port") from exc
    thread = threading.Thread(target=server.serve_forever, name="ingest-metrics", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _observations_app(metrics: WSGIApplication, health: Health | None) -> WSGIApplication:
    def respond(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO")
        if path == "/metrics":
            return metrics(environ, start_response)
        if path != "/healthz" or health is None:
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"not found: ask for /metrics or /healthz\n" if health else b"not found: ask for /metrics\n"]
        healthy, details = health()
        start_response("200 OK" if healthy else "503 Service Unavailable", [("Content-Type", "application/json")])
        return [json.dumps(details).encode(), b"\n"]

    return respond


class _ThreadedServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    timeout = 30  # an idle client does not block a thread forever

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
        pass
