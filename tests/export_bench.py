"""Embeds and loads, with models that need no weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ingest.encode.contract import Model
from ingest.encode.ensemble import Ensemble
from ingest.encode.models import ModelManager
from ingest.encode.registry import EnsembleConfig
from ingest.encode.runner import BatchRunner
from ingest.export.runtime import ExportRuntime
from ingest.receipt import Receipt
from ingest.records import Document, Source, SparseVector
from ingest.source.chunking import ChunkingOptions
from ingest.store.contract import Store
from ingest.sync.job import Job
from ingest.sync.reading import WindowBounds
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.telemetry import ThroughputMonitor
from ingest.testing import HashEncoder

PARAGRAPHS = [f"Paragraph {letter}. " + f"{letter * 5} " * 60 for letter in "abcdefgh"]

DOCUMENTS = [
    *(Document(f"d{n}", text, metadata={"n": n, "ünïcode": ["ß", None, {"x": 0.1}]}) for n, text in enumerate(PARAGRAPHS)),
    Document("book", "\n\n".join(PARAGRAPHS), title="日本語 \N{GRINNING FACE}"),
    Document("stop words", "the of and"),
]
"""The last one's sparse vector is empty."""


def ensemble(*, revision: str = "1", record: bool = False) -> list[Model]:
    return [
        HashEncoder(dim=16, revision=revision, record=record),
        *ModelManager(EnsembleConfig(("bm25",), {"bm25": 2.0})).members,
    ]


class ExportBench:
    """One export under `folder`. A shard for every window of a few chunks, unless asked otherwise."""

    def __init__(self, folder: Path, collection: str = "docs") -> None:
        self.path = folder / "export"
        self.collection = collection
        self.rejects = folder / "rejects.jsonl"
        self._leases = folder / "leases"

    def job(self, *, tokens: int = 100, max_delete: float = 0.2) -> Job:
        return Job(
            self.collection,
            chunking=ChunkingOptions(tokens=tokens),
            max_delete=max_delete,
            weights={"hash": 1.5},
            bounds=WindowBounds(chunks=4),
        )

    def embed(
        self,
        *sources: Source,
        models: Sequence[Model] | None = None,
        tokens: int = 100,
        max_delete: float = 0.2,
        shard_bytes: int = 1,
        stop: Callable[[], bool] = lambda: False,
    ) -> Receipt:
        members, job = models or ensemble(), self.job(tokens=tokens, max_delete=max_delete)
        runner = BatchRunner(members, lease_directory=self._leases)
        with runner, RejectsFile(self.rejects) as rejects:
            return ExportRuntime(self.path, shard_bytes=shard_bytes).embed(
                job, sources, ensemble=Ensemble(runner), rejects=rejects, stop=stop
            )

    def load(self, store: Store, stop: Callable[[], bool] = lambda: False) -> Receipt:
        return ExportRuntime(self.path).load(self.job(), store=store, monitor=ThroughputMonitor(), stop=stop)

    def run(self, store: Store, *sources: Source, models: Sequence[Model] | None = None) -> Receipt:
        """What a load is measured by."""
        members = models or ensemble()
        runner = BatchRunner(members, lease_directory=self._leases)
        with runner, RejectsFile(self.rejects) as rejects:
            return run_job(self.job(), sources, store=store, ensemble=Ensemble(runner), rejects=rejects)

    @property
    def shards(self) -> list[Path]:
        return sorted(self.path.glob("shard-*"))


def assert_same_points(store: Store, one: str, other_store: Store, other: str) -> None:
    """Equal ids, payloads and sparse vectors; dense ones as near as two normalizations are."""
    found, wanted = (
        {point.id: point for point in where.scroll(name, vectors=True)} for where, name in ((store, one), (other_store, other))
    )
    assert found.keys() == wanted.keys()
    for point_id, point in wanted.items():
        assert found[point_id].payload == point.payload
        assert found[point_id].vectors.keys() == point.vectors.keys()
        for name, vector in point.vectors.items():
            stored = found[point_id].vectors[name]
            if isinstance(vector, SparseVector):
                assert isinstance(stored, SparseVector)
                assert stored.indices.tolist() == vector.indices.tolist()
                assert stored.values.tolist() == vector.values.tolist()
            else:
                assert isinstance(stored, np.ndarray)
                np.testing.assert_allclose(stored, vector, rtol=0, atol=1e-6)
