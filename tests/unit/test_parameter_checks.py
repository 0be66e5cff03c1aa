"""Everything the library is given is checked where it enters: wrong types, bools for numbers, NaN, and values out of range."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest import BatchRunner, Collection, EnsembleConfig, Job, ModelManager, open_source
from ingest.cluster.capacity import Assumptions
from ingest.cluster.engine import ClusterOptions
from ingest.encode.batching import AdaptiveBatchController
from ingest.encode.bm25_options import Bm25Options
from ingest.encode.ensemble import Ensemble
from ingest.encode.openvino.choice import BackendOptions
from ingest.errors import ConfigurationError
from ingest.export.runtime import ExportRuntime
from ingest.source.chunking import ChunkingOptions
from ingest.source.fields import FieldMap
from ingest.source.partitions import PartSize
from ingest.store.contract import CollectionOptions
from ingest.store.edge.store import EdgeStore
from ingest.store.server.store import ServerStore
from ingest.sync.deletion import undelete
from ingest.sync.reading import WindowBounds
from ingest.testing import HashEncoder, ListSource
from ingest.verify.verification import verify_job

NO_COUNT = [0, -1, True, 1.5, "8", None, math.nan]
NO_NUMBER = [-0.1, math.nan, math.inf, True, "1", None]
NO_TEXT = ["", " ", 3, b"x", ["x"]]
NO_TEXTS = ["x", b"x", None, 3, {"x": 1}, [3], [""]]
NO_FLAG = [0, 1, "yes", None]
SPARSE = EnsembleConfig(["bm25"])


@pytest.mark.parametrize(
    ("make", "name", "values"),
    [
        (ChunkingOptions, "tokens", [0, True, 99.5, "512"]),
        (ChunkingOptions, "overlap", [*NO_NUMBER, 0.51]),
        (WindowBounds, "chunks", NO_COUNT),
        (WindowBounds, "documents", NO_COUNT),
        (WindowBounds, "bytes", NO_COUNT),
        (CollectionOptions, "on_disk", NO_FLAG),
        (CollectionOptions, "datatype", ["float64", "Float16", None, True]),
        (CollectionOptions, "quantization", ["Scalar", "product", "binary-3", None, True]),
        (partial(CollectionOptions, quantization="binary"), "query_encoding", ["scalar", None, 4]),
        (CollectionOptions, "inline_storage", NO_FLAG),
        (CollectionOptions, "graph_memory", ["disk", "Cold", True]),
        (CollectionOptions, "hnsw_m", [-1, 257, True, 16.0, "16", None]),
        (CollectionOptions, "hnsw_ef_construct", [3, 10_001, True, None]),
        (CollectionOptions, "shards", NO_COUNT),
        (CollectionOptions, "replicas", NO_COUNT),
        (CollectionOptions, "write_consistency", NO_COUNT),
        (EnsembleConfig, "ensemble_models", NO_TEXTS),
        (partial(EnsembleConfig, ("bm25",)), "model_weights", ["bm25", 3, {"bm25": 0}, {"bm25": math.nan}, {"bm25": True}]),
        (EnsembleConfig, "exclusive_mode", NO_FLAG),
        (FieldMap, "id", NO_TEXT),
        (FieldMap, "metadata", NO_TEXTS[:2]),
        (PartSize, "parts", NO_COUNT),
        (partial(PartSize, 4), "most_bytes", NO_COUNT),
        (ClusterOptions, "workers", [0, True, 1.5, "4"]),
        (ClusterOptions, "address", [*NO_TEXT, None]),
        (ClusterOptions, "part_size", [4, "4"]),
        (Assumptions, "efficiency", [0, 1.01, math.nan, True, "1"]),
        (Assumptions, "worker_price", NO_NUMBER),
        (Assumptions, "node_memory", [0, *NO_NUMBER]),
        (Assumptions, "replicas", NO_COUNT),
        (AdaptiveBatchController, "hints", [{"m": 0}, {"m": True}, "m", 3]),
        (AdaptiveBatchController, "soft_limit_gb", [0, -1, math.nan, True, "8"]),
        (AdaptiveBatchController, "cpu_tokens", NO_COUNT),
        (partial(ExportRuntime, "export"), "shard_bytes", NO_COUNT),
        (ExportRuntime, "path", ["", None, 3]),
        (ModelManager, "config", [None, ["bm25"], "bm25"]),
        (partial(ModelManager, SPARSE), "enable_sparse", NO_FLAG),
        (Bm25Options, "language", [*NO_TEXT, None, "auto", "klingon"]),
        (Bm25Options, "tokenizer", [None, "Word", "letters"]),
        (Bm25Options, "ascii_folding", NO_FLAG),
        (partial(Collection, "docs"), "language", [*NO_TEXT, "klingon"]),
        (partial(ModelManager, SPARSE), "trust_remote_code", NO_TEXTS),
        (BackendOptions, "backend", ["openai", "Torch", None, True]),
        (BackendOptions, "precision", ["int4", 8, True]),
        (BackendOptions, "worth_converting", NO_FLAG),
        (partial(BatchRunner, []), "lease_timeout", NO_NUMBER),
        (partial(ServerStore, "http://127.0.0.1:9"), "ca_file", ["", 3]),
        (partial(ServerStore, "http://127.0.0.1:9"), "prefer_grpc", ["yes", 1]),
        (partial(ServerStore, "http://127.0.0.1:9"), "grpc_port", [0, 65_536, True, "6334"]),
        (partial(ServerStore, "http://127.0.0.1:9"), "timeout", [0, *NO_NUMBER]),
        (partial(ServerStore, "http://127.0.0.1:9"), "allow_plain_http_key", NO_FLAG),
        (Job("docs").manifest, "models", [[], None, (model for model in [HashEncoder()])]),
        (partial(open_source, "-"), "name", NO_TEXT),
        (partial(open_source, "-"), "format", NO_TEXT),
        (partial(open_source, "-"), "fields", [None, {"id": "x"}, "x"]),
        (partial(open_source, "-"), "max_record_bytes", NO_COUNT),
        (partial(open_source, "."), "include", NO_TEXTS),
        (partial(open_source, "."), "exclude", NO_TEXTS),
        (open_source, "location", [None, 3, ["a"], b"a"]),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name_and_value(make: Callable[..., object], name: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(ConfigurationError) as raised:
            make(**{name: value})
        label, _, message = str(raised.value).partition(": ")
        assert label.rpartition(".")[2] == name
        assert repr(value) in message or repr(next(iter(value.values() if isinstance(value, dict) else value))) in message
        assert "\n" not in message


def test_the_key_is_never_shown() -> None:
    with pytest.raises(ConfigurationError, match=r"^api_key: a bytes is not a text$"):
        ServerStore("http://127.0.0.1:9", api_key=b"hunter2")  # type: ignore[arg-type]  # on purpose


def test_documents_are_named_in_a_list_or_not_at_all(tmp_path: Path) -> None:
    """A text in place of a list would be a list of its characters."""
    with EdgeStore(tmp_path / "qdrant") as store:
        for wrong in ({"sources": "handbook"}, {"doc_ids": "refunds.md"}):
            with pytest.raises(ConfigurationError, match=r"is not a list: give \['"):
                undelete(store, "docs", **wrong)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("sample", [-1, True, 1.5, "10", None]),
        ("min_cosine", [*NO_NUMBER, 1.1]),
        ("max_examples", [-1, True, None]),
    ],
)
def test_what_a_verification_cannot_mean_is_refused_before_the_store_is_asked(
    tmp_path: Path, name: str, values: list[Any]
) -> None:
    models = [HashEncoder("hash", 8)]
    with EdgeStore(tmp_path / "qdrant") as store, BatchRunner(models, lease_directory=tmp_path) as runner:
        for value in values:
            with pytest.raises(ConfigurationError, match=f"^{name}: {re.escape(repr(value))} "):
                verify_job(
                    Job("docs"),
                    [ListSource([])],
                    store=store,
                    ensemble=Ensemble(runner),
                    **{name: value},
                )


def test_what_is_meant_is_kept_as_plain_values(tmp_path: Path) -> None:
    bounds = WindowBounds(chunks=np.int64(8))  # type: ignore[arg-type]  # a number all the same
    assert type(bounds.chunks) is int
    assert EnsembleConfig(["bm25"], {"bm25": 2}).model_weights == {"bm25": 2.0}
    assert FieldMap(metadata=["a", "b"]).metadata == ("a", "b")  # type: ignore[arg-type]  # a list all the same
    (tmp_path / "a.md").write_text("A text.")
    assert [item.id for item in open_source(tmp_path, include=["*.md"]).read()] == ["a.md"]  # type: ignore[union-attr]  # a document
