"""Servers that say they are Qdrant and answer whatever a test wants to hear."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import grpc  # type: ignore[import-untyped]  # it ships no types
import pytest
from grpc import StatusCode
from qdrant_client import grpc as messages

from ingest.errors import StoreError

Answer = tuple[int, Mapping[str, str], bytes]


def error(status: int, message: str = "told so", headers: Mapping[str, str] | None = None) -> Answer:
    return status, headers or {}, json.dumps({"status": {"error": message}, "time": 0.0}).encode()


def result(value: Any) -> Answer:
    return 200, {}, json.dumps({"result": value, "status": "ok", "time": 0.0}).encode()


@contextmanager
def http_server(*answers: Answer, version: str = "1.16.3", seen: list[Mapping[str, str]] | None = None) -> Iterator[str]:
    """Says it is Qdrant, and gives its answers to everything else in turn, the last one again and again.

    Args:
        seen: receives the headers of every request.
    """
    hello: Answer = (200, {}, json.dumps({"title": "qdrant", "version": version}).encode())
    last = answers[-1]
    waiting = iter(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if seen is not None:
                seen.append(dict(self.headers))
            status, headers, body = hello if self.path == "/" else next(waiting, last)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815  names of the standard library's

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def grpc_server(code: StatusCode, trailers: tuple[tuple[str, str], ...] = (), *, version: str = "1.16.3") -> Iterator[int]:
    """Says it is Qdrant, and fails everything else with `code`."""

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]  # it ships no types
        def service(self, call: Any) -> Any:
            def fail(_request: bytes, context: Any) -> bytes:
                if call.method.endswith("HealthCheck"):
                    reply: bytes = messages.HealthCheckReply(title="qdrant", version=version).SerializeToString()
                    return reply
                context.set_trailing_metadata(trailers)
                context.abort(code, "told so")
                raise AssertionError

            return grpc.unary_unary_rpc_method_handler(fail)

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def failure(use: Callable[[], object]) -> StoreError:
    """What `use` failed with: ours, on one line, with the vendor's exception as its cause."""
    with pytest.raises(StoreError) as caught:
        use()
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None
    return caught.value
