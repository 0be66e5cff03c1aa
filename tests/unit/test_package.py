"""The public names, and the promise that asking for one loads no more than it needs."""

from __future__ import annotations

import ast
import gzip
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import ingest


def test_the_public_names_are_sorted_and_there() -> None:
    assert sorted(ingest.__all__) == ingest.__all__
    for name in ingest.__all__:
        value = getattr(ingest, name)
        assert not (inspect.isclass(value) or inspect.isfunction(value)) or value.__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = ingest.nonsense


@pytest.mark.parametrize("module", ["ingest", "ingest.cli", "ingest.search", "ingest.sync.job"])
def test_importing_loads_no_model_library_and_no_server_client(module: str) -> None:
    heavy = "{'torch', 'transformers', 'sentence_transformers', 'qdrant_client', 'openpyxl', 'pypdfium2', 'sqlalchemy'}"
    code = f"import sys, {module}; loaded = {heavy} & sys.modules.keys(); sys.exit(repr(loaded) if loaded else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


TUTORIAL = Path(__file__).parents[1] / "public"


@pytest.mark.parametrize("path", sorted(TUTORIAL.glob("*.py")), ids=lambda path: path.stem)
def test_the_tutorial_uses_public_names_alone(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {module for module in imported if module.split(".")[0] not in {*sys.stdlib_module_names, "pytest", "ingest"}}
    assert not {module for module in imported if module.startswith("ingest.")}
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "ingest"}
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "ingest"]
    used |= {alias.name for node in froms for alias in node.names}
    assert used <= {*ingest.__all__, "__all__"}


EXTRAS = (
    *("pyarrow", "sqlalchemy", "openpyxl", "pypdfium2", "olefile", "openvino", "nncf", "onnxruntime", "starlette", "uvicorn"),
    *("httptools", "mcp", "langchain_core", "llama_index", "haystack", "ray", "ir_measures", "peft", "tree_sitter_python"),
)
BASE = """
import sys
sys.modules.update(dict.fromkeys({extras}))
import ingest
for name in ingest.__all__:
    getattr(ingest, name)
with ingest.Collection("notes", models=["bm25"]) as notes:
    receipt = notes.sync("notes/")
    assert (receipt.written, receipt.rejected, receipt.balanced) == (3, 1, True), receipt
    assert notes.search("green tea")[0].doc_id == "a.md"
    for use in (lambda: notes.export("notes/", "out"), lambda: notes.load("out"), lambda: ingest.open_source("notes/d.parquet")):
        try:
            use()
        except ingest.MissingExtraError as error:
            assert "qdrant-ingest[parquet]" in str(error)
        else:
            raise AssertionError("it needs no extra?")
"""


def test_the_base_needs_no_package_of_an_extra(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    for name, text in {"a.md": "A note about green tea.", "b.html": "<p>Coffee.</p>", "d.parquet": "PAR1"}.items():
        (tmp_path / "notes" / name).write_text(text)
    (tmp_path / "notes" / "c.jsonl.gz").write_bytes(gzip.compress(b'{"id": "1", "text": "A record."}'))
    code = BASE.format(extras=EXTRAS)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
