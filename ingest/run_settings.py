"""The settings of a run and of a job, and the tables in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from ingest.redaction import shown_location
from ingest.setting_types import Allowance, ColumnType, Cron, Duration, Locations, Names, Share, Table, Weight
from ingest.store.layout import Datatype, Placement, Quantization, QueryEncoding


class FieldsSettings(Table):
    """The names of the fields of a record, where they are not the usual ones."""

    id: str | None = Field(None, description="Field with the id of a record. Default: the first of id, _id, doc_id.")
    text: Names = Field(
        default_factory=list,
        description="Field with its text, or several, joined. Default: the first of text, content, body, page_content.",
    )
    title: str | None = Field(None, description="Field with its title. Default: title.")
    metadata: Names | None = Field(None, description="Fields that become metadata. Default: all others.")
    version: str | None = Field(None, description="Column of a database that changes with every change of a row.")


class HtmlSettings(Table):
    """How to read HTML files."""

    content: Literal["main", "all"] = Field(
        "main", description="`main` leaves out navigation, page footers and cookie banners; `all` keeps everything."
    )


class LayoutSettings(Table):
    """The layout of a new collection."""

    distance: Literal["cosine", "dot", "euclid", "manhattan"] = Field("cosine", description="Distance between dense vectors.")
    on_disk: bool = Field(
        False, description="Read vectors, quantized vectors, HNSW graphs and sparse indexes from disk instead of memory."
    )
    datatype: Datatype = Field(
        "float32",
        description="Numbers of dense vectors: `float32`, `float16`, or `turbo4`, `turbo8`, `turbo16` (bits of TurboQuant).",
    )
    quantization: Quantization = Field(
        "auto",
        description="Compressed copies of vectors to search first: `auto` (embedded: `scalar` from 1 GB on; a server: none),"
        " `none`, `scalar`, `product-4` to `product-64`, `binary`, `binary-1.5`, `binary-2`, or `turbo-1`, `turbo-1.5`,"
        " `turbo-2`, `turbo-4`, `turbo-8`. The best are scored again.",
    )
    query_encoding: QueryEncoding = Field(
        "default", description="Encoding of a query for `binary` vectors: `binary`, `scalar-4` or `scalar-8`."
    )
    inline_storage: bool = Field(False, description="Store vectors in the HNSW graph, too: fewer reads from disk, more disk.")
    vectors_memory: Placement | None = Field(
        None, description="Placement of dense vectors: `cold` (on disk) or `cached`. Default: `cached`, or `cold` with `on_disk`."
    )
    graph_memory: Placement | None = Field(
        None, description="Placement of HNSW graphs: `cold`, `cached` or `pinned`. Default: `cached`, or `cold` with `on_disk`."
    )
    quantized_memory: Placement | None = Field(
        None, description="Placement of quantized vectors. Default: in memory, or `cold` with `on_disk`."
    )
    sparse_memory: Placement | None = Field(
        None, description="Placement of sparse indexes. Default: `pinned`, or `cold` with `on_disk`."
    )
    payload_memory: Placement | None = Field(None, description="Placement of payloads: `cold` or `cached`. Default: `cold`.")
    ids_memory: Placement | None = Field(None, description="Placement of the ids of points. Default: `pinned`.")
    hnsw_m: int = Field(16, ge=0, le=256, description="Links per node of the HNSW graph.")
    hnsw_ef_construct: int = Field(100, ge=4, le=10_000, description="Candidates considered while building the graph.")
    shards: int = Field(1, ge=1, description="Shards (server only).")
    replicas: int = Field(1, ge=1, description="Copies of each shard (server only).")
    write_consistency: int = Field(1, ge=1, description="Copies that must acknowledge a write (server only).")


class CollectionsSettings(Table):
    """The names of collections."""

    aliases: dict[str, str] = Field(default_factory=dict, description="Alias → collection, both normalized.")


class RunSettings(Table):
    """The settings of a run. Each job may override them."""

    dense: Names = Field(["all-miniLM-l6"], description="Registry keys of the dense models, in the order they run.")
    sparse: Names = Field(["bm25"], description="Registry keys of the sparse models; `none` for none.")
    multivector: Names = Field(
        default_factory=list, description="Registry keys of the late-interaction models, whose vectors reorder the fused hits."
    )
    language: str | None = Field(
        None,
        description="Language of the stop words and stems of `bm25`, such as `german` or `de`, or `auto`: that of the collection,"
        " for a new one that of its first documents. Default: that of `[models.bm25]`, else `auto`.",
    )
    weights: dict[str, Weight] = Field(default_factory=dict, description="Model → weight in query-time fusion. Default: 1.")

    backend: Literal["auto", "torch", "openvino"] = Field(
        "auto", description="CPU inference backend: `auto` (pick the faster one), `torch` or `openvino`."
    )
    precision: Literal["float32", "bfloat16", "float16", "int8"] | None = Field(
        None,
        description="Precision to compute in. Default: that of the collection; for a new one `int8` with OpenVINO, `float32` on"
        " the CPU with torch, `bfloat16` or `float16` on a GPU.",
    )

    chunk_tokens: int | None = Field(None, ge=8, description="Maximum tokens per chunk. Default: what every model accepts.")
    chunk_overlap: float = Field(0.0, ge=0, le=0.5, description="Share of a chunk that the next chunk repeats.")
    chunker: str | None = Field(None, description="Plugin that cuts documents. Default: they are cut along their structure.")
    fields: FieldsSettings = Field(FieldsSettings.model_construct(), description="Field mapping: table `[fields]`.")
    types: dict[str, ColumnType] = Field(
        default_factory=dict,
        description="Column of CSV → `text`, `integer`, `number`, `boolean` or `date`. Default: what all values have.",
    )
    encoding: str | None = Field(None, description="Encoding of text, HTML, CSV and JSON Lines. Default: found in each file.")
    delimiter: str | None = Field(None, description="Delimiter of CSV. Default: found in each file.")
    columns: Names = Field(
        default_factory=list, description="Columns of CSV without a header. Default: the first row names them."
    )
    records: str | None = Field(
        None,
        description="Names that lead to the list of records in JSON, YAML and XML, such as `data.items`. Default: the file.",
    )
    html: HtmlSettings = Field(HtmlSettings.model_construct(), description="How to read HTML: table `[html]`.")
    include: Names = Field(default_factory=list, description="Patterns of the files of a folder to read. Default: all.")
    exclude: Names = Field(default_factory=list, description="Patterns of the files of a folder to leave out.")

    delete: Literal["none", "incremental", "full"] = Field(
        "incremental", description="What a run may delete: nothing, stale chunks, or also documents missing from the source."
    )
    max_delete: Share = Field(
        "20%",
        description="Share of a source's documents that `full` may delete; more stops the run. 5 are always allowed.",
    )
    delete_after: Duration | None = Field(
        None,
        description="Grace period: how long `full` keeps missing documents soft-deleted before it purges them. Default: none.",
    )
    check: Literal["version", "content"] = Field(
        "version", description="How a run finds changed documents: by their `version`, without reading the others, or `content`."
    )
    max_rejects: Allowance = Field(
        "10%", description="Rejected records allowed, as a share or a number; more make the exit code 3."
    )
    rejects: Path | None = Field(None, description="The rejects file. Default: `.ingest/rejects/COLLECTION.jsonl`.")

    layout: LayoutSettings = Field(LayoutSettings.model_construct(), description="Layout of new collections: table `[layout]`.")
    index: dict[str, str] = Field(
        default_factory=dict,
        description="Metadata field → payload index: `keyword`, `integer`, `float`, `bool`, `datetime`, `geo`, `uuid`, or"
        " `keyword tenant`: table `[index]`.",
    )

    reuse: Names = Field(
        default_factory=list,
        description="Other collections whose vectors of equal texts are copied, if the same models made them; `all` for all.",
    )

    engine: Literal["local", "ray"] = Field(
        "local", description="Where a run executes: `local` (this process) or `ray` (a Ray cluster)."
    )
    ray_address: str = Field(
        "local",
        description="The Ray cluster: an address, `auto` (the one this host belongs to) or `local` (started for the run).",
    )
    workers: int | None = Field(
        None, ge=1, description="Ray workers. Default: one per GPU of the cluster, without GPUs one per CPU."
    )


class JobSettings(RunSettings):
    """A job: a table `[jobs.NAME]`. Its settings of a run override those outside it."""

    source: Locations = Field(description="The location to read, or a list of locations.")
    collection: str = Field(description="The collection.")
    name: str | None = Field(None, description="The source's name, part of every id. Default: its absolute location.")
    moved_from: str | None = Field(
        None, description="Former name of the source, or of a folder in it. Its stored points are taken along without encoding."
    )
    format: str | None = Field(None, description="The format of the source, if its name does not tell.")
    query: str | None = Field(None, description="For an SQL source, the query whose rows are the documents.")
    schedule: Cron | None = Field(None, description="When the daemon runs the job: a cron expression, in local time.")
    every: Duration | None = Field(None, ge=1, description="Or the time from one start to the next, such as 15m or 6h.")
    full_check: Duration = Field(
        7 * 86_400.0,
        validate_default=False,
        description="Time after which a run of the job reads everything, whatever `check` is.",
    )
    watch: bool = Field(
        False,
        description="The daemon also runs the job as soon as files change in its folders. Its schedule reads them whole; every"
        " hour by default.",
    )
    time_limit: Duration | None = Field(
        None, ge=1, description="Maximum time of a run. It stops at the end of a window; the next run continues."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.schedule is not None and self.every is not None:
            raise ValueError("a job has either a schedule or every, not both: remove one")
        if "-" in self.source:
            raise ValueError("a job cannot read standard input: name a file")
        return self

    @model_serializer(mode="wrap")
    def _as_given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Serialize only the settings that the job itself sets, and locations without their passwords."""
        given = {name: value for name, value in dump(self).items() if name in self.model_fields_set}
        return {**given, "source": [shown_location(location) for location in self.source]}
