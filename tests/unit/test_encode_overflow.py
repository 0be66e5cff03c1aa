"""A model that overflows in float16 continues in float32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from recording_models import Passes, RecordingEncoder, RecordingModel, vector_of
from safetensors.torch import load_file, save_file
from tiny_models import DIM, tiny_dense

from ingest.encode.contract import Encoded
from ingest.encode.dense import DenseModel
from ingest.encode.registry import ModelConfig
from ingest.encode.runner import BatchRunner
from ingest.records import DenseMatrix
from ingest.telemetry import Progress


def _dense(encoded: Encoded) -> DenseMatrix:
    vectors = encoded.vectors
    assert isinstance(vectors, np.ndarray)
    return vectors


class HalfModel(RecordingModel):
    """In float16, vectors of long texts are not finite."""

    dtype = "float16"

    def use_float32(self) -> None:
        self.dtype = "float32"
        self.journal.note("use_float32", self.key)

    def to_device(self, device: str) -> RecordingEncoder:
        super().to_device(device)
        return HalfEncoder(self, device)


class HalfEncoder(RecordingEncoder):
    def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
        vectors = super().encode_documents(texts)
        if self.model.dtype == "float16":
            vectors[[len(text) > 300 for text in texts]] = np.nan
        vectors[["never" in text for text in texts]] = np.inf
        return vectors


@pytest.mark.parametrize("devices", [("cpu",), ("cpu", "cpu:1")])
def test_a_model_that_overflows_in_float16_continues_in_float32(
    tmp_path: Path, devices: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    texts = [f"{'word ' * (index % 90 + 1)}{index}" for index in range(300)] + ["never"]
    seen: list[Progress] = []
    model, monitor = HalfModel("a", max_tokens=100), Passes(on_progress=seen.append)
    with BatchRunner([model], lease_directory=tmp_path, devices=devices, monitor=monitor) as runner:
        encoded = runner.run({"a": texts})["a"]
        again = runner.run({"a": texts})["a"]
    for each in (encoded, again):
        assert np.array_equal(_dense(each)[:300], np.stack([vector_of(text) for text in texts[:300]]))
        assert each.failed == {300: "a made a vector that is not finite, computing in float32"}
        assert not _dense(each)[300].any()
    assert [what for what, _ in model.journal.events].count("use_float32") == 1
    assert "a made a vector that is not finite, computing in float16; it computes in float32 from now on" in caplog.text
    assert [report.dtype for report in monitor.passes] == ["float32", "float32"]
    assert [progress.encoded for progress in seen if progress.chunks == 301][-1] == 301
    wasted = sum(map(len, model.journal.batches)) - 2 * len(texts)
    assert wasted <= 30 * len(devices)  # it falls back after the first bad batch of each device


def test_a_real_model_that_overflows_in_float16_reads_its_weights_again(tmp_path: Path) -> None:
    folder = tiny_dense(tmp_path / "tiny")
    weights = load_file(folder / "model.safetensors")
    for name, tensor in weights.items():
        if name.endswith("output.LayerNorm.weight"):
            tensor.fill_(1e6)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = ModelConfig("tiny", kind="dense", path=folder, dim=DIM, max_tokens=64, pooling="mean")
    half, single = DenseModel(config, dtype="float16"), DenseModel(config, dtype="float32")
    with BatchRunner([half], lease_directory=tmp_path, devices=("cpu",)) as runner:
        encoded = runner.run({"tiny": ["one", "two words"]})["tiny"]
    with BatchRunner([single], lease_directory=tmp_path, devices=("cpu",)) as runner:
        expected = runner.run({"tiny": ["one", "two words"]})["tiny"]
    assert (half.dtype, encoded.failed) == ("float32", {})
    assert np.array_equal(_dense(encoded), _dense(expected))
    assert half.fingerprint == single.fingerprint
