"""A searcher and its reranker, computed where and how a run would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ingest.encode.contract import Model
from ingest.encode.ensemble import EncodingOptions
from ingest.search.models import ModelPool
from ingest.search.rerank import RerankPipeline
from ingest.search.searcher import Searcher
from ingest.search.tenant import Tenant
from ingest.store.contract import Store


def open_searcher(
    store: Store,
    name: str,
    *,
    encoding: EncodingOptions,
    reranker: RerankPipeline,
    own: Mapping[str, Model] | None = None,
    tenant: Tenant | None = None,
    pool: ModelPool | None = None,
) -> Searcher:
    """Return a searcher of a collection, with the models that its manifest names. Raises as `Searcher` does.

    Args:
        store: an open store, which stays open.
        own: key → model that takes the place of the registry's.
        tenant, pool: see `Searcher`.
    """
    given = own or {}

    def load(keys: Sequence[str]) -> Sequence[Model]:
        stored, chosen = store.manifest(name), [given.get(key, key) for key in keys]
        as_stored = replace(encoding, enable_sparse=True).as_stored(chosen, stored.options).with_stored_proofs(stored.proofs)
        return as_stored.models(chosen, stored_precisions=stored.precisions)

    return Searcher(
        store,
        name,
        models=load,
        devices=encoding.devices,
        lease_directory=encoding.lease_directory,
        reranker=reranker,
        tenant=tenant,
        pool=pool,
    )


def open_reranker(model: str | Path, encoding: EncodingOptions, lease_timeout: float) -> RerankPipeline:
    """Return a reranker. Nothing is read before the first query.

    Args:
        model, lease_timeout: see `RerankPipeline`.
    """
    return RerankPipeline(
        model,
        devices=encoding.devices,
        lease_timeout=lease_timeout,
        lease_directory=encoding.lease_directory,
        exclusive=encoding.exclusive_mode,
        custom_models=encoding.custom_models,
        trust_remote_code=encoding.trust_remote_code,
        cache_directory=encoding.backend_options.cache_directory if encoding.backend_options.backend != "torch" else None,
    )
