"""Asking: the models that made a collection encode the question, every vector answers, the answers are fused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, Unpack, get_args

from ingest.encode.contract import StagedModel, Vectors
from ingest.encode.devices import default_devices, is_accelerator
from ingest.encode.lease import lease_gpus
from ingest.encode.models import ModelManager
from ingest.encode.registry import EnsembleConfig
from ingest.errors import ConfigurationError, LeaseTimeoutError, ManifestMismatchError
from ingest.records import Hit, Payload, ScoredPoint, doc_key
from ingest.search.fusion import Fused, FusionMethod, Rankings, fuse
from ingest.search.rerank import RERANK_CANDIDATES, Answer, RerankMode, RerankPipeline, rerank_or_explain
from ingest.store import open_store
from ingest.store.contract import Condition, Manifest, Store, VectorQuery
from ingest.store.filters import parse_where
from ingest.store.schema import DOC_KEY_FIELD, _normalize_collection_name

DEFAULT_STORE = ".ingest/qdrant"

CANDIDATES = 100
"""Points that each vector brings into the fusion at least."""

GROUP_DEPTH = 5
"""Chunks looked at for each document that grouping by document is to return."""

MAX_LIMIT = 10_000

LEASE_SECONDS = 1.0
"""How long a question waits for the accelerator before it is encoded on the CPU instead."""

ModelLoader = Callable[[Sequence[str]], Sequence[StagedModel]]

Where = Mapping[str, Any] | Sequence[Condition]
"""`{"metadata.year": {"gte": 2020}, "metadata.lang": ["en", "de"]}`, or conditions ready made."""


class SearchArguments(TypedDict, total=False):
    """What can be asked beside the question.

    Attributes:
        limit: hits at most, 1 to 10,000; 10 if not given.
        where: conditions that every hit meets.
        weights: vector name → weight in the fusion; the collection's own if not given, 1 where it has none.
        vectors: ask these only; all if not given.
        fusion: `rrf` (default) or `dbsf`, see `fusion.fuse`.
        group_by: `doc_id` gives the best chunk of each document only.
        context: that many chunks before and after each hit come with it.
        rerank: `off` (default), `auto` reranks the best if the model can be had at once, `on` makes its absence an error.
    """

    limit: int
    where: Where
    weights: Mapping[str, float] | None
    vectors: Sequence[str] | None
    fusion: FusionMethod
    group_by: Literal["doc_id"] | None
    context: int
    rerank: RerankMode


class Searcher:
    """Hybrid search over one collection. Safe from several threads; models are loaded by the first question and kept.

    Args:
        models: the very models the collection was made with, in any order; see `open`.
        devices: to encode questions on. Only accelerators are leased: on the processor a question runs beside what else runs.
    """

    def __init__(
        self,
        store: Store,
        manifest: Manifest,
        models: Sequence[StagedModel],
        *,
        devices: Sequence[str] = (),
        lease_directory: Path | None = None,
        reranker: RerankPipeline | None = None,
    ) -> None:
        self._store = store
        self._manifest = manifest
        self._models = {model.key: model for model in models}
        self._devices = tuple(device for device in devices if is_accelerator(device))
        self._turns = {model.key: threading.Lock() for model in models}
        self._lease_directory = lease_directory
        self._reranker = reranker
        self._making = threading.Lock()
        self._closing = ExitStack()

    @classmethod
    def open(
        cls,
        collection: str,
        store: Store | str | Path = DEFAULT_STORE,
        *,
        models: ModelLoader | None = None,
        devices: Sequence[str] | None = None,
        lease_directory: Path | None = None,
        reranker: RerankPipeline | None = None,
    ) -> Self:
        """Reads the collection's manifest and takes the very models it was made with.

        Args:
            collection: in any spelling.
            store: an open store, which stays open; or its path or URL, to be closed with the searcher.
            models: registry keys → staged models; by default from the registries alone.
            devices: to encode questions on; by default the first card, else the processor.
            lease_directory: where processes meet to take turns on a card; by default the user's.
            reranker: for questions that ask for it; by default the default one, made when it is first needed.

        Raises `CollectionNotFoundError`, `UnknownModelError` if a model is in no registry now, and `ManifestMismatchError` if
        one by that name would search another vector space than the one that is stored.
        """
        with ExitStack() as closing:
            opened = closing.enter_context(open_store(store)) if isinstance(store, str | Path) else store
            manifest = opened.manifest(_normalize_collection_name(collection))
            staged = (models or _registered)([spec.name for spec in manifest.vectors])
            _check_spaces(manifest, staged)
            searcher = cls(
                opened,
                manifest,
                staged,
                devices=default_devices() if devices is None else devices,
                lease_directory=lease_directory,
                reranker=reranker,
            )
            searcher._closing = closing.pop_all()
        return searcher

    def close(self) -> None:
        """Closes the store if `open` opened it. Idempotent."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    def search(self, query: str, **arguments: Unpack[SearchArguments]) -> Answer:
        """The best chunks, best first. See `SearchArguments` for what can be asked.

        Raises `ConfigurationError` for an empty question, a limit out of range, an unknown vector, a malformed condition, or a
        condition on a field that no chunk has; `StoreError`, `ModelError`.
        """
        return self.search_batch([query], **arguments)[0]

    def search_batch(self, queries: Sequence[str], **arguments: Unpack[SearchArguments]) -> list[Answer]:
        """The answers to several questions: each model encodes all of them at once, and the store is asked once."""
        asked = _Asked(**arguments)
        wanted = asked.limit if asked.rerank == "off" else max(asked.limit, RERANK_CANDIDATES)
        depth = max(CANDIDATES, wanted * GROUP_DEPTH if asked.group_by else wanted)
        found = self._rankings(queries, depth, asked.where, asked.vectors)
        return [self._answer(query, rankings, asked, wanted) for query, rankings in zip(queries, found, strict=True)]

    async def asearch(self, query: str, **arguments: Unpack[SearchArguments]) -> Answer:
        """`search` on another thread, for applications on asyncio. Safe to await many at once."""
        return await asyncio.to_thread(self.search, query, **arguments)

    def _answer(self, query: str, rankings: Rankings, asked: _Asked, wanted: int) -> Answer:
        hits = fused_hits(rankings, self._manifest.weights if asked.weights is None else asked.weights, asked.fusion)
        best = _first_of_each_document(hits) if asked.group_by else hits
        answer = rerank_or_explain(asked.rerank, self._get_reranker, query, best[:wanted], asked.limit)
        return replace(answer, hits=tuple(self._with_context(hit, asked.context) for hit in answer.hits))

    def _get_reranker(self) -> RerankPipeline:
        with self._making:
            if self._reranker is None:
                self._reranker = RerankPipeline(devices=self._devices)
            return self._reranker

    def rankings(
        self, query: str, *, depth: int = CANDIDATES, where: Where = (), vectors: Sequence[str] | None = None
    ) -> dict[str, list[ScoredPoint]]:
        """What each vector finds by itself: its `depth` best, best first. Raises as `search` does."""
        return self._rankings([query], depth, where, vectors)[0]

    def _rankings(
        self, queries: Sequence[str], depth: int, where: Where, vectors: Sequence[str] | None
    ) -> list[dict[str, list[ScoredPoint]]]:
        if any(not query.strip() for query in queries):
            raise ConfigurationError("the question is empty: ask something")
        names = self._vector_names(vectors)
        conditions = parse_where(where) if isinstance(where, Mapping) else tuple(where)
        encoded = {name: self._encode(name, queries) for name in names}
        asked = [VectorQuery(name, encoded[name][number], depth, conditions) for number in range(len(queries)) for name in names]
        found = iter(self._store.query(self._manifest.collection, asked))
        rankings = [{name: next(found) for name in names} for _ in queries]
        if conditions and not any(ranking for by_vector in rankings for ranking in by_vector.values()):
            self._check_fields(conditions)
        return rankings

    def _vector_names(self, vectors: Sequence[str] | None) -> list[str]:
        if vectors is None:
            return list(self._models)
        if not vectors:
            raise ConfigurationError("no vector was named to be asked: name one, or leave the choice out")
        if unknown := [name for name in vectors if name not in self._models]:
            raise ConfigurationError(
                f"collection {self._manifest.collection!r} has no vector {', '.join(unknown)}: it has {', '.join(self._models)}"
            )
        return list(dict.fromkeys(vectors))

    def _check_fields(self, conditions: Sequence[Condition]) -> None:
        """Nothing was found: a misspelt field looks just like that."""
        for field in dict.fromkeys(condition.field for condition in conditions):
            if not self._store.count(self._manifest.collection, [Condition(field, "exists", value=True)]):
                raise ConfigurationError(
                    f"no chunk of {self._manifest.collection!r} has a field {field}: a document's own fields are named metadata.…"
                )

    def _encode(self, name: str, queries: Sequence[str]) -> Vectors:
        model = self._models[name]
        devices = self._devices if model.uses_accelerator else ()
        with self._turns[name]:
            try:
                return self._encode_on(model, devices, queries)
            except LeaseTimeoutError:
                return self._encode_on(model, (), queries)

    def _encode_on(self, model: StagedModel, devices: Sequence[str], queries: Sequence[str]) -> Vectors:
        with lease_gpus(model, devices, timeout=LEASE_SECONDS, directory=self._lease_directory) as lease:
            return lease.encoder.encode_queries(queries)

    def _with_context(self, hit: Hit, reach: int) -> Hit:
        """The hit with the texts of up to `reach` chunks before and after it."""
        if not reach:
            return hit
        neighbours = self._store.scroll(
            self._manifest.collection,
            [
                Condition(DOC_KEY_FIELD, "eq", doc_key(hit.source, hit.doc_id)),
                Condition("chunk", "gte", hit.chunk - reach),
                Condition("chunk", "lte", hit.chunk + reach),
            ],
            payload=["text", "chunk"],
        )
        texts = sorted((point.payload["chunk"], point.payload["text"]) for point in neighbours)
        return replace(
            hit,
            before=tuple(text for chunk, text in texts if chunk < hit.chunk),
            after=tuple(text for chunk, text in texts if chunk > hit.chunk),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """`SearchArguments` with its defaults, checked."""

    limit: int = 10
    where: Where = ()
    weights: Mapping[str, float] | None = None
    vectors: Sequence[str] | None = None
    fusion: FusionMethod = "rrf"
    group_by: Literal["doc_id"] | None = None
    context: int = 0
    rerank: RerankMode = "off"

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MAX_LIMIT:
            raise ConfigurationError(f"a limit of {self.limit} hits is out of range: ask for 1 to {MAX_LIMIT}")
        if self.fusion not in get_args(FusionMethod):
            raise ConfigurationError(f"there is no fusion {self.fusion!r}: there are {', '.join(get_args(FusionMethod))}")
        if self.group_by not in {None, "doc_id"}:
            raise ConfigurationError(f"hits cannot be grouped by {self.group_by!r}: only by doc_id")
        if self.context < 0:
            raise ConfigurationError(f"a context of {self.context} chunks cannot be: ask for 0 or more")


def _first_of_each_document(hits: Sequence[Hit]) -> list[Hit]:
    first: dict[tuple[str, str], Hit] = {}
    for hit in hits:
        first.setdefault((hit.source, hit.doc_id), hit)
    return list(first.values())


def _registered(keys: Sequence[str]) -> Sequence[StagedModel]:
    return ModelManager(EnsembleConfig(ensemble_models=keys)).members


def _check_spaces(manifest: Manifest, models: Sequence[StagedModel]) -> None:
    for spec, model in zip(manifest.vectors, models, strict=True):
        if spec.space != model.space or spec.dim != model.dim:
            raise ManifestMismatchError(
                f"collection {manifest.collection!r} was made with another {spec.name} (revision, prompt, pooling or dimension) "
                "than the one configured here: configure the one it was made with, or ingest it anew"
            )


def fused_hits(rankings: Rankings, weights: Mapping[str, float], method: FusionMethod = "rrf") -> list[Hit]:
    """The fused order as hits. A point without text or document is another tool's: there is nothing to show of it."""
    payloads = {point.id: point.payload for found in rankings.values() for point in found}
    fused = fuse(rankings, weights, method)
    return [_hit(each, payloads[each.id]) for each in fused if {"text", "doc_id"} <= payloads[each.id].keys()]


def _hit(candidate: Fused, payload: Payload) -> Hit:
    return Hit(
        id=candidate.id,
        score=candidate.score,
        text=payload["text"],
        doc_id=payload["doc_id"],
        title=payload.get("title"),
        source=payload["source"],
        start=payload["start"],
        chunk=payload["chunk"],
        end=payload["end"],
        metadata=payload.get("metadata", {}),
        ranks=candidate.ranks,
        fused_score=candidate.score,
    )
