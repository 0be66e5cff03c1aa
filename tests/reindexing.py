"""Runs and reindexes of small collections, for the tests of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ingest.encode.contract import Model
from ingest.encode.ensemble import Ensemble
from ingest.encode.models import ModelManager
from ingest.encode.registry import EnsembleConfig
from ingest.encode.runner import BatchRunner
from ingest.receipt import Receipt
from ingest.records import Document, Payload
from ingest.reindex.reindex import Gate, Reindexed, reindex
from ingest.source.chunking import ChunkingOptions
from ingest.store.contract import Store
from ingest.store.edge.store import EdgeStore
from ingest.sync.job import Job
from ingest.sync.plan import DeleteMode
from ingest.sync.reading import WindowBounds
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.testing import HashEncoder, ListSource

LONG_TITLE = "A title of many words that is far too long for its share of a chunk and is cut somewhere " * 3


def documents(count: int, *, paragraphs: int = 3) -> list[Document]:
    """Documents of some chunks each; every third has a title, every ninth one that is too long for its share."""
    titles = {0: LONG_TITLE, 3: "A short title", 6: "  Another,\n on two lines "}
    return [
        Document(
            f"d{n}",
            "\n\n".join(f"Paragraph {p} of {n}. " + f"{'abcdefgh'[p]}{n} " * 80 for p in range(paragraphs)),
            title=titles.get(n % 9),
            metadata={"number": n},
        )
        for n in range(count)
    ]


DOCUMENTS = documents(7)
FEW = documents(2)
KEPT = HashEncoder("kept", 16)
OLD = HashEncoder("swapped", 16)
NEW = HashEncoder("swapped", 16, revision="2")


def bm25() -> Model:
    [model] = ModelManager(EnsembleConfig(ensemble_models=["bm25"])).members
    return model


class Bench:
    """One collection in one store, filled from one source."""

    def __init__(self, store: Store, folder: Path, name: str = "docs") -> None:
        self.store = store
        self.name = name
        self.folder = folder
        self.job = Job(
            name,
            delete=DeleteMode.FULL,
            max_delete=1.0,
            chunking=ChunkingOptions(tokens=100),
            bounds=WindowBounds(chunks=4),
        )

    def run(self, items: Sequence[Document], models: Sequence[Model], **changes: Any) -> Receipt:
        runner = BatchRunner(models, lease_directory=self.folder / "leases")
        with runner, RejectsFile(self.folder / "rejects.jsonl") as rejects:
            return run_job(
                replace(self.job, **changes),
                [ListSource(items)],
                store=self.store,
                ensemble=Ensemble(runner),
                rejects=rejects,
            )

    def reindex(
        self,
        models: Sequence[Model],
        *,
        store: Store | None = None,
        gate: Gate | None = None,
        keep_old: bool = True,
        build: Callable[..., Reindexed] = reindex,
    ) -> Reindexed:
        with BatchRunner(models, lease_directory=self.folder / "leases") as runner:
            return build(
                self.job,
                store=store or self.store,
                ensemble=Ensemble(runner),
                gate=gate,
                keep_old=keep_old,
            )

    def searched(self) -> dict[str, tuple[Payload, Mapping[str, object]]]:
        """What `content` returns, without the vectors that are not searched."""
        names = {spec.name for spec in self.store.manifest(self.name).vectors}
        found: dict[str, tuple[Payload, Mapping[str, object]]] = {}
        for id_, (payload, vectors) in self.content().items():
            made = {name: model for name, model in payload["_ingest"]["vectors"].items() if name in names}
            shown = {**payload, "_ingest": {**payload["_ingest"], "vectors": made}}
            found[id_] = shown, {name: vector for name, vector in vectors.items() if name in names}
        return found

    def content(self, collection: str | None = None) -> dict[str, tuple[Payload, Mapping[str, object]]]:
        """Point id → payload and vectors, to compare."""
        return {
            point.id: (
                point.payload,
                {
                    name: value.tolist() if hasattr(value, "tolist") else (value.indices.tolist(), value.values.tolist())
                    for name, value in point.vectors.items()
                },
            )
            for point in self.store.scroll(collection or self.name, vectors=True)
        }


@contextmanager
def embedded_bench(folder: Path, items: Sequence[Document], models: Sequence[Model], **changes: Any) -> Iterator[Bench]:
    """A collection in an embedded store of its own, filled. `changes`: of the job."""
    with EdgeStore(folder / "qdrant") as store:
        made = Bench(store, folder)
        made.job = replace(made.job, **changes)
        made.run(items, models)
        yield made
