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
    from ingest.encode.models import ModelManager
    from ingest.encode.registry import EnsembleConfig
    from ingest.encode.runner import BatchRunner
    from ingest.errors import IngestError, ModelUnavailableError
    from ingest.records import Document, Hit, Receipt, Rejected
    from ingest.retry import RetryPolicy
    from ingest.search.searcher import Searcher
    from ingest.source.open import open_source
    from ingest.store import open_store
    from ingest.sync.job import Job, run_job

_HOMES = {
    "BatchRunner": "ingest.encode.runner",
    "Document": "ingest.records",
    "EnsembleConfig": "ingest.encode.registry",
    "Hit": "ingest.records",
    "IngestError": "ingest.errors",
    "Job": "ingest.sync.job",
    "ModelManager": "ingest.encode.models",
    "ModelUnavailableError": "ingest.errors",
    "Receipt": "ingest.records",
    "Rejected": "ingest.records",
    "RetryPolicy": "ingest.retry",
    "Searcher": "ingest.search.searcher",
    "open_source": "ingest.source.open",
    "open_store": "ingest.store",
    "run_job": "ingest.sync.job",
}

__all__ = [
    "BatchRunner",
    "Document",
    "EnsembleConfig",
    "Hit",
    "IngestError",
    "Job",
    "ModelManager",
    "ModelUnavailableError",
    "Receipt",
    "Rejected",
    "RetryPolicy",
    "Searcher",
    "open_source",
    "open_store",
    "run_job",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ingest' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
