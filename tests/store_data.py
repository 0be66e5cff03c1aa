"""Points, vectors and manifests for the tests of the stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ingest.identity import chunk_id, doc_key
from ingest.records import Chunk, Document, Fingerprint, Point, SparseVector, StoredPoint, Vector
from ingest.store.contract import Manifest, Store, VectorSpec
from ingest.store.schema import build_payload, with_fingerprint

DIM = 8


def manifest(collection: str, *, raw_name: str | None = None) -> Manifest:
    return Manifest(
        collection=collection,
        raw_name=raw_name or collection.upper(),
        vectors=(
            VectorSpec(
                "dense", DIM, "dense-1", space="dense", model={"hub_id": "org/model", "prompts": {"query": "q: "}, "n": None}
            ),
            VectorSpec("dot", 2, "dot-1", distance="dot"),
            VectorSpec("bm25", None, "bm25-1", idf=True),
            VectorSpec("plain", None, "plain-1"),
        ),
        chunking={"max_tokens": 254, "overlap": 0.5},
        weights={"dense": 1.0, "bm25": 0.5},
    )


def sparse(weights: Mapping[int, float]) -> SparseVector:
    indices = sorted(weights)
    return SparseVector(np.array(indices, np.uint32), np.array([weights[index] for index in indices], np.float32))


def vectors(seed: int) -> dict[str, Vector]:
    random = np.random.default_rng(seed)
    terms = random.permutation(50)[:12]
    return {
        "dense": random.standard_normal(DIM, np.float32),
        "dot": random.standard_normal(2, np.float32),
        "bm25": SparseVector(np.sort(terms).astype(np.uint32), random.uniform(0.5, 2, size=12).astype(np.float32)),
        "plain": SparseVector(terms[:1].astype(np.uint32), np.ones(1, np.float32)),
    }


def point(
    number: int,
    *,
    source: str = "docs",
    doc_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    columns: Sequence[str] = ("dense", "dot", "bm25", "plain"),
) -> Point:
    """One chunk of a document of its own (unless `doc_id` says otherwise), the same for the same arguments."""
    document = Document(id=doc_id or f"doc-{number}", text=f"text {number}", title="Title", metadata=metadata or {})
    key = doc_key(source, document.id)
    chunk = Chunk(chunk_id(key, document.text, 0), 0, 0, len(document.text), document.text)
    made_from = Fingerprint(
        chunk.id, key, f"doc-fp-{number}", 1, f"text-fp-{number}", f"payload-fp-{number}", {"dense": "dense-1"}
    )
    made = vectors(number) if columns else {}
    return Point(
        chunk.id, {name: made[name] for name in columns}, with_fingerprint(build_payload(document, chunk, source), made_from)
    )


def everything(store: Store, collection: str) -> dict[str, StoredPoint]:
    return {found.id: found for found in store.scroll(collection, vectors=True)}


def assert_same_vectors(found: StoredPoint, wanted: Point) -> None:
    assert found.vectors.keys() == wanted.vectors.keys()
    for name, value in wanted.vectors.items():
        stored = found.vectors[name]
        if isinstance(value, SparseVector):
            assert isinstance(stored, SparseVector)
            assert stored.indices.dtype == np.uint32
            assert stored.values.dtype == np.float32
            assert stored.indices.tolist() == value.indices.tolist()
            assert stored.values.tolist() == value.values.tolist()
        else:
            assert isinstance(stored, np.ndarray)
            assert stored.dtype == np.float32
            unit = value / np.linalg.norm(value) if name == "dense" else value
            np.testing.assert_allclose(stored, unit, rtol=0, atol=1e-6)
