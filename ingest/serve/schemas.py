"""What requests and responses look like. The values are checked where they are used: see `SearchOptions`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from ingest.receipt import Receipt
from ingest.records import Hit
from ingest.schedule.status import JobStatus
from ingest.search.answer import Answer, RerankResult
from ingest.search.fusion import FusionMethod
from ingest.search.late import LateMode
from ingest.search.request import MAX_CONTEXT, MAX_GROUP_SIZE, MAX_LIMIT, MAX_QUERY, MAX_REACH
from ingest.search.rerank import RerankMode
from ingest.serve.constraints import COMBINATIONS, Body, BoostText, FilterText, Path, Text, Weights, Where
from ingest.store.contract import VectorKind
from ingest.store.payload_index import PayloadIndex
from ingest.sync.manifest import CollectionDetails

MAX_OFFSET = MAX_REACH - MAX_LIMIT
"""Most hits to skip, so that no limit leads too far."""


MAX_QUERY_IN_URL = 2_000
"""Most characters of a query in a URL, where each takes up to 12 bytes."""


class SearchParameters(BaseModel):
    """The controls of a search that fit into a URL. Those that are not given have the defaults of `Collection.search`."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(10, ge=1, le=MAX_LIMIT, description="Most hits of the page, or most groups.")
    offset: int = Field(0, ge=0, le=MAX_OFFSET, description="Hits or groups to skip.")
    vectors: list[Text] | None = Field(None, min_length=1, description="Names of the vectors to query. Default: all.")
    late: LateMode = Field("rerank", description="How multivectors take part: rerank (order the best fused hits), fuse, off.")
    fusion: FusionMethod = Field("scores", description="How to fuse: scores, rrf (ranks), dbsf (scores per query).")
    feedback: bool = Field(True, description="Score the found chunks again by dense queries moved toward the three best.")
    score_threshold: float | None = Field(None, description="Least score of a hit.")
    min_rank_vectors: int = Field(1, ge=1, description="Least number of vectors that found a hit among their best hundred.")
    group_by: Path | None = Field(None, description="Payload field to group by: doc_id, metadata.author.")
    boost: list[BoostText] = Field([], description="Fields that raise scores: metadata.date:30d, metadata.stars:0..5.")
    facets: list[Path] = Field([], description="Payload fields whose values are counted.")
    snippets: bool = Field(False, description="Return the best passage of each hit, and what matched in it.")
    context: int = Field(0, ge=0, le=MAX_CONTEXT, description="Chunks before and after each hit to return with it.")
    rerank: RerankMode = Field("off", description="When to rerank: auto (if the model is available), on, off.")

    def options(self) -> dict[str, Any]:
        """Return the options that were given, as `Collection.search` takes them."""
        return self.model_dump(exclude_unset=True, exclude={"query", "q"})


class SearchQuery(SearchParameters):
    """The query string of a search: one text, and the options that go with any other."""

    q: Text = Field(max_length=MAX_QUERY_IN_URL, description="Text to search for.")
    where: list[FilterText] = Field([], description="Filters that every hit meets: metadata.year>=2020 and not metadata.lang=en.")


class SearchBody(SearchParameters, Body):
    """The body of a search."""

    model_config = ConfigDict(json_schema_extra=COMBINATIONS)

    query: Text | None = Field(None, max_length=MAX_QUERY, description="Text to search for, unless like is given.")
    like: Text | None = Field(None, description="Id of a document or chunk, in place of a query: finds others like it.")
    where: Where = Field(
        None, description='Filters that every hit meets: {"metadata.year": {"gte": 2020}}, a text, or a list of these.'
    )
    weights: Weights = Field(None, description="Vector → weight in the fusion. Default: those of the collection.")
    group_size: int = Field(1, ge=1, le=MAX_GROUP_SIZE, description="Most hits of a group, with group_by.")
    diversity: float = Field(0.0, ge=0, le=1, description="How much hits like those before them go down, without group_by.")


class FacetQuery(BaseModel):
    """The query string of facets."""

    model_config = ConfigDict(extra="forbid")

    field: list[Path] = Field([], description="Payload fields whose values are counted. Default: those with an index.")
    where: list[FilterText] = Field([], description="Filters that every counted chunk meets.")


class DocumentQuery(BaseModel):
    """The query string of a document."""

    model_config = ConfigDict(extra="forbid")

    source: Text | None = Field(None, description="Name of its source, if several have a document with this id.")


class PushedDocument(Body):
    """A document to write. `metadata` is what filters and facets read as `metadata.NAME`."""

    id: str = Field(min_length=1, description="Unique within the source; a document with this id is replaced.")
    text: str = Field(min_length=1)
    title: str | None = None
    metadata: dict[str, Any] = Field({})


class PushBody(Body):
    """Documents to write. Those of the source that are not among them stay."""

    source: Text = Field(description="Name of their source, part of every id: the same in every request.")
    documents: list[PushedDocument] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Reject:
    """A document that could not be used, and why."""

    doc_id: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class PushReceipt:
    """The account of written documents: `read = written + updated + unchanged + rejected`. See `Receipt`."""

    collection: str
    read: int
    written: int
    updated: int
    unchanged: int
    rejected: int
    balanced: bool
    seconds: float
    rejects: tuple[Reject, ...]

    @classmethod
    def of(cls, receipt: Receipt, rejects: tuple[Reject, ...]) -> Self:
        return cls(
            receipt.collection,
            receipt.read,
            receipt.written,
            receipt.updated,
            receipt.unchanged,
            receipt.rejected,
            receipt.balanced,
            round(receipt.seconds, 3),
            rejects,
        )


@dataclass(frozen=True, slots=True)
class Deleted:
    """The number of deleted documents: 0 if there was none with this id."""

    collection: str
    deleted: int


@dataclass(frozen=True, slots=True)
class ServedJob:
    """A job: the name of its collection, its status as last written, and its problems if this server runs it, as sentences."""

    collection: str
    status: JobStatus
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobList:
    """The scheduled jobs whose collections the token allows."""

    jobs: tuple[ServedJob, ...]


@dataclass(frozen=True, slots=True)
class RerankSummary:
    """How an answer was reranked. See `RerankResult`."""

    model: str
    device: str
    fallback: str | None
    candidates: int
    seconds: float

    @classmethod
    def of(cls, result: RerankResult | None) -> Self | None:
        if result is None:
            return None
        return cls(result.model, result.device, result.fallback, result.candidates, round(result.seconds, 3))


@dataclass(frozen=True, slots=True)
class FoundHit(Hit):
    """A hit with its `place`. See `Hit`."""

    place: str = ""

    @classmethod
    def of(cls, hit: Hit) -> Self:
        return cls(**{each.name: getattr(hit, each.name) for each in fields(Hit)}, place=hit.place)


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """The results of a search: what `ingest search --json` prints, with the name of the collection. See `Answer`."""

    collection: str
    query: str | None
    hits: tuple[FoundHit, ...]
    reranked: bool
    rerank: RerankSummary | None
    note: str | None
    missing_reranker: str | None
    warnings: tuple[str, ...]
    facets: Mapping[str, Mapping[str, int]]
    feedback_seconds: float | None
    seconds: float

    @classmethod
    def of(cls, collection: str, query: str | None, answer: Answer, seconds: float) -> Self:
        return cls(
            collection,
            query,
            tuple(map(FoundHit.of, answer.hits)),
            answer.reranked,
            RerankSummary.of(answer.details),
            answer.note,
            answer.missing_reranker,
            answer.warnings,
            answer.facets,
            answer.feedback_seconds,
            round(seconds, 4),
        )


@dataclass(frozen=True, slots=True)
class CollectionSummary:
    """A collection in the list of those that are served.

    Attributes:
        points: number of chunks, or None if they cannot be counted.
        problem: why it cannot be read, or None.
    """

    name: str
    stored_as: str
    points: int | None
    vectors: tuple[str, ...]
    problem: str | None


@dataclass(frozen=True, slots=True)
class CollectionList:
    """The collections that are served."""

    collections: tuple[CollectionSummary, ...]


@dataclass(frozen=True, slots=True)
class VectorInfo:
    """A named vector. `dim` is None for a sparse one; `weight` is its weight in the fusion."""

    name: str
    kind: VectorKind
    dim: int | None
    distance: str
    weight: float


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What a collection was made with. `indexes`: payload field → index; these fields make fast filters and facets."""

    name: str
    stored_as: str
    points: int
    vectors: tuple[VectorInfo, ...]
    indexes: Mapping[str, PayloadIndex]
    chunking: Mapping[str, Any]

    @classmethod
    def of(cls, details: CollectionDetails) -> Self:
        vectors = tuple(
            VectorInfo(spec.name, spec.kind, spec.dim, spec.distance, details.weights.get(spec.name, 1.0))
            for spec in details.vectors
        )
        return cls(details.name, details.stored_as, details.points, vectors, details.indexes, details.chunking)


@dataclass(frozen=True, slots=True)
class Facets:
    """The values of fields: field → value as text → number of chunks, the most frequent first."""

    facets: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Health:
    """That the server is well. `pending`: requests that run or wait."""

    status: Literal["ok"]
    pending: int
