"""Keeps Qdrant collections equal to documents, in several vector spaces at once.

records     what crosses borders             errors          the error tree
settings    environment and ingest.toml      telemetry       what is observed
source/     documents in                     encode/         text → vectors, one model at a time
store/      vectors ⇄ Qdrant                 sync/           making a collection equal to its sources
verify/     comparing and repairing          reindex/        a collection again, and swapped in
export/     vectors to Parquet and back      schedule/       jobs that run by themselves
search/     queries                          cluster/        the same job on Ray
cli/        the command line                 testing         public fakes
retry       what is worth another attempt    metrics_server  /metrics and /healthz

Imports point one way: cli → cluster → verify, reindex, export, schedule, search → sync → store, encode, source → telemetry →
records, errors. The names below are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingest.collection import Collection
    from ingest.encode.ensemble import EncodingOptions
    from ingest.encode.models import ModelManager
    from ingest.encode.registry import EnsembleConfig
    from ingest.encode.runner import BatchRunner
    from ingest.errors import (
        CollectionNotFoundError,
        ConfigurationError,
        DeletionBrakeError,
        ForeignCollectionError,
        ForkError,
        IngestError,
        JobRunningError,
        LeaseError,
        LeaseTimeoutError,
        ManifestMismatchError,
        MissingExtraError,
        ModelError,
        ModelUnavailableError,
        PrecisionError,
        RequestTooLargeError,
        SourceError,
        StoreError,
        StoreLockedError,
        StoreUnavailableError,
        UnknownModelError,
    )
    from ingest.records import Document, Hit, Progress, Receipt, Rejected, Source
    from ingest.reindex.reindex import Reindexed
    from ingest.retry import RetryPolicy
    from ingest.search.evaluate import Evaluation
    from ingest.search.rerank import Answer, RerankPipeline
    from ingest.search.searcher import Searcher
    from ingest.source.chunking import ChunkingOptions
    from ingest.source.fields import FieldMap
    from ingest.source.memory import records_source
    from ingest.source.open import open_source
    from ingest.store import open_store
    from ingest.store.contract import CollectionOptions
    from ingest.sync.job import Job, run_job
    from ingest.sync.manifest import CollectionDetails
    from ingest.sync.plan import DeleteMode
    from ingest.sync.preview import Preview
    from ingest.verify.verification import Verification

_HOMES = {
    "Answer": "ingest.search.rerank",
    "BatchRunner": "ingest.encode.runner",
    "ChunkingOptions": "ingest.source.chunking",
    "Collection": "ingest.collection",
    "CollectionDetails": "ingest.sync.manifest",
    "CollectionNotFoundError": "ingest.errors",
    "CollectionOptions": "ingest.store.contract",
    "ConfigurationError": "ingest.errors",
    "DeleteMode": "ingest.sync.plan",
    "DeletionBrakeError": "ingest.errors",
    "Document": "ingest.records",
    "EncodingOptions": "ingest.encode.ensemble",
    "EnsembleConfig": "ingest.encode.registry",
    "Evaluation": "ingest.search.evaluate",
    "FieldMap": "ingest.source.fields",
    "ForeignCollectionError": "ingest.errors",
    "ForkError": "ingest.errors",
    "Hit": "ingest.records",
    "IngestError": "ingest.errors",
    "Job": "ingest.sync.job",
    "JobRunningError": "ingest.errors",
    "LeaseError": "ingest.errors",
    "LeaseTimeoutError": "ingest.errors",
    "ManifestMismatchError": "ingest.errors",
    "MissingExtraError": "ingest.errors",
    "ModelError": "ingest.errors",
    "ModelManager": "ingest.encode.models",
    "ModelUnavailableError": "ingest.errors",
    "PrecisionError": "ingest.errors",
    "Preview": "ingest.sync.preview",
    "Progress": "ingest.records",
    "Receipt": "ingest.records",
    "Reindexed": "ingest.reindex.reindex",
    "Rejected": "ingest.records",
    "RequestTooLargeError": "ingest.errors",
    "RerankPipeline": "ingest.search.rerank",
    "RetryPolicy": "ingest.retry",
    "Searcher": "ingest.search.searcher",
    "Source": "ingest.records",
    "SourceError": "ingest.errors",
    "StoreError": "ingest.errors",
    "StoreLockedError": "ingest.errors",
    "StoreUnavailableError": "ingest.errors",
    "UnknownModelError": "ingest.errors",
    "Verification": "ingest.verify.verification",
    "open_source": "ingest.source.open",
    "open_store": "ingest.store",
    "records_source": "ingest.source.memory",
    "run_job": "ingest.sync.job",
}

__all__ = [
    "Answer",
    "BatchRunner",
    "ChunkingOptions",
    "Collection",
    "CollectionDetails",
    "CollectionNotFoundError",
    "CollectionOptions",
    "ConfigurationError",
    "DeleteMode",
    "DeletionBrakeError",
    "Document",
    "EncodingOptions",
    "EnsembleConfig",
    "Evaluation",
    "FieldMap",
    "ForeignCollectionError",
    "ForkError",
    "Hit",
    "IngestError",
    "Job",
    "JobRunningError",
    "LeaseError",
    "LeaseTimeoutError",
    "ManifestMismatchError",
    "MissingExtraError",
    "ModelError",
    "ModelManager",
    "ModelUnavailableError",
    "PrecisionError",
    "Preview",
    "Progress",
    "Receipt",
    "Reindexed",
    "Rejected",
    "RequestTooLargeError",
    "RerankPipeline",
    "RetryPolicy",
    "Searcher",
    "Source",
    "SourceError",
    "StoreError",
    "StoreLockedError",
    "StoreUnavailableError",
    "UnknownModelError",
    "Verification",
    "open_source",
    "open_store",
    "records_source",
    "run_job",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ingest' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
