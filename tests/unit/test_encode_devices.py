"""Devices that this machine does not have are refused by name, before anything is loaded or opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from command import write_jsonl
from typer.testing import CliRunner

from ingest import Searcher
from ingest.cli import app
from ingest.cli.session import cluster_of, collection_of
from ingest.encode.devices import check_devices
from ingest.encode.models import ModelManager
from ingest.encode.registry import EnsembleConfig
from ingest.encode.runner import BatchRunner
from ingest.encode.selftest import run_selftest
from ingest.errors import ConfigurationError, DeviceError
from ingest.search.rerank import RerankPipeline
from ingest.settings import load_settings
from ingest.source.memory import records_source
from ingest.testing import FakeAccelerator, use_accelerator

UNKNOWN = ("cuda:97", "cuda:x", "cuda", "mps", "gpu", "cpu:x", "CPU")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "corpus.jsonl", [{"id": "d", "text": "A document."}])
    return tmp_path


@pytest.mark.parametrize("device", UNKNOWN)
@pytest.mark.parametrize(
    "use",
    [
        check_devices,
        lambda devices: ModelManager(EnsembleConfig(), devices=devices),
        lambda devices: BatchRunner([], devices=devices),
        lambda devices: RerankPipeline(devices=devices),
        lambda devices: Searcher.open("docs", "store", devices=devices),
        lambda devices: run_selftest("bm25", cache_directory=Path(), devices=devices),
    ],
    ids=["check", "models", "runner", "reranker", "searcher", "bench"],
)
def test_the_library_refuses_a_device_that_is_not_there(
    use: Callable[[Sequence[str]], object], device: str, folder: Path
) -> None:
    with pytest.raises(ConfigurationError, match=rf"^there is no device '{device}': available are .*\bcpu\b"):
        use(["cpu", device])
    assert not (folder / "store").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "corpus.jsonl", "-c", "docs"],
        ["plan", "corpus.jsonl", "-c", "docs"],
        ["embed", "corpus.jsonl", "--out", "vectors"],
        ["verify", "corpus.jsonl", "-c", "docs"],
        ["reindex", "docs", "--dense", "all-miniLM-l6"],
        ["search", "docs", "a query"],
        ["models", "check", "bm25"],
        ["bench"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_every_command_refuses_it_before_anything_is_touched(
    arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGEST_DEVICE", "cuda:97")
    before = set(folder.rglob("*"))
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ConfigurationError), result.exception
    assert "there is no device 'cuda:97': available are" in str(result.exception)
    assert {path for path in folder.rglob("*") if path.is_file()} <= before


def test_a_job_of_the_settings_file_refuses_it(folder: Path) -> None:
    (folder / "ingest.toml").write_text('device = ["gpu"]\n[jobs.nightly]\nsource = "corpus.jsonl"\ncollection = "docs"\n')
    result = CliRunner().invoke(app, ["sync"])
    assert isinstance(result.exception, ConfigurationError)
    assert str(result.exception).startswith("job nightly: there is no device 'gpu': available are")


def test_devices_of_workers_on_a_cluster_are_not_looked_for_here() -> None:
    settings = load_settings({"engine": "ray", "device": "cuda:97", "store": "http://127.0.0.1:6333"})
    source = records_source([], name="s")
    collection_of(settings, "docs", models=["bm25"], cluster=cluster_of(settings)).check(source)
    with pytest.raises(ConfigurationError, match="cuda:97"):
        collection_of(settings, "docs", models=["bm25"]).check(source)


@pytest.mark.parametrize("devices", ["", [""], [None], [0]])
def test_what_is_no_name_is_no_device(devices: Any) -> None:
    with pytest.raises(ConfigurationError, match="device"):
        check_devices(devices)


def test_one_name_is_one_device_and_each_counts_once() -> None:
    assert check_devices("cpu") == ("cpu",)
    assert check_devices(["cpu", "cpu:1", "cpu"]) == ("cpu", "cpu:1")


def test_commands_and_searchers_on_the_cpu_make_no_call_to_a_gpu() -> None:
    with use_accelerator(FakeAccelerator()) as gpus:
        run, search = ["run", "corpus.jsonl", "-c", "docs"], ["search", "docs", "a query", "--rerank", "off"]
        for arguments in (run, search, ["models", "check", "all-miniLM-l6"]):
            result = CliRunner().invoke(app, [*arguments, "--device", "cpu"])
            assert result.exit_code == 0, result.output
        with Searcher.open("docs", devices=("cpu",)) as searcher:
            assert searcher.search("a query", rerank="off")
        assert gpus.calls.total() == 0


def test_a_gpu_that_torch_cannot_use_ends_a_command_in_one_line() -> None:
    with use_accelerator(FakeAccelerator()) as gpus:
        gpus.broken["cuda:0"] = "the NVIDIA driver is too old for torch: update it, or use device cpu"
        result = CliRunner().invoke(app, ["run", "corpus.jsonl", "-c", "docs"])
    assert isinstance(result.exception, DeviceError)
    assert str(result.exception) == gpus.broken["cuda:0"]
