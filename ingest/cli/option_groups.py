"""Groups of options, for the commands that read sources or choose models. See `options.spread`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

from ingest.cli import options
from ingest.errors import ConfigurationError

Sources = Annotated[
    list[str],
    typer.Argument(
        help="Folders, globs, files (text, HTML, code, JSON, YAML, CSV, Parquet …; .gz, .zst), URLs, NAME:… of a plugin, or -"
        " for stdin.",
        metavar="SOURCE...",
        show_default=False,
    ),
]
Dense = Annotated[
    str | None, typer.Option("--dense", help="Dense models, separated by commas, or none. [default: all-miniLM-l6]")
]
Sparse = Annotated[str | None, typer.Option("--sparse", help="Sparse models, separated by commas, or none. [default: bm25]")]
Multivector = Annotated[
    str | None, typer.Option("--multivector", help="Late-interaction models, separated by commas, or none. [default: none]")
]
Language = Annotated[
    str | None,
    typer.Option(
        "--language", help="Language of bm25, such as german or de. [default: auto, as stored, else that of the first documents]"
    ),
]
Backend = Annotated[
    str | None,
    typer.Option("--backend", help="CPU inference backend: auto (pick the faster one), torch or openvino. [default: auto]"),
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        help="Precision to compute in: float32, bfloat16, float16 (both on a GPU) or int8 (OpenVINO)."
        " [default: as stored, else the fastest]",
    ),
]
Delete = Annotated[
    str | None,
    typer.Option(
        "--delete", help="What to delete: none, incremental (stale chunks), full (also missing documents). [default: incremental]"
    ),
]
Name = Annotated[
    str | None, typer.Option("--name", help="Name of the source, part of every id. [default: its absolute location]")
]
Format = Annotated[str | None, typer.Option("--format", help="Format of the source if its name does not tell: jsonl, csv, …")]
SqlQuery = Annotated[str | None, typer.Option("--query", help="SQL query whose rows are the documents.")]
IdField = Annotated[str | None, typer.Option("--id-field", help="Field with the id of a record.")]
TextField = Annotated[
    str | None, typer.Option("--text-field", help="Field with the text of a record, or several to join, separated by commas.")
]
TitleField = Annotated[str | None, typer.Option("--title-field", help="Field with the title of a record.")]
MetadataFields = Annotated[
    str | None, typer.Option("--metadata-fields", help="Fields that become metadata, separated by commas. [default: all others]")
]
VersionField = Annotated[
    str | None,
    typer.Option("--version-field", help="Column of a database that changes with every change of a row: others are not read."),
]
Encoding = Annotated[
    str | None, typer.Option("--encoding", help="Encoding of text, HTML, CSV and JSONL. [default: found in each file]")
]
Delimiter = Annotated[str | None, typer.Option("--delimiter", help="Delimiter of CSV, or tab. [default: found in each file]")]
Columns = Annotated[str | None, typer.Option("--columns", help="Columns of CSV without a header, separated by commas.")]
Types = Annotated[
    list[str] | None,
    typer.Option("--type", help="Type of a CSV column, as in sku=text: text, integer, number, boolean, date. May be repeated."),
]
Records = Annotated[
    str | None,
    typer.Option(
        "--records", help="Names that lead to the list of records in JSON, YAML and XML, as in data.items. [default: the file]"
    ),
]
HtmlContent = Annotated[
    str | None,
    typer.Option("--html-content", help="Content of HTML: main (no navigation, footers, cookie banners), all. [default: main]"),
]
Include = Annotated[
    list[str] | None, typer.Option("--include", help="Pattern of the files of a folder to read, as in '*.md'. May be repeated.")
]
Exclude = Annotated[
    list[str] | None, typer.Option("--exclude", help="Pattern of the files of a folder to leave out. May be repeated.")
]


def _name_skipped(verbose: bool) -> bool:
    """Log the names of the files that are not read, or stop it."""
    logging.getLogger("ingest.source.reading_report").setLevel(logging.DEBUG if verbose else logging.NOTSET)
    return verbose


Verbose = Annotated[
    bool,
    typer.Option("--verbose", help="Print every count and rate, and name the files that are not read.", callback=_name_skipped),
]
ChunkTokens = Annotated[
    int | None, typer.Option("--chunk-tokens", help="Most tokens of a chunk. [default: what every model takes]")
]
ChunkOverlap = Annotated[
    float | None, typer.Option("--chunk-overlap", help="Share of a chunk that the next one repeats. [default: 0]")
]
Chunker = Annotated[
    str | None, typer.Option("--chunker", help="Plugin that cuts documents. [default: along their structure]", show_default=False)
]
Engine = Annotated[
    str | None, typer.Option("--engine", help="Where to run: local (this process) or ray (a cluster). [default: local]")
]
RayAddress = Annotated[
    str | None,
    typer.Option("--ray-address", help="Ray cluster: auto, ray://… or host:port; local starts one here. [default: local]"),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", help="Number of workers on Ray. [default: one per GPU, without GPUs one per CPU]", min=1),
]
WorkerPrice = Annotated[
    float | None, typer.Option("--worker-price", min=0, help="Price of one hour of a worker, for the sizing on Ray. [default: 1]")
]
NodePrice = Annotated[
    float | None, typer.Option("--node-price", min=0, help="Price of one hour of a Qdrant node, for the sizing. [default: 0.5]")
]
NodeMemory = Annotated[
    float | None, typer.Option("--node-memory", min=1, help="Memory of a Qdrant node in GiB, for the sizing. [default: 64]")
]


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """The options for sources and how to read them."""

    sources: Sources
    name: Name = None
    data_format: Format = None
    query: SqlQuery = None
    id_field: IdField = None
    text_field: TextField = None
    title_field: TitleField = None
    metadata_fields: MetadataFields = None
    version_field: VersionField = None
    column_types: Types = None
    encoding: Encoding = None
    delimiter: Delimiter = None
    columns: Columns = None
    records: Records = None
    html_content: HtmlContent = None
    include: Include = None
    exclude: Exclude = None
    verbose: Verbose = False

    @property
    def overrides(self) -> dict[str, Any]:
        """Settings by name; None if not given."""
        named = {"id": self.id_field, "text": self.text_field, "title": self.title_field, "metadata": self.metadata_fields}
        named["version"] = self.version_field
        direct = {name: getattr(self, name) for name in ("encoding", "delimiter", "columns", "records")}
        patterns = {"include": self.include or None, "exclude": self.exclude or None}
        html = {"content": self.html_content}
        return {"fields": named, "html": html, "types": _types(self.column_types or ()), **direct, **patterns}

    @property
    def given(self) -> dict[str, Any]:
        """Arguments of `session.sources_of`."""
        return {"locations": self.sources, "name": self.name, "data_format": self.data_format, "query": self.query}


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """The options for models and chunks."""

    dense: Dense = None
    sparse: Sparse = None
    multivector: Multivector = None
    language: Language = None
    backend: Backend = None
    precision: Precision = None
    device: options.Device = None
    chunk_tokens: ChunkTokens = None
    chunk_overlap: ChunkOverlap = None
    chunker: Chunker = None

    @property
    def overrides(self) -> dict[str, Any]:
        """Settings by name; None if not given."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """The options for deletes."""

    delete: Delete = None
    delete_after: options.DeleteAfter = None
    max_delete: options.MaxDelete = None

    @property
    def overrides(self) -> dict[str, Any]:
        """Settings by name; None if not given."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """The options for the engine of a run: this process, or a Ray cluster."""

    engine: Engine = None
    ray_address: RayAddress = None
    workers: Workers = None

    @property
    def overrides(self) -> dict[str, Any]:
        """Settings by name; None if not given."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class MachineOptions:
    """The options for the machines that a sizing assumes."""

    worker_price: WorkerPrice = None
    node_price: NodePrice = None
    node_memory: NodeMemory = None

    @property
    def assumed(self) -> dict[str, Any]:
        """Arguments of `Assumptions` that were given."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def _types(given: Sequence[str]) -> dict[str, str]:
    """Return column → type. Raises `ConfigurationError` for an option without both."""
    types = {}
    for each in given:
        column, separator, column_type = each.rpartition("=")
        if not (separator and column and column_type):
            raise ConfigurationError(f"--type {each} has no column or no type: write --type sku=text")
        types[column] = column_type
    return types
