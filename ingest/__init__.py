"""Keep Qdrant collections equal to documents, in several vector spaces at once.

collection  the product as one object        records         the records that cross borders
errors      the error tree                   settings        environment and ingest.toml
source/     documents in                     encode/         text → vectors, one model at a time
store/      vectors ⇄ Qdrant                 sync/           make a collection equal to its sources
verify/     compare and repair               reindex/        rebuild with other models and swap in
adopt/      collections of other tools       receipt         the account of a run
export/     vectors to Parquet and back      schedule/       jobs that run by themselves
search/     queries                          cluster/        the same job on Ray
serve/      search over HTTP                 integrations/   adapters for frameworks
cli/        the command line                 testing         public fakes
telemetry   progress and metrics             metrics_server  /metrics and /healthz
retry       retry policies                   plugins         sources, formats and models of other packages

Imports point one way: cli → serve, integrations → collection → cluster → verify, reindex, export, schedule, search → sync →
store, encode, source → telemetry → records, errors. The names below are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingest.adopt.adoption import Adopted
    from ingest.cluster.engine import ClusterOptions
    from ingest.collection import Collection
    from ingest.encode.batching import AdaptiveBatchController
    from ingest.encode.contract import Encoded, Encoder, Model, ModelKind, RunsOn, Vectors
    from ingest.encode.devices import GPUMemorySnapshot
    from ingest.encode.ensemble import EncodingOptions, Ensemble, open_ensemble
    from ingest.encode.http.proof import Proof
    from ingest.encode.models import ModelManager
    from ingest.encode.openvino.calibration import AccuracyGuard
    from ingest.encode.openvino.choice import BackendOptions, CpuBackend
    from ingest.encode.precision import Precision
    from ingest.encode.registry import CustomModels, EnsembleConfig
    from ingest.encode.runner import BatchRunner
    from ingest.errors import (
        CollectionNotFoundError,
        ConfigurationError,
        ConflictError,
        DeletionBrakeError,
        DeviceError,
        DeviceMemoryError,
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
        PluginError,
        PrecisionError,
        RequestTooLargeError,
        SourceError,
        StoreError,
        StoreLockedError,
        StoreUnavailableError,
        UnknownModelError,
    )
    from ingest.receipt import ChunkCounts, LeaseEvent, ModelReport, Receipt
    from ingest.records import (
        DenseMatrix,
        Document,
        DocumentPart,
        FileFacts,
        Fingerprint,
        Hit,
        Metadata,
        Payload,
        Point,
        Rejected,
        ScoredPoint,
        Source,
        SparseVector,
        StoredPoint,
        TokenCounter,
        TokenLimit,
        Unread,
        Vector,
        Versioned,
    )
    from ingest.reindex.reindex import Reindexed
    from ingest.retry import RetryPolicy
    from ingest.search.answer import Answer, RerankResult
    from ingest.search.document import StoredChunk, StoredDocument
    from ingest.search.evaluate import Evaluation, EvaluationRow
    from ingest.search.fusion import Fused, FusionMethod
    from ingest.search.late import LateMode
    from ingest.search.metrics import Scores
    from ingest.search.models import ModelLoader, ModelPool
    from ingest.search.order import Boost
    from ingest.search.request import SearchOptions
    from ingest.search.rerank import RerankMode, RerankPipeline
    from ingest.search.searcher import Searcher
    from ingest.search.self_test import Mean, SelfTest, SelfTestRow
    from ingest.search.tenant import Tenant
    from ingest.search.together import search_together
    from ingest.search.tuning import Tuned, TunedHalf
    from ingest.search.why import VectorPlace, Why, WhyCause
    from ingest.searchable import CheckMode, Delete, Duration, OnProgress, Share
    from ingest.source.chunking import ChunkingOptions
    from ingest.source.column_types import ColumnType
    from ingest.source.convert.page import Page
    from ingest.source.fields import FieldMap
    from ingest.source.inputs import SourceLike
    from ingest.source.memory import Record, RecordsSource, records_source
    from ingest.source.open import open_source
    from ingest.source.partitions import PartSize
    from ingest.source.read_options import HtmlContent, ReadOptions
    from ingest.store import open_store
    from ingest.store.contract import (
        CollectionInfo,
        CollectionOptions,
        Combination,
        Condition,
        Distance,
        Filter,
        Manifest,
        Operator,
        RawFilter,
        Store,
        VectorKind,
        VectorQuery,
        VectorSet,
        VectorSpec,
    )
    from ingest.store.filters import Where
    from ingest.store.layout import Datatype, Placement, Quantization, QueryEncoding
    from ingest.store.payload_index import IndexType, PayloadIndex
    from ingest.sync.job import Job
    from ingest.sync.manifest import CollectionDetails
    from ingest.sync.plan import DeleteMode
    from ingest.sync.preview import Estimate, Preview
    from ingest.sync.reading import WindowBounds
    from ingest.sync.rejects import RejectsFile
    from ingest.sync.run import run_job
    from ingest.sync.stored_sources import Forgotten, StoredSource
    from ingest.sync.versions import Check
    from ingest.telemetry import Clock, PassReport, Progress, ThroughputMonitor
    from ingest.verify.damage import FindingKind
    from ingest.verify.inspection import Finding
    from ingest.verify.verification import Repairs, Verification

_NAMES = {
    "ingest.adopt.adoption": "Adopted",
    "ingest.cluster.engine": "ClusterOptions",
    "ingest.collection": "Collection",
    "ingest.encode.batching": "AdaptiveBatchController",
    "ingest.encode.contract": "Encoded Encoder Model ModelKind RunsOn Vectors",
    "ingest.encode.devices": "GPUMemorySnapshot",
    "ingest.encode.ensemble": "EncodingOptions Ensemble open_ensemble",
    "ingest.encode.http.proof": "Proof",
    "ingest.encode.models": "ModelManager",
    "ingest.encode.openvino.calibration": "AccuracyGuard",
    "ingest.encode.openvino.choice": "BackendOptions CpuBackend",
    "ingest.encode.precision": "Precision",
    "ingest.encode.registry": "CustomModels EnsembleConfig",
    "ingest.encode.runner": "BatchRunner",
    "ingest.errors": (
        "CollectionNotFoundError ConfigurationError ConflictError DeletionBrakeError DeviceError DeviceMemoryError "
        "ForeignCollectionError ForkError IngestError "
        "JobRunningError LeaseError LeaseTimeoutError ManifestMismatchError MissingExtraError ModelError "
        "ModelUnavailableError PluginError PrecisionError RequestTooLargeError SourceError StoreError StoreLockedError "
        "StoreUnavailableError UnknownModelError"
    ),
    "ingest.receipt": "ChunkCounts LeaseEvent ModelReport Receipt",
    "ingest.records": (
        "DenseMatrix Document DocumentPart FileFacts Fingerprint Hit Metadata Payload Point Rejected ScoredPoint Source "
        "SparseVector StoredPoint TokenCounter TokenLimit Unread Vector Versioned"
    ),
    "ingest.reindex.reindex": "Reindexed",
    "ingest.retry": "RetryPolicy",
    "ingest.search.document": "StoredChunk StoredDocument",
    "ingest.search.evaluate": "Evaluation EvaluationRow",
    "ingest.search.fusion": "Fused FusionMethod",
    "ingest.search.late": "LateMode",
    "ingest.search.metrics": "Scores",
    "ingest.search.models": "ModelLoader ModelPool",
    "ingest.search.order": "Boost",
    "ingest.search.request": "SearchOptions",
    "ingest.search.rerank": "Answer RerankMode RerankPipeline RerankResult",
    "ingest.search.searcher": "Searcher",
    "ingest.search.self_test": "Mean SelfTest SelfTestRow",
    "ingest.search.tenant": "Tenant",
    "ingest.search.together": "search_together",
    "ingest.search.tuning": "Tuned TunedHalf",
    "ingest.search.why": "VectorPlace Why WhyCause",
    "ingest.searchable": "CheckMode Delete Duration OnProgress Share",
    "ingest.source.chunking": "ChunkingOptions",
    "ingest.source.column_types": "ColumnType",
    "ingest.source.convert.page": "Page",
    "ingest.source.fields": "FieldMap",
    "ingest.source.inputs": "SourceLike",
    "ingest.source.memory": "Record RecordsSource records_source",
    "ingest.source.open": "open_source",
    "ingest.source.partitions": "PartSize",
    "ingest.source.read_options": "HtmlContent ReadOptions",
    "ingest.store": "open_store",
    "ingest.store.contract": (
        "CollectionInfo CollectionOptions Combination Condition Distance Filter Manifest Operator RawFilter Store "
        "VectorKind VectorQuery VectorSet VectorSpec"
    ),
    "ingest.store.filters": "Where",
    "ingest.store.layout": "Datatype Placement Quantization QueryEncoding",
    "ingest.store.payload_index": "IndexType PayloadIndex",
    "ingest.sync.job": "Job",
    "ingest.sync.manifest": "CollectionDetails",
    "ingest.sync.plan": "DeleteMode",
    "ingest.sync.preview": "Estimate Preview",
    "ingest.sync.reading": "WindowBounds",
    "ingest.sync.rejects": "RejectsFile",
    "ingest.sync.run": "run_job",
    "ingest.sync.stored_sources": "Forgotten StoredSource",
    "ingest.sync.versions": "Check",
    "ingest.telemetry": "Clock PassReport Progress ThroughputMonitor",
    "ingest.verify.damage": "FindingKind",
    "ingest.verify.inspection": "Finding",
    "ingest.verify.verification": "Repairs Verification",
}

_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "AccuracyGuard",
    "AdaptiveBatchController",
    "Adopted",
    "Answer",
    "BackendOptions",
    "BatchRunner",
    "Boost",
    "Check",
    "CheckMode",
    "ChunkCounts",
    "ChunkingOptions",
    "Clock",
    "ClusterOptions",
    "Collection",
    "CollectionDetails",
    "CollectionInfo",
    "CollectionNotFoundError",
    "CollectionOptions",
    "ColumnType",
    "Combination",
    "Condition",
    "ConfigurationError",
    "ConflictError",
    "CpuBackend",
    "CustomModels",
    "Datatype",
    "Delete",
    "DeleteMode",
    "DeletionBrakeError",
    "DenseMatrix",
    "DeviceError",
    "DeviceMemoryError",
    "Distance",
    "Document",
    "DocumentPart",
    "Duration",
    "Encoded",
    "Encoder",
    "EncodingOptions",
    "Ensemble",
    "EnsembleConfig",
    "Estimate",
    "Evaluation",
    "EvaluationRow",
    "FieldMap",
    "FileFacts",
    "Filter",
    "Finding",
    "FindingKind",
    "Fingerprint",
    "ForeignCollectionError",
    "Forgotten",
    "ForkError",
    "Fused",
    "FusionMethod",
    "GPUMemorySnapshot",
    "Hit",
    "HtmlContent",
    "IndexType",
    "IngestError",
    "Job",
    "JobRunningError",
    "LateMode",
    "LeaseError",
    "LeaseEvent",
    "LeaseTimeoutError",
    "Manifest",
    "ManifestMismatchError",
    "Mean",
    "Metadata",
    "MissingExtraError",
    "Model",
    "ModelError",
    "ModelKind",
    "ModelLoader",
    "ModelManager",
    "ModelPool",
    "ModelReport",
    "ModelUnavailableError",
    "OnProgress",
    "Operator",
    "Page",
    "PartSize",
    "PassReport",
    "Payload",
    "PayloadIndex",
    "Placement",
    "PluginError",
    "Point",
    "Precision",
    "PrecisionError",
    "Preview",
    "Progress",
    "Proof",
    "Quantization",
    "QueryEncoding",
    "RawFilter",
    "ReadOptions",
    "Receipt",
    "Record",
    "RecordsSource",
    "Reindexed",
    "Rejected",
    "RejectsFile",
    "Repairs",
    "RequestTooLargeError",
    "RerankMode",
    "RerankPipeline",
    "RerankResult",
    "RetryPolicy",
    "RunsOn",
    "ScoredPoint",
    "Scores",
    "SearchOptions",
    "Searcher",
    "SelfTest",
    "SelfTestRow",
    "Share",
    "Source",
    "SourceError",
    "SourceLike",
    "SparseVector",
    "Store",
    "StoreError",
    "StoreLockedError",
    "StoreUnavailableError",
    "StoredChunk",
    "StoredDocument",
    "StoredPoint",
    "StoredSource",
    "Tenant",
    "ThroughputMonitor",
    "TokenCounter",
    "TokenLimit",
    "Tuned",
    "TunedHalf",
    "UnknownModelError",
    "Unread",
    "Vector",
    "VectorKind",
    "VectorPlace",
    "VectorQuery",
    "VectorSet",
    "VectorSpec",
    "Vectors",
    "Verification",
    "Versioned",
    "Where",
    "Why",
    "WhyCause",
    "WindowBounds",
    "open_ensemble",
    "open_source",
    "open_store",
    "records_source",
    "run_job",
    "search_together",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ingest' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
