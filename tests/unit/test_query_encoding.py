"""Queries on the way of documents: the runner encodes them, and their model stays where it is until someone waits for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from lease_holder import ingestion_holds
from tiny_models import MINILM, change

from ingest.encode.contract import FallbackModel
from ingest.encode.lease import lease_gpus
from ingest.encode.models import ModelManager
from ingest.encode.openvino.choice import BackendOptions
from ingest.encode.queries import QueryModel, as_queries
from ingest.encode.registry import EnsembleConfig
from ingest.encode.runner import BatchRunner
from ingest.encode.torch_model import TorchModel
from ingest.testing import HashEncoder


def model_of(**facts: object) -> QueryModel:
    own = {"m": {"path": str(MINILM), "dim": 384, "max_tokens": 16, "query_prompt": "query: ", **facts}}
    return as_queries(ModelManager(EnsembleConfig(("m",)), devices=("cpu",), custom_models=own).members[0])


def test_a_query_gets_its_prompt_and_is_truncated(tmp_path: Path) -> None:
    queries = model_of()
    texts = ["chair", "chair " * 100, "chair"]
    with BatchRunner([queries], devices=("cpu",), lease_directory=tmp_path) as runner:
        encoded = runner.run({"m": texts})["m"]
    assert encoded.failed == {}
    model = queries._model
    assert (queries.backend, model.backend) == ("numpy", "torch")
    with lease_gpus(model, (), directory=tmp_path) as lease:
        expected, documents = lease.encoder.encode_queries(texts), lease.encoder.encode_documents(["chair"] * 3)
    assert np.allclose(np.asarray(encoded.vectors), np.asarray(expected), atol=1e-6)
    assert not np.allclose(np.asarray(encoded.vectors), np.asarray(documents), atol=1e-3)
    assert queries.token_limit is None  # its encoder makes batches itself
    limit = QueryModel(model).token_limit
    assert limit is not None
    assert limit.count(texts)[1] == limit.max_tokens == 16


def test_a_query_model_is_its_model_but_for_its_documents() -> None:
    model = HashEncoder("hash", 8, revision="7")
    queries = as_queries(model)
    names = ("key", "kind", "dim", "dtype", "backend", "runs_on", "fingerprint", "space", "uses_idf", "token_limit")
    assert [getattr(queries, name) for name in names] == [getattr(model, name) for name in names]
    assert np.array_equal(np.asarray(queries.to_device("cpu").encode_documents(["x"])), model.encode_queries(["x"]))


def test_a_model_stays_on_its_device_until_a_process_waits_for_it(tmp_path: Path) -> None:
    model = model_of()._model
    assert isinstance(model, TorchModel)
    queries = QueryModel(model)

    def ask(text: str) -> object:
        BatchRunner([queries], devices=("cpu:1",), lease_directory=tmp_path).run({"m": [text]})
        return model._replicas["cpu:1"]

    assert len({id(ask(f"query {number}")) for number in range(5)}) == 1
    with ingestion_holds("cpu:1", tmp_path):  # without another query, at whose end the lease would be given back
        assert not model._replicas
    assert ask("again") is not None


def test_a_query_that_overflows_in_float16_is_encoded_in_float32(tmp_path: Path) -> None:
    inner = model_of()._model
    assert isinstance(inner, TorchModel)
    assert not isinstance(as_queries(HashEncoder()), FallbackModel)
    inner.dtype = "float16"
    assert isinstance(as_queries(inner), FallbackModel)
    as_queries(inner).use_float32()  # type: ignore[attr-defined]  # asserted above
    assert inner.dtype == "float32"


def test_the_queries_of_an_int8_model_need_neither_torch_nor_a_conversion(tmp_path: Path) -> None:
    options = BackendOptions("openvino", "int8", cache_directory=tmp_path / "cache")
    for backend_options in (None, options):
        [model] = ModelManager(EnsembleConfig(("all-miniLM-l6",)), devices=("cpu",), backend_options=backend_options).members
        queries = as_queries(model)
        assert (queries.backend, queries.dtype) == (model.backend, model.dtype)
        queries.load()
        assert (queries.backend, queries.dtype) == ("numpy", "float32")
        assert np.allclose(np.linalg.norm(np.asarray(queries.to_device("cpu").encode_queries(["a refund"])), axis=1), 1.0)
    assert not (tmp_path / "cache").exists()


def test_a_model_of_another_architecture_is_loaded_by_torch(tmp_path: Path) -> None:
    model = shutil.copytree(MINILM, tmp_path / "model")
    change(model / "config.json", hidden_act="gelu_new")
    queries = model_of(path=str(model))
    queries.load()
    assert queries.backend == "torch"
    assert np.asarray(queries.to_device("cpu").encode_queries(["a refund"])).shape == (1, 384)
