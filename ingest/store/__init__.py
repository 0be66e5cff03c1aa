"""Vectors ⇄ Qdrant: one protocol, two stores.

contract    what every store does, and the records it does it with
schema      collection names, payloads, manifests: pure
filters     conditions from Python values and from the command line: pure
edge        the embedded engine (only edge* use `qdrant_edge`), on directory (files, locks), aliases, pages (memory), space (disk)
server      a Qdrant server over REST or gRPC (only server* use `qdrant_client`): points here, the rest in server_collections;
            server_messages is what gRPC carries
wire        what both stores convert alike: pure
writer      effects → requests, on a thread
retrying    a store that retries each request; what `open_store` returns
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from ingest.errors import ConfigurationError
from ingest.parameters import checked, parse_instance
from ingest.retry import RetryPolicy, call_with_retries
from ingest.store.edge import EdgeStore
from ingest.store.retrying import RetryingStore

_HOST_AND_PORT = re.compile(r"(?:[^/]*@)?((?:\[[^/\]]+\]|[^/:\s]+):\d+)(?:/.*)?")


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
    `ServerStore`. Raises `ConfigurationError` (also for an empty location, and for `host:port`, which nobody means as a
    directory), `StoreUnavailableError`, `StoreError`.
    """
    checked("retry", parse_instance, retry, RetryPolicy)
    text = str(location)
    if text.lower().startswith(("http://", "https://")):
        from ingest.store.server import ServerStore  # noqa: PLC0415  the client takes a second to import

        connect = partial(
            ServerStore,
            text,
            api_key=api_key,
            ca_file=ca_file,
            prefer_grpc=prefer_grpc,
            grpc_port=grpc_port,
            timeout=timeout,
            allow_plain_http_key=allow_plain_http_key,
        )
        return RetryingStore(call_with_retries(connect, retry), retry)
    scheme, is_address, _ = text.partition("://")
    if is_address:  # the rest may hold a secret
        raise ConfigurationError(
            f"{scheme}://… is no store: give http:// or https:// and a server's address, or the path of a directory"
        )
    if host_and_port := _HOST_AND_PORT.fullmatch(text):
        raise ConfigurationError(
            f"{host_and_port[1]} could be a server or a directory: write http://{host_and_port[1]} for the server,"
            f" ./{host_and_port[1]} for the directory"
        )
    if not text.strip():
        raise ConfigurationError("the store has no location: give a server's URL, or the path of a directory")
    return RetryingStore(EdgeStore(text), retry)
