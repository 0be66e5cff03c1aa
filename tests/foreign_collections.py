"""Collections as other tools make them: the payloads and vectors of their points, written without this package."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qdrant_edge as engine
from qdrant_client import QdrantClient, models

from ingest.testing import HashEncoder

MODEL = HashEncoder("hash", 8)
"""The model that made their dense vectors."""

TEXTS = {f"{name}.pdf": [f"{name.title()}, part {part}: about {name}." for part in range(3)] for name in ("refunds", "leave")}
"""Document → texts of its chunks."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a tool writes.

    Attributes:
        payload: document, part and text of a chunk → payload.
        dense: name of the dense vector.
        sparse: name of the sparse vector, if it has one.
        ids: returns the id of a point.
        options: the fields of `Collection.adopt` that say what is where.
    """

    payload: Callable[[str, int, str], dict[str, Any]]
    options: Mapping[str, Any]
    dense: str = ""
    sparse: str | None = None
    ids: Callable[[int], int | str] = lambda number: str(uuid.uuid5(uuid.NAMESPACE_URL, str(number)))


def _node(document: str, part: int, text: str) -> dict[str, Any]:
    node = {"id_": f"{document}-{part}", "text": text, "metadata": {"file": document}, "start_char_idx": part * 100}
    return {
        "_node_content": json.dumps(node),
        "_node_type": "TextNode",
        "file": document,
        "doc_id": document,
        "ref_doc_id": document,
    }


TITLE = "The  handbook"
"""The title of each document that has one, with two blanks."""

LAYOUTS = {
    "langchain": Layout(
        lambda document, part, text: {"page_content": text, "metadata": {"source": document, "page": part}},
        {"id_field": "metadata.source", "order_field": "metadata.page", "metadata_field": "metadata"},
    ),
    "langchain hybrid": Layout(
        lambda document, part, text: {"page_content": text, "metadata": {"source": document, "page": part}},
        {"id_field": "metadata.source", "order_field": "metadata.page", "metadata_field": "metadata"},
        sparse="langchain-sparse",
    ),
    "llamaindex": Layout(
        _node,
        {"id_field": "ref_doc_id", "order_field": "_node_content.start_char_idx"},
        dense="text-dense",
        sparse="text-sparse-new",
    ),
    "haystack": Layout(
        lambda document, part, text: {
            "id": text,
            "content": text,
            "meta": {"source_id": document, "split_id": part},
            "blob": None,
        },
        {"id_field": "meta.source_id", "order_field": "meta.split_id", "metadata_field": "meta"},
    ),
    "mcp-server-qdrant": Layout(
        lambda document, part, text: {"document": text, "metadata": {"source": document, "part": part}},
        {"id_field": "metadata.source", "order_field": "metadata.part", "metadata_field": "metadata"},
        dense="fast-all-minilm-l6-v2",
    ),
    "fastembed": Layout(
        lambda document, part, text: {"document": text, "source": document, "part": part},
        {"id_field": "source", "order_field": "part"},
        dense="fast-all-minilm-l6-v2",
        sparse="fast-sparse-bm25",
        ids=lambda number: number,
    ),
}

TITLED = Layout(
    lambda document, part, text: {"page_content": text, "metadata": {"source": document, "page": part, "title": TITLE}},
    LAYOUTS["langchain"].options,
)
"""What LangChain writes of documents that have titles."""


def write(place: Path | QdrantClient, name: str, layout: Layout, texts: Mapping[str, Sequence[str]] = TEXTS) -> None:
    """Make a collection in a folder of the embedded engine or on a server, with the last chunks first."""
    chunks = [(document, part, text) for document, parts in texts.items() for part, text in enumerate(parts)]
    dense = MODEL.encode_documents([text for _, _, text in chunks])
    points = [
        (layout.ids(number), dense[number].tolist(), layout.payload(*chunk))
        for number, chunk in reversed(list(enumerate(chunks)))
    ]
    if isinstance(place, Path):
        _write_shard(place / name / "shard", layout, points)
    else:
        _write_to_server(place, name, layout, points)


def _write_shard(path: Path, layout: Layout, points: Sequence[tuple[Any, list[float], dict[str, Any]]]) -> None:
    path.mkdir(parents=True)
    dense = {layout.dense: engine.EdgeVectorParams(MODEL.dim, engine.Distance.Cosine)}
    sparse = {layout.sparse: engine.EdgeSparseVectorParams()} if layout.sparse else {}
    shard = engine.EdgeShard.create(str(path), engine.EdgeConfig(vectors=dense, sparse_vectors=sparse))
    extra = {layout.sparse: engine.SparseVector([1, 2], [1.0, 0.5])} if layout.sparse else {}
    made = [engine.Point(id_, {layout.dense: vector, **extra}, payload) for id_, vector, payload in points]
    shard.update(engine.UpdateOperation.upsert_points(made))
    shard.close()


def _write_to_server(
    client: QdrantClient, name: str, layout: Layout, points: Sequence[tuple[Any, list[float], dict[str, Any]]]
) -> None:
    params = models.VectorParams(size=MODEL.dim, distance=models.Distance.COSINE)
    client.create_collection(
        name,
        vectors_config={layout.dense: params} if layout.dense else params,
        sparse_vectors_config={layout.sparse: models.SparseVectorParams()} if layout.sparse else None,
    )
    extra: dict[str, Any] = {layout.sparse: models.SparseVector(indices=[1, 2], values=[1.0, 0.5])} if layout.sparse else {}
    made = [
        models.PointStruct(id=id_, vector={layout.dense: vector, **extra} if layout.dense or extra else vector, payload=payload)
        for id_, vector, payload in points
    ]
    client.upsert(name, made, wait=True)
