"""The public names, and the promise that asking for one loads no more than it needs."""

from __future__ import annotations

import inspect
import subprocess
import sys

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
    heavy = "{'torch', 'transformers', 'sentence_transformers', 'qdrant_client', 'markitdown', 'sqlalchemy'}"
    code = f"import sys, {module}; loaded = {heavy} & sys.modules.keys(); sys.exit(repr(loaded) if loaded else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
