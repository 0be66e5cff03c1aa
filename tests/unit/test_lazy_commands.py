"""What a command imports: nothing to list the commands, and only what it needs to run one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from command import environment
from typer.testing import CliRunner

from ingest.cli import app
from ingest.cli.commands import COMMANDS, load_command
from ingest.collection import Collection
from ingest.records import Document

MODELS = {"torch", "transformers", "sentence_transformers", "sklearn", "scipy", "pandas"}
SOURCES = {"pyarrow", "fsspec", "html_to_markdown", "openpyxl", "pypdfium2", "sqlalchemy"}
CLIENTS = {"qdrant_client", "grpc", "httpx", "ray"}
BASICS = {"rich", "pydantic_settings", "numpy", "qdrant_edge", "prometheus_client"}


def imported(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> set[str]:
    """Run a command in a process of its own, and return the packages that it imported."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr))\n"
        "from ingest.cli import main\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env=environment() if env is None else env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_listing_the_commands_imports_none(option: str, tmp_path: Path) -> None:
    assert not imported(option, cwd=tmp_path) & {*MODELS, *SOURCES, *CLIENTS, *BASICS}


def test_settings_import_the_reader_of_variables_only_if_there_are_any(tmp_path: Path) -> None:
    none = {name: value for name, value in environment().items() if not name.startswith("INGEST_")}
    assert "pydantic_settings" not in imported("--show-settings", cwd=tmp_path, env=none)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a collection `c`."""
    folder = tmp_path_factory.mktemp("searched")
    with Collection("c", store=folder / ".ingest" / "qdrant", state=folder / ".ingest") as collection:
        collection.sync([Document("a", "a refund is approved by the finance team")], name="s")
    return folder


def test_listing_the_collections_imports_no_models_no_sources_and_no_arrays(searched: Path) -> None:
    unneeded = {*MODELS, *SOURCES, *CLIENTS, "numpy", "tenacity"}
    assert not imported("collections", "list", cwd=searched) & unneeded


@pytest.mark.parametrize("options", [[], ["--vectors", "bm25"]])
def test_a_search_imports_no_torch_and_no_sources(options: list[str], searched: Path) -> None:
    heavy = {*MODELS, *SOURCES, *CLIENTS, "openvino", "onnxruntime", "safetensors", "prometheus_client", "rich"}
    assert not imported("search", "c", "who approves a refund?", *options, cwd=searched) & heavy


def test_serving_language_models_imports_no_models_before_the_first_call(tmp_path: Path) -> None:
    assert not imported("mcp", cwd=tmp_path) & {*MODELS, *SOURCES, *CLIENTS}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_where_the_table_says(name: str) -> None:
    assert load_command(name).get_short_help_str()


@pytest.mark.parametrize(
    ("words", "completed"),
    [("ingest se", ["search", "serve"]), ("ingest collections l", ["list"]), ("ingest search c q --fus", ["--fusion"])],
)
def test_a_shell_completes_commands_and_their_options(words: str, completed: list[str]) -> None:
    asked = {"_INGEST_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    assert CliRunner().invoke(app, [], prog_name="ingest", env=asked).output.split() == completed


def test_lines_of_the_table_are_printed_whole(tmp_path: Path) -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "ingest", "--help"],
        cwd=tmp_path,
        env=environment(COLUMNS="80"),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name, (_, line) in COMMANDS.items():
        assert f"  {name:<11}  {line}\n" in listed
