"""What was removed stays removed: by attribute, argument, import, payload and call, and by name anywhere in the package."""

from __future__ import annotations

import ast
import io
import json
import pkgutil
import tomllib
from dataclasses import fields
from functools import cache
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from recording_models import RecordingModel

import ingest
from ingest.encode.contract import Encoded
from ingest.encode.lease import GPULease, lease_gpus
from ingest.encode.models import ModelManager
from ingest.encode.registry import KAGGLE_OPTIMIZED_MODELS, EnsembleConfig
from ingest.encode.runner import BatchRunner
from ingest.errors import ConfigurationError
from ingest.receipt import LeaseEvent, Receipt
from ingest.settings import Settings, load_settings
from ingest.telemetry import BatchProgressContext, PassReport, ThroughputMonitor

REMOVED_FIELDS = (
    "aggregation_method",
    "memory_efficient",
    "parallel_encoding",
    "preferred_devices",
    "sequential_passes",
    "warm_cache_after_release",
    "weighting_strategy",
)
REMOVED_FUNCTIONS = ("_generate_upload_script", "_save_intermediate_results")
REMOVED_BRANCHES = (
    "encode_parallel",
    "encode_sequential",
    "run_ensemble",
    "run_parallel",
    "run_parallel_ensemble",
    "run_sequential",
    "run_sequential_ensemble",
)
NOTHING = Encoded([], {})
PACKAGE = Path(ingest.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


@cache
def _trees() -> list[tuple[Path, ast.Module]]:
    return [(path.relative_to(PACKAGE), ast.parse(path.read_text())) for path in MODULES]


def _identifiers(tree: ast.AST) -> set[str]:
    """Every name that is defined, used, imported or given as a keyword."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.alias(name=name, asname=other):
                found.update({*name.split("."), other or name})
    return found


def test_the_ensemble_has_three_fields_and_none_that_was_removed() -> None:
    assert [field.name for field in fields(EnsembleConfig)] == ["ensemble_models", "model_weights", "exclusive_mode"]
    for name in REMOVED_FIELDS:
        assert not hasattr(EnsembleConfig, name)
        assert not hasattr(EnsembleConfig(), name)


def test_giving_a_removed_field_is_an_error_that_says_what_to_do() -> None:
    for name in REMOVED_FIELDS:
        with pytest.raises(ConfigurationError, match=rf"no longer has '{name}': \w+ \w+"):
            EnsembleConfig(**{name: True})  # type: ignore[arg-type]  # as old code would


def test_nothing_else_takes_a_removed_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "ingest.toml"
    for name in REMOVED_FIELDS:
        for taker in (BatchRunner, ModelManager, ThroughputMonitor, lease_gpus):
            assert name not in signature(taker).parameters
        option: Any = {name: True}
        with pytest.raises(TypeError):
            BatchRunner([], **option)
        with pytest.raises(TypeError):
            ModelManager(EnsembleConfig(), **option)
        assert name not in Settings.model_fields
        settings.write_text(f"{name} = true\n")
        with pytest.raises(ConfigurationError, match=name):
            load_settings({}, settings)
        with monkeypatch.context() as patched:
            patched.setenv(f"INGEST_{name.upper()}", "true")
            with pytest.raises(ConfigurationError, match=name.upper()):
                load_settings({})


def test_an_ensemble_runs_one_way_only(tmp_path: Path) -> None:
    assert {name for name in vars(BatchRunner) if not name.startswith("_")} == {
        "models",
        "run",
        "run_exclusive_ensemble",
        "close",
    }
    with BatchRunner([RecordingModel("a")], devices=("cpu",), lease_directory=tmp_path / "leases") as runner:
        for name in (*REMOVED_BRANCHES, *(f"_{name}" for name in REMOVED_BRANCHES)):
            with pytest.raises(AttributeError):
                getattr(runner, name)({"a": ["x"]})
        for name in ("parallel", "sequential", "mode"):
            option: dict[str, Any] = {name: True}
            with pytest.raises(TypeError):
                runner.run({"a": ["x"]}, **option)
            with pytest.raises(TypeError):
                runner.run_exclusive_ensemble({"a": ["x"]}, **option)


def test_run_is_the_exclusive_ensemble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BatchRunner, "run_exclusive_ensemble", lambda _self, texts, check: dict.fromkeys(texts, NOTHING))
    with BatchRunner([RecordingModel("a")], devices=("cpu",), lease_directory=tmp_path / "leases") as runner:
        assert runner.run({"a": ["x"]}) == {"a": NOTHING}


def test_removed_modules_cannot_be_imported() -> None:
    for module in ("ingest.core", "ingest.main", "ingest.encode.core", "ingest.registry"):
        with pytest.raises(ModuleNotFoundError):
            import_module(module)


def test_removed_functions_cannot_be_imported() -> None:
    for module in pkgutil.walk_packages([str(PACKAGE)], "ingest."):
        for name in (*REMOVED_FUNCTIONS, "main"):
            if (module.name, name) != ("ingest.cli", "main"):
                assert not hasattr(import_module(module.name), name), module.name


def test_there_is_one_entry_point() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"ingest": "ingest.cli:main"}
    assert "gui-scripts" not in project
    assert "entry-points" not in project
    mains = [
        str(path) for path, tree in _trees() for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main"
    ]
    assert mains == ["cli/__init__.py"]
    conditions = [(str(path), node.test) for path, tree in _trees() for node in ast.walk(tree) if isinstance(node, ast.If)]
    assert [path for path, test in conditions if ast.unparse(test) == "__name__ == '__main__'"] == ["__main__.py"]
    assert "cli.main()" in (PACKAGE / "__main__.py").read_text()


def test_progress_is_not_a_record() -> None:
    assert not hasattr(BatchProgressContext, "to_dict")
    assert not hasattr(BatchProgressContext(ThroughputMonitor(), "a", 1), "to_dict")


def test_telemetry_has_the_agreed_shape_and_nothing_of_what_was_removed(tmp_path: Path) -> None:
    assert [field.name for field in fields(LeaseEvent)] == ["event", "model", "devices", "at", "vram"]
    stream = io.StringIO()
    monitor = ThroughputMonitor(stream=stream)
    with BatchRunner([RecordingModel("a")], devices=("cpu",), monitor=monitor, lease_directory=tmp_path / "leases") as runner:
        runner.run({"a": ["x"]})
    monitor.log_error("somewhere", "something")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    shapes = {
        "lease": {"time", "type", "event", "model", "devices", "at", "vram"},
        "pass": {"time", "type", "at", "tokens_per_second", "padding_share", *(field.name for field in fields(PassReport))},
        "error": {"time", "type", "at", "message"},
    }
    assert [line["type"] for line in lines] == ["lease", "lease", "pass", "error"]
    for line in lines:
        assert set(line) == shapes[line["type"]]
    known = {field.name for record in (LeaseEvent, PassReport, Receipt) for field in fields(record)}
    assert not known & {*REMOVED_FIELDS, "used_bytes", "mode", "strategy"}


def test_what_a_lease_cost_has_the_agreed_shape(tmp_path: Path) -> None:
    with lease_gpus(RecordingModel("a"), ("cpu",), directory=tmp_path / "leases") as lease:
        pass
    assert isinstance(lease, GPULease)
    assert set(lease.summarize()) == {"model", "devices", "seconds", "swap_seconds", "vram_delta_gb"}


def test_there_is_one_registry_of_dense_models() -> None:
    holders = {
        (target.id, str(path))
        for path, tree in _trees()
        for node in tree.body
        if isinstance(node, ast.AnnAssign | ast.Assign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and "kind='dense'" in ast.unparse(node)
    }
    assert holders == {("KAGGLE_OPTIMIZED_MODELS", "encode/registry.py")}
    public = {
        id(value)
        for module in pkgutil.walk_packages([str(PACKAGE)], "ingest.")
        for name, value in vars(import_module(module.name)).items()
        if name.isupper() and not name.startswith("_") and not isinstance(value, str) and _holds_dense_models(value)
    }
    assert public == {id(KAGGLE_OPTIMIZED_MODELS)}


def _holds_dense_models(value: Any) -> bool:
    """By key: a second registry would name the same models, whatever it says about them."""
    try:
        return len({*value} & {*KAGGLE_OPTIMIZED_MODELS}) > 1
    except TypeError:
        return False


def test_no_module_uses_a_removed_name() -> None:
    for path, tree in _trees():
        assert not _identifiers(tree) & {*REMOVED_FIELDS, *REMOVED_FUNCTIONS}, path
        defined = {
            node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        }
        assert not {name for name in defined if "parallel" in name.lower() or "sequential" in name.lower()}, path
        assert not defined & {*REMOVED_BRANCHES}, path


def test_the_walk_would_notice() -> None:
    for code in (
        "def f(parallel_encoding): ...",
        "EnsembleConfig(memory_efficient=True)",
        "config.aggregation_method",
        "from x import _save_intermediate_results",
        "class C:\n    async def _generate_upload_script(self): ...",
        "import a.sequential_passes as b",
    ):
        assert _identifiers(ast.parse(code)) & {*REMOVED_FIELDS, *REMOVED_FUNCTIONS}, code
