"""Options that several commands share. Each defaults to None: what is not given comes from the settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

Collection = Annotated[str, typer.Option("--collection", "-c", help="The collection, in any spelling.", show_default=False)]
CollectionArgument = Annotated[
    str, typer.Argument(metavar="COLLECTION", help="The collection, in any spelling.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Sources = Annotated[
    list[str],
    typer.Argument(
        help="Folders, globs, files (text, Markdown, HTML, code, JSONL, CSV, TSV, Parquet; .gz, .zst), URLs, or - for stdin.",
        metavar="SOURCE...",
        show_default=False,
    ),
]
Store = Annotated[
    str | None, typer.Option("--store", help="A folder for the embedded engine, or a server's URL. [default: .ingest/qdrant]")
]
Dense = Annotated[str | None, typer.Option("--dense", help="Dense models, joined by commas, or none. [default: all-miniLM-l6]")]
Sparse = Annotated[str | None, typer.Option("--sparse", help="Sparse models, joined by commas, or none. [default: bm25]")]
Backend = Annotated[
    str | None,
    typer.Option("--backend", help="Who computes on the processor: auto (what is faster in the end), torch or openvino."),
]
Precision = Annotated[
    str | None,
    typer.Option("--precision", help="What openvino computes in: int8 or float32. [default: as stored; new ones int8]"),
]
Delete = Annotated[
    str | None,
    typer.Option("--delete", help="none, incremental (stale chunks) or full (also missing documents). [default: incremental]"),
]
DeleteAfter = Annotated[
    str | None,
    typer.Option(
        "--delete-after", help="Grace period of full: soft-delete missing documents, purge them after 12h, 7d. [default: none]"
    ),
]
MaxDelete = Annotated[
    str | None, typer.Option("--max-delete", help="Share of the documents that full may delete. [default: 20%]")
]
Rerank = Annotated[str | None, typer.Option("--rerank", help="auto (if the model is to be had), on or off. [default: auto]")]
Reranker = Annotated[
    str | None,
    typer.Option("--reranker", help="A registry key, a folder, or a hub id. [default: ms-marco-minilm-l6]"),
]
Fusion = Annotated[str, typer.Option("--fusion", help="How to fuse vectors: scores, rrf (ranks), dbsf (scores per query).")]
Feedback = Annotated[
    bool,
    typer.Option(
        "--feedback/--no-feedback", help="Query the dense vectors again, moved toward the three best chunks (1 to 2 ms)."
    ),
]
Name = Annotated[str | None, typer.Option("--name", help="The source's name, part of every id. [default: its absolute location]")]
Format = Annotated[
    str | None, typer.Option("--format", help="What the source holds, where its name does not say it: jsonl, csv, …")
]
SqlQuery = Annotated[str | None, typer.Option("--query", help="The query whose rows are the documents, for an SQL source.")]
IdField = Annotated[str | None, typer.Option("--id-field", help="Field that holds a record's id.")]
TextField = Annotated[str | None, typer.Option("--text-field", help="Field that holds its text.")]
TitleField = Annotated[str | None, typer.Option("--title-field", help="Field that holds its title.")]
ChunkTokens = Annotated[
    int | None, typer.Option("--chunk-tokens", help="Tokens per chunk at most. [default: what every model takes]")
]
ChunkOverlap = Annotated[
    float | None, typer.Option("--chunk-overlap", help="Share of a chunk that the next repeats. [default: 0]")
]
Engine = Annotated[str | None, typer.Option("--engine", help="local (this process) or ray (a cluster). [default: local]")]
RayAddress = Annotated[
    str | None, typer.Option("--ray-address", help="auto, ray://… or host:port; local starts one here. [default: local]")
]
Workers = Annotated[
    int | None, typer.Option("--workers", help="Workers on Ray. [default: one for each GPU, else for each CPU]", min=1)
]
WorkerPrice = Annotated[
    float | None, typer.Option("--worker-price", min=0, help="Of a worker's hour, for the sizing on Ray. [default: 1]")
]
NodePrice = Annotated[float | None, typer.Option("--node-price", min=0, help="Of a Qdrant node's hour, likewise. [default: 0.5]")]
NodeMemory = Annotated[float | None, typer.Option("--node-memory", min=1, help="GiB of a Qdrant node, likewise. [default: 64]")]
Rejects = Annotated[Path | None, typer.Option("--rejects", help="Rejects file. [default: .ingest/rejects/COLLECTION.jsonl]")]
MaxRejects = Annotated[
    str | None, typer.Option("--max-rejects", help="Share or number of rejects above which it exits with 3. [default: 10%]")
]
Telemetry = Annotated[Path | None, typer.Option("--telemetry", help="Append lease events, passes and errors here as JSON lines.")]
MetricsPort = Annotated[
    int | None, typer.Option("--metrics-port", min=1, max=65535, help="Serve Prometheus metrics on this loopback port.")
]
MovedFrom = Annotated[
    str | None,
    typer.Option("--moved-from", help="Former name of the source: what is stored under it is taken along, without encoding."),
]
Accept = Annotated[
    bool,
    typer.Option(
        "--accept-fingerprints",
        help="Accept the stored vectors as compatible with the configured models although their fingerprints differ.",
    ),
]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be kept equal to what: the options that `run` has in common with those who foresee or check it."""

    sources: Sources
    collection: Collection
    store: Store = None
    dense: Dense = None
    sparse: Sparse = None
    backend: Backend = None
    precision: Precision = None
    delete: Delete = None
    delete_after: DeleteAfter = None
    max_delete: MaxDelete = None
    name: Name = None
    data_format: Format = None
    query: SqlQuery = None
    id_field: IdField = None
    text_field: TextField = None
    title_field: TitleField = None
    chunk_tokens: ChunkTokens = None
    chunk_overlap: ChunkOverlap = None

    @property
    def overrides(self) -> dict[str, Any]:
        """Of settings, by their names; None where nothing was given."""
        names = ["store", "dense", "sparse", "backend", "precision", "delete", "delete_after", "max_delete"]
        names += ["chunk_tokens", "chunk_overlap"]
        mapping = {"id": self.id_field, "text": self.text_field, "title": self.title_field}
        return {**{name: getattr(self, name) for name in names}, "fields": mapping}


@dataclass(frozen=True, slots=True)
class Where:
    """Where a run works."""

    engine: Engine = None
    ray_address: RayAddress = None
    workers: Workers = None

    @property
    def overrides(self) -> dict[str, Any]:
        """Of settings, by their names; None where nothing was given."""
        return {"engine": self.engine, "ray_address": self.ray_address, "workers": self.workers}


@dataclass(frozen=True, slots=True)
class Machines:
    """What a sizing assumes of them."""

    worker_price: WorkerPrice = None
    node_price: NodePrice = None
    node_memory: NodeMemory = None

    @property
    def assumed(self) -> dict[str, Any]:
        """What was given."""
        names = ("worker_price", "node_price", "node_memory")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command, in place of each parameter that is a dataclass, the options its fields are."""
    signature = inspect.signature(command, eval_str=True)
    groups = {
        name: each.annotation
        for name, each in signature.parameters.items()
        if isinstance(each.annotation, type) and is_dataclass(each.annotation)
    }

    @wraps(command)
    def called(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        command(**given)

    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        group = groups.get(name)
        parameters.extend(inspect.signature(group, eval_str=True).parameters.values() if group else [parameter])
    called.__signature__ = signature.replace(  # type: ignore[attr-defined]  # functions have no declared one
        parameters=[parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    )
    return called
