"""Every exception of the libraries we call has its place in our tree: listed by looking, not from memory."""

from __future__ import annotations

import inspect
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc  # type: ignore[import-untyped]
import httpx
import huggingface_hub
import huggingface_hub.errors
import pyarrow.lib
import pytest
import qdrant_client.common.client_exceptions
import qdrant_client.http.exceptions
import safetensors
import sqlalchemy.exc
import torch
from sqlalchemy.engine import MappingResult

from ingest.encode.model_config import ModelConfig
from ingest.encode.models import ModelManager
from ingest.encode.registry import EnsembleConfig
from ingest.encode.resolve import pull
from ingest.errors import IngestError, ModelError, SourceError, StoreError, StoreUnavailableError
from ingest.source import open_source
from ingest.source.streams import source_errors
from ingest.store.server.errors import VENDOR_ERRORS, translate


def exceptions_of(*modules: ModuleType) -> list[type[Exception]]:
    """Those a module has by name, warnings left out, in alphabetical order."""
    found = {
        each
        for module in modules
        for _, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, Exception) and not issubclass(each, Warning)
    }
    return sorted(found, key=lambda each: each.__name__)


SPECIAL: dict[str, tuple[Any, ...]] = {
    "UnexpectedResponse": (418, "I'm a teapot", b"{", httpx.Headers()),
    "ResourceExhaustedResponse": ("slow\ndown", 7),
    "ResponseHandlingException": (httpx.ConnectError("two\nlines"),),
    "CircularDependencyError": ("two\nlines", [], []),
    "UnsupportedCompilationError": (type("Compiler", (), {}), str),
    "ObjectNotExecutableError": ("two\nlines",),
    "SandboxCommandError": ("ls", None),
    "StrictDataclassClassValidationError": ("two\nlines", ValueError("x")),
    "StrictDataclassFieldValidationError": ("two\nlines", ValueError("x")),
}


def made(kind: type[Exception]) -> Exception:
    """One whose message has two lines, without asking its constructor where that wants what we cannot know."""
    if kind.__name__ in SPECIAL and kind.__name__ != "SandboxCommandError":
        return kind(*SPECIAL[kind.__name__])
    if issubclass(kind, sqlalchemy.exc.DBAPIError):
        return kind("SELECT\n1", None, ValueError("two\nlines"))
    if issubclass(kind, sqlalchemy.exc.StatementError):
        return kind("two\nlines", "SELECT\n1", None, None)
    bare = kind.__new__(kind, "two\nlines")
    bare.args = ("two\nlines",)
    return bare


@contextmanager
def one_line(kind: type[IngestError], caused_by: Exception) -> Iterator[None]:
    """What is raised within is of that kind, on one line, and says what caused it."""
    with pytest.raises(kind) as caught:
        yield
    assert caught.value.__cause__ is caused_by
    assert str(caught.value).strip()
    assert "\n" not in str(caught.value)


# --- qdrant_client


@pytest.mark.parametrize(
    "kind", exceptions_of(qdrant_client.http.exceptions, qdrant_client.common.client_exceptions), ids=lambda kind: kind.__name__
)
def test_whatever_the_server_client_raises_is_a_store_error(kind: type[Exception]) -> None:
    assert issubclass(kind, VENDOR_ERRORS)
    error = translate(made(kind), "http://host:6333", "docs")
    assert isinstance(error, StoreError)
    assert "\n" not in str(error)
    assert "http://host:6333" in str(error)


class Refusal(grpc.RpcError, grpc.Call):  # type: ignore[misc]
    """A call that ended with a status."""

    def __init__(self, status: grpc.StatusCode) -> None:
        super().__init__()
        self._status = status

    def code(self) -> grpc.StatusCode:
        return self._status

    def details(self) -> str:
        return "two\nlines"

    def _unused(self, *_: Any) -> Any: ...

    initial_metadata = trailing_metadata = is_active = time_remaining = cancel = add_callback = _unused


@pytest.mark.parametrize("status", [status for status in grpc.StatusCode if status != grpc.StatusCode.OK], ids=str)
def test_every_grpc_status_is_a_store_error(status: grpc.StatusCode) -> None:
    error = translate(Refusal(status), "http://host:6333", "docs")
    assert "\n" not in str(error)
    passing = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL"}
    assert isinstance(error, StoreUnavailableError) == (status.name in passing)


@pytest.mark.parametrize("kind", exceptions_of(httpx), ids=lambda kind: kind.__name__)
def test_whatever_the_transport_raises_is_a_store_error(kind: type[Exception]) -> None:
    wrapped = qdrant_client.http.exceptions.ResponseHandlingException(made(kind))
    error = translate(wrapped, "http://host:6333", None)
    assert isinstance(error, StoreError)
    assert "\n" not in str(error)
    lost = issubclass(kind, httpx.TransportError) and not issubclass(kind, httpx.UnsupportedProtocol)
    assert isinstance(error, StoreUnavailableError) == lost


def test_a_certificate_that_is_not_trusted_is_found_beneath_the_transports_own_error() -> None:
    lost = httpx.ConnectError("handshake")
    lost.__cause__ = ssl.SSLCertVerificationError("self-signed")
    error = translate(qdrant_client.http.exceptions.ResponseHandlingException(lost), "https://host:6333", None)
    assert type(error) is StoreError
    assert "certificate" in str(error)


# --- sources: fsspec's systems, decompressors and Arrow raise what they like; SQLAlchemy has a tree


@pytest.mark.parametrize("kind", [*exceptions_of(pyarrow.lib), OSError, EOFError, RuntimeError], ids=lambda kind: kind.__name__)
def test_whatever_arrow_raises_is_a_source_error(kind: type[Exception]) -> None:
    raised = made(kind)
    with one_line(SourceError, raised), source_errors("read x.parquet"):
        raise raised


@pytest.mark.parametrize("kind", exceptions_of(sqlalchemy.exc), ids=lambda kind: kind.__name__)
def test_whatever_the_database_raises_is_one_of_ours(
    kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlite3  # noqa: PLC0415

    database = tmp_path / "x.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE docs (id, text)")
    raised = made(kind)

    def fails(*_: Any) -> None:
        raise raised

    monkeypatch.setattr(MappingResult, "partitions", fails)
    source = open_source(f"sqlite:///{database}", table="docs")
    with one_line(IngestError, raised):
        list(source.read())


# --- models


@pytest.mark.parametrize("kind", exceptions_of(huggingface_hub.errors), ids=lambda kind: kind.__name__)
def test_whatever_the_hub_raises_is_a_model_error(kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    raised = made(kind)

    def fails(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", fails)
    with one_line(ModelError, raised):
        pull(ModelConfig("own", kind="dense", hub_id="owner/name", dim=2, max_tokens=8))


def _torch_errors() -> list[type[Exception]]:
    import pickle  # noqa: PLC0415

    return [*exceptions_of(torch), *exceptions_of(safetensors), pickle.UnpicklingError, OSError, KeyError]


@pytest.mark.parametrize("kind", _torch_errors(), ids=lambda kind: kind.__name__)
def test_whatever_the_loading_of_a_model_raises_is_a_model_error(
    kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sentence_transformers  # noqa: PLC0415

    raised = made(kind)

    def fails(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr(sentence_transformers.SentenceTransformer, "__init__", fails)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    own = {"own": {"path": str(tmp_path), "dim": 2, "max_tokens": 8}}
    member = ModelManager(EnsembleConfig(("own",)), devices=("cpu",), custom_models=own).members[0]
    with one_line(ModelError, raised):
        member.load()


# --- the tree itself


def tree(kind: type[IngestError] = IngestError) -> Iterator[type[IngestError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from tree(each)


def test_every_error_of_ours_is_in_the_tree_that_the_documentation_shows() -> None:
    import ingest.errors  # noqa: PLC0415

    lines = (ingest.errors.__doc__ or "").splitlines()
    for kind in tree():
        if kind.__module__ != ingest.errors.__name__:  # another test's own
            continue
        (shown,) = [line for line in lines if f"exit {kind.exit_code}" in line and kind.__name__ in line.split("exit")[0].split()]
        assert shown.split(f"exit {kind.exit_code}")[1].strip()
