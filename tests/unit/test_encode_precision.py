"""The precision that a model computes in, for every device and whatever is stored."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pytest
from tiny_models import MINILM

from ingest.encode.models import ModelManager
from ingest.encode.openvino.choice import BackendOptions, CpuBackend, choose_backend
from ingest.encode.precision import Precision, float_precision, precision_note, reranker_precision
from ingest.encode.registry import EnsembleConfig
from ingest.errors import ConfigurationError
from ingest.testing import FakeAccelerator, use_accelerator


@pytest.mark.parametrize(
    ("wanted", "default", "computed"),
    [
        (None, "bfloat16", "bfloat16"),
        ("float32", "bfloat16", "float32"),
        ("float16", "bfloat16", "float16"),
        ("bfloat16", "bfloat16", "bfloat16"),
        ("int8", "bfloat16", "bfloat16"),
        (None, "float16", "float16"),
        ("float32", "float16", "float32"),
        ("bfloat16", "float16", "float16"),
        (None, "float32", "float32"),
        ("bfloat16", "float32", "float32"),
        ("float16", "float32", "float32"),
    ],
)
def test_a_device_computes_in_the_wanted_float_if_it_can(wanted: str | None, default: str, computed: str) -> None:
    assert float_precision(wanted, default) == computed


def test_rerankers_never_compute_in_bfloat16() -> None:
    assert [reranker_precision(default) for default in ("float32", "float16", "bfloat16")] == ["float32", "float16", "float16"]


@pytest.mark.parametrize(
    ("stored", "dtype", "default", "note"),
    [
        (None, "float32", "float32", None),
        ("float32", "float32", "float32", None),
        ("int8", "int8", "float32", None),
        ("int8", "bfloat16", "bfloat16", None),
        ("float32", "float32", "bfloat16", "m computes in float32, like its stored vectors; --precision bfloat16 is faster here"),
        ("bfloat16", "float32", "float32", "m computes in float32; its stored vectors were computed in bfloat16"),
        ("float32", "bfloat16", "bfloat16", "m computes in bfloat16; its stored vectors were computed in float32"),
        ("bfloat16", "float16", "float16", "m computes in float16; its stored vectors were computed in bfloat16"),
    ],
)
def test_another_precision_is_worth_a_note(stored: str | None, dtype: str, default: str, note: str | None) -> None:
    found = precision_note("m", stored, dtype, default)
    assert found == note or (note is not None and found is not None and found.startswith(note))


@pytest.mark.parametrize(
    ("backend", "precision", "stored", "chosen"),
    [
        ("auto", None, {"m": "bfloat16"}, ("torch", "float32")),
        ("auto", None, {"m": "float16"}, ("torch", "float32")),
        ("auto", "bfloat16", {}, ("torch", "float32")),
        ("openvino", None, {"m": "bfloat16"}, ("openvino", "float32")),
        ("auto", None, {"m": "int8"}, ("openvino", "int8")),
        ("auto", "float32", {"m": "int8"}, ("torch", "float32")),
        ("auto", None, {}, ("openvino", "int8")),
    ],
)
def test_the_cpu_continues_every_float_in_float32(
    backend: CpuBackend, precision: Precision | None, stored: Mapping[str, str], chosen: tuple[str, str]
) -> None:
    options = BackendOptions(backend, precision, stored_precisions=stored, worth_converting=True)
    assert choose_backend(options, "m", devices=("cpu",), installed=True, converted=lambda: True) == chosen


def test_a_gpu_computes_in_the_precision_asked_for() -> None:
    def choose(precision: Precision | None, stored: Mapping[str, str] | None = None) -> tuple[str, str]:
        options = BackendOptions("auto", precision, stored_precisions=stored or {})
        return choose_backend(options, "m", devices=("cuda:0",), installed=True, converted=lambda: True)

    assert choose("float32") == ("torch", "float32")
    assert choose(None, {"m": "float32"}) == ("torch", "float32")
    assert choose("float16", {"m": "float32"}) == ("torch", "float16")
    with pytest.raises(ConfigurationError, match="int8 is computed on the CPU, not on cuda:0"):
        choose("int8")


def test_openvino_computes_in_no_half_precision() -> None:
    with pytest.raises(ConfigurationError, match="OpenVINO computes in float32 or int8, not in bfloat16"):
        BackendOptions("openvino", "bfloat16")


def test_the_note_is_said_once_and_fingerprints_do_not_change(caplog: pytest.LogCaptureFixture) -> None:
    own = {"noted": {"path": str(MINILM), "dim": 384, "max_tokens": 256}}
    caplog.set_level(logging.INFO, "ingest")
    made = [
        ModelManager(
            EnsembleConfig(("noted",)),
            devices=("cpu",),
            custom_models=own,
            backend_options=BackendOptions("auto", stored_precisions=stored),
        ).members[0]
        for stored in ({}, {"noted": "bfloat16"}, {"noted": "bfloat16"})
    ]
    assert {model.dtype for model in made} == {"float32"}
    assert len({model.fingerprint for model in made}) == 1
    assert caplog.text.count("its stored vectors were computed in bfloat16, which is the same vector space") == 1


def test_a_model_of_one_precision_has_no_note_that_another_is_faster(caplog: pytest.LogCaptureFixture) -> None:
    own = {"own-words": {"backend": "qdrant", "kind": "sparse"}}
    stored = BackendOptions(stored_precisions={"own-words": "float32"})
    with use_accelerator(FakeAccelerator()), caplog.at_level("INFO"):
        ModelManager(EnsembleConfig(("own-words",)), custom_models=own, backend_options=stored)
    assert caplog.text == ""
