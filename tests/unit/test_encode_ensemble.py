from __future__ import annotations

from pathlib import Path

from recording_models import RecordingModel

from ingest.encode.ensemble import SPARSE_VECTOR_BYTES, EncodingOptions, open_ensemble
from ingest.encode.registry import SPARSE_MODELS
from ingest.encode.sparse import Bm25Model
from ingest.telemetry import ThroughputMonitor


def test_an_ensemble_knows_what_a_window_needs_of_its_models(tmp_path: Path) -> None:
    dense, sparse, monitor = RecordingModel("a", max_tokens=9), Bm25Model(SPARSE_MODELS["bm25"]), ThroughputMonitor()
    with open_ensemble([dense, sparse], EncodingOptions(lease_directory=tmp_path), monitor=monitor) as ensemble:
        assert ensemble.fingerprints == {"a": dense.fingerprint, "bm25": sparse.fingerprint}
        assert [(limit.model, limit.max_tokens) for limit in ensemble.token_limits] == [("a", 9)]
        assert ensemble.vector_bytes == 4 * dense.dim + SPARSE_VECTOR_BYTES
        assert ensemble.monitor is monitor
