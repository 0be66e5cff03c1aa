"""From settings to searchers, without what only a run imports: a search from a shell takes as long as its imports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ingest.cli.invocation import retry_of, store_of
from ingest.encode.ensemble import EncodingOptions
from ingest.encode.openvino.choice import BackendOptions
from ingest.search.models import ModelPool
from ingest.search.opening import open_reranker, open_searcher
from ingest.search.searcher import Searcher
from ingest.settings import Settings
from ingest.store.schema import _normalize_collection_name


@contextmanager
def searcher_of(settings: Settings, name: str, *, tenant: str | None = None) -> Iterator[Searcher]:
    """Open a collection in any spelling for search, as the settings have it.

    Args:
        tenant: the tenant whose points alone are searched. None: all.
    """
    encoding = encoding_of(settings)
    reranker = open_reranker(settings.reranker, encoding, settings.rerank_lease_timeout)
    stored_as = _normalize_collection_name(name, settings.collections.aliases)
    with store_of(settings) as store:
        try:
            with open_searcher(
                store, stored_as, encoding=encoding, reranker=reranker, tenant=tenant, pool=ModelPool(once=True)
            ) as searcher:
                yield searcher
        finally:
            reranker.close()


def encoding_of(settings: Settings) -> EncodingOptions:
    """Return where and how models compute."""
    return EncodingOptions(
        devices=tuple(settings.device) or None,
        backend_options=BackendOptions(
            backend=settings.backend, precision=settings.precision, cache_directory=settings.cache_dir.expanduser()
        ),
        exclusive_mode=settings.exclusive_mode,
        enable_sparse=bool(settings.sparse),
        lease_timeout=settings.lease_timeout,
        lease_directory=settings.lease_dir,
        memory_limit_gb=settings.gpu_memory_soft_limit_gb,
        cpu_batch_tokens=settings.cpu_batch_tokens,
        custom_models=settings.models,
        trust_remote_code=tuple(settings.trust_remote_code),
        retry=retry_of(settings),
    )
