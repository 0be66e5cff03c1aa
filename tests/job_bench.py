"""Runs jobs over one collection of one store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ingest.encode.contract import Model
from ingest.encode.ensemble import Ensemble
from ingest.encode.runner import BatchRunner
from ingest.receipt import Receipt
from ingest.records import Document, Source
from ingest.retry import RetryPolicy
from ingest.source.chunking import ChunkingOptions
from ingest.store.contract import Store
from ingest.sync.job import Job
from ingest.sync.plan import DeleteMode
from ingest.sync.reading import WindowBounds
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.testing import HashEncoder, ListSource

PARAGRAPHS = [f"Paragraph {letter}. " + f"{letter * 5} " * 60 for letter in "abcdefgh"]


def document(id_: str, text: str, **metadata: object) -> Document:
    return Document(id_, text, metadata=metadata)


class Bench:
    """Runs jobs over one store."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.rejects = folder / "rejects.jsonl"
        self.leases = folder / "leases"

    def run(
        self,
        source: Source | Sequence[Source],
        *,
        models: Sequence[Model] | None = None,
        store: Store | None = None,
        delete: DeleteMode = DeleteMode.INCREMENTAL,
        max_delete: float = 0.2,
        tokens: int = 100,
        window: int = 4,
        weights: Mapping[str, float] | None = None,
        retry: RetryPolicy = RetryPolicy(),
    ) -> Receipt:
        members = models or [HashEncoder()]
        job = Job(
            "docs",
            delete=delete,
            max_delete=max_delete,
            chunking=ChunkingOptions(tokens=tokens),
            bounds=WindowBounds(chunks=window),
            weights=weights or {},
        )
        runner = BatchRunner(members, lease_directory=self.leases, retry=retry)
        with runner, RejectsFile(self.rejects) as rejects:
            return run_job(
                job,
                [source] if isinstance(source, ListSource) else list(source),  # type: ignore[arg-type]  # a source or several
                store=store or self.store,
                ensemble=Ensemble(runner),
                rejects=rejects,
            )

    def stored(self) -> dict[str, tuple[object, list[float]]]:
        return {
            point.id: (point.payload, point.vectors["hash"].tolist())  # type: ignore[union-attr]  # the hash vector is dense
            for point in self.store.scroll("docs", vectors=True)
        }

    def doc_ids(self) -> set[str]:
        return {point.payload["doc_id"] for point in self.store.scroll("docs")}


def counts(receipt: Receipt) -> dict[str, int]:
    names = ("read", "written", "updated", "unchanged", "deleted", "rejected")
    return {name: value for name in names if (value := getattr(receipt, name))}
