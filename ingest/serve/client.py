"""Ask the process that serves an embedded store, because no other process can open it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import ingest.errors
from ingest.errors import IngestError
from ingest.records import Hit
from ingest.search.answer import Answer, RerankResult
from ingest.serve.socket_file import SOCKET, is_embedded, short_path

_SECONDS = 60.0


def search_served(location: str, collection: str, query: str | None, options: Mapping[str, Any]) -> Answer | None:
    """Return the answer of the process that serves this store, or None if none does, or not this collection.

    `Answer.details` have no hits. Raises what the search raises there.
    """
    if not is_embedded(location) or "," in collection or not Path(location, SOCKET).exists():
        return None
    import httpx  # noqa: PLC0415  a search without a server does without it, and is done sooner
    from pydantic import TypeAdapter  # noqa: PLC0415

    body = {"query": query, **options}
    try:
        with (
            short_path(Path(location)) as path,
            httpx.Client(transport=httpx.HTTPTransport(uds=path), timeout=_SECONDS) as client,
        ):
            response = client.post(f"http://localhost/v1/collections/{quote(collection, safe='')}/search", json=body)
    except (OSError, httpx.TransportError):
        return None
    if response.status_code == HTTPStatus.NOT_FOUND:
        return None
    found = response.json()
    if response.status_code != HTTPStatus.OK:
        kind = getattr(ingest.errors, found["error"]["type"], IngestError)
        raise kind(found["detail"])
    return Answer(
        hits=TypeAdapter(tuple[Hit, ...]).validate_python(found["hits"]),
        reranked=found["reranked"],
        note=found["note"],
        missing_reranker=found["missing_reranker"],
        details=None if found["rerank"] is None else RerankResult((), **found["rerank"]),
        warnings=tuple(found["warnings"]),
        facets=found["facets"],
        feedback_seconds=found["feedback_seconds"],
    )
