"""A collection with two dense columns and a sparse one, and hands to damage it with: for the tests of verifying."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ingest.encode.contract import Model
from ingest.encode.ensemble import Ensemble
from ingest.encode.models import ModelManager
from ingest.encode.registry import EnsembleConfig
from ingest.encode.runner import BatchRunner
from ingest.receipt import Receipt
from ingest.records import Document, Payload, Point, SparseVector, StoredPoint, Vector
from ingest.source.chunking import ChunkingOptions
from ingest.store.contract import Store
from ingest.store.schema import INGEST_FIELD
from ingest.sync.job import Job
from ingest.sync.reading import WindowBounds
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.testing import HashEncoder, ListSource
from ingest.verify.verification import Verification, verify_job

BOOK = "\n\n".join(f"Paragraph {letter}. " + f"{letter * 5} " * 60 for letter in "abcd")

DOCUMENTS = (
    Document("book", BOOK, title="A book\nof  letters", metadata={"year": 1999, "tags": ["x", "ü"], "share": 0.1}),
    *(Document(f"d{n}", f"The text number {n} is short.", metadata={"number": n}) for n in range(6)),
)


@dataclass(slots=True)
class Bench:
    """Runs and verifies jobs over one collection. `first` and `second` list what they were given to encode."""

    store: Store
    folder: Path
    collection: str = "docs"
    first: HashEncoder = field(default_factory=lambda: HashEncoder("first", 16, record=True))
    second: HashEncoder = field(default_factory=lambda: HashEncoder("second", 8, record=True))

    def models(self) -> list[Model]:
        return [self.first, self.second, *ModelManager(EnsembleConfig(ensemble_models=["bm25"])).members]

    def job(self, **changes: Any) -> Job:
        settings = {"chunking": ChunkingOptions(tokens=100), "bounds": WindowBounds(chunks=3)}
        return Job(self.collection, **{**settings, **changes})

    def run(self, *sources: ListSource, **changes: Any) -> Receipt:
        models = self.models()
        with (
            BatchRunner(models, lease_directory=self.folder / "leases") as runner,
            RejectsFile(self.folder / "rejects.jsonl") as rejects,
        ):
            return run_job(self.job(**changes), sources, store=self.store, ensemble=Ensemble(runner), rejects=rejects)

    def verify(
        self,
        *sources: ListSource,
        repair: bool = False,
        sample: int | Literal["all"] = 0,
        store: Store | None = None,
        models: Sequence[Model] | None = None,
        **changes: Any,
    ) -> Verification:
        members = models or self.models()
        self.first.encoded.clear()
        self.second.encoded.clear()
        with BatchRunner(members, lease_directory=self.folder / "leases") as runner:
            return verify_job(
                self.job(**changes),
                sources,
                store=store or self.store,
                ensemble=Ensemble(runner),
                repair=repair,
                sample=sample,
                rng=random.Random(0),
            )

    def stored(self) -> dict[str, StoredPoint]:
        return {point.id: point for point in self.store.scroll(self.collection, vectors=True)}

    def everything(self) -> dict[str, object]:
        """All that is stored, comparable."""
        return {id_: (point.payload, _comparable(point.vectors)) for id_, point in self.stored().items()}

    def point(self, doc_id: str, chunk: int = 0) -> StoredPoint:
        (found,) = (p for p in self.stored().values() if (p.payload.get("doc_id"), p.payload.get("chunk")) == (doc_id, chunk))
        return found


def counts(found: Verification) -> dict[str, int]:
    return {str(kind): finding.count for kind, finding in found.findings.items()}


def _comparable(vectors: Mapping[str, Vector]) -> dict[str, str]:
    return {
        name: f"{vector.indices.tolist()} {vector.values.tolist()}"
        if isinstance(vector, SparseVector)
        else f"{vector.round(5).tolist()}"
        for name, vector in vectors.items()
    }


Damager = Callable[[Store, str, StoredPoint], None]


def set_vector(name: str, vector: Vector) -> Damager:
    return lambda store, collection, point: store.update_vectors(collection, {point.id: {name: vector}})


def set_fields(**fields: Any) -> Damager:
    return lambda store, collection, point: store.set_payload(collection, {point.id: {**point.payload, **fields}})


def set_made(**fields: Any) -> Damager:
    """Changes what the point says it was made from."""

    def damage(store: Store, collection: str, point: StoredPoint) -> None:
        made = {**point.payload.get(INGEST_FIELD, {}), **fields}
        store.set_payload(collection, {point.id: {**point.payload, INGEST_FIELD: made}})

    return damage


def replace_payload(make: Callable[[Payload], Payload]) -> Damager:
    return lambda store, collection, point: store.set_payload(collection, {point.id: make(point.payload)})


def drop_vector(name: str) -> Damager:
    def damage(store: Store, collection: str, point: StoredPoint) -> None:
        rest = {key: vector for key, vector in point.vectors.items() if key != name}
        store.upsert(collection, [Point(point.id, rest, point.payload)])

    return damage


def remove(store: Store, collection: str, point: StoredPoint) -> None:
    store.delete(collection, [point.id])


def unit(dim: int, at: int = 0) -> Vector:
    vector = np.zeros(dim, np.float32)
    vector[at] = 1
    return vector


def sparse(weights: Mapping[int, float]) -> SparseVector:
    return SparseVector(np.array(list(weights), np.uint32), np.array(list(weights.values()), np.float32))


ELSEWHERE_KEY = "11111111-1111-5111-8111-111111111111"
"""Of a document that nobody has."""
