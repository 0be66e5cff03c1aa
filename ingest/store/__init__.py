"""Vectors ⇄ Qdrant: one protocol, two stores.

contract    the store protocol and its records
manifest    what a collection was made with
schema      collection names, payloads, manifests: pure
filters     filters from Python values: pure
expression  … from a line of text: pure
expression_text  … and as one: pure
conditions  … the conditions on one field, checked: pure
qdrant_filter  … in Qdrant's JSON: pure
edge/       the embedded engine; only it, and BM25, use `qdrant_edge`
server/     a Qdrant server over REST or gRPC; only it uses `qdrant_client`
wire        conversions that both stores share: pure
request_sizes  the estimated size of requests: pure
writer      effects → requests, on a thread
splitting   requests in the size that a store accepts
retrying    a store that retries each request and splits large ones; what `open_store` returns
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ingest.errors import ConfigurationError
from ingest.parameters import InvalidValueError, checked, parse_instance, shown
from ingest.retry import RetryPolicy
from ingest.store.contract import Store
from ingest.store.edge.store import EdgeStore
from ingest.store.retrying import RetryingStore

_HOST_AND_PORT = re.compile(
    r"(?:[^/]*@)?((?:\[[^/\]]+\]|[^/:\s]+):\d+|localhost|\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:]+\])(?:/.*)?", re.IGNORECASE
)

_SLIP_IN_ADDRESS = re.compile(r"[\\/]{2}|(?:https?|qdrant|grpc)(?::|[\\/]{2})", re.IGNORECASE)
"""The start of an address without its scheme, its colon or one of its slashes. (`Path` turns two slashes into one.)"""


def open_store(
    location: str | Path,
    *,
    api_key: str | None = None,
    ca_file: str | Path | None = None,
    prefer_grpc: bool | None = None,
    grpc_port: int | None = None,
    timeout: float = 60.0,
    allow_plain_http_key: bool = False,
    retry: RetryPolicy = RetryPolicy(),
) -> RetryingStore:
    """Open the store at `location`: a server for `http(s)://…`, otherwise a directory for the embedded engine.

    Opening it and each request to it are retried under `retry` while it is unavailable. The other arguments are for servers: see
    `ServerStore`. Raises `ConfigurationError` (also for an empty location and for `host:port`, which is not
    meant as a directory), `StoreUnavailableError`, `StoreError`.
    """
    checked("retry", parse_instance, retry, RetryPolicy)
    if not isinstance(location, str | os.PathLike):
        raise ConfigurationError(f"location: {shown(location)} is neither a path nor a URL")
    text = str(location)
    if text.lower().startswith(("http://", "https://")):
        from ingest.store.server.store import ServerStore  # noqa: PLC0415  the client takes a second to import

        server = ServerStore(
            text,
            api_key=api_key,
            ca_file=ca_file,
            prefer_grpc=prefer_grpc,
            grpc_port=grpc_port,
            timeout=timeout,
            allow_plain_http_key=allow_plain_http_key,
            retry=retry,
        )
        return RetryingStore(server, retry)
    if problem := _no_directory(text):
        raise ConfigurationError(problem)
    return RetryingStore(EdgeStore(text), retry)


def parse_store(value: object) -> Store:
    """Return an open store."""
    if not callable(getattr(value, "manifest", None)):
        raise InvalidValueError(f"{shown(value)} is neither a path, a URL nor an open store")
    return value  # type: ignore[return-value]


def _no_directory(text: str) -> str | None:
    """Return why this location cannot be meant as a directory, and what to write instead, without secrets; else None."""
    scheme, is_address, _ = text.partition("://")
    problem = None
    if is_address:
        problem = f"{scheme}://… is no store: give http:// or https:// and a server's address, or the path of a directory"
    elif _SLIP_IN_ADDRESS.match(text):
        problem = "the server's URL cannot be read: write http://host:6333 or https://host:6333, both slashes after the colon"
    elif text.startswith(":"):
        problem = "a store is neither in memory nor an address without a host: give a server's URL, or the path of a directory"
    elif host_and_port := _HOST_AND_PORT.fullmatch(text):
        problem = (
            f"{host_and_port[1]} could be a server or a directory: write http://{host_and_port[1]} for the server,"
            f" ./{host_and_port[1]} for the directory"
        )
    elif not text.strip():
        problem = "the store has no location: give a server's URL, or the path of a directory"
    return problem
