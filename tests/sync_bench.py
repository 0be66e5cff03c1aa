"""Runs jobs over a store, with fakes for models, and shows what is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ingest.encode.contract import Model
from ingest.encode.ensemble import Ensemble
from ingest.encode.runner import BatchRunner
from ingest.receipt import Receipt
from ingest.records import Document, Rejected, Source, SparseVector, Vector
from ingest.source.chunking import ChunkingOptions
from ingest.store.contract import Condition, Store
from ingest.sync.job import Job
from ingest.sync.plan import DeleteMode
from ingest.sync.reading import WindowBounds
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.testing import Crash, FlakyStore, HashEncoder, VersionedSource

T = TypeVar("T")

DAY = 86_400.0
START = 1_750_000_000.0
"""When the clocks of these tests begin; seconds since 1970."""

FIRST_SECOND = "2025-06-15T15:06:40+00:00"
"""The same."""

Item = Document | Rejected | Crash
Stored = dict[str, tuple[dict[str, Any], dict[str, Any]]]
"""Point id → whole payload and all vectors, comparable."""


class SyncBench:
    """Jobs into one collection of one store. `clock` is the job's, and stands still."""

    def __init__(self, store: Store, collection: str, folder: Path) -> None:
        self.store = store
        self.collection = collection
        self.folder = folder
        self.clock = START
        self.effects: dict[str, int] = {}

    def job(self, **changes: Any) -> Job:
        defaults: dict[str, Any] = {"chunking": ChunkingOptions(tokens=100), "bounds": WindowBounds(chunks=4)}
        return Job(self.collection, **{**defaults, **changes})

    def run(
        self,
        items: Sequence[Item | Source],
        *,
        models: Sequence[Model] = (),
        store: Store | None = None,
        stop: Callable[[], bool] = lambda: False,
        pushed: bool = False,
        **changes: Any,
    ) -> Receipt:
        """`items`: of the source `list`, or sources; `changes`: of the job. `effects` counts what the store was asked to do."""
        observed = FlakyStore(store or self.store, lambda _name, _call: None)
        self.effects = observed.calls
        return self.run_with(
            lambda runner, members, rejects: run_job(
                self.job(**changes),
                _sources(items),
                store=observed,
                ensemble=Ensemble(runner),
                rejects=rejects,
                now=lambda: self.clock,
                stop=stop,
                pushed=pushed,
            ),
            models,
        )

    def full(self, items: Sequence[Item | Source], **changes: Any) -> Receipt:
        """A run that deletes what is gone, after seven days unless `changes` say otherwise."""
        return self.run(items, **{"delete": DeleteMode.FULL, "delete_after": 7 * DAY, **changes})

    def run_with(
        self,
        work: Callable[[BatchRunner, Sequence[Model], RejectsFile], T],
        models: Sequence[Model] = (),
    ) -> T:
        members = models or [HashEncoder("hash", 8)]
        runner = BatchRunner(members, lease_directory=self.folder / "leases")
        with runner, RejectsFile(self.folder / "rejects.jsonl") as rejects:
            return work(runner, members, rejects)

    def agree_to(self, models: Sequence[Model]) -> None:
        """The collection's manifest names these models from now on, and its points are still made by the old ones."""
        stored = self.store.manifest(self.collection)
        self.store.write_manifest(replace(self.job().manifest(models), collection=stored.collection))

    def stored(self, **equal: str) -> Stored:
        """Of the points whose payload fields equal these: everything."""
        conditions = [Condition(field, "eq", value) for field, value in equal.items()]
        return {
            point.id: (point.payload, {name: _plain(vector) for name, vector in point.vectors.items()})
            for point in self.store.scroll(self.collection, conditions, vectors=True)
        }

    def live(self) -> set[str]:
        """Ids of the documents of which no point is soft-deleted."""
        return self._documents() - self.soft_deleted().keys()

    def soft_deleted(self) -> dict[str, str]:
        """Document id → when it was soft-deleted; of those whose points all say the same time."""
        times: dict[str, set[str | None]] = {}
        for point in self.store.scroll(self.collection, payload=["doc_id", "_ingest"]):
            times.setdefault(point.payload["doc_id"], set()).add(point.payload["_ingest"].get("soft_deleted_at"))
        return {id_: since for id_, found in times.items() if len(found) == 1 and (since := next(iter(found))) is not None}

    def _documents(self) -> set[str]:
        return {point.payload["doc_id"] for point in self.store.scroll(self.collection, payload=["doc_id"])}


def paragraph(letter: str) -> str:
    """About as long as a chunk may be, so that it is one."""
    return f"Paragraph {letter}. " + f"{letter * 5} " * 60


def text_of(letters: str) -> str:
    return "\n\n".join(map(paragraph, letters))


def document(id_: str, letters: str, **metadata: Any) -> Document:
    """A document with a paragraph for each letter."""
    return Document(id_, text_of(letters), metadata=metadata)


def versioned(id_: str, letters: str, version: str) -> Document:
    """A document with a version."""
    return replace(document(id_, letters), version=version)


def counts(receipt: Receipt) -> Mapping[str, int]:
    """Of documents, without zeros. The receipt must balance."""
    assert receipt.balanced, receipt.errors
    names = ("read", "written", "updated", "unchanged", "deleted", "soft_deleted", "rejected")
    return {name: value for name in names if (value := getattr(receipt, name))}


def _sources(items: Sequence[Item | Source]) -> list[Source]:
    records = [item for item in items if isinstance(item, Document | Rejected | Crash)]
    sources = [item for item in items if not isinstance(item, Document | Rejected | Crash)]
    return sources or [VersionedSource(records)]


def _plain(vector: Vector) -> Any:
    if isinstance(vector, SparseVector):
        return vector.indices.tolist(), vector.values.tolist()
    assert np.isfinite(vector).all()
    return vector.tolist()


def without_versions(stored: Stored) -> Stored:
    return {
        point: ({**payload, "_ingest": {name: value for name, value in payload["_ingest"].items() if name != "version"}}, vectors)
        for point, (payload, vectors) in stored.items()
    }
